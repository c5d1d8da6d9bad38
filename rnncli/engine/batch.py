"""Sequences of unequal lengths side by side, with nothing between them."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.engine.threads import shares
from rnncli.model.arrays import Floats, Integers, as_items
from rnncli.model.cells import State

# Some of the sequences of a batch: neighbours, or where each stands.
Sequences: TypeAlias = slice | Integers


# Consecutive steps of one batch size that are worth running by themselves.
LONG = 64


class Steps:
    """Rows of T steps of N sequences, of which some may end before others.

    As in PyTorch's ``PackedSequence``, the longest sequences stand first and
    ``batch_sizes`` is how many have each step.

    Parameters
    ----------
    rows : array, shape (T, N, K) or (R, K)
        Step by step.
    batch_sizes : sequence of int, optional
        How many rows each step has, falling, where they are (R, K).

    Attributes
    ----------
    N : int
        How many rows the first step has.
    """

    def __init__(self, rows: Floats, batch_sizes: Sequence[int] | None = None) -> None:
        self.rows, self.batch_sizes = rows, batch_sizes
        self.N = rows.shape[1] if batch_sizes is None else batch_sizes[0]

    def __len__(self) -> int:
        """Count the steps, T."""
        return len(self.rows if self.batch_sizes is None else self.batch_sizes)

    def __iter__(self) -> Iterator[Floats]:
        """View the rows of each step, (n, K)."""
        if self.batch_sizes is None:
            return iter(self.rows)
        return (self.rows[start:stop] for start, stop in pairwise(self._bounds.tolist()))

    def __getitem__(self, steps: slice) -> "Steps":
        """View some steps; none of them is left out in between."""
        if self.batch_sizes is None:
            return Steps(self.rows[steps])
        start, stop, _ = steps.indices(len(self))
        rows = slice(*self._bounds[[start, stop]].tolist())
        return Steps(self.rows[rows], self.batch_sizes[steps])

    def like(self, rows: Floats) -> "Steps":
        """View other rows, (R, K), as the same steps."""
        if self.batch_sizes is None:
            return Steps(rows.reshape(*self.rows.shape[:-1], rows.shape[-1]))
        return Steps(rows, self.batch_sizes)

    def even(self) -> list[Floats]:
        """View each run of steps that have equally many rows, (T, N, K)."""
        if self.batch_sizes is None:
            return [self.rows]
        parts, start = [], 0
        for N, equal in groupby(self.batch_sizes):
            stop = start + sum(1 for _ in equal)
            parts.append(self[start:stop].rows.reshape(stop - start, N, -1))
            start = stop
        return parts

    @cached_property
    def _bounds(self) -> Integers:
        """Where each step begins among the rows, and where the last one ends."""
        return np.cumsum([0, *(self.batch_sizes or ())])


class Finals:
    """The final states of sequences that run side by side.

    Parameters
    ----------
    state : tuple of arrays, shape (N, size) each
        Before the first step.
    """

    def __init__(self, state: State) -> None:
        self._start = state
        self._finals: State = ()

    def running(self, state: State, n: int) -> State:
        """Return the state of the first n sequences; the others have ended with theirs."""
        if n == len(state[0]):
            return state
        self._keep(state, n)
        return tuple(array[:n] for array in state)

    def all(self, state: State) -> State:
        """Return the final states of all, of which `state` is that of the longest."""
        if not self._finals:
            return state
        self._keep(state, 0)
        return self._finals

    def _keep(self, state: State, n: int) -> None:
        self._finals = self._finals or tuple(map(np.empty_like, self._start))
        for final, array in zip(self._finals, state, strict=True):
            final[n : len(array)] = array[n:]


class EqualSteps(NamedTuple):
    """Packed rows of consecutive steps that have the same batch size.

    Parameters
    ----------
    rows : slice
        Where they stand among all packed rows, step by step.
    steps : slice
        Which steps, counted from 0.
    N : int
        How many sequences have them: the first ones.
    """

    rows: slice
    steps: slice
    N: int

    @property
    def shape(self) -> tuple[int, int]:
        """T and N."""
        return self.steps.stop - self.steps.start, self.N


class Packing:
    """Where the rows of sequences stand when they are packed.

    The sequences are sorted by length, the longest first. Their rows go step
    by step: all first steps, then all second steps of those that have one,
    and so on. Those that still run are always the first few. Between two
    ends all steps have the same batch size.

    Packed rows are an array of shape (R, K), or (T, N, K) where all N
    sequences have T steps.

    Source: PyTorch's ``PackedSequence``.

    Parameters
    ----------
    lengths : array of int, shape (N,)
        Number of steps of each sequence, falling.

    Attributes
    ----------
    steps : int
        Number of steps of the longest sequence.
    equal_steps : list of EqualSteps
        In the order of the rows.
    single : bool
        Whether all steps have all sequences.
    """

    def __init__(self, lengths: Integers) -> None:
        self.lengths = lengths
        self.steps = int(lengths[0])
        self.equal_steps = _equal_steps(lengths)
        self.single = len(self.equal_steps) == 1 and len(lengths) == self.equal_steps[0].N

    def cut(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        """View packed rows as arrays of one batch size, shape (T, N, K) each."""
        if self.single:
            return [rows.reshape(*self.equal_steps[0].shape, rows.shape[-1])]
        return [rows[part.rows].reshape(*part.shape, rows.shape[-1]) for part in self.equal_steps]

    def pieces(self, rows: Floats) -> list[Steps]:
        """View packed rows as steps to run: many of one batch size alone, few together."""
        if self.single:
            return [Steps(rows.reshape(self.steps, len(self.lengths), rows.shape[-1]))]
        return [_steps(rows, parts) for parts in self._pieces]

    @cached_property
    def _pieces(self) -> list[list[EqualSteps]]:
        """What each of the pieces consists of."""
        return [
            [part for _, part in numbered]
            for _, numbered in groupby(enumerate(self.equal_steps), _alone)
        ]

    def pack(self, x: NDArray[Any], sequences: Sequences) -> NDArray[Any]:
        """Pack the rows of some sequences of a batch, shape (N, T, K).

        Neighbours of one length are a view of it.
        """
        if self.single and isinstance(sequences, slice):
            return x[sequences, self.equal_steps[0].steps].swapaxes(0, 1)
        rows = np.empty((int(self.lengths.sum()), x.shape[2]), x.dtype)
        batch = as_items(x)
        for part, steps in zip(self.equal_steps, self.cut(rows), strict=True):
            as_items(steps)[...] = batch[_first(sequences, part.N), part.steps].T
        return rows

    def unpack(self, rows: Floats, x: Floats, sequences: Sequences) -> None:
        """Undo `pack`: put the rows where they stand in a batch, shape (N, T, K)."""
        batch = as_items(x)
        for part, steps in zip(self.equal_steps, self.cut(rows), strict=True):
            batch[_first(sequences, part.N), part.steps] = as_items(steps).T

    def places(self, starts: Integers) -> Integers:
        """Where each packed row stood, for sequences that stood one after the other."""
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
        for part in self.equal_steps:
            steps = np.arange(part.steps.start, part.steps.stop)
            t[part.rows].reshape(part.shape)[...] = steps[:, None]
            n[part.rows].reshape(part.shape)[...] = np.arange(part.N)
        return t, n


def by_length(lengths: Integers, parts: int) -> list[Sequences]:
    """Cut a batch into parts of equally many steps, sequences of like lengths together."""
    N = len(lengths)
    if (lengths == lengths[:1]).all():
        return list(shares(N, parts))
    order = order_of(lengths.max() - lengths)
    # One more a sequence, so that those of no steps are counted too.
    done = (lengths[order] + 1).cumsum()
    ends = done[-1] * np.arange(1, parts) / parts
    edges = [0, *np.searchsorted(done, ends).tolist(), N]
    return [order[start:stop] for start, stop in pairwise(edges) if start < stop]


def order_of(numbers: Integers) -> Integers:
    """Return the places of numbers from 0 in rising order, those of a number in their own.

    NumPy sorts 16 bits at a time by radix: a fifth of the time of any other
    stable sort.
    """
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    for bits in range(16, int(numbers.max(initial=0)).bit_length(), 16):
        part = (numbers[order] >> bits).astype(np.uint16)
        order = order[np.argsort(part, kind="stable")]
    return order


def _steps(rows: Floats, parts: list[EqualSteps]) -> Steps:
    """View packed rows of one batch size, or of several that follow each other."""
    first, *more = parts
    if not more:
        return Steps(rows[first.rows].reshape(*first.shape, rows.shape[1]))
    counts = [part.N for part in parts for _ in range(part.shape[0])]
    return Steps(rows[first.rows.start : parts[-1].rows.stop], counts)


def _alone(numbered: tuple[int, EqualSteps]) -> int:
    """Return the number of steps that are run by themselves; -1 for others."""
    number, part = numbered
    return number if part.shape[0] >= LONG else -1


def _first(sequences: Sequences, N: int) -> Sequences:
    """Return the first N of some sequences."""
    if isinstance(sequences, slice):
        return slice(sequences.start, sequences.start + N)
    return sequences[:N]


def _equal_steps(lengths: Integers) -> list[EqualSteps]:
    """Cut the packed rows of sequences where one or more of these end."""
    parts = []
    row = begin = 0
    for end, running in _ends(lengths):
        if end > begin:
            stop = row + (end - begin) * running
            parts.append(EqualSteps(slice(row, stop), slice(begin, end), running))
            row, begin = stop, end
    return parts


def _ends(lengths: Integers) -> list[tuple[int, int]]:
    """Lengths there are, the shortest first, and how many sequences are that long."""
    longest, shortest = int(lengths[0]), int(lengths[-1])
    if longest == shortest:
        return [(longest, len(lengths))]
    last = np.append(np.flatnonzero(lengths[1:] != lengths[:-1]), len(lengths) - 1)[::-1]
    return list(zip(lengths[last].tolist(), (last + 1).tolist(), strict=True))
