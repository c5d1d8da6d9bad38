"""Parts of a work in two threads: all are done, in order, and a failure is told."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnncli
from rnncli.arrays import Floats
from rnncli.compare import difference
from rnncli.lanes import LANES, VALUES, in_lanes, parts_for


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_every_part_is_done_in_order(count: int) -> None:
    assert in_lanes(lambda part: part * part, range(count)) == [n * n for n in range(count)]


def test_a_failure_in_a_lane_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        in_lanes(lambda part: 1 // part, [2, 1, 0])


def test_lanes_warn_of_no_overflow() -> None:
    large = np.full(3, 3e38, np.float32)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error")
        found = in_lanes(lambda part: large * part, [np.float32(2), np.float32(3)])
    assert np.isinf(found).all()


@given(values=st.integers(0, 10**9))
def test_parts_are_no_larger_than_a_lane_takes(values: int) -> None:
    parts = parts_for(values)
    assert values <= parts * VALUES
    assert (parts == 1) if values < VALUES else (parts % LANES == 0)


@pytest.fixture(scope="module")
def batch() -> Floats:
    return np.random.RandomState(0).normal(size=(6_000, 7, 2)).astype(np.float32)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("ragged", [False, True])
def test_a_batch_of_several_parts_is_its_sequences(
    batch: Floats, direction: str, ragged: bool
) -> None:
    network = rnncli.seeded(2, 16, 1, "torch", direction=direction)
    N, T, _ = batch.shape
    assert parts_for(N * 16) > 1
    lengths = np.random.RandomState(1).randint(0, T + 1, N) if ragged else np.full(N, T)
    states = rnncli.run(network, batch, lengths=lengths)
    for few in np.array_split(np.arange(N), 100)[::9]:
        alone = rnncli.run(
            network, batch[few], lengths=lengths[few], precision="float64", unroll="stepwise"
        )
        # Seven steps of float32 beside float64.
        assert difference(states.h[few], alone.h) < 1e-6
        assert difference(states.h_n[few], alone.h_n) < 1e-6
