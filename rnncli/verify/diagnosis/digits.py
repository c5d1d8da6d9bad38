"""Fewer digits."""

from collections.abc import Iterator

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.verify.diagnosis.attempt import Explanation

# Digits after the point that states are looked at for; more are those of float32 itself.
_MOST_DIGITS = 6


def fewer_digits(ours: Floats, theirs: Floats) -> Iterator[Explanation]:
    """Tell states that are right but for digits that were left out."""
    if ours.shape != theirs.shape:
        return
    difference = float(np.abs(ours.astype(np.float64) - theirs).max())
    for digits in range(1, _MOST_DIGITS + 1):
        # Half a unit of the last digit, and what the float type itself rounds.
        if difference <= 0.5001 * 10.0**-digits and _has_digits(theirs, digits):
            yield Explanation(f"rounding to {digits} digits after the point", difference)
            return
    if (theirs.astype(np.float16) == theirs).all() and (ours.astype(np.float16) == theirs).all():
        yield Explanation("rounding to float16", difference)


def _has_digits(values: Floats, digits: int) -> bool:
    rounded = np.round(values.astype(np.float64), digits).astype(values.dtype)
    return bool((rounded == values).all())
