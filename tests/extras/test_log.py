"""A log in pieces, and its rows in parts: every row once, in its order, with its key's others."""

import csv
import gzip
import io
import zlib
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnncli.batches.log import cut, divided, open_log, part_of, pieces
from rnncli.batches.log.part import Part
from rnncli.batches.log.pieces import Log, Piece
from rnncli.model.errors import InputError
from rnncli.readers import Layout
from rnncli.readers.csv import read_csv
from rnncli.readers.keyed import Keys

PARTS = 3
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4)
ROWS = st.lists(st.tuples(KEYS, KEYS, st.integers(-99, 99)), max_size=12)


def layout(*group_by: str, **given: Any) -> Layout:
    return Layout(np.dtype(np.float32), **{"columns": ["v"], "group_by": group_by, **given})


def in_parts(paths: Sequence[Path], log: Log, folder: Path) -> list[Path]:
    """Do what the workers do, here; return the files of the parts."""
    found = [divided(piece, log, PARTS) for path in paths for piece in cut(log, str(path))[0]]
    written = [folder / f"{part}.part" for part in range(PARTS)]
    for part, path in enumerate(written):
        Part([each[part] for each in found if part in each], log).write(str(path))
    return written


def written(path: Path, rows: Sequence[Sequence[object]], *header: str, **form: Any) -> Path:
    text = io.StringIO(newline="")
    csv.writer(text, **form).writerows([header, *rows] if header else rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    return path


def rows_of(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file, skipinitialspace=True))


@pytest.mark.parametrize("parts", [1, 7, 2**31])
def test_the_part_of_a_key_never_changes(parts: int) -> None:
    # The check value of CRC-32, as its specifications give it.
    assert part_of(["123456789"], parts) == 0xCBF43926 % parts
    assert part_of(["ä", ""], parts) == zlib.crc32(b"\xc3\xa4\0") % parts


@pytest.mark.slow
@settings(max_examples=60)
@given(files=st.lists(ROWS, min_size=1, max_size=3))
def test_every_row_of_text_is_in_the_part_of_its_key(
    files: list[list[tuple[str, str, int]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("log")
    paths = [written(folder / f"{i}.csv", rows, "a", "b", "v") for i, rows in enumerate(files)]
    log = open_log(str(paths[0]), layout("a", "b"), None)
    expected: list[list[list[str]]] = [[] for _ in range(PARTS)]
    for path in paths:
        for row in rows_of(path)[1:]:
            expected[part_of(row[:2], PARTS)].append(row)
    found = [rows_of(path) for path in in_parts(paths, log, folder)]
    assert found == [[["a", "b", "v"], *rows] for rows in expected]


@pytest.mark.slow
@settings(max_examples=40)
@given(
    rows=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 999)), min_size=1),
    size=st.integers(1, 40),
)
def test_where_a_file_is_cut_does_not_matter(
    rows: list[tuple[int, int]], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("log")
    path = written(folder / "log.csv", rows, "k", "v")
    log = open_log(str(path), layout("k"), None)
    whole = [path.read_bytes() for path in in_parts([path], log, folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_BYTES", size)
        assert len(cut(log, str(path))[0]) >= min(2, len(rows) * 4 // size)
        assert [path.read_bytes() for path in in_parts([path], log, folder)] == whole


@pytest.mark.parametrize(
    ("values", "kind", "texts"),
    [
        (["", "b", "ä", None], pa.string(), ["", "b", "ä", ""]),
        ([1, 20, -3, None], pa.int16(), ["1", "20", "-3", ""]),
        ([0.5, 2.0**70, -0.0, None], pa.float32(), ["0.5", "1.1805916e+21", "-0.0", ""]),
        ([True, False, None, True], pa.bool_(), ["true", "false", "", "true"]),
        (["x", "y", "x", None], pa.dictionary(pa.int8(), pa.string()), ["x", "y", "x", ""]),
        ([date(2024, 5, 1), None] * 2, pa.date32(), ["2024-05-01", ""] * 2),
        (
            [datetime(2024, 5, 1, 9, 30), None] * 2,
            pa.timestamp("us"),
            ["2024-05-01T09:30:00", ""] * 2,
        ),
    ],
)
def test_the_part_of_a_typed_key_is_that_of_its_text(
    values: list[Any], kind: pa.DataType, texts: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"k": pa.array(values, kind), "v": [0.0, 1, 2, 3]}), path)
    log = open_log(str(path), layout("k"), None)
    for part, file in enumerate(in_parts([path], log, tmp_path)):
        table = pa.ipc.open_file(file).read_all()
        assert table.column_names == ["k", "v"]
        rows = [int(v) for v in table["v"].to_pylist()]
        assert rows == [i for i, text in enumerate(texts) if part_of([text], PARTS) == part]
        assert table["k"].to_pylist() == [values[i] for i in rows]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["10", "9", "-1", "9"], [2, 1, 3, 0]),
        (["1e3", "9.5", "-0", "9.5"], [2, 1, 3, 0]),
        (["2024-05-02", "2023-11-01T10:00", "2024-05-01 23:59:59.5", "2024-05-01"], [1, 3, 2, 0]),
        (["2024-01-01T00:00:00.5Z", "2024-01-01T00:00:00Z"], [1, 0]),
        (["9007199254740993", "9007199254740992"], [1, 0]),
        (["b", "a", "B", "ä"], [2, 1, 0, 3]),
    ],
)
def test_rows_are_ordered_by_numbers_times_or_text(
    cells: list[str], expected: list[int], tmp_path: Path
) -> None:
    rows = [("k", cell, i) for i, cell in enumerate(cells)]
    path = written(tmp_path / "log.csv", rows, "k", "when", "v")
    log = open_log(str(path), layout("k"), "when")
    found = [row for file in in_parts([path], log, tmp_path) for row in rows_of(file)[1:]]
    assert [int(row[2]) for row in found] == expected


