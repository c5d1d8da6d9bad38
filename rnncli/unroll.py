"""Strategies that run one cell over T steps.

Every strategy has one signature, ``strategy(cell, x, h0, precision)``, and
time-major arrays, so that a step is one contiguous piece: `x` is (T, N, I)
and rounded as an operand, `h0` is (N, H), and the result is (T, N, H). The
cell is as ``precision.prepare`` gives it.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from rnncli.arrays import Floats
from rnncli.cells import activate, elman
from rnncli.network import Cell
from rnncli.precision import Precision

Strategy: TypeAlias = Callable[[Cell, Floats, Floats, Precision], Floats]


def stepwise(cell: Cell, x: Floats, h0: Floats, precision: Precision) -> Floats:
    """Two products a step, a row at a time: the reference.

    ``h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``

    The bits of a sequence depend on its own steps and the weights alone:
    not on the batch, on where the steps are cut into blocks, or on the
    number of BLAS threads (on one processor, with one NumPy).

    Source: cell 6 of the notebook; ``SimpleRNNCell`` in Keras.
    """
    step = elman(cell, precision)
    h = np.empty((len(x), *h0.shape), h0.dtype)
    h_t = h0
    for t, x_t in enumerate(x):
        h_t = h[t] = step(x_t, h_t)
    return h


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


def projected(cell: Cell, x: Floats, h0: Floats, precision: Precision) -> Floats:
    """All input projections in one product, then one product a step.

    ``a = x @ W_xh + b_h``, then ``h_t = f(a_t + h_{t-1} @ W_hh)``

    Source: Appleyard et al. (2016), arXiv:1604.01946, section 3.2; what
    cuDNN and PyTorch do.
    """
    weights, f = cell.weights, activate(cell)
    T, N, I = x.shape
    h = (x.reshape(T * N, I) @ weights.W_xh + weights.b_h).reshape(T, *h0.shape)
    from_state = np.empty_like(h0)
    before = h0
    for h_t in h:
        np.dot(precision.operand(before), weights.W_hh, out=from_state)
        np.add(h_t, from_state, out=h_t)
        f(h_t, h_t)
        before = h_t
    return h


def fastest(cell: Cell, x: Floats, h0: Floats, precision: Precision) -> Floats:
    """Take the strategy that is measured as the fastest for N, I and H.

    One call a step less makes `fused` the fastest for a single sequence,
    until so many inputs are worth a product of their own. In a batch
    `projected` is, unless the inputs are few beside the units.

    T does not enter: a stream cut into blocks of any length is computed by
    one strategy throughout.
    """
    N, I, H = x.shape[1], *cell.weights.W_xh.shape
    strategy = fused if (I <= 64 if N == 1 else 16 * I <= H) else projected
    return strategy(cell, x, h0, precision)


UNROLLS = {"stepwise": stepwise, "fused": fused, "projected": projected}
