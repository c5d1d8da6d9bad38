"""One time step of each kind of cell."""

import numpy as np

from rnncli.network import Floats, Weights
from rnncli.precision import Precision

# Numbers in a matrix that OpenBLAS multiplies a vector by in a single thread:
# it starts others from 9,216 (interface/gemv.c).
ONE_THREAD = 8192


def elman(weights: Weights, x: Floats, h: Floats, precision: Precision) -> Floats:
    """One step of the recurrent network of Elman (1990).

    ``h_t = tanh(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``

    Parameters
    ----------
    weights : Weights
        As ``precision.prepare`` gives them.
    x : array, shape (N, I)
        Input at this step, rounded as an operand.
    h : array, shape (N, H)
        Hidden state of the step before.
    precision : Precision
        Gives the rounding of `h` as an operand.

    Returns
    -------
    array, shape (N, H)
        Hidden state after this step.
    """
    from_input = row_products(x, weights.W_xh)
    from_state = row_products(precision.operand(h), weights.W_hh)
    h_t: Floats = np.tanh(from_input + from_state + weights.b_h)
    return h_t


def row_products(rows: Floats, W: Floats) -> Floats:
    """Multiply each row by a matrix, so that its bits depend on the two alone.

    A product of all rows at once may add in another order than that of a
    single row, so each is multiplied on its own. OpenBLAS cuts a large
    matrix among its threads, and what stands at a cut is added in another
    order too, so the matrix goes in pieces that it leaves to one thread.

    Parameters
    ----------
    rows : array, shape (N, K)
    W : array, shape (K, H)
        C-contiguous.

    Returns
    -------
    array, shape (N, H)
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
