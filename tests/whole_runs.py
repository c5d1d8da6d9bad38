"""The largest distance of two right runs of a contracting network, whole."""

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN


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


def contracting(cell: RNN) -> bool:
    """Return whether whole runs can be compared: each step shrinks what differed before it.

    True where the spectral norm of ``W_hh`` is at most 0.9 and the slope of
    the activation at most 1.
    """
    norm = np.linalg.norm(cell.weights.W_hh.astype(np.float64), 2)
    return bool(norm <= 0.9) and cell.activation.slope <= 1 and not cell.activation.jumps


def run_tolerance(hidden_size: int, precision: str) -> float:
    """Return the largest `difference` of two right runs of a contracting network.

    Raises
    ------
    ValueError
        Operands are rounded in this precision: two states a last bit apart
        may then be rounded apart.
    """
    if precision == "float64":
        return 1e-14
    if precision == "float32":
        return 1e-6 if hidden_size < 256 else 2e-6
    raise ValueError(f"nothing is promised of whole runs in {precision}")
