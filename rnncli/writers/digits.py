"""Numbers as text."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from rnncli.arrays import Floats

Integers = NDArray[np.int64]

# Floats between these, and zeros, are turned into text together, see `_together`.
_LEAST, _MOST = 1e-4, 10.0
# A float32 is told from all others by nine significant digits.
_SIGNIFICANT = 9
# Four leading zeros and nine digits, filled up to whole groups of four.
_PLACES = 16
# Sign, digit, point and places; NumPy's text of any float32 is shorter.
_WIDTH = 3 + _PLACES
# Values whose intermediate arrays stay in the cache.
_CACHED = 8192
# Fewer values are sooner done one by one.
_FEW = 200
_POWERS = 10 ** np.arange(_PLACES + 1, dtype=np.int64)


def texts(values: Floats, digits: int | None = None) -> list[list[str]]:
    """Text of each value in an array of shape (n, m).

    Parameters
    ----------
    values : array
        Finite floats.
    digits : int, optional
        Digits after the point. By default the shortest text that reads back
        to the same float of the array's own type.
    """
    if values.shape[1] == 0:
        return [[] for _ in values]
    return [row.split(",") for row in joined(values, ",", digits)]


def joined(values: Floats, separator: str, digits: int | None = None) -> list[str]:
    """Text of each row in an array of shape (n, m), its values joined.

    Parameters
    ----------
    values, digits
        As for `texts`.
    separator : str
        ASCII text between two values.
    """
    if digits is not None:
        return [separator.join(f"{v:z.{digits}f}" for v in row) for row in values.tolist()]
    if values.dtype != np.float32 or values.size < _FEW:
        return [separator.join(row) for row in values.astype("U").tolist()]
    ends = [separator.encode()] * (values.shape[1] - 1) + [b"\n"]
    tails = np.array(ends).view(np.uint8).reshape(values.shape[1], -1)
    characters = np.empty((*values.shape, _WIDTH + tails.shape[1]), np.uint8)
    characters[..., _WIDTH:] = tails
    flat, cells = values.reshape(-1), characters.reshape(values.size, -1)[:, :_WIDTH]
    for start in range(0, len(flat), _CACHED):
        _together(flat[start : start + _CACHED], cells[start : start + _CACHED])
    text: bytes = characters[characters != 0].tobytes()
    return text.decode("ascii").splitlines()


def array_text(values: Floats, digits: int | None = None) -> str:
    """Give a JSON array of the values in an array of shape (m,)."""
    return f"[{joined(values[None], ', ', digits)[0]}]"


def _together(values: Floats, cells: NDArray[np.uint8]) -> None:
    """Fill in the characters of n float32 values, shape (n, w), and zero bytes for none.

    NumPy's own conversion takes three times as long, value by value. Those
    out of the range that states have are left to it.
    """
    size = np.abs(values.astype(np.float64))
    others = ~((size >= _LEAST) & (size < _MOST) | (size == 0))
    size[others] = 0
    number, places = _shortest(size)
    whole, fraction = np.divmod(number, _POWERS[places])
    cells[:, 0] = np.where(np.signbit(values), ord("-"), 0)
    cells[:, 1] = whole + ord("0")
    cells[:, 2] = ord(".")
    fraction *= _POWERS[_PLACES - places]
    groups = _groups_of_four()
    for end in range(3 + _PLACES, 3, -4):
        fraction, four = np.divmod(fraction, 10_000)
        cells[:, end - 4 : end] = groups[four].view(np.uint8).reshape(-1, 4)
    cells[:, 3:] *= np.arange(_PLACES) < places[:, None]
    if others.any():
        cells[others] = values[others].astype(f"S{_WIDTH}").view(np.uint8).reshape(-1, _WIDTH)


@cache
def _groups_of_four() -> NDArray[np.uint32]:
    """Characters of 0000 to 9999, four in a word; made when first needed."""
    return np.array([b"%04d" % n for n in range(10_000)]).view(np.uint32)


def _shortest(size: NDArray[np.float64]) -> tuple[Integers, Integers]:
    """Decimal ``number / 10**places`` of the fewest digits that reads back as the float32.

    Parameters
    ----------
    size : array
        Float32 values as float64, each zero or in the range of `_together`.
    """
    leading = (size < 1).astype(np.int64)
    for bound in (0.1, 0.01, 0.001):
        leading += size < bound
    places = leading + (_SIGNIFICANT - 1)
    number = np.rint(size * _POWERS[places]).astype(np.int64)
    rest = np.arange(len(size))  # those that one digit less may do for
    for digits in range(_SIGNIFICANT - 1, 0, -1):
        fewer = leading[rest] + (digits - 1)
        power = _POWERS[fewer]
        shorter = np.rint(size[rest] * power)
        same = (shorter / power).astype(np.float32) == size[rest].astype(np.float32)
        rest = rest[same]
        if not len(rest):
            break
        number[rest], places[rest] = shorter[same].astype(np.int64), fewer[same]
    return _plain(number, places)


def _plain(number: Integers, places: Integers) -> tuple[Integers, Integers]:
    """Leave at least one digit after the point, and no zero after that."""
    whole = places == 0
    number, places = np.where(whole, number * 10, number), np.where(whole, 1, places)
    trailing = (number % 10 == 0) & (places > 1)
    while trailing.any():
        number, places = np.where(trailing, number // 10, number), places - trailing
        trailing = (number % 10 == 0) & (places > 1)
    return number, places
