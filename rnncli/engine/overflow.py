"""Sums that overflow on the way, where an activation or a clip would hide it.

Terms of a sum that pass the largest float make it infinite for good, though others may bring the
whole back: tanh then gives 1 where -1 is right, and no state shows it. So all products of a block
are bounded at once, by ``max |x| sum |W|``. Where that is too large each sum is looked at, and the
states that cannot be trusted become NaN, as those of an overflow that shows.
"""

from collections.abc import Sequence

import numpy as np

from rnncli.engine.unroll.strategy import Strategy
from rnncli.model.arrays import Floats, Truths
from rnncli.model.cells import Arrays, Cell, State

# Rounding may carry a sum over this share of the largest float to the end.
SUM = 0.99
# By which sums are multiplied, so that float64 holds those that float64 does not.
SCALE = 2.0**-64
# Rows that are looked at together.
ROWS = 4096


def mark_states(
    strategy: Strategy, x: Floats, before: Floats, out: State, rest: Sequence[Floats]
) -> None:
    """Set states to NaN from the step on at which a sum may overflow on the way.

    `before` is h before the first step, (N, H); `out` the states at every step, (T, N, size)
    each; `rest` the arrays of the state beside h after the last step, (N, size) each.
    """
    h, (T, N, _), size = out[0], x.shape, max(1, ROWS // x.shape[1])
    previous = strategy.precision.operand(np.concatenate([before[None], h[:-1]]))
    wrong = np.zeros(h.shape, bool)
    for start in range(0, T, size):
        steps = slice(start, start + size)
        rows = (np.concatenate(array[steps]) for array in (x, previous))
        wrong[steps] = _find_units(strategy.cell, *rows).reshape(-1, N, h.shape[2])
    later: Truths = np.logical_or.accumulate(wrong.any(axis=2), axis=0)[..., None]  # (T, N, 1)
    wrong[1:] |= later[:-1]
    marked = [wrong, *[later] * len(out[1:]), *[later[-1]] * len(rest)]
    for array, where in zip((*out, *rest), marked, strict=True):
        array[where & np.isfinite(array)] = np.nan


def _find_units(cell: Cell, x: Floats, h: Floats) -> Truths:
    """Find the rows, and the units of h, at which a sum of a cell may overflow, (R, H)."""
    W_xh, W_hh, b_h = operands = cell.operands
    W_h = np.pad(W_hh, ((0, 0), (operands.first_with_h, 0)))
    rows, W = np.hstack([x, h, np.ones((len(x), 1))]), np.vstack([W_xh, W_h, b_h])
    wrong = np.asarray(find_sums(rows, W).reshape(len(x), -1, cell.hidden_size).any(axis=1))
    if cell.inner is not None and len(cell.state_names) == 1:  # of other states h tells nothing

        def multiply(a: Floats, W: Floats) -> Floats:
            wrong[...] |= find_sums(a, W)
            return np.asarray(a @ W)

        with np.errstate(all="ignore"):
            sums = np.split(rows @ W.astype(np.float64), len(cell.sum_names), axis=1)
            cell.step(Arrays(multiply), sums, h.astype(np.float64))
    # What is projected is made of all units.
    any_unit = wrong.any(axis=1, keepdims=True)
    return wrong if wrong.shape == h.shape else np.broadcast_to(any_unit, h.shape)


def find_sums(rows: Floats, W: Floats) -> Truths:
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
