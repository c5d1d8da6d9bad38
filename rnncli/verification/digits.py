"""The digits of a result: a value is known to half a unit of its last one."""

from collections.abc import Iterator
from math import log
from typing import NamedTuple

import numpy as np

from rnncli.model.arrays import Floats

# Most digits that are looked for: float32 has hardly more.
MOST_DIGITS = 6
# Half a unit of the digits after the point that programs print of float32: eight or seven.
TEXTS = (0.5e-8, 0.5e-7)
# Values that are looked at first.
SAMPLE = 1_000
# Values that happen to be round are less likely than one in a million.
UNLIKELY = log(1e-6)


class Digits(NamedTuple):
    """The digits that all values of a result have, and half a unit of the last one."""

    name: str
    half_units: Floats  # like the result


def find_digits(values: Floats) -> Digits | None:
    """Find the fewest digits that all values have; None if they have all those of their type."""
    if not np.isfinite(values).all():
        return None
    # A few values tell most results that have all digits.
    if values.size > SAMPLE and _find_unit(values.ravel()[:: values.size // SAMPLE]) is None:
        return None
    return _find_unit(values)


def _find_unit(values: Floats) -> Digits | None:
    wide = values.astype(np.float64)
    spacing = np.spacing(np.abs(values)).astype(np.float64)
    tells = wide != np.rint(wide)
    for name, rounded, unit in _round_all(wide):
        same = np.abs(rounded - wide) <= spacing
        if same.all() and np.log(np.minimum(1, spacing / unit))[tells].sum() < UNLIKELY:
            return Digits(name, unit / 2 + spacing)
    return None


def _round_all(values: Floats) -> Iterator[tuple[str, Floats, Floats]]:
    """Round values in every way; yield a name, the result, and its unit at each value."""
    size = np.maximum(np.abs(values), np.finfo(np.float32).tiny)
    magnitude = np.floor(np.log10(size))
    for n in range(1, MOST_DIGITS + 1):
        digits = f"{n} digit{'s' * (n > 1)}"
        for name, unit in (
            (f"{digits} after the point", np.full(values.shape, 10.0**-n)),
            (f"{n} significant digits", 10.0 ** (magnitude - n + 1)),
        ):
            if n > 1 or "after" in name:
                yield name, np.rint(values / unit) * unit, unit


# Explicit mantissa bits of the halves that programs compute in, and the least exponent of each.
HALVES = {"bfloat16": (7, -126), "float16": (10, -14)}


def find_half(values: Floats, digits: Digits | None) -> str | None:
    """Find the kind of half that all values are, as far as their digits tell; None for neither."""
    wide = values.astype(np.float64)
    tells, exact = wide != np.rint(wide), np.spacing(np.abs(values))
    for known in [exact + text for text in TEXTS] if digits is None else [digits.half_units]:
        for kind, (bits, least) in HALVES.items():
            exponent = np.maximum(np.frexp(wide)[1] - 1, least)
            spacing = np.ldexp(1.0, exponent - bits)
            off = np.abs(np.rint(wide / spacing) * spacing - wide)
            likely = np.log(np.minimum(1, 2 * known / spacing))[tells].sum()
            if (off <= known).all() and likely < UNLIKELY:
                return kind
    return None
