"""Sequences of unequal lengths side by side, with nothing between them."""

from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np

from rnncli.arrays import Floats, Integers


class Packing:
    """Where the rows of sequences stand when they are packed.

    Packed rows go step by step: all first steps, then all second steps of
    the sequences that have one, and so on. The sequences are sorted by
    length, the longest first, so that at every step those that still run
    are the first few, and the steps between two ends make up a rectangle.

    Source: PyTorch's ``PackedSequence``.

    Parameters
    ----------
    lengths : array of int, shape (N,)
        Number of steps of each sequence, falling.
    """

    def __init__(self, lengths: Integers) -> None:
        self.lengths = lengths

    @cached_property
    def _places(self) -> tuple[Integers, Integers, Integers]:
        """Step and sequence of every packed row, and the first row of every step."""
        ended = np.bincount(self.lengths, minlength=1).cumsum()[:-1]
        running = len(self.lengths) - ended  # (T,)
        first = running.cumsum() - running
        t = np.repeat(np.arange(len(running)), running)
        return t, np.arange(len(t)) - first[t], first

    @property
    def equal(self) -> bool:
        """Whether all sequences have one length."""
        return not len(self.lengths) or bool(self.lengths[0] == self.lengths[-1])

    def rectangles(self) -> Iterator[tuple[int, int, int]]:
        """Give the first row, the steps and the sequences of each piece of equal lengths."""
        row = begin = 0
        for end, running in self._ends():
            if end > begin:
                yield row, end - begin, running
            row += (end - begin) * running
            begin = end

    def _ends(self) -> Iterable[tuple[int, int]]:
        """Lengths there are, the shortest first, and how many sequences are that long."""
        if self.equal:
            return [(int(length), len(self.lengths)) for length in self.lengths[:1]]
        ends, counts = np.unique(self.lengths, return_counts=True)
        running = len(self.lengths) - counts.cumsum() + counts
        return zip(ends.tolist(), running.tolist(), strict=True)

    def rows(self, starts: Integers) -> Integers:
        """Where each packed row stood, for sequences that stood one after the other.

        Parameters
        ----------
        starts : array of int, shape (N,)
            The row of each sequence's first step.
        """
        t, n, _ = self._places
        return np.asarray(starts[n] + t)

    def reversed(self, rows: Floats) -> Floats:
        """Turn every sequence of packed rows around; again, and they are as before."""
        if self.equal:
            steps = rows.reshape(-1, max(1, len(self.lengths)), rows.shape[1])
            return np.ascontiguousarray(steps[::-1]).reshape(rows.shape)
        t, n, first = self._places
        turned: Floats = rows[first[self.lengths[n] - 1 - t] + n]
        return turned
