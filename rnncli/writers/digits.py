"""Numbers as text, by array operations: the fewest digits that read back as the same float.

`_write_one_by_one` is the reference: `floats` writes the same texts, thirty times as fast.

A row of text consists of *words*, an array of shape (n, k): eight bytes of text each. A zero
byte holds no text, so that every number has the same layout. A float32 has two words, here of
-0.125 and -512.25 behind a comma (``_`` is a zero byte)::

    byte          0 1 2 3  4 5 6 7  8 9 . .  . . . .
    below 10      , - 0 .  1 2 5 _  _ _ _ _  _ _ _ _   up to 12 decimals
    from 10 on    , - _ _  _ 5 1 2  . 2 5 _  _ _ _ _   6 digits, the point, up to 7 decimals

Each four bytes but the first hold four digits, which a table has for the numbers up to 9999.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats, Integers

Words = NDArray[np.uint64]
Halves = NDArray[np.uint32]
Bytes = NDArray[np.uint8]

_WORD, _HALF = np.dtype("<u8"), np.dtype("<u4")
# Words of a slice of rows: more leave the cache.
_CACHED = 1 << 17
# Fewer values are written faster one by one.
_FEW = 160

# Between these sizes a float32 is a decimal of up to nine digits, and of up to twelve decimals.
_LEAST, _MOST = np.float32(1e-4), np.float32(1e6)
_DIGITS, _DECIMALS, _WIDE_DECIMALS = 9, 12, 7
_POWERS = 10.0 ** np.arange(_DECIMALS + 1)
# From each of these sizes on, nine digits reach one decimal less.
_TENS = (10.0 ** np.arange(-3, 6)).astype(np.float32)
# The exponent of a float32, and what makes half the spacing of floats out of it.
_EXPONENT, _HALF_SPACING = np.uint32(0x7F800000), np.uint32(24 << 23)


def rows_of_text(
    count: int,
    width: int,
    words: Callable[[slice], Iterable[Words]],
    front: Sequence[str] | None = None,
) -> Iterator[str]:
    """Yield lines of text in slices of rows.

    `words(rows)` returns arrays of words, (n, k), or (1, k) for text that every row repeats, and
    `width` is about the sum of the k. A text of `front` begins each line.
    """
    step = max(1, _CACHED // width)
    for start in range(0, count, step):
        rows, lines = slice(start, start + step), min(step, count - start)
        fields = list(words(rows))
        buffer = bytearray(lines * sum(each.shape[1] for each in fields) * _WORD.itemsize)
        array = np.frombuffer(buffer, _WORD).reshape(lines, -1)
        fields = [each if len(each) == lines else each.repeat(lines, axis=0) for each in fields]
        np.concatenate(fields, axis=1, out=array)
        text = buffer.translate(None, b"\0").decode("ascii")
        if front is not None:
            text = "".join(map("".join, zip(front[rows], text.splitlines(True), strict=True)))
        yield text


def words_of(texts: Sequence[str]) -> Words:
    """Return the words of ASCII texts, as many for each as the longest needs."""
    width = max(1, -(-max(map(len, texts), default=0) // _WORD.itemsize))
    words = np.array(texts, f"S{width * _WORD.itemsize}")
    return words.view(_WORD).reshape(len(texts), width)


def integers(numbers: Integers) -> Words:
    """Return the words of integers, none of them negative."""
    if len(numbers) < _FEW or numbers.max() >= 10**8:
        return words_of([*map(str, numbers.tolist())])
    numbers = numbers.astype(np.uint32)
    halves = np.empty((len(numbers), 2), _HALF)
    above = numbers // 10**4
    halves[:, 0] = _four_digits().take(above)
    halves[:, 1] = _four_digits().take(numbers - above * 10**4)
    zeros = np.full(len(numbers), 7, np.uint8)
    for digits in range(1, 8):
        zeros -= numbers >= 10**digits
    words: Words = halves.view(_WORD)
    words[:, 0] &= ~np.uint64(0) << (zeros * 8).astype(np.uint64)
    return words


def floats(
    values: Floats, before: str, between: str, digits: int | None = None, missing: str = "nan"
) -> Words:
    """Return the words of rows of floats, shape (n, m), with `missing` in place of NaN.

    `before`, one character or none, precedes the first number of a row; `between` the others.
    """
    if digits is not None or values.dtype != np.float32 or values.size < _FEW:
        rows = _write_one_by_one(values, digits, missing)
        return words_of([before + between.join(row) for row in rows])
    words = _write_behind(between[-1], values.ravel(), missing)
    words = words.reshape(*values.shape, -1)
    words[:, 0, 0] ^= ord(between[-1]) ^ ord(before or "\0")
    if len(between) > 1:
        ahead = np.broadcast_to(words_of([between[:-1]]), (*values.shape, 1)).copy()
        ahead[:, 0] = 0
        words = np.concatenate([ahead, words], axis=2)
    return words.reshape(len(values), -1)


def texts(values: Floats, digits: int | None = None, missing: str = "nan") -> Any:
    """Return the text of each float, in lists nested as the array is."""
    column, end = values.reshape(-1, 1), words_of(["\n"])
    lines = rows_of_text(
        len(column), 3, lambda rows: [floats(column[rows], "", " ", digits, missing), end]
    )
    each = "".join(lines).splitlines()
    return np.array(each, object).reshape(values.shape).tolist()


def _write_one_by_one(values: Floats, digits: int | None, missing: str) -> list[list[str]]:
    if digits is not None:
        rows = [[f"{value:z.{digits}f}" for value in row] for row in values.tolist()]
    elif values.dtype == np.float64:
        rows = [[*map(repr, row)] for row in values.tolist()]
    else:
        rows = values.astype("U").tolist()
    if (absent := np.isnan(values)).any():
        for row, column in np.argwhere(absent).tolist():
            rows[row][column] = missing
    return rows


def _write_behind(mark: str, values: Floats, missing: str) -> Words:
    """Return the words of each float32 behind a character: two, or more where one needs them."""
    size = np.abs(values)
    special = np.flatnonzero(~((size > _LEAST) & (size < _MOST)))  # zeros and NaN too
    size[special] = 1
    number, reach, zeros = _find_shortest(size)
    number[special] = 0
    wide = np.flatnonzero(reach <= _WIDE_DECIMALS)
    # The decimal as an integer of 12 decimals, or 7; then in groups of 1 or 2, 4, 4 and 4 digits.
    ends = np.full(len(size), _DECIMALS, np.uint8)
    ends[wide] = _WIDE_DECIMALS
    scaled = number * _POWERS.take(ends - reach)
    unit = np.full(len(size), 1e8)
    unit[wide] = 1e7
    high = (scaled / unit).astype(np.int32)
    low = (scaled - high * unit).astype(np.int32)
    halves = np.empty((len(size), 4), _HALF)
    first = high // 10**4
    halves[:, 1] = _four_digits().take(high - first * 10**4)
    middle = low // 10**4
    halves[:, 2] = _four_digits().take(middle)
    halves[:, 3] = _four_digits().take(low - middle * 10**4)
    start = first.view(np.uint32) << 16
    start += np.frombuffer(f"{mark}\x000.".encode(), _HALF)
    if len(wide):
        start[wide] = _four_digits().take(first[wide]) & np.uint32(0xFFFF0000)
        start[wide] |= ord(mark)
        halves[wide, 2] ^= ord("0") ^ ord(".")
    start += np.signbit(values) * np.uint32(ord("-") << 8)
    halves[:, 0] = start
    decimals = np.maximum(reach - np.minimum(zeros, reach), 1)
    words: Words = halves.view(_WORD)
    words &= _shown().take(reach * np.intp(_DECIMALS + 1) + decimals, axis=0)
    special = special[values[special] != 0]
    if len(special):
        rows = _write_one_by_one(values[special, None], None, missing)
        slow = words_of([mark + text for (text,) in rows])
        if (more := slow.shape[1] - words.shape[1]) > 0:
            words = np.concatenate([words, np.empty((len(words), more), _WORD)], axis=1)
            words[:, -more:] = 0
        words[special] = 0
        words[special, : slow.shape[1]] = slow
    return words


def _find_shortest(size: Floats) -> tuple[Floats, Bytes, Bytes]:
    """Find the decimals with the fewest digits, and of these the nearest, as NumPy does.

    A decimal reads back as x if it lies within half the spacing of the floats around x. There
    is one that ends in n zeros of nine digits if a multiple of ``10**n`` lies between the bounds.
    Returns nine digits as an integer, how many of them are decimals, and how many are such zeros.
    """
    reach = np.full(len(size), _DECIMALS, np.uint8)
    for ten in _TENS[: np.searchsorted(_TENS, size.max(), "right")]:
        reach -= size >= ten
    scale = _POWERS.take(reach)
    nine = size * scale
    half = ((size.view(np.uint32) & _EXPONENT) - _HALF_SPACING).view(np.float32) * scale
    upper, lower = (each.astype(np.int32).view(np.uint32) for each in (nine + half, nine - half))
    zeros = np.zeros(len(size), np.uint8)
    for _ in range(_DIGITS):
        upper, lower = upper // 10, lower // 10
        shorter = upper > lower
        if not shorter.any():
            break
        zeros += shorter
    unit = _POWERS.take(zeros)
    return np.rint(nine / unit) * unit, reach, zeros


@cache
def _four_digits() -> Halves:
    """Return the digits of 0 to 9999, with leading zeros."""
    digits = np.arange(10**4)[:, None] // [1000, 100, 10, 1] % 10 + ord("0")
    return digits.astype(np.uint8).view(_HALF)[:, 0]


@cache
def _shown() -> Words:
    """Return which bytes of the two words are text, for each reach and number of decimals."""
    shown = np.zeros((_DECIMALS + 1, _DECIMALS + 1, 16), np.uint8)
    for reach in range(_DIGITS - 6, _DECIMALS + 1):
        wide = reach <= _WIDE_DECIMALS
        begin, point = (8 - (_DIGITS - reach), 8) if wide else (2, 3)
        for decimals in range(1, _DECIMALS + 1):
            shown[reach, decimals, :2] = shown[reach, decimals, begin : point + 1 + decimals] = 255
    return shown.view(_WORD).reshape(-1, 2)
