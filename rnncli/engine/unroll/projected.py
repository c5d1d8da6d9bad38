"""Step by step, after the inputs of many steps have been multiplied at once."""

from collections.abc import Callable, Iterator

import numpy as np

from rnncli.engine.precision import Precision
from rnncli.engine.threads import ahead, leaves_processors
from rnncli.engine.unroll.strategy import Strategy
from rnncli.model.arrays import Floats, as_items
from rnncli.model.cells import Cell, State

# Sums of a block that stay in the cache, and fewest steps of a block.
SUMS_IN_CACHE, STEPS = 65_536, 4
# Multiplications of an input from which BLAS takes longest: of so many rows at once it takes a
# fifth less, and another thread projects the next block (it takes 80 us to start).
LARGE, ROWS = 20_000, 1024


class Projected(Strategy):
    """All input projections of a block in one product, then one product a step.

    ``a = x @ W_xh + b_h``, then ``h_t = f(a_t + h_{t-1} @ W_hh)``

    A block is as many steps as stay in the cache.

    Source: Appleyard et al. (2016), arXiv:1604.01946, section 3.2; what
    cuDNN and PyTorch do.
    """

    def __init__(self, cell: Cell, precision: Precision) -> None:
        super().__init__(cell, precision)
        W_xh, self.W_hh, b_h = self.operands
        # A column of ones adds the biases within the product, and keeps it from having a single
        # input, which NumPy multiplies without BLAS, ten times as slowly.
        self.W_xh = np.concatenate([W_xh, b_h[None]])  # (I + 1, B * H)
        # Of several rows each block of columns is a product of its own, so that its sums are
        # contiguous: the functions of the gates are up to three times as fast.
        self.blocks_xh, self.blocks_hh = (_blocks(W, self.H) for W in (self.W_xh, self.W_hh))

    def __call__(self, x: Floats, state: State, out: State) -> State:
        """Run T steps, see `Strategy`."""
        N, B, C = x.shape[1], len(self.blocks_xh), len(self.blocks_hh)
        u: Floats = np.empty((C, N, self.H), self.W_hh.dtype)
        multiply: Callable[..., Floats] = np.matmul
        W, products = self.blocks_hh, u
        if N == 1 or C == 1:
            multiply, W, products = np.ndarray.dot, self.W_hh, u.reshape(N, -1)
        add, step, rounds, operand = (
            np.add,
            self.step,
            self.precision.rounds,
            self.precision.operand,
        )
        t = 0
        for a in self._projections(x):
            for a_t, h_t in zip(a, out[0][t : t + len(a)], strict=True):
                multiply(operand(state[0]) if rounds else state[0], W, products)
                sums = a_t if B == C else a_t[B - C :]
                add(sums, u, sums)
                state = step(a_t, h_t, *state)
                for array, after in zip(out[1:], state[1:], strict=False):
                    array[t] = after
                t += 1
            self.tell(len(a) * N)
        return state

    def _projections(self, x: Floats) -> Iterator[Floats]:
        """Yield ``[x, 1] @ [W_xh; b_h]`` block by block, (steps, B, N, H)."""
        T, N, _ = x.shape
        size, large = SUMS_IN_CACHE // (N * max(self.W_xh.shape)), self.W_xh.size >= LARGE
        size = max(1, min(T, max(size, STEPS, ROWS // N if large else 0)))
        projections = (self._project(x[start : start + size]) for start in range(0, T, size))
        wide = large and size < T and leaves_processors(self.W_xh.size)
        return ahead(projections) if wide else projections

    def _project(self, x: Floats) -> Floats:
        T, N, I = x.shape
        rows = np.ones((T * N, I + 1), self.W_xh.dtype)
        # NumPy is faster at gathering rows into one piece and then spreading that.
        as_items(rows[:, :I])[...] = np.ascontiguousarray(as_items(x)).reshape(-1)
        if N == 1:
            return np.asarray(rows @ self.W_xh).reshape(T, -1, 1, self.H)
        return np.asarray(rows @ self.blocks_xh).reshape(-1, T, N, self.H).swapaxes(0, 1)


def _blocks(W: Floats, H: int) -> Floats:
    """Return the columns of W, B blocks of H, as (B, rows, H)."""
    return np.ascontiguousarray(W.reshape(len(W), -1, H).swapaxes(0, 1))
