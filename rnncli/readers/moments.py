"""Mean and standard deviation of each column of an input, in one pass and constant memory."""

from collections.abc import Iterable, Sequence
from math import floor, isfinite, log10, sqrt

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError

# For each of I columns: number of values, mean, sum of the squared distances from it, least, most.
Moments = tuple[Floats, Floats, Floats, Floats, Floats]


def moments_of(blocks: Iterable[Rows], columns: int) -> Moments:
    """Return the moments of all values but NaN, and of all rows but those that are masked.

    Distances are taken from the mean of a block before they are squared, and blocks are joined
    by the distance of their means: nothing is lost where values are large and distances small.

    Source: T. F. Chan, G. H. Golub, R. J. LeVeque (1983), Algorithms for computing the sample
    variance.
    """
    count, mean, squares = np.zeros((3, columns))
    lowest, highest = np.full(columns, np.inf), np.full(columns, -np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in blocks:
            x = rows.x if rows.masked is None else rows.x[~rows.masked]
            absent = np.isnan(x)
            n = len(x) - absent.sum(axis=0)
            center = np.where(absent, 0, x).sum(axis=0) / np.maximum(n, 1)
            away = np.where(absent, 0, x - center)
            rest = away.sum(axis=0) / np.maximum(n, 1)  # what rounding has left in the mean
            distance, total = (center - mean) + rest, np.maximum(count + n, 1)
            squares += (away * away).sum(axis=0) - rest * rest * n
            squares += distance * distance * count * n / total
            mean += distance * n / total
            count += n
            lowest = np.fmin(lowest, np.fmin.reduce(x, initial=np.inf))
            highest = np.fmax(highest, np.fmax.reduce(x, initial=-np.inf))
    return count, mean, squares, lowest, highest


def center_and_scale(
    moments: Moments, columns: Sequence[str]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each column, rounded to six digits of the latter.

    The scale of a column whose values are all the same is 1, and its center is that value.
    """
    centers, scales = [], []
    for column, each in zip(columns, np.transpose(moments).tolist(), strict=True):
        count, mean, squares, lowest, highest = each
        center, scale, deviation = lowest, 1.0, sqrt(max(0.0, squares) / max(1, count))
        if lowest < highest and isfinite(deviation) and deviation:
            digits = 5 - floor(log10(deviation))
            center, scale = round(mean, digits), round(deviation, digits)
        elif lowest != highest:
            what = "values whose squares are no float64" if count else "no values"
            raise InputError("", f"column {column!r} has {what}, and so no deviation")
        centers.append(center + 0.0)  # no -0
        scales.append(scale)
    return tuple(centers), tuple(scales)
