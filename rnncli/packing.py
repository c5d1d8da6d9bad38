"""Sequences of unequal lengths side by side, with nothing between them."""

from functools import cached_property
from itertools import groupby, pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.arrays import Floats, Integers, as_items
from rnncli.lanes import shares
from rnncli.steps import Steps

# Some of the sequences of a batch: neighbours, or where each stands.
Sequences: TypeAlias = slice | Integers


# Steps of a rectangle that is worth running by itself.
LONG = 64


class Rectangle(NamedTuple):
    """Packed rows of some steps of the first few sequences, all of which have these steps.

    Parameters
    ----------
    rows : slice
        Where they stand among all packed rows, step by step.
    steps : slice
        Which steps, counted from 0.
    N : int
        How many sequences.
    """

    rows: slice
    steps: slice
    N: int

    @property
    def shape(self) -> tuple[int, int]:
        """Give (T, N)."""
        return self.steps.stop - self.steps.start, self.N


class Packing:
    """Where the rows of sequences stand when they are packed.

    The sequences are sorted by length, the longest first. Their rows go step
    by step: all first steps, then all second steps of those that have one,
    and so on. Those that still run are always the first few, and the steps
    between two ends are a rectangle.

    Packed rows are an array of shape (R, K), or (T, N, K) where all N
    sequences have T steps.

    Source: PyTorch's ``PackedSequence``.

    Parameters
    ----------
    lengths : array of int, shape (N,)
        Number of steps of each sequence, falling.

    Attributes
    ----------
    rectangles : list of Rectangle
        In the order of the rows.
    single : bool
        Whether all rows are one rectangle, of all sequences.
    """

    def __init__(self, lengths: Integers) -> None:
        self.lengths = lengths
        self.rectangles = _rectangles(lengths)
        self.single = len(self.rectangles) == 1 and len(lengths) == self.rectangles[0].N

    def cut(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        """View packed rows as rectangles, shape (T, N, K) each."""
        if self.single:
            return [rows.reshape(*self.rectangles[0].shape, rows.shape[-1])]
        return [rows[part.rows].reshape(*part.shape, rows.shape[-1]) for part in self.rectangles]

    def stretches(self, rows: Floats) -> list[Steps]:
        """View packed rows as steps to run: long rectangles alone, short ones together."""
        if self.single:
            return [Steps(self.cut(rows)[0])]
        return [_steps(rows, parts) for parts in self._stretches]

    @cached_property
    def _stretches(self) -> list[list[Rectangle]]:
        """Rectangles of each stretch."""
        return [
            [part for _, part in numbered]
            for _, numbered in groupby(enumerate(self.rectangles), _alone)
        ]

    def pack(self, x: NDArray[Any], sequences: Sequences) -> NDArray[Any]:
        """Pack the rows of some sequences of a batch, shape (N, T, K).

        Neighbours of one length are a view of it.
        """
        if self.single and isinstance(sequences, slice):
            return x[sequences, self.rectangles[0].steps].swapaxes(0, 1)
        rows = np.empty((int(self.lengths.sum()), x.shape[2]), x.dtype)
        batch = as_items(x)
        for part, steps in zip(self.rectangles, self.cut(rows), strict=True):
            as_items(steps)[...] = batch[_first(sequences, part.N), part.steps].T
        return rows

    def unpack(self, rows: Floats, x: Floats, sequences: Sequences) -> None:
        """Undo `pack`: put the rows where they stand in a batch, shape (N, T, K)."""
        batch = as_items(x)
        for part, steps in zip(self.rectangles, self.cut(rows), strict=True):
            batch[_first(sequences, part.N), part.steps] = as_items(steps).T

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
            return np.ascontiguousarray(self.cut(rows)[0][::-1]).reshape(rows.shape)
        t, n = self._steps_and_sequences
        starts = self.lengths.cumsum() - self.lengths
        place = np.empty(len(t), np.intp)  # of each step of each sequence, one after the other
        place[starts[n] + t] = np.arange(len(t))
        turned: Floats = rows[place[starts[n] + self.lengths[n] - 1 - t]]
        return turned

    @cached_property
    def _steps_and_sequences(self) -> tuple[Integers, Integers]:
        """Step and sequence of every packed row."""
        t = np.empty(int(self.lengths.sum()), np.intp)
        n = np.empty_like(t)
        for part in self.rectangles:
            steps = np.arange(part.steps.start, part.steps.stop)
            t[part.rows].reshape(part.shape)[...] = steps[:, None]
            n[part.rows].reshape(part.shape)[...] = np.arange(part.N)
        return t, n


def by_length(lengths: Integers, parts: int) -> list[Sequences]:
    """Cut a batch into parts of equally many steps, sequences of like lengths together.

    Parameters
    ----------
    lengths : array of int, shape (N,)
    parts : int
        How many; fewer where a part would have no sequence.

    Returns
    -------
    list of slices or arrays of int
        The sequences of each part, the longest first.
    """
    N = len(lengths)
    if (lengths == lengths[:1]).all():
        return list(shares(N, parts))
    order = np.argsort(-lengths, kind="stable")
    # One more a sequence, so that those of no steps are counted too.
    done = (lengths[order] + 1).cumsum()
    ends = done[-1] * np.arange(1, parts) / parts
    edges = [0, *np.searchsorted(done, ends).tolist(), N]
    return [order[start:stop] for start, stop in pairwise(edges) if start < stop]


def _steps(rows: Floats, parts: list[Rectangle]) -> Steps:
    """View the packed rows of one rectangle, or of several that follow each other."""
    first, *more = parts
    if not more:
        return Steps(rows[first.rows].reshape(*first.shape, rows.shape[1]))
    counts = [part.N for part in parts for _ in range(part.shape[0])]
    return Steps(rows[first.rows.start : parts[-1].rows.stop], counts)


def _alone(numbered: tuple[int, Rectangle]) -> int:
    """Tell rectangles apart that are run by themselves; -1 for those that are not."""
    number, part = numbered
    return number if part.shape[0] >= LONG else -1


def _first(sequences: Sequences, N: int) -> Sequences:
    """Take the first N of some sequences."""
    if isinstance(sequences, slice):
        return slice(sequences.start, sequences.start + N)
    return sequences[:N]


def _rectangles(lengths: Integers) -> list[Rectangle]:
    """Cut the packed rows of sequences into rectangles, from end to end."""
    rectangles = []
    row = begin = 0
    for end, running in _ends(lengths):
        if end > begin:
            stop = row + (end - begin) * running
            rectangles.append(Rectangle(slice(row, stop), slice(begin, end), running))
            row, begin = stop, end
    return rectangles


def _ends(lengths: Integers) -> list[tuple[int, int]]:
    """Lengths there are, the shortest first, and how many sequences are that long."""
    longest, shortest = int(lengths[0]), int(lengths[-1])
    if longest == shortest:
        return [(longest, len(lengths))]
    last = np.append(np.flatnonzero(lengths[1:] != lengths[:-1]), len(lengths) - 1)[::-1]
    return list(zip(lengths[last].tolist(), (last + 1).tolist(), strict=True))
