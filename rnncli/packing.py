"""Sequences of unequal lengths side by side, with nothing between them."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.arrays import Floats, Integers, as_items


class Rectangle(NamedTuple):
    """Packed rows of some steps of some sequences, all of which have these steps.

    Parameters
    ----------
    rows : slice
        Where they stand among all packed rows, step by step.
    steps : slice
        Which steps, counted from 0.
    sequences : slice
    """

    rows: slice
    steps: slice
    sequences: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Give (T, N)."""
        T = self.steps.stop - self.steps.start
        return T, self.sequences.stop - self.sequences.start


class Packing:
    """Where the rows of sequences stand when they are packed.

    The sequences are sorted by length, the longest first, and run in groups
    of neighbours. The rows of a group go step by step: all first steps, then
    all second steps of those that have one, and so on. Those that still run
    are always the first few, and the steps between two ends are a rectangle.

    Source: PyTorch's ``PackedSequence``.

    Parameters
    ----------
    lengths : array of int, shape (N,)
        Number of steps of each sequence, falling.
    side_by_side : int, optional
        Most sequences in a group; all by default.
    """

    def __init__(self, lengths: Integers, side_by_side: int | None = None) -> None:
        self.lengths = lengths
        self._size = side_by_side or max(1, len(lengths))

    @cached_property
    def groups(self) -> list[list[Rectangle]]:
        """Rectangles of each group that has any, in the order of the rows."""
        groups, row = [], 0
        for first in range(0, len(self.lengths), self._size):
            group = _rectangles(self.lengths[first : first + self._size], first, row)
            if group:
                groups.append(group)
                row = group[-1].rows.stop
        return groups

    @property
    def single(self) -> bool:
        """Whether all rows are one rectangle."""
        return len(self.groups) == 1 and len(self.groups[0]) == 1

    def pack(self, x: NDArray[Any], order: Integers | slice) -> NDArray[Any]:
        """Pack the rows of sequences that stand side by side, shape (N, T, K).

        Parameters
        ----------
        x : array, shape (N, T, K)
        order : array of int, shape (N,), or slice
            Where each sequence stands among them.
        """
        N = len(x)
        if N == 1:
            return x[0, : self.lengths[0]]
        rows = np.empty((int(self.lengths.sum()), x.shape[2]), x.dtype)
        numbers = np.arange(N)[order]
        for part in self._rectangles():
            steps = as_items(rows[part.rows]).reshape(part.shape)
            steps[...] = as_items(x)[numbers[part.sequences], part.steps].T
        return rows

    def unpack(self, rows: Floats, T: int, order: Integers | slice) -> Floats:
        """Undo `pack`: zeros stand beyond the end of each sequence."""
        N, K = len(self.lengths), rows.shape[1]
        if self.single and self.groups[0][0].shape == (T, N) and isinstance(order, slice):
            return rows.reshape(T, N, K).swapaxes(0, 1)
        x = np.zeros((N, T, K), rows.dtype)
        numbers = np.arange(N)[order]
        for part in self._rectangles():
            steps = as_items(rows[part.rows]).reshape(part.shape)
            as_items(x)[numbers[part.sequences], part.steps] = steps.T
        return x

    def places(self, starts: Integers) -> Integers:
        """Where each packed row stood, for sequences that stood one after the other.

        Parameters
        ----------
        starts : array of int, shape (N,)
            The row of each sequence's first step.
        """
        t, n = self._steps_and_sequences
        return np.asarray(starts[n] + t)

    def reversed(self, rows: Floats) -> Floats:
        """Turn every sequence of packed rows around; again, and they are as before."""
        if self.single:
            steps = rows.reshape(*self.groups[0][0].shape, rows.shape[1])
            return np.ascontiguousarray(steps[::-1]).reshape(rows.shape)
        t, n = self._steps_and_sequences
        starts = self.lengths.cumsum() - self.lengths
        place = np.empty(len(t), np.intp)  # of each step of each sequence, one after the other
        place[starts[n] + t] = np.arange(len(t))
        turned: Floats = rows[place[starts[n] + self.lengths[n] - 1 - t]]
        return turned

    def _rectangles(self) -> Sequence[Rectangle]:
        return [part for group in self.groups for part in group]

    @cached_property
    def _steps_and_sequences(self) -> tuple[Integers, Integers]:
        """Step and sequence of every packed row."""
        t = np.empty(int(self.lengths.sum()), np.intp)
        n = np.empty_like(t)
        for part in self._rectangles():
            t[part.rows].reshape(part.shape)[...] = _counted(part.steps)[:, None]
            n[part.rows].reshape(part.shape)[...] = _counted(part.sequences)
        return t, n


def _rectangles(lengths: Integers, first: int, row: int) -> list[Rectangle]:
    """Cut a group into rectangles, from sequence `first` and packed row `row` on."""
    rectangles = []
    begin = 0
    for end, running in _ends(lengths):
        if end > begin:
            stop = row + (end - begin) * running
            rectangles.append(
                Rectangle(slice(row, stop), slice(begin, end), slice(first, first + running))
            )
            row, begin = stop, end
    return rectangles


def _ends(lengths: Integers) -> list[tuple[int, int]]:
    """Lengths there are, the shortest first, and how many sequences are that long."""
    longest, shortest = int(lengths[0]), int(lengths[-1])
    if longest == shortest:
        return [(longest, len(lengths))]
    ends, counts = np.unique(lengths, return_counts=True)
    running = len(lengths) - counts.cumsum() + counts
    return list(zip(ends.tolist(), running.tolist(), strict=True))


def _counted(part: slice) -> Integers:
    return np.arange(part.start, part.stop)
