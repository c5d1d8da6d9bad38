"""How far two runs are from each other."""

import numpy as np

from rnncli.model.arrays import Floats


def difference(a: Floats, b: Floats) -> float:
    """Return the largest distance of two runs, relative to max(1, |b|); infinite if not finite.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"cannot compare shapes {a.shape} and {b.shape}")
    with np.errstate(invalid="ignore"):
        distance = np.abs(a.astype(np.float64) - b) / np.maximum(1, np.abs(b))
    return float(np.where(np.isfinite(distance), distance, np.inf).max(initial=0.0))
