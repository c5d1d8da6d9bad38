"""Strips for pictures: sequences of any length as a limited number of equal bins."""

from collections.abc import Iterator, Sequence

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats
from rnncli.writers.result import Result

# Values that are added at once: each becomes four float64.
_AT_ONCE = 1 << 18
# Values in the bins of a sequence: where a step has many, there are fewer bins.
_VALUES = 1 << 20
# How two bins become one: their sums, how many values they have, their ends.
_JOINS = (np.add, np.add, np.fmin, np.fmax)


class Bins:
    """The mean and the ends of `width` values over equal numbers of steps.

    When there are too many bins, neighbours are merged and each bin spans
    twice the steps: memory does not grow with the sequence. NaN is no value;
    a bin has NaN where it has no value.
    """

    def __init__(self, width: int, at_most: int) -> None:
        self.size, self.total = 1, 0  # steps in a bin, but for the last one, and so far
        self._at_most = at_most
        self._arrays: list[Floats] = [*np.empty((len(_JOINS), 0, width))]

    @np.errstate(over="ignore")
    def add(self, values: Floats) -> None:
        """Add steps, shape (n, width)."""
        values = values.astype(np.float64)
        known = ~np.isnan(values)
        new = (np.where(known, values, 0), known.astype(np.float64), values, values)
        bins, missing = len(self._arrays[0]), -self.total % self.size  # the last bin goes on
        self._arrays = [np.concatenate(pair) for pair in zip(self._arrays, new, strict=True)]
        self._merge([*range(bins), *range(bins + missing, bins + len(values), self.size)])
        self.total += len(values)
        while len(self._arrays[0]) > self._at_most:
            self._merge(range(0, len(self._arrays[0]), 2))
            self.size *= 2

    def means(self) -> Floats:
        """Return the mean of each bin, shape (bins, width)."""
        sums, counts, least, greatest = self._arrays
        with np.errstate(invalid="ignore"):
            # A sum may overflow, and the quotient be rounded beyond both ends.
            return np.clip(sums / counts, least, greatest)

    def ends(self) -> tuple[Floats, Floats]:
        """Return the least and the greatest value of each bin, each of shape (bins, width)."""
        return self._arrays[2], self._arrays[3]

    def fitted(self, at_most: int) -> "Bins":
        """Return the same in at most so many bins, of one step or an even number each.

        A state often changes its sign from step to step: means of an odd
        number would swing too, far slower than it does.
        """
        together = max(1, -(-len(self._arrays[0]) // at_most))
        together += together > 1 and self.size * together % 2
        fitted = Bins(0, at_most)
        fitted.size, fitted.total = self.size * together, self.total
        fitted._arrays = self._arrays
        fitted._merge(range(0, len(self._arrays[0]), together))
        return fitted

    def _merge(self, starts: Sequence[int]) -> None:
        """Merge neighbouring bins; each of the new ones begins at one of these."""
        merged = zip(_JOINS, self._arrays, strict=True)
        self._arrays = [join.reduceat(array, starts) for join, array in merged]


class Strips:
    """The first sequences of a run in bins of t, some features of the input, and the result."""

    def __init__(self, result: Result, features: int, at_most: int, most: int = 12) -> None:
        self._result, self._features, self._most = result, features, most
        self.width = 1 + min(features, len(result.columns)) + len(result.units)
        self._at_most = max(2, min(at_most, _VALUES // self.width))
        self.bins: dict[int, Bins] = {}  # by the number of the sequence, as they come
        self._others: set[int] = set()

    def add(self, rows: Rows) -> None:
        """Add the rows to the bins of their sequences."""
        arrays = [rows.t, rows.x[:, : self._features], self._result.rows(rows)]
        steps = max(1, _AT_ONCE // self.width)
        for start in range(0, len(rows.t), steps):
            some = slice(start, start + steps)
            values = np.column_stack([array[some] for array in arrays])
            keys = np.zeros(len(values), np.intp) if rows.key is None else rows.key[some]
            for number in dict.fromkeys(keys.tolist()):
                if number in self.bins or len(self.bins) < self._most:
                    bins = self.bins.setdefault(number, Bins(self.width, self._at_most))
                    bins.add(values if rows.key is None else values[keys == number])
                else:
                    self._others.add(number)

    def __iter__(self) -> Iterator[tuple[str, Bins]]:
        """Yield the key of each sequence, empty text where there is one sequence, and its bins."""
        return ((self._result.name_of(number), bins) for number, bins in self.bins.items())

    def ends(self) -> tuple[Floats, Floats]:
        """Return the least and the greatest value in each column of all bins; NaN without one."""
        ends = [Bins(self.width, 1).ends(), *(bins.ends() for bins in self.bins.values())]
        least, greatest = (np.concatenate(each) for each in zip(*ends, strict=True))
        return (
            np.fmin.reduce(least, axis=0, initial=np.nan),
            np.fmax.reduce(greatest, axis=0, initial=np.nan),
        )

    def note(self) -> str:
        """Return a sentence on the sequences that are left out, if there are any."""
        count = len(self.bins) + len(self._others)
        first = f"These are the first {len(self.bins)} of {count:,} sequences."
        return first if self._others else ""
