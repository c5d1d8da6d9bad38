"""A run in bins of equal size for pictures: memory does not grow with its length."""

from collections.abc import Sequence

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats
from rnncli.model.errors import printable
from rnncli.writers.result import Result

# Values that are added at once: each becomes four float64.
_AT_ONCE = 1 << 18
# Values in all bins: where a step has many, there are fewer bins.
_VALUES = 1 << 20
# How two bins become one: their sums, how many values they have, their ends.
_JOINS = (np.add, np.add, np.fmin, np.fmax)


class Bins:
    """The mean and the ends of `width` values over equal numbers of steps.

    When there are too many bins, neighbours are merged and each spans twice the steps. NaN is no
    value; a bin has NaN where it has no value.
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

    def fit(self, at_most: int) -> None:
        """Merge to at most so many bins, of one step or an even number each.

        A state often changes its sign from step to step: means of an odd number would swing too,
        far slower than it does.
        """
        together = max(1, -(-len(self._arrays[0]) // at_most))
        together += together > 1 and self.size * together % 2
        self._merge(range(0, len(self._arrays[0]), together))
        self.size *= together

    def _merge(self, starts: Sequence[int]) -> None:
        """Merge neighbouring bins; each of the new ones begins at one of these."""
        merged = zip(_JOINS, self._arrays, strict=True)
        self._arrays = [join.reduceat(array, starts) for join, array in merged]


class Strip:
    """The first sequence of a run in bins: t, some features of the input, and the result."""

    def __init__(self, result: Result, features: int, at_most: int) -> None:
        self.result, self.features = result, [*result.columns[:features]]
        width = 1 + len(self.features) + len(result.units)
        self.bins = Bins(width, max(2, min(at_most, _VALUES // width)))
        self._key: int | None = None
        self._others = False

    def rows(self, rows: Rows) -> None:
        """Add the rows of the first sequence."""
        if rows.key is not None:
            self._key = int(rows.key[0]) if self._key is None else self._key
            own = rows.key == self._key
            self._others |= not own.all()
            rows = rows.take(own)
        arrays = [rows.t, rows.x[:, : len(self.features)], self.result.rows(rows)]
        steps = max(1, _AT_ONCE // (1 + len(self.features) + len(self.result.units)))
        for start in range(0, len(rows.t), steps):
            self.bins.add(np.column_stack([array[start : start + steps] for array in arrays]))

    def title(self) -> str:
        """Return the key of the sequence, if it has one."""
        if self._key is None:
            return ""
        key = zip(self.result.key_columns, self.result.keys[self._key], strict=True)
        return printable(", ".join(map(" ".join, key)))

    def note(self) -> str:
        """Describe what is left out."""
        shown, count = len(self.features), len(self.result.columns)
        features = f"These are the first {shown} of {count} features. " * (0 < shown < count)
        return features + "Other sequences are not drawn." * self._others
