"""Many numbers as ASCII characters, by array operations: float32s with the fewest digits.

The characters of a number stand in words of four bytes, so that NumPy moves
four of them at a time. Zero bytes fill a word up, and are removed from the
finished text.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats, Integers, Truths

Words = NDArray[np.uint32]

# Between these sizes the float64 arithmetic below is exact.
_LEAST, _MOST = 1e-4, 1e6
# Nine significant digits distinguish any two float32s.
_SIGNIFICANT = 9
# Most digits after the point: three zeros, then nine digits.
_PLACES = 12
_POWERS = 10.0 ** np.arange(_PLACES + 1)
_TENS = 10.0 ** np.arange(-3, 6)
_EXPONENT = 0x7F800000

_WORD = 4
_GROUP = 10**_WORD
_FRACTION = _PLACES // _WORD
# Words for the sign, the whole part and the point: of one digit, or of up to eight.
_NARROW, _WIDE = 1, 4


class _Decimals(NamedTuple):
    """_Decimals ``whole + fraction / 10**places`` of n floats, without their signs.

    Parameters
    ----------
    whole, fraction : arrays of uint32, shape (n,)
    places : array of int, shape (n,)
        Digits after the point, 1 to `_PLACES`.
    found : array of bool, shape (n,)
        Which decimals are valid: those of zeros, and of floats from `_LEAST`
        to `_MOST`.
    """

    whole: Words
    fraction: Words
    places: Integers
    found: Truths


def text_of(parts: Sequence[Words]) -> str:
    """Return the text of n rows, whose parts of shape (n, w) stand side by side."""
    rows: bytes = np.concatenate(parts, axis=1).tobytes()
    return rows.translate(None, b"\0").decode("ascii")


def constants(text: str, count: int) -> Words:
    """Return the words of an ASCII text in each of `count` rows."""
    characters = text.encode("ascii")
    filled = characters.ljust(_words_for(len(characters)) * _WORD, b"\0")
    return np.tile(np.frombuffer(filled, np.uint32), (count, 1))


def integers(numbers: Integers | Words) -> Words:
    """Return the words of integers, shape (n,), none of them negative."""
    groups = _groups_of_four()
    words: list[Words] = []
    rest = numbers
    while not words or rest.any():
        above = rest // _GROUP
        words.append(groups[rest - above * _GROUP + (above > 0) * _GROUP])
        rest = above
    words[0][numbers == 0] = groups[_GROUP] & _last_digits()[-1][1]
    return np.stack(words[::-1], axis=1)


def floats(values: Floats, separator: str) -> Words:
    """Return the words of finite float32s, shape (n, m), with ASCII text between those of a row."""
    flat = np.ascontiguousarray(values).reshape(-1)
    decimals = _shortest(flat)
    narrow = decimals.found.all() and decimals.whole.max(initial=0) < 10
    ahead = _words_for(len(separator) - 1)
    words = np.zeros((len(flat), ahead + (_NARROW if narrow else _WIDE) + _FRACTION), np.uint32)
    characters = words.view(np.uint8)
    start = ahead * _WORD + 1
    _fill_fraction(words[:, -_FRACTION:], decimals)
    if narrow:
        words[:, ahead] = _heads()[decimals.whole + 10 * np.signbit(flat)]
    else:
        characters[:, start] = np.signbit(flat) * ord("-")
        whole = integers(decimals.whole)
        words[:, ahead + _WIDE - 1 - whole.shape[1] : ahead + _WIDE - 1] = whole
        words[:, ahead + _WIDE - 1] = constants(".", 1)
        _fill_others(characters[:, start:], flat, decimals)
    rows = characters.reshape(*values.shape, -1)
    rows[:, 1:, start - len(separator) : start] = np.frombuffer(separator.encode(), np.uint8)
    return words.reshape(len(values), -1)


def _words_for(characters: int) -> int:
    return -(-characters // _WORD)


def _fill_fraction(words: Words, decimals: _Decimals) -> None:
    """Fill in the digits after the point, four a word, from the last one back."""
    groups, shown = _groups_of_four(), _last_digits()
    rest = decimals.fraction
    for word in reversed(range(_FRACTION)):
        above = rest // _GROUP
        words[:, word] = groups[rest - above * _GROUP + _GROUP] & shown[word][decimals.places]
        rest = above


def _fill_others(characters: NDArray[np.uint8], values: Floats, decimals: _Decimals) -> None:
    """Fill in NumPy's own text of the values for which there are no decimals."""
    others = np.flatnonzero(~decimals.found)
    texts = values[others].astype(f"S{characters.shape[1]}")
    characters[others] = texts.view(np.uint8).reshape(len(others), characters.shape[1])


@cache
def _groups_of_four() -> Words:
    """Return words of the digits of 0 to 9999: first without leading zeros, then with them.

    The word of 0 without leading zeros is empty.
    """
    numbers, tens = np.arange(_GROUP)[:, None], np.array([1000, 100, 10, 1])
    digits = (numbers // tens % 10 + ord("0")).astype(np.uint8)
    return np.stack([digits * (numbers >= tens), digits]).view(np.uint32).reshape(-1)


@cache
def _heads() -> Words:
    """Return words of a free byte, sign, digit and point: ``0.`` to ``9.``, ``-0.`` to ``-9.``."""
    heads = [f"\0{sign}{digit}." for sign in "\0-" for digit in range(10)]
    return np.frombuffer("".join(heads).encode(), np.uint32)


@cache
def _last_digits() -> Words:
    """Return masks of the words of a fraction: [:, p] keeps its last p digits.

    The shape is (words, places + 1).
    """
    shown = np.arange(_PLACES) >= _PLACES - np.arange(_PLACES + 1)[:, None]
    return np.ascontiguousarray((shown * np.uint8(255)).view(np.uint32).T)


def _shortest(values: Floats) -> _Decimals:
    """Return the decimals with the fewest digits, and of these the nearest, as NumPy does.

    A decimal reads back as x if it lies within half the spacing of the
    floats around x. There is one that ends in n zeros of nine digits if a
    multiple of ``10**n`` lies between the two bounds.

    Parameters
    ----------
    values : array of float32, shape (n,)
    """
    size = np.abs(values).astype(np.float64)
    zero = size == 0
    found = (size >= _LEAST) & (size < _MOST) | zero
    size[~found | zero] = 1
    places = _places_of_nine_digits(size)
    scale = _POWERS[places]
    binade = (size.astype(np.float32).view(np.uint32) & _EXPONENT).view(np.float32)
    nine, half = size * scale, binade * scale * 2.0**-24
    upper, lower = (nine + half).astype(np.uint32), (nine - half).astype(np.uint32)
    for _ in range(_SIGNIFICANT):
        upper, lower = upper // 10, lower // 10
        shorter = upper > lower
        if not shorter.any():
            break
        places -= shorter
    places = np.maximum(places, 1)
    whole = np.trunc(size)
    fraction = np.rint((size - whole) * _POWERS[places])
    whole[zero] = 0
    return _Decimals(whole.astype(np.uint32), fraction.astype(np.uint32), places, found)


def _places_of_nine_digits(size: NDArray[np.float64]) -> Integers:
    """Return how many places after the point nine significant digits reach."""
    places = np.full(len(size), _PLACES)
    for ten in _TENS[: np.searchsorted(_TENS, size.max(), "right")]:
        places -= size >= ten
    return places
