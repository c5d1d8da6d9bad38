"""What readers give for good input."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncli.engine.rows import BLOCK_STEPS
from rnncli.model.errors import InputError
from rnncli.readers import Input, Keys, Layout, read_file, read_inline
from rnncli.readers.expected import read_expected

DOUBLE = np.dtype(np.float64)


def values(source: Input) -> list[list[float]]:
    rows: list[list[float]] = np.concatenate([block.x for block in source.blocks]).tolist()
    return rows


def read(path: Path, content: str | bytes, **layout: object) -> Input:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_file(str(path), Layout(DOUBLE, **layout), Keys())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2,3", [[1], [2], [3]]),
        ("1 0.5, 2 0.1", [[1, 0.5], [2, 0.1]]),
        (" -1 ,\t+2e3 ", [[-1], [2000]]),
        ("1\n2\n3", [[1], [2], [3]]),
        ("\n 1 0.5\r\n2 0.1\n\n", [[1, 0.5], [2, 0.1]]),
        ("1\r2", [[1], [2]]),
        ("1, 2,\n3", [[1], [2], [3]]),
        ("[1,\n 2]", [[1], [2]]),
        ("[1, 2]", [[1], [2]]),
        ("[[1, 0.5], [2, -1e-3]]", [[1, 0.5], [2, -0.001]]),
    ],
)
def test_inline(text: str, expected: list[list[float]]) -> None:
    source = read_inline(text, DOUBLE, "the text")
    assert list(source.columns) == (["x"] if len(expected[0]) == 1 else ["x_0", "x_1"])
    assert values(source) == expected


HEADERS = [
    # First row, other options, names of the columns that are read.
    ("3.5,1", {}, ["x_0", "x_1"]),
    (",3", {}, ["x_0", "x_1"]),
    ("nan,3", {}, ["x_0", "x_1"]),
    ("1e3,-.5", {}, ["x_0", "x_1"]),
    ("inf,1", {}, ["x_0", "x_1"]),
    ("2019,2020", {}, ["x_0", "x_1"]),
    ("a,2", {"columns": ("2",)}, ["x"]),  # the word is in a column that is not read
    ("a,b", {}, ["a", "b"]),
    ("a,2", {}, ["a", "2"]),
    ("2019,2020", {"columns": ("2020",)}, ["2020"]),  # no such number: a name
    ("2019,2020", {"first_row": "header"}, ["2019", "2020"]),
    ("a,b", {"columns": ("b",)}, ["b"]),
    ("a,b", {"columns": ("b",), "first_row": "header"}, ["b"]),
]


@pytest.mark.parametrize(("first", "options", "names"), HEADERS)
def test_what_is_a_header(
    tmp_path: Path, first: str, options: dict[str, object], names: list[str]
) -> None:
    assert list(read(tmp_path / "a.csv", f"{first}\n1,2\n", **options).columns) == names


def test_data_is_not_taken_for_a_header_when_told(tmp_path: Path) -> None:
    source = read(tmp_path / "a.csv", "a\n1\n", first_row="data")
    with pytest.raises(ValueError, match=r"a.csv:1: column 1: not a number: 'a'"):
        next(source.blocks)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_delimiters_and_line_ends(tmp_path: Path, delimiter: str, end: str, last: bool) -> None:
    rows = [["time", "a b", "value"], ["x", "1", " 2.5"], ["y, z", '"-3"', "4"]]
    if delimiter == ",":
        rows[2][0] = '"y, z"'
    text = end.join(delimiter.join(row) for row in rows) + (end if last else "")
    source = read(tmp_path / "a.csv", text, columns=("value", "2"))
    assert list(source.columns) == ["value", "a b"]
    assert values(source) == [[2.5, 1], [4, -3]]


@pytest.mark.parametrize("piece", [1, 2, 3, 100])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_line_ends_are_those_of_python_wherever_a_read_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, encoding: str
) -> None:
    monkeypatch.setattr("rnncli.readers.text._PIECE", piece)
    text = '1,2\r\r\n"3\r\n",4\r5,6\r\n\r\n7,x'
    source = read(tmp_path / "a.csv", text.encode(encoding), encoding=encoding)
    rows: list[Any] = []
    with pytest.raises(InputError, match=r"a\.csv:7: "):
        rows.extend(row for block in source.blocks for row in block.x.tolist())
    assert rows == [[1, 2], [3, 4], [5, 6]]


def test_byte_order_mark_and_quoted_names(tmp_path: Path) -> None:
    text = '\ufeff"first, of all","second"\n"1",2\n'
    assert list(read(tmp_path / "a.csv", text, columns=("first, of all",)).columns) == [
        "first, of all"
    ]


def test_blank_lines_are_passed_over(tmp_path: Path) -> None:
    source = read(tmp_path / "a.csv", "\n\na,b\n\n1,2\n   \n3,4\n\n\n")
    assert values(source) == [[1, 2], [3, 4]]
    assert values(read(tmp_path / "b.csv", "v\n1\n2\n\n\n")) == [[1], [2]]
    assert values(read(tmp_path / "c.csv", "\n \n1\n2\n", missing="hold")) == [[1], [2]]
    with pytest.raises(ValueError, match=r"d.csv:4: column 1: not a number: 'x'"):
        list(read(tmp_path / "d.csv", "\n\n1\nx\n").blocks)


@pytest.mark.parametrize("text", ["a,b\n", "a,b", "\ufeffa,b\r\n\r\n"])
def test_a_header_alone_is_no_steps(tmp_path: Path, text: str) -> None:
    source = read(tmp_path / "a.csv", text)
    assert list(source.columns) == ["a", "b"]
    assert list(source.blocks) == []


def test_an_array_under_another_name(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1.0], [2.0]]))
    path = (tmp_path / "a.npy").rename(tmp_path / "a.txt")
    assert values(read_file(str(path), Layout(DOUBLE), Keys())) == [[1], [2]]
    np.testing.assert_array_equal(read_expected(str(path)), [[1], [2]])


def test_blocks_are_cut_by_row_number(tmp_path: Path) -> None:
    rows = 2 * BLOCK_STEPS + 1
    source = read(tmp_path / "a.csv", "".join(f"{i}\n" for i in range(rows)))
    blocks = [block.x for block in source.blocks]
    assert [len(block) for block in blocks] == [BLOCK_STEPS, BLOCK_STEPS, 1]
    np.testing.assert_array_equal(np.concatenate(blocks)[:, 0], np.arange(rows))


@pytest.mark.slow
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("row", [0, BLOCK_STEPS - 1, BLOCK_STEPS, 2 * BLOCK_STEPS])
def test_the_line_of_an_error_is_right_in_every_block(
    tmp_path: Path, header: bool, row: int
) -> None:
    rows = [str(i) for i in range(2 * BLOCK_STEPS + 1)]
    rows[row] = "oops"
    lines = ["v", *rows] if header else rows
    source = read(tmp_path / "a.csv", "\n".join(lines), first_row="header" if header else "data")
    with pytest.raises(ValueError, match=rf"a.csv:{row + 1 + header}: column .*'oops'"):
        list(source.blocks)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.int16),
        np.arange(6.0).reshape(6, 1),
        np.arange(6, dtype=">f4").reshape(1, 6, 1),
        np.asfortranarray(np.arange(12, dtype=np.float16).reshape(6, 2) / 2)[:, :1] * 2,
        np.array([False, True]),
        np.array([2**24 + 1, 2**31 - 1], np.int32),
    ],
)
def test_npy(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    source = read_file(str(tmp_path / "a.npy"), Layout(DOUBLE), Keys())
    assert list(source.columns) == ["x"]
    assert values(source) == array.reshape(-1, 1).tolist()


@pytest.mark.parametrize("columns", [("3", "1"), ("2", "3"), ("3",), ("1", "2", "3")])
def test_npy_columns(tmp_path: Path, columns: tuple[str, ...]) -> None:
    np.save(tmp_path / "a.npy", np.array([[1, 2, 3], [4, 5, 6]]))
    source = read_file(str(tmp_path / "a.npy"), Layout(DOUBLE, columns=columns), Keys())
    assert values(source) == [[int(c) for c in columns], [3 + int(c) for c in columns]]


@pytest.mark.parametrize("shape", [(0,), (0, 3)])
def test_npy_without_steps(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.ones(shape))
    assert list(read_file(str(tmp_path / "a.npy"), Layout(DOUBLE), Keys()).blocks) == []


@pytest.mark.parametrize(
    ("shape", "lengths"),
    [
        ((BLOCK_STEPS, 2), [BLOCK_STEPS]),
        ((BLOCK_STEPS + 5, 2), [BLOCK_STEPS // 2 + 3, BLOCK_STEPS // 2 + 2]),
        ((3, BLOCK_STEPS // 2, 1), [BLOCK_STEPS // 4 * 3, BLOCK_STEPS // 4 * 3]),
    ],
)
def test_npy_is_cut_into_equal_blocks(
    tmp_path: Path, shape: tuple[int, ...], lengths: list[int]
) -> None:
    array = np.random.RandomState(0).rand(*shape)
    np.save(tmp_path / "a.npy", array)
    source = read_file(str(tmp_path / "a.npy"), Layout(DOUBLE), Keys())
    blocks = [block.x for block in source.blocks]
    assert [len(block) for block in blocks] == lengths
    np.testing.assert_array_equal(np.concatenate(blocks), array.reshape(-1, shape[-1]))
