"""Text to rows: those of Python's `csv` and `float`, however many are read at once."""

import csv
import gzip
import io
import re
import tracemalloc
from collections.abc import Iterator
from decimal import Decimal, localcontext
from itertools import chain, repeat
from math import isfinite, isnan
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from conftest import NIGHTLY
from hypothesis import given
from hypothesis import strategies as st

from rnncli.engine.rows import BLOCK_STEPS
from rnncli.model.errors import InputError
from rnncli.readers import read_file
from rnncli.readers.input import STDIN, Keys, Layout
from rnncli.run_options import encoding as read_name

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
UNICODE = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030")
ENCODINGS = (
    *UNICODE,
    *("latin-1", "cp1252", "iso8859-15", "mac-roman", "koi8-r", "cp037"),
    *("shift_jis", "euc_jp", "iso2022_jp", "euc_kr", "big5"),
)
# A byte order mark may stand before text in these, and stands before all in some others.
MARKED = ("utf-8", "utf-16-le", "utf-16-be")
# Neither digits, nor quite; too long; halfway between two floats, or close to that.
ODD = (
    "- + . -. +. 5. .5 -.5 +5 -0 -0.0 -0.5 00012 1.2.3 1..2 --1 -+1 1-2 1/2 1:2 1,234.5",
    "1e5 1E-5 -1.5e+300 1e39 1e400 1e 1_0 _1 nan -nan NaN inf -Infinity 0x10 1.0f NA",
    " \t1 1\x0b \x1c1 1\xa0 \u20281 ١٢ 1² ½ é  ",
    "9007199254740992 9007199254740993 9007199254740995 -9007199254740993 9007199254740993.0",
    "4503599627370496.5 4503599627370497.5 4503599627370497.49 4503599627370497.51",
    "0.500000000000000055511151231257827 1.00000000000000011 0.1234567890123456789012345678901",
    "999999999999999999 1000000000000000000 9999999999999999999 18446744073709551616",
    "99999999.99999999 100000000.000000001 123456789012345678.1 179769313486231570000000000000",
    "0.000000000000000000001 0.0000000000000000000001 0.00000000000000000000001",
    "10000000000000000000000001 0.1000000000000000000000001 00000000000000000000000000000000.5",
    "5e-324 2.5e-324 1.7976931348623157e308 1.7976931348623159e308",
)
CELLS = [cell for line in ODD for cell in line.split(" ")] + [" ", "  ", "1 ", " 1"]
NULLS = ("NA", "-", "-999", "-999.0", "-9.5", "1e3", "0", "é", "a,b")


class Row(NamedTuple):
    """A row as it is read: a missing value is None."""

    x: list[float | None]
    masked: bool
    key: tuple[str, ...] | None
    cells: list[str] | None


class FaultError(Exception):
    """An error that ends the rows, at its place."""


def plainly(raw: bytes, layout: Layout, name: str) -> tuple[list[Row], str]:
    """Read rows in the plainest way, up to the first error; return its place too, if any."""
    rows: list[Row] = []
    try:
        rows.extend(plain_rows(raw, layout))
    except FaultError as fault:
        return rows, f"{name}:{fault}"
    return rows, ""


def plain_rows(raw: bytes, layout: Layout) -> Iterator[Row]:
    first: list[str] = []
    for line, cells in plain_cells(raw, layout):
        if not first:
            first = cells
            if layout.first_row == "header":
                continue
        if len(cells) != len(first):
            raise FaultError(line)
        x = [number(cells[int(column) - 1], layout) for column in layout.columns]
        if None in x:
            column = int(layout.columns[x.index(None)])
            header = layout.first_row == "header"
            label = repr(first[column - 1].strip()) if header else column
            raise FaultError(f"{line}: column {label}")
        yield row_of(x, cells, layout)


