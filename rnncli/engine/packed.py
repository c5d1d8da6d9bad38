"""Sequences side by side: which rows are steps of which, and their order in a batch."""

from collections.abc import Callable
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
        """Find masked rows, their sequences, and the rows whose states they repeat (-1: none)."""
        turn = slice(None, None, -1 if direction == "backward" else 1)
        order, n = self.order[turn], np.repeat(np.arange(len(self.present)), self.lengths)[turn]
        gone = masked[order]
        last = np.maximum.accumulate(np.where(gone, -1, np.arange(len(order))))
        source = np.where((last >= 0) & (n[last] == n), order[last], -1)
        return order[gone], n[gone], source[gone]

    def number(self, taken: Integers) -> Integers:
        """Return the number of each row's step, (n,), and add the rows to those `taken`, (K,)."""
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
    narrow = key.astype(np.uint16) if key.max(initial=0) < 1 << 16 else key  # a fifth of the time
    order = np.argsort(narrow, kind="stable")
    return _group_sorted(order, key[order])


def _group_sorted(order: Integers, key: Integers) -> Groups:
    """Find where each sequence begins and ends in rows that are sorted by their keys."""
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    return Groups(order, key[starts], starts, np.diff(starts, append=len(key)))


class Packed:
    """Sequences as in PyTorch's ``PackedSequence``, the longest first; `runs` are T steps of N."""

    def __init__(self, lengths: Integers) -> None:
        self.lengths, steps = lengths, np.arange(lengths[0])
        sizes = len(lengths) - np.searchsorted(lengths[::-1], steps, side="right")
        self.edges = np.append(0, np.cumsum(sizes))
        # The step and the sequence of each packed row.
        self.t = np.repeat(steps, sizes)
        self.n = np.arange(len(self.t)) - self.edges[self.t]
        changes = [*np.flatnonzero(np.diff(sizes, prepend=0)).tolist(), len(steps)]
        self.runs = [
            (slice(int(self.edges[start]), int(self.edges[stop])), stop - start, int(sizes[start]))
            for start, stop in pairwise(changes)
        ]

    def cut(self, rows: Floats) -> list[Floats]:
        """View rows (R, K) as one array (T, N, K) a run."""
        return [rows[run].reshape(T, N, rows.shape[-1]) for run, T, N in self.runs]

    def apply(self, function: Callable[[Floats], Floats], x: Floats) -> Floats:
        """Apply a function of the rows of a sequence, (T, K), to each."""
        sequences = [self.edges[:T] + n for n, T in enumerate(self.lengths)]
        made = np.concatenate([function(x[rows]) for rows in sequences])
        packed = np.empty_like(made)
        packed[np.concatenate(sequences)] = made
        return packed

    def turn(self, rows: Floats) -> Floats:
        """Turn every sequence around; twice, and nothing changes."""
        return np.asarray(rows[self.edges[self.lengths[self.n] - 1 - self.t] + self.n])


def share(lengths: Integers, shares: int) -> list[Integers]:
    """Cut sequences into shares of about equally many steps, the longest first."""
    order = np.argsort(-lengths, kind="stable")
    done = lengths[order].cumsum()
    edges = np.searchsorted(done, done[-1] * np.arange(1, shares) / shares)
    return [each for each in np.split(order, edges) if len(each)]
