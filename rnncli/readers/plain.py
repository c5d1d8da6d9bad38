"""Plain rows, read many at once: no quotes, and all chosen cells are numbers."""

from collections.abc import Sequence
from csv import field_size_limit
from typing import NamedTuple

import numpy as np

from rnncli.readers.decimals import MARGIN, Cells, Doubles, decimals
from rnncli.readers.input import is_missing, parse_number
from rnncli.readers.lines import ENCODING

# No plain row has any other.
DELIMITERS = ",;\t|:"
# Bytes whose intermediate arrays stay in the cache.
_CACHED = 1 << 18


class Shape(NamedTuple):
    """How rows are laid out.

    Parameters
    ----------
    width : int
        Cells in a row.
    chosen : sequence of int
        Columns to read as numbers.
    delimiter : str
        One of `DELIMITERS`.
    gaps : bool
        Whether an empty cell is a NaN; otherwise it is no number.
    """

    width: int
    chosen: Sequence[int]
    delimiter: str
    gaps: bool


def plain(text: bytes, delimiter: str) -> bytes | None:
    r"""Make every line end in ``\n``, and every cell begin right behind its delimiter.

    None if there are quotes, or several spaces there. No ``\r`` is expected
    but at the end of a line, see `rnncli.readers.lines.Lines.take`.
    """
    if b'"' in text:
        return None
    if not text.endswith(b"\n"):
        text += b"\n"
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    if b" " in text:
        for start in (delimiter.encode(), b"\n"):
            text = text.replace(start + b" ", start)
            if start + b" " in text:
                return None
        text = text.removeprefix(b" ")
    return None if text.startswith(b" ") else text


def rows_of(text: bytes, delimiter: str) -> list[list[str]]:
    """Give the cells of plain rows."""
    lines = text.decode(*ENCODING).split("\n")
    return [line.split(delimiter) for line in lines[:-1]]


def numbers(text: bytes, shape: Shape) -> Doubles | None:
    """Read the chosen cells of plain rows, (n, I); None if any is no number."""
    pieces, start = [], 0
    while start < len(text):
        end = text.find(b"\n", start + _CACHED) + 1 or len(text)
        piece = _numbers(text[start:end], shape)
        if piece is None:
            return None
        pieces.append(piece)
        start = end
    return np.concatenate(pieces)


def _numbers(text: bytes, shape: Shape) -> Doubles | None:
    text = bytes(MARGIN - 1) + b"\n" + text
    characters = np.frombuffer(text, np.uint8)
    line_ends = characters == ord("\n")
    separators = line_ends | (characters == ord(shape.delimiter))
    marks = np.flatnonzero(separators | (characters == ord(".")))
    bounds = np.flatnonzero(separators[marks])  # those of the marks that are no points
    places = marks[bounds]
    rows = (len(bounds) - 1) // shape.width
    last = np.arange(shape.width) == shape.width - 1
    if not np.array_equal(line_ends[places[1:]], np.tile(last, rows)):
        return None
    if np.diff(places).max() > field_size_limit():
        return None
    values = np.empty((rows, len(shape.chosen)))
    for feature, column in enumerate(shape.chosen):
        stop = places[column + 1 :: shape.width]
        mark_before = marks[bounds[column + 1 :: shape.width] - 1]
        start = places[column : -1 : shape.width] + 1
        cells = Cells(text, start, stop, np.where(mark_before < start, stop, mark_before))
        read = _read(cells, gaps=shape.gaps)
        if read is None:
            return None
        values[:, feature] = read
    return values


def _read(cells: Cells, *, gaps: bool) -> Doubles | None:
    """Read cells as numbers; None if any is none."""
    values, read = decimals(cells)
    others = np.flatnonzero(~read)
    bounds = zip(cells.start[others].tolist(), cells.stop[others].tolist(), strict=True)
    numbers = _numbers_of([cells.text[start:stop] for start, stop in bounds], gaps=gaps)
    if numbers is None:
        return None
    values[others] = numbers
    absent = others[np.isnan(values[others]) & (cells.stop > cells.start)[others]]
    first = np.frombuffer(cells.text, np.uint8)[cells.start[absent]]
    # Python reads -nan too, which does not count as missing.
    return values if np.isin(first, (ord("n"), ord("N"))).all() else None


def _numbers_of(cells: list[bytes], *, gaps: bool) -> list[float] | None:
    """Read cells that are no plain decimals."""
    if gaps:
        cells = [cell or b"nan" for cell in cells]
    try:
        if b"_" not in b"".join(cells):  # Python reads 1_000 as a number
            return list(map(float, cells))
    except ValueError:
        pass
    numbers = []
    for text in [cell.decode(*ENCODING) for cell in cells]:
        number = np.nan if gaps and is_missing(text) else parse_number(text)
        if number is None:
            return None
        numbers.append(number)
    return numbers