def plain_cells(raw: bytes, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """The line and the cells of each row that is not blank."""
    text, damaged = decoded(raw, layout.encoding)
    lines = io.StringIO(text.removeprefix("\ufeff"), newline=None).readlines()
    if damaged and lines and lines[-1][-1] != "\n":
        lines.pop()
    reader = csv.reader(lines, delimiter=layout.delimiter or "", skipinitialspace=True, strict=True)
    line = 1
    try:
        for cells in reader:
            if len(cells) > 1 or lines[reader.line_num - 1].strip():
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        if not damaged or "end of data" not in str(error):
            raise FaultError(line) from error
    if damaged:
        raise FaultError(len(lines) + 1)


def row_of(x: list[float | None], cells: list[str], layout: Layout) -> Row:
    """A row of numbers, some of them NaN."""
    missing = [value is None or isnan(value) for value in x]
    held = layout.missing == "hold"
    return Row(
        [(None if held else 0.0) if a else value for a, value in zip(missing, x, strict=True)],
        held and any(missing),
        tuple(cells[int(column) - 1] for column in layout.group_by) or None,
        cells if layout.passthrough else None,
    )


def decoded(raw: bytes, encoding: str) -> tuple[str, bool]:
    """Decode up to the first byte that is no text, or is NUL; return whether there is one."""
    try:
        text, damaged = raw.decode(encoding), False
    except UnicodeDecodeError as error:
        text, damaged = raw[: error.start].decode(encoding), True
    before, nul, _ = text.partition("\0")
    return before, damaged or bool(nul)


def number(cell: str, layout: Layout) -> float | None:
    """Read a cell: NaN where it may be missing, None where it is an error."""
    missing = None if layout.missing == "error" else np.nan
    if cell.strip() in layout.null_values:
        return missing
    usual = cell
    if layout.decimal != ".":
        usual = cell.replace(".", "no number").replace(layout.decimal, ".")
    if usual.strip().lower() in ("", "nan", "-nan", "+nan"):
        return missing
    try:
        value = float(usual)
    except ValueError:
        return None
    with np.errstate(over="ignore"):
        fits = "_" not in usual and isfinite(layout.dtype.type(value))
    return layout.dtype.type(value).item() if fits else None


class Chunks(io.RawIOBase):
    """A pipe of which a read returns a few bytes."""

    def __init__(self, raw: Iterator[bytes] | bytes, size: int) -> None:
        self._raw, self._size = raw if isinstance(raw, bytes) else b"", size
        self._more = iter(()) if isinstance(raw, bytes) else raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._raw = self._raw or next(self._more, b"")
        taken = self._raw[: min(len(buffer), self._size)]
        self._raw = self._raw[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)


def piped(raw: Iterator[bytes] | bytes, size: int) -> Any:
    """Standard input that comes in pieces."""
    return patch("sys.stdin", io.TextIOWrapper(io.BufferedReader(Chunks(raw, size))))


def read(path: str, layout: Layout) -> tuple[list[Row], str]:
    """Read rows up to the first error; return its place too, if any."""
    keys, rows = Keys(), list[Row]()
    try:
        for block in read_file(path, layout, keys).blocks:
            for i, x in enumerate(block.x.tolist()):
                row = Row(
                    [None if isnan(value) else value for value in x],
                    block.masked is not None and bool(block.masked[i]),
                    None if block.key is None else keys.names[block.key[i]],
                    None if block.cells is None else list(block.cells[i]),
                )
                rows.append(row)
    except InputError as error:
        return rows, error.where
    return rows, ""


def check(folder: Path, raw: bytes, layout: Layout, piece: int | None = None) -> None:
    """Check that a text is read the same one by one and many at once, and in pieces."""
    plain, packed = str(folder / "rows.csv"), str(folder / "rows.csv.gz")
    Path(plain).write_bytes(raw)
    ways = [(plain, 1), (plain, 1000)]
    if piece:
        Path(packed).write_bytes(gzip.compress(raw, 1))
        ways += [(packed, 3), (STDIN, 2), (STDIN, 1)]
    for path, block_steps in ways:
        with piped(raw, piece or 1):
            found = read(path, layout._replace(block_steps=block_steps))
        name = "standard input" if path == STDIN else path
        expected = plainly(raw, layout, name)
        assert found == expected
        # -0.0 is 0.0 to Python.
        assert str(found) == str(expected)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


def written(cells: list[str], delimiter: str, *, quoted: bool) -> str:
    """Write a row of CSV, every cell in quotes or those alone that need them."""
    special = (delimiter, '"', "\n", "\r")
    return delimiter.join(
        '"' + cell.replace('"', '""') + '"'
        if quoted or cell[:1] == " " or any(mark in cell for mark in special)
        else cell
        for cell in cells
    )


def numbers_as_text() -> st.SearchStrategy[str]:
    finite = st.floats(allow_nan=False, allow_infinity=False)
    return (
        finite.map(repr)
        | st.decimals(-1000, 1000, places=3).map(str)
        | st.integers().map(str)
        | st.integers(-99, 99).map(str)
    )


@st.composite
def tables(
    draw: st.DrawFn, cell: st.SearchStrategy[str], *, ragged: bool = False
) -> tuple[bytes, Layout]:
    """A table with columns of numbers behind those of keys, and how it is to be read."""
    encoding = draw(st.sampled_from(ENCODINGS))
    decimal = draw(st.sampled_from("..,·"))
    delimiter = draw(st.sampled_from([mark for mark in ",;\t|:~" if mark != decimal]))
    nulls = draw(st.lists(st.sampled_from(NULLS), max_size=3, unique=True))
    keys, width = draw(st.integers(0, 2)), draw(st.integers(1, 3))
    key = st.text(max_size=12) | st.sampled_from(["a", "b", " a", 'a"b', "a\nb", "x" * 140])
    spaced = [f"{null}{space}" for null in nulls for space in ("", " ")]
    value = (cell | st.sampled_from(spaced or ["1"])).map(lambda text: text.replace(".", decimal))
    row = st.tuples(*[key] * keys, *[value] * width).map(list)
    has_header = draw(st.booleans())
    first = [f"k{n}" for n in range(keys)] + [f"x {n}" for n in range(width)]
    rows = [first] if has_header else [["7"] * len(first)]
    rows += draw(st.lists(row, max_size=12))
    if ragged:
        rows.append([*["1"] * (len(first) + draw(st.integers(-1, 2)))])
    quoted = draw(st.sampled_from([st.just(False), st.just(True), st.booleans()]))
    ends = draw(st.sampled_from([["\n"], ["\r\n"], ["\r"], ["\n", "\r\n", "\r", "\n\n", "\n \r"]]))
    text = "".join(
        written(row, delimiter, quoted=draw(quoted)) + draw(st.sampled_from(ends)) for row in rows
    )
    if draw(st.booleans()):
        text = text.rstrip("\r\n ") or text
    mark = "\ufeff" if encoding in MARKED and draw(st.booleans()) else ""
    raw = f"{mark}{text}".encode(encoding, "ignore")
    columns = draw(st.permutations(range(keys + 1, keys + width + 1)))
    layout = Layout(
        draw(st.sampled_from([SINGLE, DOUBLE])),
        columns=[*map(str, columns[: draw(st.integers(1, width))])],
        delimiter=delimiter,
        first_row="header" if has_header else "data",
        group_by=[str(n + 1) for n in range(keys)],
        missing=draw(st.sampled_from(["error", "hold", "zero"])),
        passthrough=draw(st.booleans()),
        encoding=read_name(encoding),
        null_values=[null.replace(".", decimal) for null in nulls],
        decimal=decimal,
    )
    return raw, layout


PIECES = st.sampled_from([1, 2, 3, 7, 1 << 20])


@given(
    tables(numbers_as_text() | st.sampled_from(["", "nan", " 2.5 "]))
    | tables(numbers_as_text() | st.sampled_from(CELLS))
    | tables(numbers_as_text(), ragged=True),
    PIECES,
)
def test_rows_equal_python(folder: Path, table: tuple[bytes, Layout], piece: int) -> None:
    """Up to the first error, which is at its line."""
    check(folder, *table, piece)


@given(
    tables(numbers_as_text()),
    st.lists(
        st.tuples(
            st.integers(0), st.integers(0, 3), st.sampled_from([b"", *b'"\n\r\0,;x\xff\x80 1'])
        ),
        min_size=1,
        max_size=3,
    ),
    PIECES,
)
def test_damage_ends_the_rows_at_its_line(
    folder: Path, table: tuple[bytes, Layout], damage: list[Any], piece: int
) -> None:
    """Wherever bytes behind the first line are put in, or taken out."""
    raw, layout = table
    first = re.match(r"[^\r\n]*[\r\n]*", raw.decode(layout.encoding))
    begin = len(first[0].encode(layout.encoding)) if first else 0
    for place, taken, put in damage:
        at = begin + place % max(1, len(raw) - begin)
        raw = raw[:at] + (bytes([put]) if isinstance(put, int) else put) + raw[at + taken :]
    check(folder, raw, layout, piece)


@pytest.mark.parametrize("decimal", [".", ","])
def test_odd_cells(folder: Path, decimal: str) -> None:
    """Beside another, and alone in their row."""
    for missing in ("error", "hold"):
        layout = Layout(DOUBLE, ["2"], ";", "data", missing=missing, decimal=decimal)
        for cell in ["1.5", "1.234,5", *(cell.replace(".", decimal) for cell in CELLS)]:
            check(folder, f"a;1\nb;{cell}\nc;2\n".encode(), layout)
            check(folder, f"7\n{cell}\n8\n".encode(), layout._replace(columns=["1"]))


def cells_of(seed: int, count: int) -> Iterator[str]:
    """Numbers of all magnitudes and lengths, some halfway between two floats."""
    random = np.random.RandomState(seed)
    for value, places in zip(
        np.exp(random.uniform(-14, 14, count)), count * [*range(18)], strict=False
    ):
        yield f"{value:.{places}f}"
    yield from map(
        repr, (random.normal(size=count) * 10.0 ** random.randint(-6, 17, count)).tolist()
    )
    yield from map(repr, np.frombuffer(random.bytes(8 * count)).tolist())
    for length in random.randint(1, 24, count):
        digits = "".join(map(str, random.randint(0, 10, length)))
        point = random.randint(length + 1)
        yield f"{('', '-', '+')[length % 3]}{digits[:point]}.{digits[point:]}"
    for value in (random.uniform(1, 10, count) * 10.0 ** random.randint(-3, 18, count)).tolist():
        between = (Decimal(value) + Decimal(np.nextafter(value, np.inf))) / 2
        with localcontext(prec=random.randint(16, 19)):
            yield format(+between, "f")


@pytest.mark.parametrize("seed", range(200 if NIGHTLY else 2))
def test_numbers_equal_float(folder: Path, seed: int) -> None:
    cells = [cell for cell in cells_of(seed, 4000) if isfinite(float(cell))]
    path = folder / "numbers.csv"
    path.write_text("".join(f"{cell},{cell}\n" for cell in cells))
    blocks = read_file(str(path), Layout(DOUBLE, first_row="data"), Keys()).blocks
    x = np.concatenate([block.x for block in blocks])
    assert x.tobytes() == np.repeat([*map(float, cells)], 2).tobytes()


@pytest.mark.parametrize("bad", [0, BLOCK_STEPS - 1, BLOCK_STEPS, 2 * BLOCK_STEPS])
def test_blocks_are_cut_by_row_number(folder: Path, bad: int) -> None:
    """However long the rows are, and with the line of an error in any block."""
    cells = [str(n % 1000) for n in range(2 * BLOCK_STEPS + 1)]
    cells[bad] = "oops"
    path = folder / "long.csv"
    path.write_text("v\n" + "\n".join(cells))
    lengths = list[int]()
    blocks = read_file(str(path), Layout(DOUBLE), Keys()).blocks
    with pytest.raises(InputError) as caught:
        lengths.extend(len(block.x) for block in blocks)
    assert caught.value.where == f"{path}:{bad + 2}: column 'v'"
    assert lengths == [min(BLOCK_STEPS, bad - start) for start in range(0, bad, BLOCK_STEPS)]


def test_memory_is_bounded() -> None:
    """Rows never end, or a line never ends."""

    def peak(blocks: int) -> int:
        tracemalloc.start()
        with piped(repeat(b"a,1.5,2\n" * 8192), 1 << 20):
            source = read_file(STDIN, Layout(SINGLE, group_by=["1"]), Keys()).blocks
            for _ in range(blocks):
                next(source)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(12) < 1.2 * peak(3)
    with piped(chain([b"1\n2\n"], repeat(b"1,2," * 8192, 2048)), 1 << 20):
        blocks = read_file(STDIN, Layout(DOUBLE), Keys()).blocks
        assert len(next(blocks).x) == 2
        with pytest.raises(InputError, match="input:3: a line of more than 32 MiB"):
            next(blocks)
