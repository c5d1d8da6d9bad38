"""``--center auto`` and ``--scale auto``: mean and standard deviation, exactly enough."""

import math
import statistics
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncli.engine.rows import Rows
from rnncli.model.errors import InputError
from rnncli.readers.moments import center_and_scale, moments_of


def exact(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation, of sums that are rounded once."""
    mean = math.fsum(values) / len(values)
    rest = math.fsum(value - mean for value in values) / len(values)  # its rounding
    squares = math.fsum((value - mean - rest) ** 2 for value in values)
    return mean + rest, math.sqrt(squares / len(values))


number = st.floats(-1e6, 1e6) | st.just(math.nan)


@given(
    rows=st.lists(st.tuples(number, number, st.booleans()), min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=4),
    middle=st.sampled_from([0.0, 1e9, -1e12]),
    first=st.sampled_from([None, 0.0, 1e15]),
)
def test_moments_equal_exact_sums(
    rows: list[tuple[float, float, bool]], cuts: list[int], middle: float, first: float | None
) -> None:
    """Blocks may lie far from zero or the first value; missing values do not count."""
    x = np.array([row[:2] for row in rows]) + middle
    masked = np.array([row[2] for row in rows])
    if first is not None:
        x[0] = first
    edges = [0, *sorted(min(cut, len(x)) for cut in cuts), len(x)]
    blocks: Iterator[Rows] = (Rows(x[a:b], masked=masked[a:b]) for a, b in pairwise(edges))
    for i, moments in enumerate(np.transpose(moments_of(blocks, 2)).tolist()):
        n, mean, squares, lowest, highest = moments
        values = [value for value in x[~masked, i].tolist() if not math.isnan(value)]
        assert n == len(values)
        if values:
            exact_mean, deviation = exact(values)
            # A mean is known to a rounding of the largest value.
            assert abs(mean - exact_mean) <= 4 * np.spacing(max(map(abs, values)))
            found = math.sqrt(squares / len(values))
            assert found == pytest.approx(deviation, rel=1e-9, abs=1e-9 + 1e-15 * abs(middle))
            assert (lowest, highest) == (min(values), max(values))


def numbers_of(values: list[float]) -> tuple[float, float]:
    """Center and scale of one column."""
    x = np.array(values)[:, None]
    (center,), (scale,) = center_and_scale(moments_of([Rows(x)], 1), ["v"])
    return center, scale


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([1e9 + 1, 1e9 + 2, 1e9 + 3, 1e9 + 4.25], 5),
        ([1e20, 3e20, 4e20], -15),
        ([-1.0, 1.0, -1e-30], 6),
    ],
)
def test_six_digits_of_the_deviation(values: list[float], places: int) -> None:
    """And as many places of the mean, so that large values with a small spread are centered."""
    center, scale = numbers_of(values)
    fractions = [Fraction(value) for value in values]
    assert center == float(round(statistics.mean(fractions), places))
    assert scale == round(math.sqrt(statistics.pvariance(fractions)), places)
    assert math.copysign(1, center) == (-1 if center < 0 else 1)  # 0 is not -0


def test_columns_without_a_deviation() -> None:
    for value in (7.123456789, -5.0, 1e9 + 1 / 3):
        assert numbers_of([value] * 70_000) == numbers_of([value]) == (value, 1)
    for values in ([1e300, -1e300], [1e-300, 2e-300], []):
        with np.errstate(all="ignore"), pytest.raises(InputError, match="column 'v'"):
            numbers_of(values)
