"""Plain rows, read many at once: no quotes, and all chosen cells are numbers.

Most of these are plain decimals, such as ``-12.034``. Eight digits are a word
of 64 bits, which takes as few operations as one digit would.
"""

from collections.abc import Sequence
from csv import field_size_limit
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Integers, Truths
from rnncli.readers.input import USUAL, Doubles, Notation, parse_cells, parse_number

Words = NDArray[np.uint64]

# No plain row has any other.
DELIMITERS = ",;\t|:"
# Bytes whose intermediate arrays stay in the cache.
_CACHED = 1 << 18
# Cells read at once: fewer are more calls.
_CELLS = 1 << 15
# Digits in a word, and words for those on either side of the point.
_DIGITS, _WORDS = 8, 3
# Bytes that have to stand before the first cell.
_MARGIN = _DIGITS * _WORDS
# Only what is less, with no more places than these, is read: that makes sure of the rounding.
_MOST = 10**18
_POWERS = 10.0 ** np.arange(21)
_INTEGER_POWERS = np.array([10 ** min(k, 19) for k in range(21)], np.uint64)


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
    notation : Notation
        How numbers are written.
    """

    width: int
    chosen: Sequence[int]
    delimiter: str
    gaps: bool
    notation: Notation = USUAL


def plain(text: bytes, delimiter: str) -> bytes | None:
    """Make every cell begin right behind its delimiter.

    None if there are quotes, or several spaces there.
    """
    if b'"' in text:
        return None
    if not text.endswith(b"\n"):
        text += b"\n"
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


def bounds(text: bytes, shape: Shape) -> tuple[Integers, Integers]:
    """Return where each cell of plain rows starts, and where it stops, (n, width) each."""
    characters = np.frombuffer(text, np.uint8)
    separators = (characters == ord("\n")) | (characters == ord(shape.delimiter))
    places = np.append(-1, np.flatnonzero(separators))
    return (places[:-1] + 1).reshape(-1, shape.width), places[1:].reshape(-1, shape.width)


def texts(text: bytes, start: Integers, stop: Integers) -> list[str]:
    """Return the text of n cells."""
    bounds = zip(start.tolist(), stop.tolist(), strict=True)
    return b"\n".join([text[begins:ends] for begins, ends in bounds]).decode().split("\n")


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
    text = bytes(_MARGIN - 1) + b"\n" + text
    marks, bounds = _marks(text, shape.delimiter, shape.notation.decimal)
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
        point = np.where(mark_before < start, stop, mark_before)
        read, is_read = _decimals(text, start, stop, point)
        _take_out(read, text, start, stop, shape.notation)
        if not is_read.all():
            others = np.flatnonzero(~is_read)
            cells = texts(text, start[others], stop[others])
            parsed = parse_cells(cells, gaps=shape.gaps, notation=shape.notation)
            if parsed is None:
                return None
            read[others] = parsed
        values[:, first : first + step] = read.reshape(rows, -1)
    return values


def _marks(text: bytes, delimiter: str, decimal: str) -> tuple[Integers, Integers]:
    """Find the ends of lines and cells and the points, and which of them are no points."""
    characters = np.frombuffer(text, np.uint8)
    separators = (characters == ord("\n")) | (characters == ord(delimiter))
    marks = np.flatnonzero(separators | (characters == ord(decimal)))
    return marks, np.flatnonzero(separators[marks])


def _decimals(
    text: bytes, start: Integers, stop: Integers, point: Integers
) -> tuple[Doubles, Truths]:
    """Read n cells, each rounded to the nearest float64, as `float` does."""
    first = np.frombuffer(text, np.uint8)[start]
    minus = first == ord("-")
    before = point - start - (minus | (first == ord("+")))
    after = np.maximum(stop - point - 1, 0)
    whole, read = _integers(text, point, before)
    fraction, fraction_read = _integers(text, stop, after)
    read &= fraction_read & (before + after > 0) & (after < len(_POWERS))
    after[~read] = 0
    power = _POWERS[after]
    read &= whole * power + fraction < _MOST
    numbers = np.where(read, whole * _INTEGER_POWERS[after] + fraction, 0)
    values = _quotients(numbers, power)
    values.view(np.uint64)[:] |= minus.astype(np.uint64) << 63
    return values, read


def _take_out(
    values: Doubles, text: bytes, start: Integers, stop: Integers, notation: Notation
) -> None:
    """Put NaN in place of those of n numbers that are missing values, as they are written."""
    for null in notation.null_values:
        same = np.flatnonzero(values == parse_number(notation.with_point(null)))
        if len(same):
            cells = texts(text, start[same], stop[same])
            values[same[[cell == null for cell in cells]]] = np.nan


def _integers(text: bytes, stop: Integers, count: Integers) -> tuple[Words, Truths]:
    """Read the integers of `count` digits, n of them, that end before `stop`.

    Returns those under `_MOST`, zero for no digits, and which they are.
    """
    words = np.ndarray(len(text) - _DIGITS + 1, "<u8", text, strides=1)
    total, read = np.zeros(len(stop), np.uint64), count <= _MARGIN
    most = min(int(count.max(initial=0)), _MARGIN)
    for ahead in range(0, most, _DIGITS):
        foreign = (np.maximum(_DIGITS + ahead - count, 0) * 8).astype(np.uint64)
        # Each byte of a word becomes a digit, those before the number zeros.
        digits = (words[stop - (ahead + _DIGITS)] ^ 0x3030303030303030) >> foreign << foreign
        read &= (((digits + 0x7676767676767676) | digits) & 0x8080808080808080) == 0
        digits = (digits * 10 + (digits >> 8)) & 0x00FF00FF00FF00FF
        digits = (digits * 100 + (digits >> 16)) & 0x0000FFFF0000FFFF
        number = (digits * 10_000 + (digits >> 32)) & 0xFFFFFFFF
        read &= number < _MOST // 10**ahead
        total += number * 10**ahead
    return total, read


def _quotients(numbers: Words, divisors: Doubles) -> Doubles:
    """Divide integers by powers of ten, rounding once.

    An integer that is no float64 is taken as a sum of two: the quotient of
    the first is put right by what remains. Before the last sum is rounded
    it is within 2**-103 of the quotient, which itself is at least 2**-101
    away from all numbers halfway between two float64s, or is one.

    Source: T. J. Dekker (1971), A floating-point technique for extending
    the available precision.
    """
    high = numbers.astype(np.float64)
    quotients: Doubles = high / divisors
    long = np.flatnonzero(numbers > 2**53)
    if len(long):
        low = (numbers[long] - high[long].astype(np.uint64)).view(np.int64)
        quotient, divisor = quotients[long], divisors[long]
        product, error = _product(quotient, divisor)
        quotients[long] += ((high[long] - product) - error + low) / divisor
    return quotients


def _product(a: Doubles, b: Doubles) -> tuple[Doubles, Doubles]:
    """Multiply float64s; the sum of the product and its error is exact."""
    product = a * b
    (c, d), (e, f) = _halves(a), _halves(b)
    return product, ((c * e - product) + c * f + d * e) + d * f


def _halves(values: Doubles) -> tuple[Doubles, Doubles]:
    """Split float64s into sums of two of half the length."""
    scaled = values * (2.0**27 + 1)
    high = scaled - (scaled - values)
    return high, values - high
