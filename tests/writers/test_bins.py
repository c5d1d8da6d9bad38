"""Sequences of any length as a limited number of spans, against NumPy over each span."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rnncli.model.arrays import Floats
from rnncli.writers.bins import Bins


def binned(values: Floats, lengths: list[int], at_most: int) -> Bins:
    """Add values in parts of these lengths."""
    bins = Bins(values.shape[1], at_most)
    for part in np.split(values, np.cumsum(lengths)[:-1]) if lengths else []:
        bins.add(part)
    return bins


@given(
    lengths=st.lists(st.integers(0, 60), max_size=8),
    at_most=st.integers(1, 20),
    fitted=st.none() | st.integers(1, 20),
    seed=st.integers(0, 1000),
)
def test_bins_are_means_and_ends_of_the_known_values_of_equal_spans(
    lengths: list[int], at_most: int, fitted: int | None, seed: int
) -> None:
    random = np.random.RandomState(seed)
    values = random.normal(size=(sum(lengths), 3))
    values[random.uniform(size=values.shape) < 0.2] = np.nan
    bins = binned(values, lengths, at_most)
    assert bins.size == 1 or 2 * len(bins.means()) >= at_most
    if fitted:
        bins.fit(fitted)
    means = bins.means()
    assert len(means) <= (fitted or at_most)
    assert bins.total == len(values)
    spans = [values[i : i + bins.size] for i in range(0, len(values), bins.size)]
    expected = [np.ma.masked_invalid(span).mean(axis=0).filled(np.nan) for span in spans]
    # Sums in another order: a few roundings of values around 1.
    np.testing.assert_allclose(means, np.reshape(expected, (-1, 3)), rtol=0, atol=1e-12)
    for ends, join in zip(bins.ends(), (np.fmin, np.fmax), strict=True):
        np.testing.assert_array_equal(ends, np.reshape([*map(join.reduce, spans)], (-1, 3)))


def test_means_of_a_state_that_swings_show_no_slower_swing() -> None:
    bins = binned(np.array([[1.0], [-1.0]] * 15), [30], at_most=40)
    bins.fit(12)
    np.testing.assert_array_equal(bins.means(), np.zeros((8, 1)))  # not of three steps each


def test_a_mean_is_finite_where_the_sum_is_not() -> None:
    values = np.full((4, 1), 1e308)
    assert binned(values, [4], at_most=1).means() == [[1e308]]
