"""A column of every type of Arrow: read as in CSV or refused by name, and written as it is."""

import csv
import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Rnn

ALONE = ("--hidden", "1", "--columns", "v")
DAY, TIME = dt.date(2024, 5, 6), dt.datetime(2024, 5, 6, 6)


class Case(NamedTuple):
    """Two cells of a type, and their text in CSV; None where they have none."""

    column: Any
    texts: tuple[str, str] | None
    in_parquet: bool = True


def cells(values: list[Any], kind: Any) -> Any:
    return pa.array(values, kind)


def extension(kind: Any, values: list[Any]) -> Any:
    return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))


def dictionary(values: list[Any], kind: Any = None) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int8()), pa.array(values, kind))


def union(mode: str) -> Any:
    kinds, one, two = pa.array([0, 1], pa.int8()), pa.array([1, 2]), pa.array(["a", "b"])
    if mode == "sparse":
        return pa.UnionArray.from_sparse(kinds, [one, two])
    return pa.UnionArray.from_dense(kinds, pa.array([0, 1], pa.int32()), [one, two])


def text_over_garbage() -> Any:
    """A missing text that has bytes of its own."""
    valid = np.packbits([False, True], bitorder="little").tobytes()
    edges = np.array([0, 1, 2], np.int32).tobytes()
    return pa.Array.from_buffers(pa.string(), 2, [*map(pa.py_buffer, (valid, edges, b"ab"))])


NUMBERS = {
    **{f"{kind}": Case(cells([1, 100], kind), ("1", "100")) for kind in (pa.int8(), pa.uint32())},
    "int64": Case(
        cells([-(2**63), 2**53 + 1], pa.int64()), ("-9223372036854775808", "9007199254740993")
    ),
    "uint64": Case(cells([2**63 + 1025, None], pa.uint64()), ("9223372036854776833", "")),
    "float16": Case(cells([np.float16(1), np.float16(0.5)], pa.float16()), ("1.0", "0.5")),
    "float32": Case(cells([0.5, None], pa.float32()), ("0.5", "")),
    "float64": Case(cells([0.1, float("nan")], pa.float64()), ("0.1", "nan")),
    "bool": Case(cells([True, False], pa.bool_()), ("true", "false")),
    # More digits than a float64 has: the nearest one.
    "decimal256": Case(
        cells([Decimal("0.1000000000000000000000000001"), None], pa.decimal256(50, 28)),
        ("0.1000000000000000000000000001", ""),
    ),
    "null": Case(cells([None, None], pa.null()), ("", "")),
    "dictionary": Case(dictionary([0.5, 1.5]), ("1.5", "0.5")),
}
OTHERS = {
    "date32": Case(cells([DAY, None], pa.date32()), ("2024-05-06", "")),
    "time32": Case(
        cells([dt.time(6), dt.time(6, 0, 0, 120_000)], pa.time32("ms")),
        ("06:00:00.000", "06:00:00.120"),
    ),
    "timestamp": Case(cells([TIME, None], pa.timestamp("s")), ("2024-05-06 06:00:00", "")),
    "timestamp in a zone": Case(
        cells([TIME, TIME.replace(microsecond=500)], pa.timestamp("ns", "Europe/Berlin")),
        ("2024-05-06 08:00:00.000000000+0200", "2024-05-06 08:00:00.000500000+0200"),
    ),
    "interval": Case(
        cells([(1, 2, 3), None], pa.month_day_nano_interval()), None, in_parquet=False
    ),
    **{
        f"{kind}": Case(cells(["1", None], kind), ("1", ""))
        for kind in (pa.string(), pa.large_string(), pa.string_view())
    },
    "text over garbage": Case(text_over_garbage(), ("", "b")),
    "uuid": Case(extension(pa.uuid(), [b"\xff" * 16, None]), None),
    **{
        f"dictionary of {kind}": Case(dictionary(["a", "b"], kind), ("b", "a"))
        for kind in (pa.string(), pa.string_view())
    },
    "dictionary of binary_view": Case(dictionary([b"a", b"b"], pa.binary_view()), ("b", "a")),
    "binary of text": Case(cells([b"a", None], pa.binary()), ("a", "")),
    **{
        f"{kind}": Case(cells([b"a\xff", None], kind), None)
        for kind in (pa.large_binary(), pa.binary_view(), pa.binary(2))
    },
    **{
        f"{kind}": Case(cells([[1, 2], None], kind), None)
        for kind in (pa.list_(pa.float32()), pa.list_(pa.float64(), 2), pa.list_view(pa.float64()))
    },
    "runs": Case(
        pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), pa.array([0.5, None])),
        None,
        in_parquet=False,
    ),
    "struct": Case(cells([{"a": 1}, None], pa.struct([("a", pa.int64())])), None),
    "map": Case(cells([[("a", 1)], None], pa.map_(pa.string(), pa.int8())), None),
    **{f"{mode} union": Case(union(mode), None, in_parquet=False) for mode in ("sparse", "dense")},
}
CASES = NUMBERS | OTHERS


