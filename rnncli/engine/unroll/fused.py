"""Step by step, one product a step."""

from collections.abc import Callable

import numpy as np

from rnncli.engine.batch import Finals, Steps
from rnncli.engine.precision import Precision
from rnncli.engine.threads import blocks, product_of
from rnncli.engine.unroll.projected import cached_steps, spread
from rnncli.engine.unroll.sums import blocks_first, combined, empty_sums, multiplication
from rnncli.model.arrays import Floats, as_items
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
    size = min(len(x), cached_steps(x.N * sum(map(len, cell.operands[:2]))))
    advance = fusing(cell, size, x.N, precision)
    for x_even, out_even in zip(x.even(), out.even(), strict=True):
        state = finals.running(state, x_even.shape[1])
        for steps in blocks(len(x_even), size):
            state = advance(x_even[steps], state, out_even[steps])
    return finals.all(state)


def fusing(cell: Cell, steps: int, N: int, precision: Precision) -> Callable[..., State]:
    """Return a function that runs a block: at most so many steps, of at most N rows.

    ``advance(x, state, out)`` takes arrays (T, n, I), of any strides and with
    n in any number of axes, and (T, n, H), and the state's arrays (n, size).
    """
    W_xh, W_hh, b_h = cell.operands
    width = len(b_h) - W_hh.shape[1]  # of the sums without the state's product
    stacked = np.concatenate([W_xh[:, width:], b_h[None, width:], W_hh])
    rows = np.empty((steps + 1, N, len(stacked)), b_h.dtype)
    make = _run_one_sum if cell.sums_alone else _run_blocks
    run = make(cell, stacked, N, precision)
    I = len(W_xh)

    def advance(x: Floats, state: State, out: Floats) -> State:
        T, n = out.shape[:2]
        block = rows[: T + 1, :n]
        if N == 1:
            block[:-1, :, :I] = x.reshape(T, n, I)
        else:
            spread(x, block[:-1, :, :I])
        block[:, :, I] = 1
        operands = block[:, :, I + 1 :]  # (T + 1, n, H): row t holds h_{t-1}
        operands[0] = precision.operand(state[0])
        others = run(block[:-1], operands[1:], state, out)
        return (out[-1], *others)

    return advance


def _run_one_sum(cell: Cell, stacked: Floats, N: int, precision: Precision) -> Callable[..., State]:
    """Return what runs rows of a cell that is a function of its one sum."""
    multiply, combine = product_of(N, stacked), combined(cell, N, precision)
    whole = np.empty((N, stacked.shape[1]), stacked.dtype)

    def run(rows: Floats, operands: Floats, _state: State, out: Floats) -> State:
        total = whole[: rows.shape[1]]
        if precision.rounds:
            for row, h_t, operand in zip(rows, out, operands, strict=True):
                multiply(row, stacked, total)
                combine(total, h_t)
                operand[...] = precision.operand(h_t)
        else:
            for row, h_t in zip(rows, operands, strict=True):
                multiply(row, stacked, total)
                combine(total, h_t)
            out[...] = operands
        return ()

    return run


def _run_blocks(cell: Cell, stacked: Floats, N: int, precision: Precision) -> Callable[..., State]:
    """Return what runs rows of a cell with several sums."""
    W_xh, W_hh, b_h = cell.operands
    width, H, I = len(b_h) - W_hh.shape[1], cell.hidden_size, len(W_xh)
    before = width // H
    projection = np.concatenate([W_xh[:, :width], b_h[None, :width]])
    whole, combine = empty_sums(cell, N), combined(cell, N, precision)
    multiply = multiplication(stacked, whole[before:])

    def run(rows: Floats, operands: Floats, state: State, out: Floats) -> State:
        sums = whole if rows.shape[1] == N else whole[:, : rows.shape[1]]
        apart = sums[:before]
        projected = rows
        if before:
            inputs = rows.reshape(-1, rows.shape[2])[:, : I + 1]
            projected = blocks_first((inputs @ projection).reshape(*rows.shape[:2], width), H)
        if precision.rounds or len(sums[0]) > 1:
            items = as_items(operands)
            for row, a_t, h_t, operand in zip(rows, projected, out, items, strict=True):
                multiply(row)
                if before:
                    apart[...] = a_t
                state = combine(sums, h_t, *state)
                operand[...] = as_items(precision.operand(h_t))
        else:
            for row, a_t, h_t in zip(rows, projected, operands, strict=True):
                multiply(row)
                if before:
                    apart[...] = a_t
                state = combine(sums, h_t, *state)
            out[...] = operands
        return state[1:]

    return run
