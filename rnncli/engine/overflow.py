"""Sums that overflow on the way, where an activation or a clip would hide it.

Terms of a sum that pass the largest float make it infinite for good, though others may bring the
whole back: tanh then gives 1 where -1 is right, and no state shows it. So all products of a block
are bounded at once, by ``max |x| sum |W|``. Where that is too large each sum is looked at, and the
states that cannot be trusted become NaN, as those of an overflow that shows.
"""

from collections.abc import Sequence
from math import inf

import numpy as np

from rnncli.engine.batch import Steps
from rnncli.engine.precision import Precision
from rnncli.model.activations import Activation, clipped
from rnncli.model.arrays import Floats, Truths
from rnncli.model.cells import Cell, State

# Shares of the largest float: a block whose bound is over the first is looked at sum by sum, and
# rounding may carry a sum over the second to the end.
BLOCK, SUM = 0.5, 0.99
# By which sums are multiplied, so that float64 holds those that float64 does not.
SCALE = 2.0**-64
# Rows that are looked at together.
ROWS = 4096
# Gates that are from 0 to 1.
SHARES = ("sigmoid", "hard_sigmoid")


def largest(values: Floats) -> float:
    """Return the largest size of values; NaN where one is."""
    return max(float(values.max(initial=0)), -float(values.min(initial=0)))


def largest_sum(W: Floats) -> float:
    """Return the largest sum of the sizes of a column."""
    return float(np.abs(W).sum(axis=0, dtype=np.float64).max(initial=0))


def is_safe(bound: float, dtype: np.dtype[np.floating]) -> bool:
    """Whether no sum up to a bound can overflow."""
    return bound <= BLOCK * float(np.finfo(dtype).max)


def mark_overflow(
    cell: Cell,
    precision: Precision,
    x: Steps,
    before: Floats,
    rows: Sequence[Steps],
    after: State,
) -> None:
    """Make the states of sequences NaN from the step on at which a sum may overflow on the way."""
    h = rows[0].rows
    W_xh, W_hh, b_h = cell.largest_sums
    of_h = largest(before) + _largest_state(cell, h)
    if is_safe(largest(x.rows) * W_xh + of_h * W_hh + b_h, h.dtype):
        return
    counts = np.array(x.batch_sizes or [x.N] * len(x))
    t, n = np.repeat(np.arange(len(x)), counts), np.concatenate([*map(np.arange, counts)])
    flat_x, flat_h = x.rows.reshape(len(t), -1), h.reshape(len(t), -1)
    # Row r of a step t follows row r - N_{t-1}, N_{t-1} being the rows of the step before.
    source = np.arange(len(t)) + x.N - np.r_[x.N, counts[:-1]][t]
    operands = precision.operand(np.concatenate([before, flat_h]))
    wrong = np.zeros(flat_h.shape, bool)
    for start in range(0, len(t), ROWS):
        some = slice(start, start + ROWS)
        wrong[some] = _cell_overflows(cell, flat_x[some], operands[source[some]])
    if not wrong.any():
        return
    first = np.full(x.N, len(x))
    np.minimum.at(first, n[wrong.any(axis=1)], t[wrong.any(axis=1)])
    wrong |= (t > first[n])[:, None]
    _set_nan(h, wrong)
    for other in rows[1:]:
        _set_nan(other.rows, np.repeat((t >= first[n])[:, None], other.rows.shape[-1], axis=1))
    for array in after:
        _set_nan(array, np.repeat((first < len(x))[:, None], array.shape[1], axis=1))


def product_overflows(x: Floats, W: Floats) -> Truths:
    """Return at which rows, (R, K), and columns, (K, O), a product may overflow on the way."""
    return _overflow(*_by_sign(x, W), W.dtype)


def _largest_state(cell: Cell, h: Floats) -> float:
    """Bound h after any step, by what the cell is if that tells."""
    gate = cell.settings.get("recurrent_activation")
    if gate is not None and gate.name not in SHARES:
        return largest(h) if cell.inner is None else inf
    return largest(h) if cell.ends is None else max(map(abs, cell.ends))


def _cell_overflows(cell: Cell, x: Floats, h: Floats) -> Truths:
    """Return at which rows, and in which units of h, a sum of a cell may overflow, (R, H)."""
    W_xh, W_hh, b_h = cell.operands
    before = len(b_h) - W_hh.shape[1]  # sums without the state's product
    W_h = np.concatenate([np.zeros((len(W_hh), before)), W_hh], axis=1)
    rows, W = np.hstack([x, h, np.ones((len(x), 1))]), np.vstack([W_xh, W_h, b_h])
    positive, negative = _by_sign(rows, W)
    of_gates = _overflow(positive, negative, b_h.dtype).reshape(len(x), -1, cell.hidden_size)
    wrong = np.logical_or.reduce(of_gates, axis=1)
    if cell.inner is not None:
        sums = ((positive - negative) / SCALE).reshape(len(x), -1, cell.hidden_size)
        operand = cell.inner_operand(_applied, list(sums.swapaxes(0, 1)), h.astype(np.float64))
        wrong |= product_overflows(operand, cell.inner)
    # What is projected is made of all units.
    return wrong if wrong.shape == h.shape else np.broadcast_to(wrong.any(axis=1)[:, None], h.shape)


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


def _applied(f: Activation, a: Floats, clip: float) -> Floats:
    """Apply an activation to values that are limited first."""
    out = np.empty_like(a)
    clipped(f, clip)(a, out)
    return out


def _set_nan(array: Floats, wrong: Truths) -> None:
    """Make the finite values of some rows and units NaN."""
    array[wrong.reshape(array.shape) & np.isfinite(array)] = np.nan
