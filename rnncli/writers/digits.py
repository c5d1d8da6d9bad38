"""Numbers and texts as rows of text, by array operations.

A row is a list of parts, and a part an array of *words*, shape (n, k): eight bytes of text
each. A zero byte holds no text, so that every number has the same layout. A float32 has two
words, here of -0.125 and -512.25 behind a comma (``_`` is a zero byte)::

    byte          0 1 2 3  4 5 6 7  8 9 . .  . . . .
    below 10      , - 0 .  1 2 5 _  _ _ _ _  _ _ _ _   up to 12 decimals
    from 10 on    , - _ _  _ 5 1 2  . 2 5 _  _ _ _ _   6 digits, the point, up to 7 decimals

Each four bytes but the first hold four digits, which a table has for the numbers up to 9999.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats, Integers

Words = NDArray[np.uint64]
Halves = NDArray[np.uint32]
Bytes = NDArray[np.uint8]

_WORD, _HALF = np.dtype("<u8"), np.dtype("<u4")
# Words of a piece of text: more leave the cache; and bytes of texts of unlike lengths, at most.
_CACHED, _MOST_BYTES = 1 << 17, 1 << 22
# Fewer values are written faster one by one.
_FEW = 300
# A byte that is not in UTF-8 stands for a zero byte of a text.
_NUL, _WITH_NUL = b"\xff", bytes([*range(255), 0])

# Between these sizes a float32 is a decimal of up to nine digits, and of up to twelve
# decimals; below the last, and behind a mark, its text is no longer than two words.
_LEAST, _MOST, _LONG = np.float32(1e-4), np.float32(1e6), np.float32(1e11)
_DIGITS, _DECIMALS, _WIDE_DECIMALS = 9, 12, 7
_POWERS = 10.0 ** np.arange(_DECIMALS + 1)
# From each of these sizes on, nine digits reach one decimal less.
_TENS = (10.0 ** np.arange(-3, 6)).astype(np.float32)
# The exponent of a float32, and what makes half the spacing of floats out of it.
_EXPONENT, _HALF_SPACING = np.uint32(0x7F800000), np.uint32(24 << 23)


class _TooWideError(Exception):
    """Texts of very unlike lengths do not stand below each other."""


def rows_of_text(
    count: int, width: int, parts_of: Callable[[slice], Iterable[Words]]
) -> Iterator[str]:
    """Yield the text of rows in pieces; `parts_of` some rows returns about `width` words a row."""
    step = max(1, _CACHED // width)
    waiting = [slice(i, min(count, i + step)) for i in range(0, count, step)][::-1]
    while waiting:
        rows = waiting.pop()
        try:
            text = text_of(parts_of(rows))
        except _TooWideError:
            middle = (rows.start + rows.stop) // 2
            waiting += [slice(middle, rows.stop), slice(rows.start, middle)]
        else:
            yield text


def text_of(parts: Iterable[Words]) -> str:
    """Return the text of n rows, whose parts have n rows, or one that is in all."""
    parts = list(parts)
    count = next((len(part) for part in parts if len(part) != 1), 1)
    width = sum(part.shape[1] for part in parts)
    buffer = bytearray(count * width * _WORD.itemsize)
    rows = np.frombuffer(buffer, _WORD).reshape(count, width)
    np.concatenate([np.broadcast_to(p, (count, p.shape[1])) for p in parts], axis=1, out=rows)
    return buffer.translate(_WITH_NUL, b"\0").decode("utf-8", "surrogatepass")


def words_of(given: Sequence[str]) -> Words:
    """Return the words of n texts, as many for each as the longest needs."""
    encoded = [text.encode("utf-8", "surrogatepass").replace(b"\0", _NUL) for text in given]
    width = max(1, -(-max(map(len, encoded), default=0) // _WORD.itemsize))
    _check_width(len(encoded), width)
    words = np.array(encoded, f"S{width * _WORD.itemsize}")
    return words.view(_WORD).reshape(len(encoded), width)


def by_key(key: Integers, label: Callable[[int], str]) -> Words:
    """Return the words of the label of each row's key."""
    present = np.flatnonzero(np.bincount(key))
    words = words_of([label(number) for number in present.tolist()])
    _check_width(len(key), words.shape[1])
    places = np.empty(present[-1] + 1, np.intp)
    places[present] = np.arange(len(present))
    return words.take(places[key], axis=0)


