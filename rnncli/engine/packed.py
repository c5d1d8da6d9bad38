"""Sequences side by side: which rows are steps of which, and their order in a batch."""

from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from rnncli.model.arrays import Floats, Integers, Truths


class Groups(NamedTuple):
    """Rows of a block, those of each sequence together."""

    order: Integers  # (n,): the rows, one sequence after another, each in its own order
    present: Integers  # (P,): the keys of the sequences that have rows, rising
    starts: Integers  # (P,): where each begins in `order`
    lengths: Integers  # (P,): how many rows it has

    @property
    def last(self) -> Integers:
        """The last row of each sequence, (P,)."""
        return np.asarray(self.order[self.starts + self.lengths - 1])

    @property
    def keys(self) -> Integers:
        """The key of each row in `order`, (n,)."""
        return np.repeat(self.present, self.lengths)

    def only(self, chosen: Truths) -> "Groups":
        """Drop the rows that are not chosen, (n,), and sequences without any other row."""
        rows = chosen[self.order]
        return _group_sorted(self.order[rows], self.keys[rows])

    def find_sources(self, masked: Truths, direction: str) -> tuple[Integers, Integers, Integers]:
        """Find the row before each masked row (backward: behind it) whose state it repeats.

        Returns the masked rows, the sequence of each as an index of `present`,
        and the row that each repeats: -1 for the state before the first step.
        """
        turn = slice(None, None, -1 if direction == "backward" else 1)
        order = self.order[turn]
        n = np.repeat(np.arange(len(self.present)), self.lengths)[turn]
        step = np.arange(len(order))
        begin = np.maximum.accumulate(np.where(np.diff(n, prepend=-1) != 0, step, 0))
        last = np.maximum.accumulate(np.where(masked[order], -1, step))
        source = np.where(last < begin, -1, order[last])
        chosen = masked[order]
        return order[chosen], n[chosen], source[chosen]

    def number(self, taken: Integers) -> Integers:
        """Return the number of each row's step, and add the rows to those `taken` before, (K,)."""
        t = np.arange(1, len(self.order) + 1)
        if len(self.present) == 1:
            t += taken[self.present]
        else:
            t[self.order] = t + np.repeat(taken[self.present] - self.starts, self.lengths)
        taken[self.present] += self.lengths
        return t


def group(key: Integers | None, n: int) -> Groups:
    """Group n rows by their keys; without keys they are one sequence."""
    if key is None:
        one = np.zeros(min(n, 1), np.intp)
        return Groups(np.arange(n), one, one, one + n)
    order = sort(key)
    return _group_sorted(order, key[order])


def _group_sorted(order: Integers, key: Integers) -> Groups:
    """Find where each sequence begins and ends in rows that are sorted by their keys."""
    begins = np.ones(len(key), bool)
    begins[1:] = key[1:] != key[:-1]
    starts = np.flatnonzero(begins)
    return Groups(order, key[starts], starts, np.diff(starts, append=len(key)))


def sort(numbers: Integers) -> Integers:
    """Sort numbers from 0, stably, 16 bits at a time: a fifth of the time of NumPy's own sort."""
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    for bits in range(16, int(numbers.max(initial=0)).bit_length(), 16):
        digits = (numbers[order] >> bits).astype(np.uint16)
        order = order[np.argsort(digits, kind="stable")]
    return order


class Packed:
    """A batch of sequences without padding, the longest first, as in PyTorch's ``PackedSequence``.

    All first rows come first, then all second rows of the sequences that have one, and so on. The
    `lengths`, (N,), fall; each of the `runs` is a slice of rows, T steps of the same N sequences.
    """

    def __init__(self, lengths: Integers) -> None:
        self.lengths = lengths
        last = np.append(np.flatnonzero(np.diff(lengths)), len(lengths) - 1)[::-1]
        steps, sizes = np.append(0, lengths[last]), (last + 1).tolist()  # the shortest ends first
        edges = np.append(0, np.cumsum(np.diff(steps) * sizes)).tolist()
        self.runs = [
            (slice(start, stop), (stop - start) // n, n)
            for (start, stop), n in zip(pairwise(edges), sizes, strict=True)
        ]
        # The sequence and the step of each packed row.
        self.n = np.concatenate([np.tile(np.arange(n), T) for _, T, n in self.runs])
        self.t = np.repeat(np.arange(steps[-1]), np.repeat(sizes, np.diff(steps)))

    @cached_property
    def places(self) -> Integers:
        """The place of each packed row in one sequence after another."""
        return np.asarray((self.lengths.cumsum() - self.lengths)[self.n] + self.t)

    def cut(self, rows: Floats) -> list[Floats]:
        """View rows (R, K) as one array (T, N, K) a run."""
        return [rows[run].reshape(T, N, rows.shape[-1]) for run, T, N in self.runs]

    def apply(self, function: Callable[[Floats], Floats], x: Floats) -> Floats:
        """Apply a function of the rows of a sequence, (T, K), to each."""
        sequences = np.empty_like(x)
        sequences[self.places] = x
        parts = np.split(sequences, np.cumsum(self.lengths)[:-1])
        return np.asarray(np.concatenate([*map(function, parts)])[self.places])

    def order(self, starts: Integers) -> Integers:
        """Return where each packed row stands in sequences that begin at `starts`."""
        return np.asarray(starts[self.n] + self.t)

    def turn(self, rows: Floats) -> Floats:
        """Turn every sequence around; twice, and nothing changes."""
        packed = np.argsort(self.places)
        return np.asarray(rows[packed[self.places + self.lengths[self.n] - 1 - 2 * self.t]])


def share(lengths: Integers, shares: int) -> list[slice] | list[Integers]:
    """Cut sequences into shares of about equally many steps, those of like lengths together."""
    N = len(lengths)
    if (lengths == lengths[:1]).all():
        edges = [N * n // shares for n in range(shares + 1)]
        return [slice(start, stop) for start, stop in pairwise(edges) if start < stop]
    order = sort(lengths.max() - lengths)
    done = lengths[order].cumsum()
    ends = done[-1] * np.arange(1, shares) / shares
    edges = [0, *np.searchsorted(done, ends).tolist(), N]
    return [order[start:stop] for start, stop in pairwise(edges) if start < stop]
