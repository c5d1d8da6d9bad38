"""Bins of equal size for pictures of a run, in constant memory."""

from collections.abc import Sequence

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats, Truths
from rnncli.model.errors import printable
from rnncli.writers.result import Result

# Values added at once: each becomes four float64.
_AT_ONCE = 1 << 18
# Values in all bins: where a step has many, there are fewer bins.
_VALUES = 1 << 20
# Functions that merge two bins: their sums, counts, minima and maxima.
_JOINS = (np.add, np.add, np.fmin, np.fmax)


class Bins:
    """Mean, minimum and maximum of `width` values over equal numbers of steps.

    Neighbours are merged when there are too many bins. NaN is no value; a bin has NaN where it
    has no value.
    """

    def __init__(self, width: int, at_most: int) -> None:
        self.size, self.total = 1, 0  # steps in a bin (fewer in the last), and in all bins
        self._at_most = at_most
        self._arrays: Floats = np.empty((len(_JOINS), 0, width))

    @np.errstate(over="ignore")
    def add(self, values: Floats) -> None:
        """Add steps, shape (n, width)."""
        values = values.astype(np.float64)
        known = ~np.isnan(values)
        new = np.array([np.where(known, values, 0), known, values, values])
        bins, missing = self._arrays.shape[1], -self.total % self.size  # of the last bin
        self._arrays = np.concatenate([self._arrays, new], axis=1)
        self._merge([*range(bins), *range(bins + missing, bins + len(values), self.size)])
        self.total += len(values)
        self.fit(self._at_most)

    def means(self) -> Floats:
        """Return the mean of each bin, shape (bins, width)."""
        sums, counts, least, greatest = self._arrays
        with np.errstate(invalid="ignore"):
            # A sum may overflow, and the quotient be rounded beyond both ends.
            return np.asarray(np.clip(sums / counts, least, greatest))

    def ends(self) -> tuple[Floats, Floats]:
        """Return the least and the greatest value of each bin, each of shape (bins, width)."""
        return self._arrays[2], self._arrays[3]

    def fit(self, at_most: int) -> None:
        """Merge to at most so many bins, each of one step or an even number of steps."""
        bins = self._arrays.shape[1]
        together = max(1, -(-bins // at_most))
        # A state may change its sign at each step, and means over odd numbers of steps would too.
        together += together > 1 and self.size * together % 2
        self._merge(range(0, bins, together))
        self.size *= together

    def _merge(self, starts: Sequence[int]) -> None:
        """Merge neighbouring bins; `starts` has the first bin of each new one."""
        merged = zip(_JOINS, self._arrays, strict=True)
        self._arrays = np.array([join.reduceat(array, starts) for join, array in merged])


class Strip:
    """The first sequence of a run in bins: t, some features of the input, and the result."""

    def __init__(self, result: Result, features: int, at_most: int) -> None:
        self.result, self.features = result, [*map(printable, result.columns[:features])]
        self.names = [*self.features, *result.units]
        width = 1 + len(self.names)
        self.bins = Bins(width, max(2, min(at_most, _VALUES // width)))
        self._key, self._has_more = -1, False

    def rows(self, rows: Rows) -> None:
        """Add the rows of the first sequence."""
        if rows.key is not None:
            self._key = int(rows.key[0]) if self._key < 0 else self._key
            first = rows.key == self._key
            self._has_more |= not first.all()
            rows = rows.take(first)
        arrays = [rows.t, rows.x[:, : len(self.features)], self.result.rows(rows)]
        steps = max(1, _AT_ONCE // (1 + len(self.names)))
        for start in range(0, len(rows.t), steps):
            self.bins.add(np.column_stack([array[start : start + steps] for array in arrays]))

    def span(self, columns: slice | Truths) -> tuple[float, float]:
        """Return the ends of an axis for some columns, counted from t."""
        low, high = (
            float(np.nan_to_num(end.reduce(each[:, columns], axis=None)))
            for end, each in zip((np.fmin, np.fmax), self.bins.ends(), strict=True)
        )
        around = (abs(low) / 2 or 1.0) * (low == high)
        return low - around, high + around

    def title(self) -> str:
        """Return the key of the sequence, if it has one."""
        keys = self.result.keys[self._key] if self._key >= 0 else ()
        names = self.result.key_columns if keys else ()
        return printable(", ".join(map(" ".join, zip(names, keys, strict=True))))

    def find_end(self) -> float:
        """Return the last t of the sequence in the input."""
        return np.inf if self.result.ends is None else float(self.result.ends()[max(self._key, 0)])

    def note(self) -> str:
        """Describe what is left out."""
        shown, count = len(self.features), len(self.result.columns)
        end, features = self.find_end(), ""
        if self.bins.total and end < self.bins.ends()[1][-1, 0]:
            features = f"After t = {end:.0f} each step reads the prediction before it. "
        features += f"These are the first {shown} of {count} features. " * (0 < shown < count)
        return features + "Other sequences are not drawn." * self._has_more
