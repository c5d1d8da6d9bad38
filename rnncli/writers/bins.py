"""A sequence of any length as a limited number of equal spans."""

from collections.abc import Iterator

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats

# Steps that are taken at once: each becomes four float64 for every value.
_STEPS = 4096
# How two bins become one: their sums, how many values they have, their ends.
_JOINS = (np.add, np.add, np.fmin, np.fmax)


class Bins:
    """The mean and the ends of the values of a sequence over equal numbers of steps.

    When there are too many bins, neighbours are merged and each bin spans
    twice the steps: memory does not grow with the sequence. NaN is no value;
    a bin has NaN where it has no value.

    Parameters
    ----------
    width : int
        Number of values a step, W.
    at_most : int
        Most bins.

    Attributes
    ----------
    size : int
        Steps in a bin; the last one may span fewer.
    total : int
        Steps so far.
    """

    def __init__(self, width: int, at_most: int) -> None:
        self.size, self.total = 1, 0
        self._at_most = at_most
        self._parts: list[Floats] = [*np.empty((len(_JOINS), 0, width))]

    @np.errstate(over="ignore")
    def add(self, values: Floats) -> None:
        """Add steps, shape (n, W), not many at once: see `pieces`."""
        if not len(values):
            return
        values = values.astype(np.float64)
        known = ~np.isnan(values)
        parts = (np.where(known, values, 0), known.astype(np.float64), values, values)
        missing = -self.total % self.size  # of the last bin, which the first steps go on with
        starts = [*[0] * bool(missing), *range(missing, len(values), self.size)]
        for i, (join, part) in enumerate(zip(_JOINS, parts, strict=True)):
            new = join.reduceat(part, starts)
            if missing:
                self._parts[i][-1] = join(self._parts[i][-1], new[0])
            self._parts[i] = np.concatenate([self._parts[i], new[bool(missing) :]])
        self.total += len(values)
        while len(self._parts[0]) > self._at_most:
            self._parts = self._merged(2)
            self.size *= 2

    def means(self) -> Floats:
        """Return the mean of each bin, shape (bins, W)."""
        sums, counts, least, greatest = self._parts
        with np.errstate(invalid="ignore"):
            # A sum may overflow, and the quotient be rounded beyond both ends.
            return np.clip(sums / counts, least, greatest)

    def ends(self) -> tuple[Floats, Floats]:
        """Return the least and the greatest value of each bin, each of shape (bins, W)."""
        _, _, least, greatest = self._parts
        return least, greatest

    def fitted(self, at_most: int) -> "Bins":
        """Return the same in at most so many bins, of one step or an even number each.

        A state often changes its sign from step to step: means of an odd
        number would swing too, far slower than it does.
        """
        together = max(1, -(-len(self._parts[0]) // at_most))
        together += together > 1 and self.size * together % 2
        fitted = Bins(0, at_most)
        fitted.size, fitted.total = self.size * together, self.total
        fitted._parts = self._merged(together)
        return fitted

    def _merged(self, together: int) -> list[Floats]:
        """Return the parts of bins, so many as one."""
        starts = np.arange(0, len(self._parts[0]), together)
        merged = zip(_JOINS, self._parts, strict=True)
        return [join.reduceat(part, starts) for join, part in merged]


def pieces(block: Rows) -> Iterator[Rows]:
    """Cut a block into pieces whose values in float64 take little memory."""
    for start in range(0, len(block.t), _STEPS):
        yield block.cut(start, start + _STEPS)
