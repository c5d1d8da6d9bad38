"""Sums that overflow on the way, where an activation or a clip would hide it.

Terms of a sum that pass the largest float make it infinite for good, though others may bring the
whole back: tanh then gives 1 where -1 is right, and no state shows it. So all products of a block
are bounded at once, by ``max |x| sum |W|``. Where that is too large each sum is looked at, and the
states that cannot be trusted become NaN, as those of an overflow that shows.
"""

from collections.abc import Sequence

import numpy as np

from rnncli.engine.unroll.strategy import SAFE, largest_sum
from rnncli.model.arrays import Floats, Truths, largest
from rnncli.model.cells import Cell, State

# Rounding may carry a sum over this share of the largest float to the end.
SUM = 0.99
# By which sums are multiplied, so that float64 holds those that float64 does not.
SCALE = 2.0**-64
# Rows that are looked at together.
ROWS = 4096


def mark_states(
    cell: Cell, x: Floats, previous: Floats, out: State, rest: Sequence[Floats]
) -> None:
    """Set states (T, N, size), and the `rest` after them, to NaN from an overflow on."""
    W_xh, W_hh, b_h = operands = cell.operands
    first, (h, *others), N = operands.first_with_h, out, x.shape[1]
    inner = np.zeros_like(W_xh[:1, :first]) if cell.inner is None else cell.inner
    W_h = np.hstack([np.broadcast_to(inner, (len(W_hh), first)), W_hh])
    W = np.vstack([W_xh, W_h, b_h])
    for start in range(0, len(x), size := max(1, ROWS // N)):
        steps = slice(start, start + size)
        rows = np.concatenate([x[steps], previous[steps], np.ones_like(x[steps, :, :1])], axis=2)
        wrong = _find_sums(rows.reshape(-1, len(W)), W).reshape(len(rows), N, -1, cell.hidden_size)
        wrong = wrong.any(axis=2)
        for n in np.flatnonzero(wrong.any(axis=(0, 2))):
            t = start + int(wrong[:, n].any(axis=1).argmax())
            units = wrong[t - start, n]
            if len(units) != h.shape[2]:  # what is projected is made of all units
                units = np.ones(h.shape[2], bool)
            after = [
                h[t + 1 :, n],
                *(array[t:, n] for array in others),
                *(each[n] for each in rest),
            ]
            for array in after:
                array[np.isfinite(array)] = np.nan
            h[t, n, units & np.isfinite(h[t, n])] = np.nan


def mark_sums(rows: Floats, W: Floats, product: Floats) -> None:
    """Set the sums of ``rows @ W`` to NaN that may overflow on the way."""
    if not largest(rows) * largest_sum(W) <= SAFE * float(np.finfo(W.dtype).max):
        product[_find_sums(rows, W)] = np.nan


def _find_sums(rows: Floats, W: Floats) -> Truths:
    """Find the sums of a product that may become infinite on the way, and are not in the end.

    In no order they pass the sum of the terms over 0, or of those under 0.
    """
    limit = SCALE * float(np.finfo(W.dtype).max)
    # Operands may have been rounded to infinity.
    rows = np.clip(rows.astype(np.float64) * SCALE, -2 * limit, 2 * limit)
    up, down, W = np.maximum(rows, 0), np.maximum(-rows, 0), W.astype(np.float64)
    W_up, W_down = np.maximum(W, 0), np.maximum(-W, 0)
    positive, negative = up @ W_up + down @ W_down, up @ W_down + down @ W_up
    finite = np.maximum(positive, negative) <= SUM * limit
    infinite = np.abs(positive - negative) > limit
    infinite &= np.minimum(positive, negative) <= SUM * limit
    return np.asarray(~(finite | infinite))
