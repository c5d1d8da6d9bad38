"""Step by step: the two loops of the notebook."""

import numpy as np

from rnncli.engine.batch import Finals, Steps
from rnncli.engine.precision import Precision
from rnncli.engine.unroll.sums import blocks_first, combined
from rnncli.model.arrays import Floats, contiguous
from rnncli.model.cells import Cell, State

# Numbers in a matrix that OpenBLAS multiplies a vector by in a single thread:
# it starts others from 9,216 (interface/gemv.c).
ONE_THREAD = 8192


def stepwise(cell: Cell, x: Steps, state: State, precision: Precision, out: Steps) -> State:
    """Two products a step, a row at a time: the reference.

    ``h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``

    The bits of a sequence depend on its own steps and the weights alone:
    not on the batch, on where the steps are cut into blocks, or on the
    number of BLAS threads (on one processor, with one NumPy).

    Source: cell 6 of the notebook; ``SimpleRNNCell`` in Keras.
    """
    W_xh, W_hh, b_h = cell.operands
    before = len(b_h) - W_hh.shape[1]  # sums without the state's product
    combine = cell.combine(lambda W: lambda h: row_products(precision.operand(h), W))
    finals = Finals(state)
    for x_t, h_t in zip(x, out, strict=True):
        state = finals.running(state, len(x_t))
        sums = row_products(contiguous(x_t), W_xh)
        sums[:, before:] += row_products(precision.operand(state[0]), W_hh)
        sums += b_h
        if cell.sums_alone:
            combine(sums, h_t)
            state = (h_t,)
        else:
            # NumPy's functions may have other last digits for values that are apart.
            each = contiguous(blocks_first(sums, cell.hidden_size))
            state = combine(each, h_t, *state)
    return finals.all(state)


def fused(cell: Cell, x: Steps, state: State, precision: Precision, out: Steps) -> State:
    """One product a step, of the concatenations: ``h_t = f([x_t, h_{t-1}] @ [W_xh; W_hh] + b_h)``.

    Source: cell 7 of the notebook.
    """
    W_xh, W_hh, b_h = cell.operands
    before = len(b_h) - W_hh.shape[1]  # sums without the state's product
    stacked = np.concatenate([W_xh, np.pad(W_hh, ((0, 0), (before, 0)))])
    combine, finals = combined(cell, x.N, precision), Finals(state)
    for x_t, h_t in zip(x, out, strict=True):
        state = finals.running(state, len(x_t))
        sums = np.concatenate([x_t, precision.operand(state[0])], axis=1) @ stacked + b_h
        if cell.sums_alone:
            combine(sums, h_t)
            state = (h_t,)
        else:
            state = combine(contiguous(blocks_first(sums, cell.hidden_size)), h_t, *state)
    return finals.all(state)


def row_products(rows: Floats, W: Floats) -> Floats:
    """Multiply each row by a matrix, so that its bits depend on the two alone.

    A product of all rows at once may add in another order than that of a
    single row, so each is multiplied on its own. OpenBLAS cuts a large
    matrix among its threads, and what stands at a cut is added in another
    order too, so the matrix goes in pieces that it leaves to one thread.
    """
    K, H = W.shape
    if H > ONE_THREAD:
        halves = (row_products(rows, half) for half in np.array_split(W, 2, axis=1))
        return np.concatenate(list(halves), axis=1)
    rows = rows[:, None]  # (N, 1, K): a row product for each of N
    if K * H <= ONE_THREAD:
        return (rows @ W)[:, 0]
    height = ONE_THREAD // H
    total = rows[:, :, :height] @ W[:height]  # (N, 1, H)
    for start in range(height, K, height):
        stop = start + height
        total += rows[:, :, start:stop] @ W[start:stop]
    return total[:, 0]
