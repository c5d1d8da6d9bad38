"""The whole state of a cell at every step, of which a strategy keeps h alone."""

from typing import Any

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell, Combine, Multiplier, State


class Watched:
    """A cell that keeps what its state holds beside h, for a strategy that goes in order.

    A strategy takes a cell's every step by `combine`. Where it takes each
    once, in the order of the packed rows, so does what is kept.

    Parameters
    ----------
    cell : Cell
    rows : tuple of int
        (R,) or (T, N): how many rows the strategy runs over.
    dtype : numpy.dtype

    Attributes
    ----------
    kept : tuple of arrays, shape (*rows, size) each
        The arrays of the state beside h, after every step.
    """

    def __init__(self, cell: Cell, rows: tuple[int, ...], dtype: np.dtype[np.floating]) -> None:
        self._cell, self._taken = cell, 0
        self.kept: State = tuple(np.empty((*rows, size), dtype) for size in cell.state_sizes[1:])
        self._flat = [array.reshape(-1, array.shape[-1]) for array in self.kept]

    def __getattr__(self, name: str) -> Any:
        """Return whatever else the cell has."""
        return getattr(self._cell, name)

    def combine(self, multiplier: Multiplier) -> Combine:
        """Return the cell's own step, which here also keeps the state."""
        combine = self._cell.combine(multiplier)
        if not self.kept:
            return combine

        def step(sums: Floats, out: Floats, *state: Floats) -> State:
            after: State = combine(sums, out, *state)
            rows = slice(self._taken, self._taken + len(out))
            for array, of_all in zip(after[1:], self._flat, strict=True):
                of_all[rows] = array
            self._taken = rows.stop
            return after

        return step
