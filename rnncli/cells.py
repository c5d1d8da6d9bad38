"""One time step of each kind of cell."""

from collections.abc import Callable
from math import isinf
from typing import Any, TypeAlias

import numpy as np

from rnncli.arrays import Floats
from rnncli.network import Cell
from rnncli.precision import Precision

Step: TypeAlias = Callable[[Floats, Floats], Floats]

# Numbers in a matrix that OpenBLAS multiplies a vector by in a single thread:
# it starts others from 9,216 (interface/gemv.c).
ONE_THREAD = 8192


def elman(cell: Cell, precision: Precision) -> Step:
    """One step of the recurrent network of Elman (1990), as a function.

    ``h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``

    Parameters
    ----------
    cell : Cell
        As ``precision.prepare`` gives it.
    precision : Precision
        Gives the rounding of h as an operand.

    Returns
    -------
    callable
        ``step(x, h)``: x is the input at this step, shape (N, I), rounded
        as an operand; h the hidden state of the step before, shape (N, H).
        Gives the hidden state after this step, (N, H).
    """
    weights, f = cell.weights, activate(cell)

    def step(x: Floats, h: Floats) -> Floats:
        from_input = row_products(x, weights.W_xh)
        from_state = row_products(precision.operand(h), weights.W_hh)
        sums: Floats = from_input + from_state + weights.b_h
        f(sums, sums)
        return sums

    return step


def activate(cell: Cell) -> Callable[[Floats, Floats], Any]:
    """Give ``f(a, out)``: a cell's clip and activation, from the sums to the states.

    `out` may be the array of the sums itself.
    """
    f, clip = cell.activation.function(), cell.clip
    if isinf(clip):
        return f

    def clipped(a: Floats, out: Floats) -> None:
        np.maximum(a, -clip, out=out)
        np.minimum(out, clip, out=out)
        f(out, out)

    return clipped


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
