"""The base of the strategies."""

from collections.abc import Callable
from functools import cached_property

import numpy as np

from rnncli.engine.precision import Precision
from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell, State


class Strategy:
    """A way to run a cell, with its weights in a precision, over T steps."""

    rows = 0  # of the whole batch, and those that the stream has had before
    # Called with the number of rows that were run since the last call, where steps take long.
    tell: Callable[[int], object] = staticmethod(lambda _rows: None)

    def __init__(self, cell: Cell, precision: Precision) -> None:
        self.cell, self.precision, self.H = cell, precision, cell.hidden_size
        self.operands, self.step = cell.in_place(lambda a, W: self.product(precision.operand(a), W))

    @cached_property
    def largest_sums(self) -> tuple[float, float, float]:
        """The largest size of a sum of inputs of 1, of one of states of 1, and of a bias."""
        W_xh, W_hh, b_h = self.cell.operands
        W_hh = W_hh if self.cell.inner is None else np.hstack([W_hh, self.cell.inner])
        return largest_sum(W_xh), largest_sum(W_hh), float(np.abs(b_h).max())

    def __call__(self, x: Floats, state: State, out: State) -> State:
        """Run T steps and return the state after them.

        The inputs `x`, (T, N, I), are rounded as operands, of any strides. The arrays of `state`,
        (N, size), beside h may be overwritten. `out`, (T, N, size), takes h of every step, and any
        number of the other arrays; the rows of a step are C-contiguous.
        """
        raise NotImplementedError

    def product(self, rows: Floats, W: Floats) -> Floats:
        """Multiply rows by a matrix."""
        return np.asarray(rows @ W)


def largest_sum(W: Floats) -> float:
    """Return the largest sum of the sizes of a column."""
    return float(np.abs(W).sum(axis=0, dtype=np.float64).max(initial=0))
