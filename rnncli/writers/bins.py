"""A long sequence as few averages, without knowing its length beforehand."""

import numpy as np

from rnncli.model.arrays import Floats


class Bins:
    """Means over equal numbers of steps, at most so many of them.

    When there are twice too many, neighbours are merged and each bin spans
    twice the steps; memory does not grow with the sequence.

    Parameters
    ----------
    hidden_size : int
        Number of units, H.
    at_most : int
        Most bins that `means` gives.
    """

    def __init__(self, hidden_size: int, at_most: int) -> None:
        self.size = 1  # steps a bin
        self.total = 0  # steps so far
        self._at_most = at_most
        self._whole = np.empty((0, hidden_size))  # means of whole bins
        self._rest = np.empty((0, hidden_size))  # steps of the bin begun

    def add(self, h: Floats) -> None:
        """Take in further steps, shape (n, H)."""
        self.total += len(h)
        rest = np.concatenate([self._rest, h])
        count = len(rest) // self.size
        parts = rest[: count * self.size].reshape(count, self.size, rest.shape[1])
        self._whole = np.concatenate([self._whole, parts.mean(axis=1)])
        self._rest = rest[count * self.size :]
        while len(self._whole) + bool(len(self._rest)) > self._at_most:
            self._merge()

    def means(self) -> Floats:
        """Give the mean of each bin in order, shape (bins, H); the last may span fewer steps."""
        last = [self._rest.mean(axis=0, keepdims=True)] if len(self._rest) else []
        return np.concatenate([self._whole, *last])

    def _merge(self) -> None:
        if len(self._whole) % 2:
            # The odd one begins the next bin: as many steps with its mean.
            odd = np.repeat(self._whole[-1:], self.size, axis=0)
            self._rest = np.concatenate([odd, self._rest])
            self._whole = self._whole[:-1]
        pairs = self._whole.reshape(len(self._whole) // 2, 2, self._whole.shape[1])
        self._whole = pairs.mean(axis=1)
        self.size *= 2
