"""Step by step, one product a step."""

import numpy as np

from rnncli.arrays import Floats
from rnncli.cells import activate
from rnncli.network import Cell
from rnncli.precision import Precision
from rnncli.steps import Steps
from rnncli.unroll.blocks import blocks, cached_steps
from rnncli.unroll.products import product


def fused(cell: Cell, x: Steps, h0: Floats, precision: Precision, out: Steps) -> None:
    """One product a step, of the concatenations.

    ``h_t = f([x_t, 1, h_{t-1}] @ [W_xh; b_h; W_hh])``

    All rows ``[x_t, 1, h_{t-1}]`` of a block lie in one array. A step writes
    its state into the next row, so nothing is copied to concatenate, and the
    column of ones adds the bias within the product.

    Source: cell 7 of the notebook.
    """
    stacked = np.concatenate([cell.weights.W_xh, cell.weights.b_h[None], cell.weights.W_hh])
    for x_even, out_even in zip(x.even(), out.even(), strict=True):
        _run(cell, stacked, x_even, h0[: x_even.shape[1]], precision, out_even)
        h0 = out_even[-1]


def _run(
    cell: Cell, stacked: Floats, x: Floats, h0: Floats, precision: Precision, out: Floats
) -> None:
    """Run steps that have all sequences: x is (T, N, I), `stacked` (I+1+H, H)."""
    f = activate(cell)
    T, N, I = x.shape
    multiply = product if N > 1 else np.ndarray.dot  # of a single row it is the quicker call
    total = np.empty_like(h0)
    for steps in blocks(T, cached_steps(N * len(stacked))):
        states = out[steps]
        rows = np.empty((len(states) + 1, N, len(stacked)), h0.dtype)
        rows[:-1, :, :I] = x[steps]
        rows[:, :, I] = 1
        operands = rows[:, :, I + 1 :]  # (steps + 1, N, H): row t holds h_{t-1}
        operands[0] = precision.operand(h0)
        if precision.rounds:
            for row, h_t, operand in zip(rows, states, operands[1:], strict=False):
                multiply(row, stacked, total)
                f(total, h_t)
                operand[...] = precision.operand(h_t)
        else:
            for row, h_t in zip(rows, operands[1:], strict=False):
                multiply(row, stacked, total)
                f(total, h_t)
            states[...] = operands[1:]
        h0 = states[-1]
