"""Plain decimals, such as ``-12.034``, read from a text many at once.

Eight digits are a word of 64 bits, which takes as few operations as one
digit would.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Integers, Truths

Doubles = NDArray[np.float64]
Words = NDArray[np.uint64]

# Digits in a word, and words for those on either side of the point.
_DIGITS, _WORDS = 8, 3
# Bytes that have to stand before the first cell.
MARGIN = _DIGITS * _WORDS
# Only what is less, with no more places than these, is read: that makes sure of the rounding.
_MOST = 10**18
_POWERS = 10.0 ** np.arange(21)
_INTEGER_POWERS = np.array([10 ** min(k, 19) for k in range(21)], np.uint64)


class Cells(NamedTuple):
    """Where n cells stand in a text.

    Parameters
    ----------
    text : bytes
        At least `MARGIN` of them stand before the first cell.
    start, stop : arrays of int, shape (n,)
        First byte of each, and the byte behind it.
    point : array of int, shape (n,)
        The last point of each, or `stop` where there is none.
    """

    text: bytes
    start: Integers
    stop: Integers
    point: Integers


def decimals(cells: Cells) -> tuple[Doubles, Truths]:
    """Read cells, each rounded to the nearest float64, as `float` does.

    Returns
    -------
    values : array, shape (n,)
    read : array of bool, shape (n,)
        Those whose value holds. The others are no plain decimals, or too long.
    """
    first = np.frombuffer(cells.text, np.uint8)[cells.start]
    minus = first == ord("-")
    before = cells.point - cells.start - (minus | (first == ord("+")))
    after = np.maximum(cells.stop - cells.point - 1, 0)
    whole, read = _integers(cells.text, cells.point, before)
    fraction, fraction_read = _integers(cells.text, cells.stop, after)
    read &= fraction_read & (before + after > 0) & (after < len(_POWERS))
    after[~read] = 0
    power = _POWERS[after]
    read &= whole * power + fraction < _MOST
    numbers = np.where(read, whole * _INTEGER_POWERS[after] + fraction, 0)
    values = _quotients(numbers, power)
    np.negative(values, out=values, where=minus)
    return values, read


def _integers(text: bytes, stop: Integers, count: Integers) -> tuple[Words, Truths]:
    """Read the integers of `count` digits, n of them, that end before `stop`.

    Returns those under `_MOST`, zero for no digits, and which they are.
    """
    words = np.ndarray(len(text) - _DIGITS + 1, "<u8", text, strides=1)
    total, read = np.zeros(len(stop), np.uint64), count <= MARGIN
    most = min(int(count.max(initial=0)), MARGIN)
    for ahead in range(0, most, _DIGITS):
        foreign = np.clip(_DIGITS + ahead - count, 0, _DIGITS).astype(np.uint64) * 8
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
