"""A column of every type that Arrow has: what it is as a feature, and as text."""

import datetime as dt
import decimal
import uuid
from typing import Any, NamedTuple

import pyarrow as pa

DAY, TIME = dt.date(2024, 5, 6), dt.datetime(2024, 5, 6, 6)
NAN = float("nan")
UUID = uuid.UUID(int=5)


class Case(NamedTuple):
    """Two cells of a type; the numbers in them, or what the hint says; and their text, if any."""

    column: Any
    numbers: list[list[float]] | str
    texts: tuple[str, str] | None
    in_parquet: bool = True


def cells(values: list[Any], kind: Any) -> Any:
    return pa.array(values, kind)


def named(kind: Any, values: list[Any]) -> Any:
    """A column of an extension type."""
    return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))


def dictionary(values: list[Any], kind: Any = None) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int8()), pa.array(values, kind))


def runs(values: list[Any]) -> Any:
    return pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), pa.array(values))


def union(mode: str) -> Any:
    kinds, one, two = pa.array([0, 1], pa.int8()), pa.array([1, 2]), pa.array(["a", "b"])
    if mode == "sparse":
        return pa.UnionArray.from_sparse(kinds, [one, two])
    return pa.UnionArray.from_dense(kinds, pa.array([0, 1], pa.int32()), [one, two])


NUMBERS = {
    **{
        f"{kind}": Case(cells([1, 100], kind), [[1], [100]], ("1", "100"))
        for kind in (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32())
    },
    "int64": Case(
        cells([-(2**63), 2**53 + 1], pa.int64()),
        [[-(2.0**63)], [float(2**53 + 1)]],
        ("-9223372036854775808", "9007199254740993"),
    ),
    "uint64": Case(
        cells([2**63 + 1025, None], pa.uint64()),
        [[float(2**63 + 1025)], [NAN]],
        ("9223372036854776833", ""),
    ),
    "float16": Case(cells([1.0, 0.5], pa.float16()), [[1], [0.5]], ("1.0", "0.5")),
    "float32": Case(
        cells([1e-5, None], pa.float32()), [[9.999999747378752e-06], [NAN]], ("1e-05", "")
    ),
    "float64": Case(cells([0.1, NAN], pa.float64()), [[0.1], [NAN]], ("0.1", "nan")),
    "bool": Case(cells([True, False], pa.bool_()), [[1], [0]], ("true", "false")),
    **{
        f"{kind}": Case(
            cells([decimal.Decimal("1.50"), decimal.Decimal("-0.01")], kind),
            [[1.5], [-0.01]],
            ("1.50", "-0.01"),
        )
        for kind in (pa.decimal32(5, 2), pa.decimal64(9, 2), pa.decimal128(20, 2))
    },
    # More digits than a float64 has: the nearest one.
    "decimal256": Case(
        cells([decimal.Decimal("0.1000000000000000000000000001"), None], pa.decimal256(50, 28)),
        [[0.1], [NAN]],
        ("0.1000000000000000000000000001", ""),
    ),
    "null": Case(cells([None, None], pa.null()), [[NAN], [NAN]], ("", "")),
    "dictionary": Case(dictionary([0.5, 1.5]), [[1.5], [0.5]], ("1.5", "0.5")),
}
_TIME_HINT = "; make a number of it, such as seconds, where the file is written"
_TEXT_HINT = "; make numbers of text where the file is written"
OTHERS = {
    "date32": Case(cells([DAY, None], pa.date32()), _TIME_HINT, ("2024-05-06", "")),
    "date64": Case(cells([DAY, None], pa.date64()), _TIME_HINT, ("2024-05-06", "")),
    "time32": Case(
        cells([dt.time(6), dt.time(6, 0, 0, 120_000)], pa.time32("ms")),
        _TIME_HINT,
        ("06:00:00", "06:00:00.12"),
    ),
    "time64": Case(cells([dt.time(6), None], pa.time64("ns")), _TIME_HINT, ("06:00:00", "")),
    "timestamp": Case(
        cells([TIME, None], pa.timestamp("s")), _TIME_HINT, ("2024-05-06T06:00:00", "")
    ),
    "timestamp in a zone": Case(
        cells([TIME, TIME.replace(microsecond=500)], pa.timestamp("ns", "Europe/Berlin")),
        _TIME_HINT,
        ("2024-05-06T08:00:00+02:00", "2024-05-06T08:00:00.0005+02:00"),
    ),
    "timestamp in UTC": Case(
        cells([TIME, None], pa.timestamp("us", "UTC")), _TIME_HINT, ("2024-05-06T06:00:00Z", "")
    ),
    "duration": Case(cells([1500, None], pa.duration("ms")), _TIME_HINT, ("1500", "")),
    "interval": Case(
        cells([(1, 2, 3), None], pa.month_day_nano_interval()),
        _TIME_HINT,
        None,
        in_parquet=False,
    ),
    **{
        f"{kind}": Case(cells(["1", None], kind), _TEXT_HINT, ("1", ""))
        for kind in (pa.string(), pa.large_string(), pa.string_view())
    },
    "json": Case(named(pa.json_(), ['{"a": 1}', None]), "", ('{"a": 1}', "")),
    "opaque": Case(named(pa.opaque(pa.int32(), "a", "b"), [1, 2]), "", ("1", "2")),
    "dictionary of text": Case(dictionary(["a", "b"]), _TEXT_HINT, ("b", "a")),
    **{
        f"dictionary of {kind}": Case(dictionary(["a", "b"], kind), _TEXT_HINT, ("b", "a"))
        for kind in (pa.string_view(), pa.large_string())
    },
    "dictionary of binary_view": Case(dictionary([b"a", b"b"], pa.binary_view()), "", ("b", "a")),
    "binary of text": Case(cells([b"a", None], pa.binary()), "", ("a", "")),
    "uuid": Case(named(pa.uuid(), [UUID.bytes, None]), "", (str(UUID), "")),
    **{
        f"{kind}": Case(cells([[1, 2], None], kind), "", None)
        for kind in (
            *(pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float64(), 2)),
            *(pa.list_view(pa.float64()), pa.large_list_view(pa.float64())),
        )
    },
    "runs": Case(runs([0.5, None]), "", None, in_parquet=False),
    **{
        f"{kind}": Case(cells([b"a\xff", None], kind), "", None)
        for kind in (pa.large_binary(), pa.binary_view(), pa.binary(2))
    },
    "struct": Case(cells([{"a": 1}, None], pa.struct([("a", pa.int64())])), "", None),
    "map": Case(cells([[("a", 1)], None], pa.map_(pa.string(), pa.int8())), "", None),
    **{
        f"{mode} union": Case(union(mode), "", None, in_parquet=False)
        for mode in ("sparse", "dense")
    },
}
CASES = NUMBERS | OTHERS
# They can be read, but PyArrow makes no column of them.
NOT_MADE = {"INTERVAL_MONTHS", "INTERVAL_DAY_TIME"}