def saved(path: Path, column: Any) -> Path:
    table = pa.table({"x": column, "v": pa.array([1.0, 2.0])})
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)
    return path


def saved_as_csv(path: Path, texts: tuple[str, ...]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("x", "v"), (texts[0], "1.0"), (texts[1], "2.0")])
    return path


def read_as(kind: Any) -> str:
    """The type as which columns are read: a dictionary's values, and no views."""
    plain = str(getattr(kind, "value_type", kind) if pa.types.is_dictionary(kind) else kind)
    views = {"string_view": "large_string", "binary_view": "large_binary"}
    return views.get(plain, plain)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_the_feature_that_it_is_in_csv(run_rnn: Rnn, tmp_path: Path, name: str) -> None:
    case = NUMBERS[name]
    texts = ("1", "0") if name == "bool" else case.texts or ()
    paths = saved(tmp_path / "x.arrow", case.column), saved_as_csv(tmp_path / "x.csv", texts)
    options = ("--columns", "x", "--missing", "hold", "--precision", "float64", "--json")
    runs = [run_rnn("run", path, "--hidden", "1", *options) for path in paths]
    assert [run.exit_code for run in runs] == [0, 0]
    ours, expected = (json.loads(run.stdout)["steps"] for run in runs)
    assert len(ours) == 2
    assert ours == expected


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.texts])
@pytest.mark.parametrize("options", [("--group-by", "x"), ("--passthrough",)], ids=["key", "cell"])
def test_a_key_and_a_cell_are_the_text_of_csv(
    run_rnn: Rnn, tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    column, texts, _ = CASES[name]
    paths = saved(tmp_path / "x.arrow", column), saved_as_csv(tmp_path / "x.csv", texts or ())
    runs = [run_rnn("run", path, *ALONE, *options, "--format", "csv") for path in paths]
    assert [run.exit_code for run in runs] == [0, 0]
    assert runs[0].stdout == runs[1].stdout


@pytest.mark.parametrize("name", OTHERS)
def test_other_types_are_refused_by_name(run_rnn: Rnn, tmp_path: Path, name: str) -> None:
    case = OTHERS[name]
    path = saved(tmp_path / "x.arrow", case.column)
    refused = f"Error: {path}: column 'x': expected numbers, got {read_as(case.column.type)}"
    result = run_rnn("run", path, "--hidden", "1", "--columns", "x")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr == f"{refused}; --columns chooses those to read\n"
    if case.texts:
        return
    for options in (("--group-by", "x"), ("--passthrough",)):
        result = run_rnn("run", path, *ALONE, *options, "--format", "csv")
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert "column 'x': " in result.stderr


@pytest.mark.parametrize("form", ["arrow", "parquet"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("start", [0, 1], ids=["all rows", "some rows"])
def test_any_type_is_written_as_it_is(
    run_rnn: Rnn, tmp_path: Path, name: str, form: str, start: int
) -> None:
    column, _, in_parquet = CASES[name]
    to, path = tmp_path / f"out.{form}", saved(tmp_path / "x.arrow", column)
    options = ("--passthrough", *["--tail", "1"] * start)
    result = run_rnn("run", path, *ALONE, *options, "-o", to)
    if result.exit_code:
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        # Arrow cannot choose among rows of some types.
        assert start or name == "runs" or (form == "parquet" and not in_parquet)
        assert start or name == "runs" or "a column of the input: " in result.stderr
        return
    written = pq.read_table(to) if form == "parquet" else pa.ipc.open_file(to).read_all()
    assert repr(written["x"].to_pylist()) == repr(column.slice(start).to_pylist())
    if form == "arrow":
        assert str(written.schema.field("x").type) == read_as(column.type)
    assert written.column_names == ["x", "v", "h_0"]
