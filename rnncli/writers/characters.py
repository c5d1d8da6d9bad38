"""Many numbers as ASCII characters, by array operations: float32s with the fewest digits.

A text of up to 16 bytes stands at the beginning of a cell of 16, which NumPy
moves as fast as a byte. In the finished text each cell begins where the text
of the one before ends, and covers what else is in that.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats, Integers

Words = NDArray[np.uint64]
Numbers = NDArray[np.uint32]
Bytes = NDArray[np.uint8]

# Bytes in a cell, and in each of its two words; the first byte is the least of a number.
_CELL, _WORD = 16, 8
_LITTLE = np.dtype("<u8")
# Numbers below these have no more digits than half a word, and a word, has bytes.
_HALF, _FULL = 10**4, 10**8
# A float32 below this one, and a mark before it, are no longer than a cell.
_LONG = 1e11

# Between these sizes a float is written as a decimal of up to nine digits, which
# distinguish any two float32s, and so of up to twelve places.
_LEAST, _MOST = np.float32(1e-4), np.float32(1e6)
_SIGNIFICANT, _PLACES = 9, 12
_POWERS = 10.0 ** np.arange(_PLACES + 1)
_INTEGER_POWERS = 10 ** np.arange(_WORD + 1, dtype=np.uint32)
# From each of these sizes on, nine digits reach a place less far.
_TENS = (10.0 ** np.arange(-3, 6)).astype(np.float32)
# The exponent of a float32, and what makes half the spacing of floats out of it.
_EXPONENT, _HALF_SPACING = np.uint32(0x7F800000), np.uint32(24 << 23)


class Cells(NamedTuple):
    """Cells of n rows, k side by side.

    Parameters
    ----------
    low, high : arrays of uint64, shape (n, k) or (1, k)
        Their first and their last eight bytes.
    lengths : array of uint8, shape (n, k) or (1, k)
        How many bytes are text.
    """

    low: Words
    high: Words
    lengths: Bytes


def text_of(parts: Sequence[Cells], count: int) -> str:
    """Return the text of `count` rows, whose parts stand side by side."""
    edges = np.cumsum([0, *(part.lengths.shape[1] for part in parts)]).tolist()
    words = np.empty((count, edges[-1], 2), _LITTLE)
    lengths = np.empty((count, edges[-1]), np.uint8)
    for part, start, stop in zip(parts, edges, edges[1:], strict=False):
        words[:, start:stop, 0], words[:, start:stop, 1] = part.low, part.high
        lengths[:, start:stop] = part.lengths
    ends = lengths.cumsum(dtype=np.intp)
    text = np.empty(ends[-1] + _CELL, np.uint8)
    cells = np.ndarray(ends[-1] + 1, f"V{_CELL}", text, strides=1)  # one from every byte on
    cells[ends - lengths.reshape(-1)] = words.reshape(-1).view(cells.dtype)
    return str(text[: ends[-1]].data, "utf-8", "surrogatepass")


def fits(values: Floats) -> bool:
    """Return whether these are floats that `floats` takes."""
    size = max(values.max(initial=0), -values.min(initial=0))
    return values.dtype == np.float32 and bool(size < _LONG)


def texts(given: Sequence[str]) -> Cells:
    """Return the cells of n texts, as many for each as the longest needs."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in given]
    sizes = np.array([*map(len, encoded)])[:, None]
    starts = np.arange(0, max(1, sizes.max()), _CELL)
    words = np.array(encoded, f"S{len(starts) * _CELL}").view(_LITTLE)
    low, high = words.reshape(len(given), -1, 2).transpose(2, 0, 1)
    return Cells(low, high, np.clip(sizes - starts, 0, _CELL).astype(np.uint8))


def integers(numbers: Integers) -> Cells:
    """Return the cells of integers, shape (n,), none of them negative."""
    words: list[Words] = []
    lengths: list[Bytes] = []
    rest = numbers
    while not words or rest.any():
        above = rest // _FULL
        last = (rest - above * _FULL).astype(np.uint32)
        least = 0 if words else 1  # zero has a digit, and no digits above it
        length = np.full(len(last), least, np.uint8)
        for power in _INTEGER_POWERS[least:_WORD]:
            length += last >= power
        length[above > 0] = _WORD
        words.append(_digits(last) >> _bits(_WORD - length))
        lengths.append(length)
        rest = above
    low = np.stack(words[::-1], axis=1)
    return Cells(low, np.zeros_like(low[:1]), np.stack(lengths[::-1], axis=1))


def floats(values: Floats, separator: str, *, first: bool) -> Cells:
    """Return the cells of float32s that fit, shape (n, m)."""
    low, high, lengths = _marked(np.ascontiguousarray(values), separator[-1])
    if not first:
        low[:, 0] = low[:, 0] >> 8 | high[:, 0] << 56
        high[:, 0] >>= 8
        lengths[:, 0] -= 1
    if len(separator) == 1:
        return Cells(low, high, lengths)
    ahead = texts([separator[:-1]])
    shape = (*values.shape, ahead.lengths.shape[1])
    start = 0 if first else shape[2]

    def behind(one: NDArray[Any], each: NDArray[Any]) -> NDArray[Any]:
        both = [np.broadcast_to(one[:, None], shape), each[..., None]]
        return np.concatenate(both, axis=2).reshape(len(values), -1)[:, start:]

    return Cells(behind(ahead.low, low), behind(ahead.high, high), behind(ahead.lengths, lengths))