def _check_width(count: int, width: int) -> None:
    if count > 1 and count * width * _WORD.itemsize > _MOST_BYTES:
        raise _TooWideError


def integers(numbers: Integers) -> Words:
    """Return the words of n integers, none of them negative."""
    if numbers.max(initial=0) >= 10**8:
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
    """Return the words of rows of floats, shape (n, m), each written as `one_by_one` does.

    A character, or none, stands before the first of a row, and text before each other one.
    """
    if digits is None and values.dtype == np.float32 and values.size >= _FEW:
        words = _marked(values.ravel(), between[-1], missing)
        if words is not None:
            words = words.reshape(*values.shape, 2)
            words[:, 0, 0] ^= ord(between[-1]) ^ ord(before or "\0")
            if len(between) > 1:
                ahead = np.broadcast_to(words_of([between[:-1]]), (*values.shape, 1)).copy()
                ahead[:, 0] = 0
                words = np.concatenate([ahead, words], axis=2)
            return words.reshape(len(values), -1)
    rows = one_by_one(values, digits, missing)
    return words_of([before + between.join(row) for row in rows])


def joined(
    values: Floats, between: str, digits: int | None = None, missing: str = "nan"
) -> list[str]:
    """Return the text of each row of floats."""

    def parts_of(some: slice) -> list[Words]:
        return [floats(values[some], "", between, digits, missing), words_of(["\n"])]

    text = "".join(rows_of_text(len(values), 2 * values.shape[1] + 1, parts_of))
    return text.split("\n")[:-1]


def texts(values: Floats, digits: int | None = None) -> list[list[str]]:
    """Return the text of each value of an array of shape (n, m)."""
    return texts_with_gaps(values, "nan", digits)


def texts_with_gaps(values: Floats, missing: str, digits: int | None = None) -> list[list[str]]:
    """Return the text of each value, with `missing` in place of NaN."""
    return [line.split() for line in joined(values, " ", digits, missing)]


def one_by_one(values: Floats, digits: int | None = None, missing: str = "nan") -> list[list[str]]:
    """Return the text of each float: the fewest digits that read back the same, nearest to it."""
    if digits is not None:
        rows = [[f"{value:z.{digits}f}" for value in row] for row in values.tolist()]
    elif values.dtype == np.float64:
        rows = [[*map(repr, row)] for row in values.tolist()]
    else:
        rows = values.astype("U").tolist()
    for row, column in np.argwhere(np.isnan(values)).tolist():
        rows[row][column] = missing
    return rows


def _marked(values: Floats, mark: str, missing: str) -> Words | None:
    """Return the two words of each float32 behind a mark; None where one needs more."""
    size = np.abs(values)
    others = np.flatnonzero(~((size > _LEAST) & (size < _MOST)))  # zeros and NaN too
    if (size[others] >= _LONG).any():
        return None
    size[others] = 1
    number, reach, zeros = _shortest(size)
    number[others] = 0
    wide = np.flatnonzero(reach <= _WIDE_DECIMALS)
    # The decimal as an integer of 12 decimals, or 7; then in groups of 1 or 2, 4, 4 and 4 digits.
    ends = np.full(len(size), _DECIMALS, np.uint8)
    ends[wide] = _WIDE_DECIMALS
    whole = number * _POWERS.take(ends - reach)
    unit = np.full(len(size), 1e8)
    unit[wide] = 1e7
    high = (whole / unit).astype(np.int32)
    low = (whole - high * unit).astype(np.int32)
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
    others = others[values[others] != 0]
    if len(others):
        listed = [mark + text for (text,) in one_by_one(values[others, None], None, missing)]
        words[others] = np.array(listed, "S16").view(_WORD).reshape(-1, 2)
    return words


def _shortest(size: Floats) -> tuple[Floats, Bytes, Bytes]:
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