@pytest.mark.parametrize("blank", [1 << 16, 3 << 16])
def test_blank_lines_end_nothing(blank: int, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("k,v\n" + "\n" * blank + "k,1\n")
    files = in_parts([path], *opened(path, tmp_path))
    assert [row for file in files for row in rows_of(file)[1:]] == [["k", "1"]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("lines", "size"), [(['"a', "b", 'c",1', ""], 1 << 20), (["k,1", "", '"\r",1'] * 9, 10)]
)
def test_a_message_has_the_line_of_the_log(
    lines: list[str], size: int, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after cells of several lines, blank lines, and other pieces."""
    path, file = tmp_path / "log.csv", tmp_path / "part.csv"
    path.write_text(end.join(["", "k,v", "", *lines, "k,oops", ""]), newline="")
    monkeypatch.setattr(pieces, "PIECE_BYTES", size)
    log, _ = opened(path, tmp_path)
    part = Part([divided(piece, log, 1)[0] for piece in cut(log, str(path))[0]], log)
    part.write(str(file))
    line, expected = (each.read_bytes().splitlines().index(b"k,oops") + 1 for each in (file, path))
    told = part.with_origins(f"{file}:{line}: not a number", str(file))
    assert told == f"{path}:{expected}: not a number"


@pytest.mark.parametrize(
    ("size", "hint"),
    [
        (1 << 20, "is a quote left open or out of place?"),
        (8, "is a quote left open, or a cell of several lines cut at byte {stop}? .gz is not cut"),
    ],
)
@pytest.mark.parametrize(("before", "stop"), [(0, 12), (4, 23)])
def test_an_open_quote_is_told_with_the_line_that_it_is_in(
    before: int, stop: int, size: int, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("k,v\n" + "k,1\n" * before + '"k\nlmno\nk,1\nk,1\n')
    monkeypatch.setattr(pieces, "PIECE_BYTES", size)
    log, folder = opened(path, tmp_path)
    with pytest.raises(InputError) as error:
        in_parts([path], log, folder)
    told = f"{path}:{before + 2}: not CSV: unexpected end of data; {hint.format(stop=stop)}"
    assert str(error.value) == told


def test_a_file_elsewhere_is_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, path = "memory://log/log.csv", tmp_path / "log.csv"
    path.write_text("k,v\n" + "k,1\nl,2\n" * 9)
    with fsspec.open(url, "wb") as file:
        file.write(path.read_bytes())
    expected = [file.read_bytes() for file in in_parts([path], *opened(path, tmp_path))]
    monkeypatch.setattr(pieces, "PIECE_BYTES", 10)
    log = open_log(url, layout("k"), None)
    found, _ = cut(log, url)
    assert len(found) > 3
    read = [divided(piece, log, PARTS) for piece in found]
    for part, content in enumerate(expected):
        Part([each[part] for each in read if part in each], log).write(str(path))
        assert path.read_bytes() == content


def test_a_decimal_comma_is_ordered_as_a_number(tmp_path: Path) -> None:
    path = written(
        tmp_path / "log.csv", [("k", "10,5", 0), ("k", "9,5", 1)], "k", "t", "v", delimiter=";"
    )
    log = open_log(str(path), layout("k", decimal=","), "t")
    (part,) = [file for file in in_parts([path], log, tmp_path) if len(rows_of(file)) > 1]
    assert part.read_text() == "k;t;v\nk;9,5;1\nk;10,5;0\n"


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("", "{path}:4: column 't': is missing, and rows are ordered by it"),
        ("nan", "{path}:4: column 't': is missing, and rows are ordered by it"),
        ("-9", "{path}:4: column 't': is missing, and rows are ordered by it"),
        (
            "n/a",
            "column 't': has cells that are neither numbers nor times, and rows are ordered by it; "
            "expected times such as 2024-05-01T10:00:00",
        ),
    ],
)
def test_what_cannot_be_ordered_is_refused(cell: str, message: str, tmp_path: Path) -> None:
    rows = [("k", "1", 0), ("k", "2.5", 0), ("k", cell, 1)]
    path = written(tmp_path / "log.csv", rows, "k", "t", "v")
    log = open_log(str(path), layout("k", null_values=["-9"]), "t")
    with pytest.raises(InputError) as error:
        in_parts([path], log, tmp_path)
    assert str(error.value) == message.format(path=path)


def test_commas_end_cells_in_a_part_too(tmp_path: Path) -> None:
    """By a first row such as 7,8 it could not be told."""
    path, file = tmp_path / "log.csv", tmp_path / "part.csv"
    path.write_text('"1,5",7\n7,8\n')
    given = layout("2", columns=["1"], decimal=",")
    log = open_log(str(path), given, None)
    found = divided(cut(log, str(path))[0][0], log, PARTS)
    for streams in found.values():
        options = Part([streams], log).write(str(file))
        source = read_csv(str(file), given._replace(**options), Keys())
        assert [block.x.shape for block in source.blocks] == [(1, 1)]


def test_a_point_beside_a_decimal_comma_is_in_no_number(tmp_path: Path) -> None:
    rows = [("k", "1.234", 0), ("k", "999", 1)]
    path = written(tmp_path / "log.csv", rows, "k", "t", "v", delimiter=";")
    log = open_log(str(path), layout("k", decimal=","), "t")
    with pytest.raises(InputError, match="neither numbers nor times"):
        in_parts([path], log, tmp_path)


@pytest.mark.parametrize(
    "kind", [pa.float16(), pa.list_(pa.int8()), pa.struct({"a": pa.int8()})], ids=str
)
def test_a_type_without_an_order_is_refused(kind: pa.DataType, tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"k": ["k"], "t": pa.array([None], kind), "v": [1.0]}), path)
    with pytest.raises(InputError, match=r"'t' is .*: rows cannot be ordered by it"):
        open_log(str(path), layout("k"), "t")


def test_a_type_whose_rows_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.arrow"
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array(["x"]))
    table = pa.table({"k": runs, "v": [1.0, 2.0]})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(InputError, match=r"'k' is run_end_.*: such rows cannot be divided"):
        open_log(str(path), layout("k"), None)


def test_dictionaries_are_joined(tmp_path: Path) -> None:
    """Of numbers too, with more values than the numbers of one have bits for."""
    paths = [tmp_path / "0.arrow", tmp_path / "1.arrow"]
    for number, path in enumerate(paths):
        columns = [
            pa.DictionaryArray.from_arrays(pa.array(range(100), pa.int8()), values)
            for values in ([f"{number}-{i}" for i in range(100)], [i / 2 for i in range(100)])
        ]
        table = pa.table(columns, ["k", "v"])
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    log = open_log(str(paths[0]), layout("k"), None)
    files = in_parts(paths, log, tmp_path)
    rows = pa.concat_tables([pa.ipc.open_file(file).read_all() for file in files]).to_pylist()
    expected = [{"k": f"{n}-{i}", "v": i / 2} for n in range(2) for i in range(100)]
    assert sorted(rows, key=str) == sorted(expected, key=str)


def test_a_union_is_passed_through(tmp_path: Path) -> None:
    path, kinds = tmp_path / "log.arrow", pa.array([0, 1], pa.int8())
    union = pa.UnionArray.from_sparse(kinds, [pa.array([1, 2]), pa.array(["a", "b"])])
    table = pa.table({"k": ["k", "k"], "v": [1.0, 2.0], "u": union})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    log = open_log(str(path), layout("k", passthrough=True), None)
    files = in_parts([path], log, tmp_path)
    rows = [row for file in files for row in pa.ipc.open_file(file).read_all().to_pylist()]
    assert rows == table.to_pylist()


def test_text_in_a_table_is_ordered_as_that_of_a_file_of_text(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"k": ["k"] * 2, "t": ["10", "9"], "v": [1.0, 2]}), path)
    log = open_log(str(path), layout("k"), "t")
    rows = [
        row
        for each in in_parts([path], log, tmp_path)
        for row in pa.ipc.open_file(each).read_all().to_pylist()
    ]
    assert [row["t"] for row in rows] == ["9", "10"]


def test_a_null_is_not_ordered(tmp_path: Path) -> None:
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for path, times in zip(paths, ([1, 2], [3, None]), strict=True):
        pq.write_table(
            pa.table({"k": ["k"] * 2, "t": pa.array(times, "int64"), "v": [1.0, 2]}), path
        )
    log = open_log(str(paths[0]), layout("k"), "t")
    with pytest.raises(InputError, match=r"b.parquet: row 2: column 't': is missing"):
        in_parts(paths, log, tmp_path)


def test_text_that_cannot_be_cut_is_a_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gzip data has no middle, and other encodings have ends of lines of their own."""
    plain = written(tmp_path / "log.csv", [("ä", i) for i in range(9)], "k", "v")
    packed, wide = tmp_path / "log.csv.gz", tmp_path / "wide.csv"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    wide.write_text(plain.read_text(encoding="utf-8"), encoding="utf-16")
    monkeypatch.setattr(pieces, "PIECE_BYTES", 10)
    expected = b"".join(f.read_bytes() for f in in_parts([plain], *opened(plain, tmp_path)))
    for path, encoding in ((packed, "utf-8"), (wide, "utf-16")):
        log = open_log(str(path), layout("k", encoding=encoding), None)
        assert cut(log, str(path))[0] == [Piece(str(path))]
        assert b"".join(f.read_bytes() for f in in_parts([path], log, tmp_path)) == expected


def opened(path: Path, folder: Path) -> tuple[Log, Path]:
    return open_log(str(path), layout("k"), None), folder


@pytest.mark.parametrize(
    ("new", "before"),
    [(pa.ipc.new_file, [0, 7, 14, 21, 28, 35]), (pa.ipc.new_stream, [0])],
    ids=["file", "stream"],
)
def test_arrow_is_cut_between_its_batches(
    new: Any, before: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, table = tmp_path / "log.arrow", pa.table({"v": [*range(40)], "k": ["x", "y"] * 20})
    with new(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1)
    log = open_log(str(path), layout("k"), None)
    assert [log.rows_before(piece) for piece in cut(log, str(path))[0]] == before
    tables = [pa.ipc.open_file(each).read_all() for each in in_parts([path], log, tmp_path)]
    rows = pa.concat_tables(tables).sort_by("v")
    assert rows.select(["v", "k"]).equals(table)


@pytest.mark.parametrize("extension", ["parquet", "arrow"])
def test_columns_may_stand_in_another_order(extension: str, tmp_path: Path) -> None:
    table, paths = pa.table({"k": ["x", "y"], "w": [5, 6], "v": [1.0, 2.0]}), list[Path]()
    for columns in (["k", "w", "v"], ["v", "k"]):
        paths.append(tmp_path / f"{len(columns)}.{extension}")
        if extension == "parquet":
            pq.write_table(table.select(columns), paths[-1])
        else:
            with pa.ipc.new_file(paths[-1], table.select(columns).schema) as writer:
                writer.write_table(table.select(columns))
    log = open_log(str(paths[0]), layout("k"), None)
    tables = [pa.ipc.open_file(each).read_all() for each in in_parts(paths, log, tmp_path)]
    rows = pa.concat_tables(tables).sort_by("v").to_pylist()
    assert rows == [{"k": k, "v": v} for k, v in (("x", 1.0), ("x", 1.0), ("y", 2.0), ("y", 2.0))]


@pytest.mark.parametrize("key", ["k", "sensor.k"])
def test_row_groups_are_joined_up_to_the_size_of_a_piece(key: str, tmp_path: Path) -> None:
    path, value = tmp_path / "log.parquet", key.replace("k", "v")
    pq.write_table(pa.table({value: [*range(40)], key: ["x", "y"] * 20}), path, row_group_size=7)
    log = open_log(str(path), layout(key, columns=[value]), None)
    assert cut(log, str(path))[0] == [Piece(str(path), 0, 6)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_BYTES", 1)
        found, _ = cut(log, str(path))
        assert [log.rows_before(piece) for piece in found] == [0, 7, 14, 21, 28, 35]


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([("x", 1)], ("k", "w"), "expected the columns k, v, as in {first}, got k, w"),
        ([("x", 1)], (), "expected the columns k, v, as in {first}, got x, 1"),
        ([("x;1",)], ("k;v",), "its cells are separated by ';', those of {first} by ','"),
    ],
)
def test_text_that_is_unlike_the_first_file_is_refused(
    rows: list[tuple[str, int]], header: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    first = written(tmp_path / "a.csv", rows, "k", "v")
    other = written(tmp_path / "b.csv", rows, *header)
    log = open_log(str(first), layout("k", columns=["2"]), None)
    with pytest.raises(InputError) as error:
        in_parts([first, other], log, tmp_path)
    assert message.format(first=first) in str(error.value)


def test_a_table_that_is_unlike_the_first_file_is_refused(tmp_path: Path) -> None:
    first, other = tmp_path / "a.parquet", tmp_path / "b.parquet"
    pq.write_table(pa.table({"k": ["x"], "v": [1.0]}), first)
    log = open_log(str(first), layout("k"), None)
    pq.write_table(pa.table({"k": ["x"], "v": [1]}), other)
    with pytest.raises(InputError, match=r"column 'v' is int64, that of .*a.parquet double"):
        in_parts([first, other], log, tmp_path)
    pq.write_table(pa.table({"k": ["x"], "w": [1]}), other)
    with pytest.raises(InputError, match=r"no column 'v', as .*a.parquet has"):
        in_parts([first, other], log, tmp_path)
    other.write_bytes(first.read_bytes()[:-9])
    with pytest.raises(InputError, match="not a whole Parquet file"):
        in_parts([first, other], log, tmp_path)
