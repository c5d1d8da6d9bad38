"""Steps of sequences side by side, some of which may end before others."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import groupby, pairwise

import numpy as np

from rnncli.arrays import Floats, Integers


class Steps:
    """Rows of T steps: of N sequences, or of ever fewer of them, the first ones.

    Parameters
    ----------
    rows : array, shape (T, N, K) or (R, K)
        Step by step.
    counts : sequence of int, optional
        How many rows each step has, falling, where they are (R, K).

    Attributes
    ----------
    N : int
        How many rows the first step has.
    """

    def __init__(self, rows: Floats, counts: Sequence[int] | None = None) -> None:
        self.rows, self.counts = rows, counts
        self.N = rows.shape[1] if counts is None else counts[0]

    def __len__(self) -> int:
        """Count the steps, T."""
        return len(self.rows if self.counts is None else self.counts)

    def __iter__(self) -> Iterator[Floats]:
        """View the rows of each step, (n, K)."""
        if self.counts is None:
            return iter(self.rows)
        return (self.rows[start:stop] for start, stop in pairwise(self._bounds.tolist()))

    def __getitem__(self, steps: slice) -> "Steps":
        """View some steps; none of them is left out in between."""
        if self.counts is None:
            return Steps(self.rows[steps])
        start, stop, _ = steps.indices(len(self))
        rows = slice(*self._bounds[[start, stop]].tolist())
        return Steps(self.rows[rows], self.counts[steps])

    def even(self) -> Iterator[Floats]:
        """View the stretches of steps that have equally many rows, (T, N, K)."""
        if self.counts is None:
            yield self.rows
            return
        start = 0
        for N, equal in groupby(self.counts):
            stop = start + sum(1 for _ in equal)
            yield self[start:stop].rows.reshape(stop - start, N, -1)
            start = stop

    def last(self) -> Floats:
        """Give the last row of each sequence, (N, K)."""
        if self.counts is None:
            end: Floats = self.rows[-1]
            return end
        sequence = np.arange(self.N)
        lengths = np.searchsorted(-np.asarray(self.counts), -sequence, side="left")
        last: Floats = self.rows[self._bounds[lengths - 1] + sequence]
        return last

    @cached_property
    def _bounds(self) -> Integers:
        """Where each step begins among the rows, and where the last one ends."""
        return np.cumsum([0, *(self.counts or ())])
