"""Step by step: the two loops of the notebook."""

import numpy as np

from rnncli.engine.precision import Precision
from rnncli.engine.unroll.strategy import Strategy
from rnncli.model.arrays import Floats, contiguous
from rnncli.model.cells import Cell, State

# Numbers in a matrix that OpenBLAS multiplies a vector by in a single thread:
# it starts others from 9,216 (interface/gemv.c).
ONE_THREAD = 8192
# Rows after which it is told that they were run.
TOLD = 128


class Stepwise(Strategy):
    """Two products a step, a row at a time: the reference.

    ``h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``

    The bits of a sequence depend on its own steps and the weights alone:
    not on the batch, on where the steps are cut into blocks, or on the
    number of BLAS threads (on one processor, with one NumPy).

    Source: cell 6 of the notebook; ``SimpleRNNCell`` in Keras.
    """

    def __call__(self, x: Floats, state: State, out: State) -> State:
        """Run T steps, see `Strategy`."""
        (W_xh, W_hh, b_h), first = self.operands, self.operands.first_with_h
        N = x.shape[1]
        every = max(1, TOLD // max(N, 1))
        for t, x_t in enumerate(x):
            sums = row_products(contiguous(x_t), W_xh)
            sums[:, first:] += row_products(self.precision.operand(state[0]), W_hh)
            sums += b_h
            state = self.step(side_by_side(sums, self.H), out[0][t], *state)
            for array, after in zip(out[1:], state[1:], strict=False):
                array[t] = after
            if not (t + 1) % every:
                self.tell(every * N)
        return state

    def product(self, rows: Floats, W: Floats) -> Floats:
        """Multiply rows one by one."""
        return row_products(rows, W)


class Fused(Strategy):
    """One product a step: ``h_t = f([x_t, h_{t-1}] @ [W_xh; W_hh] + b_h)``.

    Source: cell 7 of the notebook.
    """

    def __init__(self, cell: Cell, precision: Precision) -> None:
        super().__init__(cell, precision)
        W_xh, W_hh, _ = self.operands
        self.W = np.concatenate([W_xh, np.pad(W_hh, ((0, 0), (self.operands.first_with_h, 0)))])

    def __call__(self, x: Floats, state: State, out: State) -> State:
        """Run T steps, see `Strategy`."""
        N = x.shape[1]
        every = max(1, TOLD // max(N, 1))
        for t, x_t in enumerate(x):
            x_h = np.concatenate([x_t, self.precision.operand(state[0])], axis=1)
            sums = side_by_side(x_h @ self.W + self.operands.b_h, self.H)
            state = self.step(sums, out[0][t], *state)
            for array, after in zip(out[1:], state[1:], strict=False):
                array[t] = after
            if not (t + 1) % every:
                self.tell(every * N)
        return state


def side_by_side(sums: Floats, H: int) -> Floats:
    """Return sums (N, B * H) as (B, N, H), C-contiguous.

    NumPy's functions may have other last digits for values that are apart.
    """
    return np.ascontiguousarray(sums.reshape(len(sums), -1, H).swapaxes(0, 1))


def row_products(rows: Floats, W: Floats) -> Floats:
    """Multiply each row by a matrix, so that its bits depend on the two alone.

    A product of all rows at once may add in another order than that of a
    single row, so each is multiplied on its own. OpenBLAS cuts a large
    matrix among its threads, and adds in another order at a cut, so the
    matrix goes in pieces that it leaves to one thread.
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
