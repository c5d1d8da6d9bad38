"""Step by step, one product a step."""

import numpy as np

from rnncli.engine.batch import Finals, Steps
from rnncli.engine.precision import Precision
from rnncli.engine.threads import blocks, product_of
from rnncli.engine.unroll.projected import cached_steps
from rnncli.engine.unroll.sums import blocks_first, combined, empty_sums, multiplication
from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell, State


def fused(cell: Cell, x: Steps, state: State, precision: Precision, out: Steps) -> State:
    """One product a step, of the concatenations.

    ``h_t = f([x_t, 1, h_{t-1}] @ [W_xh; b_h; W_hh])``

    All rows ``[x_t, 1, h_{t-1}]`` of a block lie in one array. A step writes
    its state into the next row, so nothing is copied to concatenate, and the
    column of ones adds the bias within the product. Sums without the state's
    product are projected for all steps of the block.

    Source: cell 7 of the notebook.
    """
    finals = Finals(state)
    run = _run_one_sum if cell.sums_alone else _run_blocks
    for x_even, out_even in zip(x.even(), out.even(), strict=True):
        state = finals.running(state, x_even.shape[1])
        state = run(cell, x_even, state, precision, out_even)
    return finals.all(state)


def _rows(x: Floats, stacked: Floats, h: Floats) -> Floats:
    """Return rows [x_t, 1, h_{t-1}] of T steps and one more, the first of which has its h."""
    T, N, I = x.shape
    rows = np.empty((T + 1, N, len(stacked)), h.dtype)
    rows[:-1, :, :I] = x
    rows[:, :, I] = 1
    rows[0, :, I + 1 :] = h
    return rows


def _run_one_sum(cell: Cell, x: Floats, state: State, precision: Precision, out: Floats) -> State:
    """Run steps (T, N, I) of a cell that is a function of its one sum."""
    T, N, I = x.shape
    W_xh, W_hh, b_h = cell.operands()
    stacked = np.concatenate([W_xh, b_h[None], W_hh])
    multiply, combine = product_of(N, stacked), combined(cell, N, precision)
    (h,) = state
    total = np.empty((N, stacked.shape[1]), h.dtype)
    for steps in blocks(T, cached_steps(N * max(stacked.shape))):
        states = out[steps]
        rows = _rows(x[steps], stacked, precision.operand(h))
        operands = rows[1:, :, I + 1 :]  # (steps, N, H): h_t of each
        if precision.rounds:
            for row, h_t, operand in zip(rows[:-1], states, operands, strict=True):
                multiply(row, stacked, total)
                combine(total, h_t)
                operand[...] = precision.operand(h_t)
        else:
            for row, h_t in zip(rows[:-1], operands, strict=True):
                multiply(row, stacked, total)
                combine(total, h_t)
            states[...] = operands
        h = states[-1]
    return (h,)


def _run_blocks(cell: Cell, x: Floats, state: State, precision: Precision, out: Floats) -> State:
    """Run steps (T, N, I) of a cell with several sums."""
    T, N, I = x.shape
    W_xh, W_hh, b_h = cell.operands()
    width = len(b_h) - W_hh.shape[1]  # of the sums without the state's product
    stacked = np.concatenate([W_xh[:, width:], b_h[None, width:], W_hh])
    projection = np.concatenate([W_xh[:, :width], b_h[None, :width]])
    sums, combine = empty_sums(cell, N), combined(cell, N, precision)
    before = width // cell.hidden_size
    multiply = multiplication(stacked, sums[before:])
    for steps in blocks(T, cached_steps(N * max(stacked.shape))):
        states = out[steps]
        rows = _rows(x[steps], stacked, precision.operand(state[0]))
        operands = rows[1:, :, I + 1 :]
        projected = blocks_first(rows[:-1, :, : I + 1] @ projection, cell.hidden_size)
        for row, a_t, h_t, operand in zip(rows[:-1], projected, states, operands, strict=True):
            multiply(row)
            if before:
                sums[:before] = a_t
            state = combine(sums, h_t, *state)
            operand[...] = precision.operand(h_t)
    return state
