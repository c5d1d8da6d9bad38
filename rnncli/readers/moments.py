"""Mean and standard deviation of each column of an input, in one pass and constant memory."""

from collections.abc import Iterable, Sequence
from math import floor, isfinite, log10

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError

# Of a standard deviation: enough for a network, and few enough to be typed.
_DIGITS = 6


class Moments:
    """The moments of the values of each column so far, arrays of shape (I,).

    Distances are taken from the mean of a block before they are squared, and blocks are joined
    by the distance of their means: nothing is lost where values are large and distances small.

    Source: T. F. Chan, G. H. Golub, R. J. LeVeque (1983), Algorithms for computing the sample
    variance.
    """

    def __init__(self, columns: int) -> None:
        self.count, self.mean, self.squares = np.zeros((3, columns))
        self.lowest, self.highest = np.full(columns, np.inf), np.full(columns, -np.inf)

    def add(self, x: Floats) -> None:
        """Add rows of values, (n, I); those that are NaN are left out."""
        absent = np.isnan(x)
        count = len(x) - absent.sum(axis=0)
        divisor = np.maximum(count, 1)
        mean = np.where(absent, 0, x).sum(axis=0) / divisor
        away = np.where(absent, 0, x - mean)
        rest = away.sum(axis=0) / divisor  # what rounding has left in the mean
        squares = (away * away).sum(axis=0) - rest * rest * count
        distance = (mean - self.mean) + rest
        total = np.maximum(self.count + count, 1)
        self.squares += squares + distance * distance * self.count * count / total
        self.mean += distance * count / total
        self.count += count
        self.lowest = np.fmin(self.lowest, np.fmin.reduce(x, initial=np.inf))
        self.highest = np.fmax(self.highest, np.fmax.reduce(x, initial=-np.inf))


def moments_of(blocks: Iterable[Rows], columns: int) -> Moments:
    """Return the moments of all rows but those that are masked."""
    moments = Moments(columns)
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in blocks:
            moments.add(rows.x if rows.masked is None else rows.x[~rows.masked])
    return moments


def center_and_scale(
    moments: Moments, columns: Sequence[str]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each column, rounded to six digits of the latter.

    The scale of a column whose values are all the same is 1, and its center is that value.
    """
    centers, scales = [], []
    for i, column in enumerate(columns):
        center, scale = moments.lowest[i].item(), 1.0
        deviation = float(np.sqrt(moments.squares[i] / max(1, moments.count[i])))
        if center < moments.highest[i] and isfinite(deviation) and deviation:
            places = _DIGITS - 1 - floor(log10(deviation))
            center, scale = round(moments.mean[i].item(), places), round(deviation, places)
        elif center != moments.highest[i]:
            what = "values whose squares are no float64, and so no deviation"
            if not moments.count[i]:
                what = "no values, and so no mean"
            raise InputError("", f"column {column!r} has {what}")
        centers.append(center + 0.0)  # no -0
        scales.append(scale)
    return tuple(centers), tuple(scales)
