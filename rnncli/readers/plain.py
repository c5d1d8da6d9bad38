"""Plain rows, read many at once: no quotes, and all chosen cells are numbers."""

from collections.abc import Sequence
from csv import field_size_limit
from typing import NamedTuple

import numpy as np

from rnncli.model.arrays import Integers
from rnncli.readers.decimals import MARGIN, Cells, Doubles, decimals
from rnncli.readers.input import is_missing, parse_number

# No plain row has any other.
DELIMITERS = ",;\t|:"
# Bytes whose intermediate arrays stay in the cache.
_CACHED = 1 << 18
# Cells read at once: fewer are more calls.
_CELLS = 1 << 15


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
    """Return the cells of plain rows."""
    lines = text.decode().split("\n")
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
    marks, bounds = _marks(text, shape.delimiter)
    places = marks[bounds]
    rows = (len(bounds) - 1) // shape.width
    last = np.arange(shape.width) == shape.width - 1
    characters = np.frombuffer(text, np.uint8)
    if not np.array_equal(characters[places[1:]] == ord("\n"), np.tile(last, rows)):
        return None
    if np.diff(places).max() > field_size_limit():
        return None
    begin, end, bound = (
        grid.reshape(rows, shape.width) for grid in (places[:-1], places[1:], bounds[1:])
    )
    values = np.empty((rows, len(shape.chosen)))
    step = max(1, _CELLS // rows)
    for first in range(0, len(shape.chosen), step):
        columns = shape.chosen[first : first + step]
        start, stop = begin[:, columns].ravel() + 1, end[:, columns].ravel()
        mark_before = marks[bound[:, columns].ravel() - 1]
        cells = Cells(text, start, stop, np.where(mark_before < start, stop, mark_before))
        read = _read(cells, gaps=shape.gaps)
        if read is None:
            return None
        values[:, first : first + step] = read.reshape(rows, -1)
    return values


def _marks(text: bytes, delimiter: str) -> tuple[Integers, Integers]:
    """Find the ends of lines and cells and the points, and which of them are no points."""
    characters = np.frombuffer(text, np.uint8)
    separators = (characters == ord("\n")) | (characters == ord(delimiter))
    marks = np.flatnonzero(separators | (characters == ord(".")))
    return marks, np.flatnonzero(separators[marks])


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
    for text in [cell.decode() for cell in cells]:
        number = np.nan if gaps and is_missing(text) else parse_number(text)
        if number is None:
            return None
        numbers.append(number)
    return numbers
