"""Sums that overflow on the way, where an activation or a clip would hide it.

Terms of a sum that pass the largest float make it infinite for good, though others may bring the
whole back: tanh then gives 1 where -1 is right, and no state shows it. So all products of a block
are bounded at once, by ``max |x| sum |W|``. Where that is too large each sum is looked at, and the
states that cannot be trusted become NaN, as those of an overflow that shows.
"""

from collections.abc import Sequence
from math import inf

import numpy as np

from rnncli.engine.unroll.strategy import Strategy
from rnncli.model.arrays import Floats, Truths
from rnncli.model.cells import Arrays, Cell, State

# Shares of the largest float: a block whose bound is over the first is looked at sum by sum, and
# rounding may carry a sum over the second to the end.
BLOCK, SUM = 0.5, 0.99
# By which sums are multiplied, so that float64 holds those that float64 does not.
SCALE = 2.0**-64
# Rows that are looked at together.
ROWS = 4096
# Gates that are from 0 to 1.
GATES = ("sigmoid", "hard_sigmoid")


def largest(values: Floats) -> float:
    """Return the largest size of values; NaN where one is."""
    return max(float(values.max(initial=0)), -float(values.min(initial=0)))


def is_safe(bound: float, dtype: np.dtype[np.floating]) -> bool:
    """Whether no sum up to a bound can overflow."""
    return bound <= BLOCK * float(np.finfo(dtype).max)


def mark_overflow(
    strategy: Strategy, x: Floats, before: Floats, out: State, rest: Sequence[Floats]
) -> None:
    """Set states to NaN from the step on at which a sum may overflow on the way.

    `before` is h before the first step, (N, H); `out` the states at every step, (T, N, size)
    each; `rest` the arrays of the state beside h after the last step, (N, size) each.
    """
    h = out[0]
    of_x, of_h, of_b = strategy.largest_sums
    size = largest(before) + _largest_state(strategy.cell, h)
    if is_safe(largest(x) * of_x + size * of_h + of_b, h.dtype):
        return
    T, N, _ = x.shape
    previous = strategy.precision.operand(np.concatenate([before[None], h[:-1]]))
    wrong = np.zeros(h.shape, bool)
    for start in range(0, T, max(1, ROWS // N)):
        steps = slice(start, start + max(1, ROWS // N))
        flat = (np.concatenate(a[steps]) for a in (x, previous))
        wrong[steps] = _cell_overflows(strategy, *flat).reshape(wrong[steps].shape)
    later: Truths = np.logical_or.accumulate(wrong.any(axis=2), axis=0)[..., None]  # (T, N, 1)
    wrong[1:] |= later[:-1]
    h[wrong & np.isfinite(h)] = np.nan
    for array in out[1:]:
        array[later & np.isfinite(array)] = np.nan
    for array in rest:
        array[later[-1] & np.isfinite(array)] = np.nan


def mark_product(product: Floats, rows: Floats, W: Floats, bound: float) -> None:
    """Set sums of a product to NaN that may overflow; a column of W adds up to `bound` at most."""
    if not is_safe(largest(rows) * bound, W.dtype):
        product[product_overflows(rows, W)] = np.nan


def product_overflows(x: Floats, W: Floats) -> Truths:
    """Return at which rows, (R, K), and columns, (K, O), a product may overflow on the way."""
    return _overflow(*_by_sign(x, W), W.dtype)


def _largest_state(cell: Cell, h: Floats) -> float:
    """Bound h after any step, by what the cell is if that tells."""
    gate = getattr(cell, "recurrent_activation", None)
    if gate is not None and gate.name not in GATES:
        return largest(h) if cell.inner is None else inf
    ends = cell.ends
    return largest(h) if ends is None else max(map(abs, ends))


def _cell_overflows(strategy: Strategy, x: Floats, h: Floats) -> Truths:
    """Find the rows, and the units of h, at which a sum of a cell may overflow, (R, H)."""
    cell = strategy.cell
    W_xh, W_hh, b_h = cell.operands
    W_h = np.concatenate([np.zeros((len(W_hh), cell.operands.first_with_h)), W_hh], axis=1)
    rows, W = np.hstack([x, h, np.ones((len(x), 1))]), np.vstack([W_xh, W_h, b_h])
    of_gates = _overflow(*_by_sign(rows, W), b_h.dtype).reshape(len(x), -1, strategy.H)
    wrong: Truths = np.logical_or.reduce(of_gates, axis=1)
    if cell.inner is not None and len(cell.state_names) == 1:  # of other states h tells nothing
        checked = _Checked()
        x, h = x.astype(np.float64), h.astype(np.float64)
        with np.errstate(all="ignore"):
            sums = x @ W_xh + b_h
            sums[:, cell.operands.first_with_h :] += h @ W_hh
            cell.step(checked, np.split(sums, len(cell.sum_names), axis=1), h)
        wrong |= checked.wrong
    # What is projected is made of all units.
    any_unit: Truths = np.logical_or.reduce(wrong, axis=1, keepdims=True)
    return wrong if wrong.shape == h.shape else np.broadcast_to(any_unit, h.shape)


class _Checked(Arrays):
    """Arrays whose products within a step are checked."""

    wrong: Truths

    def product(self, a: Floats, W: Floats, name: str) -> Floats:
        self.wrong = product_overflows(a, W)
        return super().product(a, W, name)


def _by_sign(rows: Floats, W: Floats) -> tuple[Floats, Floats]:
    """Return the sums of the terms of a product over 0, and of those under 0, times `SCALE`."""
    most = 2 * SCALE * float(np.finfo(W.dtype).max)  # operands may have been rounded to infinity
    rows, W = np.clip(rows.astype(np.float64) * SCALE, -most, most), W.astype(np.float64)
    up, down = np.maximum(rows, 0), np.maximum(-rows, 0)
    W_up, W_down = np.maximum(W, 0), np.maximum(-W, 0)
    return up @ W_up + down @ W_down, up @ W_down + down @ W_up


def _overflow(positive: Floats, negative: Floats, dtype: np.dtype[np.floating]) -> Truths:
    """Return which sums may become infinite on the way, and are not in the end.

    In no order they pass the sum of the terms of either sign.
    """
    limit = SCALE * float(np.finfo(dtype).max)
    finite = np.maximum(positive, negative) <= SUM * limit
    infinite = np.abs(positive - negative) > limit
    infinite &= np.minimum(positive, negative) <= SUM * limit
    return np.asarray(~(finite | infinite))
