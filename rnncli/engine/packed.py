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

    def find_sources(
        self, masked: Truths, *, backward: bool = False
    ) -> tuple[Integers, Integers, Integers]:
        """Find the row before each masked row that is not masked, whose state it repeats.

        Of a sequence of rows a b c d, of which b and c are masked, b and c
        repeat a; backward they repeat d.

        Returns the masked rows, the sequence of each as an index of `present`,
        and the row that each repeats: -1 for the state before the first step.
        """
        order = self.order[::-1] if backward else self.order
        n = np.repeat(np.arange(len(self.present)), self.lengths)
        n = n[::-1] if backward else n
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
    """Return the places of numbers from 0 in rising order, by a stable sort.

    NumPy sorts 16 bits at a time by radix: a fifth of the time of any other
    stable sort.
    """
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    for bits in range(16, int(numbers.max(initial=0)).bit_length(), 16):
        digits = (numbers[order] >> bits).astype(np.uint16)
        order = order[np.argsort(digits, kind="stable")]
    return order


class Packed:
    """A batch of sequences without padding, the longest first.

    All first rows come first, then all second rows of the sequences that have
    one, and so on. Sequences that still run are always the first few. The `lengths`, (N,), fall;
    each of the `runs` is a slice of rows, neighbouring steps T of the same N sequences.

    Source: PyTorch's ``PackedSequence``.
    """

    def __init__(self, lengths: Integers) -> None:
        self.lengths = lengths
        longest, shortest, N = int(lengths[0]), int(lengths[-1]), len(lengths)
        self.even = longest == shortest
        if self.even:
            self.runs = [(slice(0, longest * N), longest, N)] if longest else []
            return
        last = np.append(np.flatnonzero(lengths[1:] != lengths[:-1]), N - 1)[::-1]
        steps, sizes = np.append(0, lengths[last]), last + 1  # the shortest sequences end first
        edges = np.append(0, np.cumsum(np.diff(steps) * sizes)).tolist()
        self.runs = [
            (slice(start, stop), T, n)
            for (start, stop), T, n in zip(
                pairwise(edges), np.diff(steps).tolist(), sizes.tolist(), strict=True
            )
            if T
        ]

    def cut(self, rows: Floats) -> list[Floats]:
        """View rows (R, K), or (T, N, K) where all have T steps, as one array (T, N, K) a run."""
        if self.even:
            return [rows] if self.runs else []
        return [rows[run].reshape(T, N, rows.shape[-1]) for run, T, N in self.runs]

    @cached_property
    def _steps(self) -> tuple[Integers, Integers]:
        """The step and the sequence of every packed row."""
        t, n, begin = [], [], 0
        for _, T, N in self.runs:
            t.append(np.repeat(np.arange(begin, begin + T), N))
            n.append(np.tile(np.arange(N), T))
            begin += T
        return np.concatenate(t), np.concatenate(n)

    def apply(self, function: Callable[[Floats], Floats], x: Floats) -> Floats:
        """Apply a function of the rows of a sequence, (T, K), to each."""
        if self.even:
            return np.stack([function(x[:, n]) for n in range(x.shape[1])], axis=1)
        t, n = self._steps
        order = np.lexsort((t, n))
        parts = np.split(x[order], np.cumsum(self.lengths)[:-1])
        made = np.concatenate([function(part) for part in parts])
        return made[np.argsort(order)]

    def order(self, starts: Integers) -> Integers:
        """Return where each packed row stands in sequences that begin at `starts`."""
        t, n = self._steps
        return np.asarray(starts[n] + t)

    def turn(self, rows: Floats) -> Floats:
        """Turn every sequence around, in rows as `cut` takes them; twice, and nothing changes."""
        if self.even:
            return rows[::-1]
        starts = self.lengths.cumsum() - self.lengths
        t, n = self._steps
        packed = np.empty(len(t), np.intp)
        packed[starts[n] + t] = np.arange(len(t))
        return np.asarray(rows[packed[starts[n] + self.lengths[n] - 1 - t]])


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