def _marked(values: Floats, mark: str) -> Cells:
    """Return the cells of float32s that fit, each behind a character."""
    shape, values = values.shape, values.reshape(-1)
    size = np.abs(values)
    others = np.flatnonzero(~((size > _LEAST) & (size < _MOST)))
    size[others] = 1
    zero = values[others] == 0
    number, reach, places = _shortest(size)
    number[others[zero]] = 0
    first = number // _FULL
    digits = _digits(number - first * _FULL)
    negative = np.signbit(values).view(np.uint8)
    lengths = places + 3 + negative
    wide = np.flatnonzero(reach < _WORD)
    more = _WORD - reach[wide]
    reach[wide] = _WORD
    # All up to the first digit, and the point before or behind it.
    head = _heads(mark).take(first.astype(np.uint8) + (_PLACES - reach) * 10 + negative * 50)
    begin = reach - 5 + negative
    if len(wide):
        # All digits before the point, then the point and those behind it.
        unit = _INTEGER_POWERS[_WORD - more]
        whole = number[wide] // unit
        fraction = _digits((number[wide] - whole * unit) * (_FULL // unit))
        digits[wide] = fraction << 8 | ord(".")
        sign = negative[wide] * np.uint64(ord("-") << 8) | ord(mark)
        head[wide] = sign | _digits(whole) >> _bits(7 - more) << _bits(negative[wide] + 1)
        begin[wide] += more - 1
        lengths[wide] += more
    shift = _bits(begin)
    low, high = head | digits << shift, digits >> (64 - shift)
    others = others[~zero]
    if len(others):
        texts = values[others].astype(f"S{_CELL}")
        begun, ended = texts.view(_LITTLE).reshape(-1, 2).T
        low[others], high[others] = begun << 8 | ord(mark), ended << 8 | begun >> 56
        lengths[others] = 1 + np.count_nonzero(texts.view("S1").reshape(-1, _CELL), axis=1)
    return Cells(low.reshape(shape), high.reshape(shape), lengths.reshape(shape))


def _digits(numbers: Numbers) -> Words:
    """Return words of eight digits each, of numbers that have no more."""
    halves = np.empty((len(numbers), 2), np.intp)
    above = numbers // _HALF
    halves[:, 0], halves[:, 1] = above, numbers - above * _HALF
    words: Words = _four_digits().take(halves).view(_LITTLE)[:, 0]
    return words


def _bits(count: Bytes) -> Words:
    """Return how many bits so many bytes have."""
    return (count * 8).astype(np.uint64)


@cache
def _four_digits() -> Numbers:
    """Return half words of the digits of 0 to 9999, with leading zeros."""
    digits = np.arange(_HALF)[:, None] // [1000, 100, 10, 1] % 10 + ord("0")
    return digits.astype(np.uint8).view(np.uint32)[:, 0]


@cache
def _heads(mark: str) -> Words:
    """Return words of a mark, a sign or none, and what stands up to the first digit.

    With it that is ``0.0000`` to ``0.0009``, then ``0.000``, and so on to
    ``0.0``, and at last ``0.`` to ``9.``.
    """
    ahead = [f"{mark}{sign}" for sign in ("", "-")]
    starts = [f"0.{'0' * zeros}{digit}" for zeros in (3, 2, 1, 0) for digit in range(10)]
    starts += [f"{digit}." for digit in range(10)]
    return np.array([a + b for a in ahead for b in starts], f"S{_WORD}").view(_LITTLE)


def _shortest(size: Floats) -> tuple[Numbers, Bytes, Bytes]:
    """Find the decimals with the fewest digits, and of these the nearest, as NumPy does.

    A decimal reads back as x if it lies within half the spacing of the
    floats around x. There is one that ends in n zeros of nine digits if a
    multiple of ``10**n`` lies between the two bounds.
    """
    reach = np.full(len(size), _PLACES, np.uint8)
    for ten in _TENS[: np.searchsorted(_TENS, size.max(), "right")]:
        reach -= (size >= ten).view(np.uint8)
    scale = _POWERS.take(reach)
    nine = size * scale
    half = ((size.view(np.uint32) & _EXPONENT) - _HALF_SPACING).view(np.float32) * scale
    upper, lower = (each.astype(np.int32).view(np.uint32) for each in (nine + half, nine - half))
    zeros = np.zeros(len(size), np.uint8)
    for _ in range(_SIGNIFICANT):
        upper, lower = upper // 10, lower // 10
        shorter = upper > lower
        if not shorter.any():
            break
        zeros += shorter.view(np.uint8)
    unit = _POWERS.take(zeros)
    number = (np.rint(nine / unit) * unit).astype(np.int32).view(np.uint32)
    return number, reach, np.maximum(reach - np.minimum(zeros, reach), 1)
