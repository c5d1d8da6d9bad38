"""Rows grouped into sequences, and sequences packed side by side."""

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
        """Drop the rows that are not chosen, and sequences without chosen rows."""
        rows = chosen[self.order]
        return _group_sorted(self.order[rows], self.keys[rows])

    def find_sources(self, masked: Truths, direction: str) -> Integers:
        """Find the row whose state each row shows: its own, or the last one that is not masked.

        Row n + p, the state before sequence p, if there is none.
        """
        turn = slice(None, None, -1 if direction == "backward" else 1)
        order, p = self.order[turn], np.repeat(np.arange(len(self.present)), self.lengths)[turn]
        last = np.maximum.accumulate(np.where(masked[order], -1, np.arange(len(order))))
        sources = np.empty_like(order)
        sources[order] = np.where((last >= 0) & (p[last] == p), order[last], len(order) + p)
        return sources

    def number(self, counts: Integers) -> Integers:
        """Return the number of each row's step, (n,), and add the rows to `counts`, (K,)."""
        t = np.empty_like(self.order)
        first = np.repeat(counts[self.present] - self.starts, self.lengths)
        t[self.order] = np.arange(1, len(t) + 1) + first
        counts[self.present] += self.lengths
        return t


def group(key: Integers | None, n: int) -> Groups:
    """Group n rows by their keys; without keys they are one sequence."""
    if key is None:
        one = np.zeros(min(n, 1), np.intp)
        return Groups(np.arange(n), one, one, one + n)
    # NumPy sorts numbers of 16 bits five times as fast.
    narrow = key.astype(np.uint16) if key.max(initial=0) < 1 << 16 else key
    order = np.argsort(narrow, kind="stable")
    return _group_sorted(order, key[order])


def _group_sorted(order: Integers, key: Integers) -> Groups:
    """Find where each sequence begins and ends in rows that are sorted by their keys."""
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    return Groups(order, key[starts], starts, np.diff(starts, append=len(key)))


class Run(NamedTuple):
    """T steps of the same N sequences."""

    rows: slice  # among the packed rows
    T: int
    N: int

    def view(self, packed: Floats) -> Floats:
        """View its rows among packed rows (R, K) as (T, N, K)."""
        return packed[self.rows].reshape(self.T, self.N, packed.shape[-1])


def pack(groups: Groups) -> tuple[Integers, Integers, list[Run]]:
    """Pack sequences like a ``PackedSequence``: return keys, the longest first, rows and runs."""
    rank = np.argsort(-groups.lengths, kind="stable")
    lengths = groups.lengths[rank]
    steps = np.arange(lengths.max(initial=0))
    sizes = len(lengths) - np.searchsorted(lengths[::-1], steps, side="right")
    edges = np.append(0, np.cumsum(sizes))
    t = np.repeat(steps, sizes)
    n = np.arange(len(t)) - edges[t]
    changes = [*np.flatnonzero(np.diff(sizes, prepend=0)).tolist(), len(steps)]
    runs = [
        Run(slice(int(edges[start]), int(edges[stop])), stop - start, int(sizes[start]))
        for start, stop in pairwise(changes)
    ]
    return groups.present[rank], groups.order[groups.starts[rank][n] + t], runs
