"""The error of each step: right or wrong, however far whole runs are apart.

Networks that do not forget amplify rounding, so that two right programs
end far apart. Each single step can still be judged: it is taken from the
states that the same output gives for the step before.
"""

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN
from rnncli.verify import reference


def step_errors(cell: RNN, x: Floats, h0: Floats, h: Floats, precision: str = "float32") -> Floats:
    """Error of every state as a share of what rounding explains.

    Row h_t is compared with one float64 step from x_t and the h_{t-1} of the
    same output. The bound is that of a sum of I + H + 1 products in any
    order, each operation off by half a unit of the last place (Higham
    (2002), "Accuracy and Stability of Numerical Algorithms", section 3.1),
    doubled, times the steepest slope of the activation where that is over 1,
    and a few units for the activation itself::

        slope (I + H + 4) eps (|x_t| @ |W_xh| + |h_{t-1}| @ |W_hh| + |b_h|)
            + 4 eps max(1, |h_t|)

    Where an activation jumps, a sum that far off may fall on the other side:
    the state on either side is right.

    Parameters
    ----------
    cell : RNN
    x : array, shape (T, I)
    h0 : array, shape (H,)
    h : array, shape (T, H)
        The output to judge, in the order in which the cell went.
    precision : str
        What it was computed in: eps, and the rounding of operands.

    Returns
    -------
    array of float64, shape (T, H)
        Up to 1 is right; infinite where `h` is not finite.
    """
    before = np.concatenate([h0[None], h[:-1]])[: len(h)]  # (T, H): h_{t-1}
    return row_errors(cell, x, before, h, precision)


def row_errors(cell: RNN, x: Floats, before: Floats, h: Floats, precision: str) -> Floats:
    """Give the `step_errors` of steps in any order, each with its x_t, h_{t-1} and h_t."""
    with np.errstate(invalid="ignore", over="ignore"):
        sums = reference.sums(cell, x, before, precision)
        off = _rounding(cell, x, before, precision)
        sides = [sums - off, sums, sums + off] if cell.activation.jumps else [sums]
        distance = np.min([np.abs(h - reference.activate(cell, side)) for side in sides], axis=0)
        eps = float(np.finfo(PRECISIONS[precision].dtype).eps)
        bound = max(1, cell.activation.slope) * off + 4 * eps * np.maximum(1, np.abs(h))
        share = distance / bound
    return np.where(np.isfinite(share), share, np.inf)


def _rounding(cell: RNN, x: Floats, before: Floats, precision: str) -> Floats:
    """How far a sum may be off."""
    W_xh, W_hh, b_h = (np.abs(array).astype(np.float64) for array in cell.weights)
    terms = np.abs(x.astype(np.float64)) @ W_xh + np.abs(before.astype(np.float64)) @ W_hh + b_h
    eps = float(np.finfo(PRECISIONS[precision].dtype).eps)
    return np.asarray((len(W_xh) + len(W_hh) + 4) * eps * terms)
