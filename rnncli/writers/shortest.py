"""The shortest decimals that read back as the same float32s."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats, Integers, Truths

Words = NDArray[np.uint32]

# Between these sizes the float64 arithmetic below is exact.
LEAST, MOST = 1e-4, 1e6
# Nine significant digits distinguish any two float32s.
_SIGNIFICANT = 9
# Most digits after the point: three zeros, then nine digits.
PLACES = 12
_POWERS = 10.0 ** np.arange(PLACES + 1)
_TENS = 10.0 ** np.arange(-3, 6)
_EXPONENT = 0x7F800000


class Decimals(NamedTuple):
    """Decimals ``whole + fraction / 10**places`` of n floats, without their signs.

    Parameters
    ----------
    whole, fraction : arrays of uint32, shape (n,)
    places : array of int, shape (n,)
        Digits after the point, 1 to `PLACES`.
    found : array of bool, shape (n,)
        Which decimals are valid: those of zeros, and of floats from `LEAST`
        to `MOST`.
    """

    whole: Words
    fraction: Words
    places: Integers
    found: Truths


def shortest(values: Floats) -> Decimals:
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
    found = (size >= LEAST) & (size < MOST) | zero
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
    return Decimals(whole.astype(np.uint32), fraction.astype(np.uint32), places, found)


def _places_of_nine_digits(size: NDArray[np.float64]) -> Integers:
    """Return how many places after the point nine significant digits reach."""
    places = np.full(len(size), PLACES)
    for ten in _TENS[: np.searchsorted(_TENS, size.max(), "right")]:
        places -= size >= ten
    return places
