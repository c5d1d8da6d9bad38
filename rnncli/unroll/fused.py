"""Step by step, one product a step."""

import numpy as np

from rnncli.arrays import Floats
from rnncli.cells import activate
from rnncli.network import Cell
from rnncli.precision import Precision


def fused(cell: Cell, x: Floats, h0: Floats, precision: Precision) -> Floats:
    """One product a step, of the concatenations.

    ``h_t = f([x_t, 1, h_{t-1}] @ [W_xh; b_h; W_hh])``

    All rows ``[x_t, 1, h_{t-1}]`` lie in one array. A step writes its state
    into the next row, so nothing is copied to concatenate, and the column
    of ones adds the bias within the product.

    Source: cell 7 of the notebook.
    """
    weights, f = cell.weights, activate(cell)
    T, N, I = x.shape
    stacked = np.concatenate([weights.W_xh, weights.b_h[None], weights.W_hh])  # (I+1+H, H)
    rows = np.empty((T + 1, N, len(stacked)), h0.dtype)
    rows[:T, :, :I] = x
    rows[:, :, I] = 1
    operands = rows[:, :, I + 1 :]  # (T+1, N, H): row t holds h_{t-1}
    operands[0] = precision.operand(h0)
    h = np.empty((T, N, h0.shape[1]), h0.dtype) if precision.rounds else operands[1:]
    total = np.empty_like(h0)
    for row, h_t, operand in zip(rows, h, operands[1:], strict=False):
        np.dot(row, stacked, out=total)
        f(total, h_t)
        if precision.rounds:
            operand[...] = precision.operand(h_t)
    return h
