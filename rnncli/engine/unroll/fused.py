"""Step by step, one product a step."""

import numpy as np

from rnncli.engine.batch import Finals, Steps
from rnncli.engine.precision import Precision
from rnncli.engine.threads import blocks, product_of
from rnncli.engine.unroll.projected import cached_steps, projected
from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell, Combine, State


def fused(cell: Cell, x: Steps, state: State, precision: Precision, out: Steps) -> State:
    """One product a step, of the concatenations.

    ``h_t = f([x_t, 1, h_{t-1}] @ [W_xh; b_h; W_hh])``

    All rows ``[x_t, 1, h_{t-1}]`` of a block lie in one array. A step writes
    its state into the next row, so nothing is copied to concatenate, and the
    column of ones adds the bias within the product. A cell whose gates are
    not one sum runs as `projected`.

    Source: cell 7 of the notebook.
    """
    combine = cell.combine()
    if combine is None:
        return projected(cell, x, state, precision, out)
    stacked = np.concatenate([cell.weights.W_xh, cell.weights.b_h[None], cell.weights.W_hh])
    finals = Finals(state)
    for x_even, out_even in zip(x.even(), out.even(), strict=True):
        state = finals.running(state, x_even.shape[1])
        state = _loop(combine, stacked, x_even, state, precision, out_even)
    return finals.all(state)


def _loop(
    combine: Combine, stacked: Floats, x: Floats, state: State, precision: Precision, out: Floats
) -> State:
    """Run steps that have all sequences: x is (T, N, I), `stacked` (I+1+H, gates H)."""
    T, N, I = x.shape
    multiply = product_of(N, stacked)
    h, *others = state
    total = np.empty((N, stacked.shape[1]), h.dtype)
    for steps in blocks(T, cached_steps(N * max(stacked.shape))):
        states = out[steps]
        rows = np.empty((len(states) + 1, N, len(stacked)), h.dtype)
        rows[:-1, :, :I] = x[steps]
        rows[:, :, I] = 1
        operands = rows[:, :, I + 1 :]  # (steps + 1, N, H): row t holds h_{t-1}
        operands[0] = precision.operand(h)
        if precision.rounds or others:
            for row, h_t, operand in zip(rows[:-1], states, operands[1:], strict=True):
                multiply(row, stacked, total)
                combined = combine(total, h_t, *others)
                others = list(combined) if others else others
                operand[...] = precision.operand(h_t)
        else:
            for row, h_t in zip(rows[:-1], operands[1:], strict=True):
                multiply(row, stacked, total)
                combine(total, h_t)
            states[...] = operands[1:]
        h = states[-1]
    return (h, *others)
