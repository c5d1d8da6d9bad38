"""Numbers in rows of text without quotes, read many at once, each rounded as `float` does.

Most cells are plain decimals such as ``-12.034``. Without its point that is an integer, eight
digits of which are a word of 64 bits, divided by a power of ten.
"""

from collections.abc import Sequence
from csv import field_size_limit
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Integers, Truths
from rnncli.readers.input import Doubles, Layout, parse_cells, parse_number

Words = NDArray[np.uint64]

# Delimiters that stand in no number.
DELIMITERS = ",;\t|:"
# Bytes before the first cell: as many as the longest integer has.
_MARGIN = 24
# Integers below this are read: their division rounds once.
_MOST = 10**18
_POWERS = np.array([10.0**k for k in range(21)])


class PlainRows:
    """Rows of text without quotes that have as many cells each."""

    def __init__(self, text: bytes, delimiter: str, width: int) -> None:
        """Find the ends of the cells; raise a ValueError for any other rows."""
        text = bytes(_MARGIN - 1) + b"\n" + text
        for mark in (delimiter.encode(), b"\n") if b" " in text else ():
            text = text.replace(mark + b" ", mark)
            if mark + b" " in text:
                raise ValueError("blanks")
        self._text, self._delimiter, self._width = text, delimiter, width
        self._ends = _find_ends(text, delimiter)  # the margin has an end, too
        is_line_end = np.frombuffer(text, np.uint8)[self._ends] == ord("\n")
        rows, rest = divmod(len(self._ends) - 1, width)
        is_even = not rest and is_line_end.sum() == rows + 1 and is_line_end[::width].all()
        if b'"' in text or not is_even or np.diff(self._ends).max() > field_size_limit():
            raise ValueError("no plain rows")

    def column(self, i: int) -> list[str]:
        """Return the text of the cells of a column."""
        return self._texts(slice(i, None, self._width))

    def _texts(self, cells: Any) -> list[str]:
        starts, stops = self._ends[:-1][cells] + 1, self._ends[1:][cells]
        edges = zip(starts.tolist(), stops.tolist(), strict=True)
        if self._text.isascii():
            text = self._text.decode()
            return [text[start:stop] for start, stop in edges]
        return [self._text[start:stop].decode() for start, stop in edges]

    def rows(self) -> list[list[str]]:
        """Return the text of all cells."""
        lines = self._text[_MARGIN:].decode().split("\n")
        return [line.split(self._delimiter) for line in lines[:-1]]

    def numbers(self, columns: Sequence[int], layout: Layout) -> Doubles | None:
        """Read columns as numbers, (n, I), NaN where one is missing; None if a cell is none."""
        first = np.arange(0, len(self._ends) - 1, self._width)
        cell = (first[:, None] + np.array(columns)).ravel()
        values, read = self._decimals(cell, ord(layout.decimal))
        for null in map(layout._replace(null_values=()).usual, layout.null_values):
            read &= values != parse_number(null)
        if not read.all():
            texts = self._texts(cell[~read])
            parsed = parse_cells(texts, layout)
            # A blank line is no row.
            if parsed is None or (self._width == 1 and not all(map(str.strip, texts))):
                return None
            values[~read] = parsed
        return values.reshape(len(first), -1)

    def _decimals(self, cell: Integers, decimal: int) -> tuple[Doubles, Truths]:
        """Read plain decimals from cells, given by number; return also which cells are such."""
        points = np.flatnonzero(np.frombuffer(self._text, np.uint8) == decimal)
        text = self._text.translate(None, bytes([decimal]))
        ends = _find_ends(text, self._delimiter)
        before = self._ends - ends  # points before each end
        has_point = before[cell + 1] - before[cell]
        start, stop = ends[cell] + 1, ends[cell + 1]
        first = np.frombuffer(text, np.uint8)[start]
        minus = first == ord("-")
        digits = stop - start - (minus | (first == ord("+")))
        point = np.append(points, 0)[before[cell + 1] - 1]
        decimals = np.where(has_point > 0, self._ends[cell + 1] - 1 - point, 0)
        integers, read = _integers(text, stop, digits)
        read &= (digits > 0) & (has_point < 2) & (decimals <= digits) & (decimals < len(_POWERS))
        values = _divide(np.where(read, integers, 0), _POWERS[np.where(read, decimals, 0)])
        values.view(np.uint64)[:] |= minus.astype(np.uint64) << 63
        return values, read


def _find_ends(text: bytes, delimiter: str) -> Integers:
    characters = np.frombuffer(text, np.uint8)
    return np.flatnonzero((characters == ord("\n")) | (characters == ord(delimiter)))


def _integers(text: bytes, stop: Integers, digits: Integers) -> tuple[Words, Truths]:
    """Read integers by their ends and numbers of digits; return which are below `_MOST`."""
    words = np.ndarray(len(text) - 7, "<u8", text, strides=1)
    total, read = np.zeros(len(stop), np.uint64), digits <= _MARGIN
    for behind in range(0, min(int(digits.max(initial=0)), _MARGIN), 8):
        # Bits of the word before the number: its first byte is its lowest.
        foreign = (np.maximum(8 + behind - digits, 0) * 8).astype(np.uint64)
        # Turn each byte into a digit, those before the number into 0; then join 2, 4 and 8 digits.
        word = (words[stop - (behind + 8)] ^ 0x3030303030303030) >> foreign << foreign
        read &= (((word + 0x7676767676767676) | word) & 0x8080808080808080) == 0
        word = (word * 10 + (word >> 8)) & 0x00FF00FF00FF00FF
        word = (word * 100 + (word >> 16)) & 0x0000FFFF0000FFFF
        word = (word * 10_000 + (word >> 32)) & 0xFFFFFFFF
        read &= word < _MOST // 10**behind
        total += word * 10**behind
    return total, read


def _divide(numbers: Words, divisors: Doubles) -> Doubles:
    """Divide integers by powers of ten, rounding once.

    An integer that is no float64 is the sum of two: the quotient of the first is put right by
    what remains. Before the last sum is rounded it is within 2**-103 of the quotient, which is
    at least 2**-101 away from all numbers halfway between two float64s, or is one.

    Source: T. J. Dekker (1971), A floating-point technique for extending the available precision.
    """
    high = numbers.astype(np.float64)
    quotients: Doubles = high / divisors
    long = np.flatnonzero(numbers > 2**53)
    if len(long):
        low = (numbers[long] - high[long].astype(np.uint64)).view(np.int64)
        a, b = quotients[long], divisors[long]
        (a1, a2), (b1, b2) = _halves(a), _halves(b)
        product = a * b
        error = ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2
        quotients[long] += ((high[long] - product) - error + low) / b
    return quotients


def _halves(values: Doubles) -> tuple[Doubles, Doubles]:
    """Split float64s into sums of two of half the length."""
    scaled = values * (2.0**27 + 1)
    high = scaled - (scaled - values)
    return high, values - high
