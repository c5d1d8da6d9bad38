"""The wrong values of a result: how many there are, where, and the first of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.verify.case import Case

# Values that are judged at once: their arrays in float64 stay in the cache.
PIECE = 2**17


class Place(NamedTuple):
    """A value in a result: sequence and step counted from 1, unit from 0."""

    sequence: int
    step: int
    unit: int

    @classmethod
    def of(cls, case: Case, at: Sequence[np.intp]) -> "Place":
        """Return the place of a value by its indices; a row of a sequence is at its last step."""
        n, t, unit = map(int, at)
        return cls(n + 1, int(case.lengths[n]) if case.network.last else t + 1, unit)


class Wrong(NamedTuple):
    """A wrong value."""

    place: Place
    # Where steps are judged, one of the two is computed from the h_{t-1} of the other's result.
    expected: float
    actual: float  # what the network computes
    times: float  # how far it is off, in bounds
    layer: int  # from 1

    @property
    def difference(self) -> float:
        """Distance of the two."""
        return abs(self.expected - self.actual)


class Tally:
    """Wrong values in the output (N, T, O) of a layer, from 1, counted piece by piece.

    `times` is how far the furthest value is off, in bounds: up to 1 is right.
    `units`, (O,), and `steps`, (N, T), are where values are wrong. `own` is set
    where it is rnn that they are judged in.
    """

    def __init__(self, case: Case, layer: int, output: Floats) -> None:
        self.layer, self.own = layer, False
        self._case, self._shape, self._dtype = case, output.shape, output.dtype
        self.values, self.times = int(case.rows().sum()) * output.shape[2], 0.0
        self.units = np.zeros(output.shape[2], np.intp)
        self.steps = np.zeros(output.shape[:2], bool)
        # Its times, its place, it itself, and what is right there.
        self._first: tuple[float, int, float, float] | None = None

    def add(
        self,
        n: Integers,
        t: Integers,
        columns: slice,
        times: Floats,
        given: Floats,
        right: Floats,
    ) -> None:
        """Count the values in some columns of the rows at n, t."""
        self.times = max(self.times, float(times.max(initial=0.0)))
        row, column = np.nonzero(times > 1)
        if not len(row):
            return
        unit = column + (columns.start or 0)
        self.units += np.bincount(unit, minlength=len(self.units))
        self.steps[n[row], t[row]] = True
        places = np.ravel_multi_index((n[row], t[row], unit), self._shape)
        at = int(places.argmin())
        if self._first is None or places[at] < self._first[1]:
            value = given[n[row[at]], t[row[at]], column[at]]
            there = row[at], column[at]
            self._first = times[there], int(places[at]), value, right[there]

    @property
    def wrong(self) -> int:
        """How many values are wrong."""
        return int(self.units.sum())

    @property
    def first(self) -> Wrong | None:
        """The first wrong value, by sequence, step and unit; with the digits of its float type."""
        if self._first is None:
            return None
        times, place, *pair = self._first
        given, right = (float(str(self._dtype.type(number))) for number in pair)
        expected, actual = (right, given) if self.own else (given, right)
        at = Place.of(self._case, np.unravel_index(place, self._shape))
        return Wrong(at, expected, actual, float(times), self.layer)

    def where(self, keys: Sequence[str] = ()) -> str:
        """Return in words where the wrong values are, as a fault leaves them."""
        steps = "" if self._case.network.last else _steps_in_words(self._case.rows(), self.steps)
        words = self._sequences_in_words(keys), steps, _units_in_words(self.units)
        return ", ".join(filter(None, words))

    def _sequences_in_words(self, keys: Sequence[str]) -> str:
        sequences, N = np.flatnonzero(self.steps.any(axis=1)), len(self.steps)
        if N == 1 or not len(sequences):
            return ""
        if len(sequences) == N:
            return "in every sequence"
        if len(sequences) > 1:
            return f"in {len(sequences)} of {N} sequences"
        key = f" ({keys[sequences[0]]})" if keys else ""
        return f"in sequence {sequences[0] + 1}{key} alone"


def _steps_in_words(rows: Truths, wrong: Truths) -> str:
    """Name the steps that are wrong, of those (N, T) of sequences that have wrong ones."""
    some = wrong.any(axis=1)
    rows, wrong = rows[some], wrong[some]
    steps = np.flatnonzero(wrong.any(axis=0)) + 1
    if not len(steps) or rows.shape[1] == 1:
        return ""
    first, last = int(steps[0]), int(steps[-1])
    after = rows[:, first - 1 :]
    if (after == wrong[:, first - 1 :]).all() and first < rows.sum(axis=1).max():
        return f"from step {first} on" if first > 1 else "at every step"
    if (rows[:, first - 1 : last] == wrong[:, first - 1 : last]).all():
        return f"from step {first} to {last}" if first < last else f"at step {first} alone"
    start = f" from step {first} on" if first > 1 else ""
    return f"at {wrong.sum():,} of {after.sum():,} steps{start}"


def _units_in_words(counts: Integers) -> str:
    units, O = np.flatnonzero(counts), len(counts)
    if O == 1 or not len(units):
        return ""
    if len(units) == 1:
        return f"in unit {units[0]} alone"
    if len(units) == O:
        return "in every unit"
    if units[-1] - units[0] == len(units) - 1:
        return f"in units {units[0]} to {units[-1]}"
    return f"in {len(units)} of {O} units"
