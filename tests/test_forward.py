"""The public way to run a network, and the stream that carries its state."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import Case, cases

import rnncli
from rnncli.forward import NotFiniteError, run, stream
from rnncli.network import Network, Weights


def test_three_lines_of_python() -> None:
    network = rnncli.seeded(input_size=1, hidden_size=4, seed=1)
    states = rnncli.run(network, [[1], [2], [3], [4], [5], [6]])
    assert states.h.shape == (6, 4)
    np.testing.assert_array_equal(states.h[-1], states.h_n)


def test_public_names() -> None:
    assert sorted(rnncli.__all__) == dir(rnncli)
    assert all(hasattr(rnncli, name) for name in rnncli.__all__)
    with pytest.raises(AttributeError, match="module 'rnncli' has no attribute 'train'"):
        rnncli.train  # noqa: B018


@given(case=cases())
def test_a_batch_and_its_sequences_have_the_same_shapes_and_states(case: Case) -> None:
    network = Network(case.weights)
    batch = run(network, case.x, case.h0, precision=case.precision, unroll="stepwise")
    assert batch.h.shape == (*case.x.shape[:2], network.hidden_size)
    assert batch.h_n.shape == case.h0.shape
    for n, (x, h0) in enumerate(zip(case.x, case.h0, strict=True)):
        single = run(network, x, h0, precision=case.precision, unroll="stepwise")
        np.testing.assert_array_equal(single.h, batch.h[n])
        np.testing.assert_array_equal(single.h_n, batch.h_n[n])


def test_one_initial_state_serves_a_batch() -> None:
    network, x = rnncli.seeded(2, 3), np.ones((4, 5, 2))
    h0 = np.array([0.1, -0.2, 0.3])
    one, each = run(network, x, h0), run(network, x, np.tile(h0, (4, 1)))
    np.testing.assert_array_equal(one.h, each.h)


@pytest.mark.parametrize("unroll", ["auto", "stepwise", "fused", "projected"])
@pytest.mark.parametrize("precision", ["float32", "float64", "tf32", "bfloat16"])
def test_no_steps(unroll: str, precision: str) -> None:
    h0 = np.array([0.5, -0.25, 0.125, 1])
    states = run(rnncli.seeded(), np.empty((0, 1)), h0, precision=precision, unroll=unroll)
    assert states.h.shape == (0, 4)
    np.testing.assert_array_equal(states.h_n, h0)


def test_the_caller_keeps_its_arrays() -> None:
    network, x, h0 = rnncli.seeded(), np.ones((5, 1), np.float32), np.zeros(4, np.float32)
    for unroll in ("stepwise", "fused", "projected"):
        states = run(network, x, h0, unroll=unroll)
        states.h[:] = 7
    assert not h0.any()
    assert (x == 1).all()


@pytest.mark.parametrize(
    ("x", "h0", "message"),
    [
        (
            [1, 2],
            None,
            r"x: expected shape \(T, 1\) or \(N, T, 1\), as W_xh has 1 rows, got \(2,\)",
        ),
        ([[1, 2]], None, r"x: expected shape .* got \(1, 2\)"),
        ([[np.nan]], None, r"x: not finite in float32: nan at \[0, 0\]"),
        ([[1j]], None, "x: expected numbers, got an array of complex128"),
        ([[1]], [1, 2], r"h0: expected shape \(4,\) or \(1, 4\), .* 4 units, got \(2,\)"),
        ([[1]], [0, 0, 0, np.inf], "h0: not finite in float32: inf"),
    ],
)
def test_bad_arrays(x: list[Any], h0: list[float] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(rnncli.seeded(), x, h0)


def test_weights_too_large_for_the_precision() -> None:
    weights = Weights(np.full((1, 1), 1e39), np.ones((1, 1)), np.ones(1))
    assert np.isfinite(run(Network(weights), [[0]], precision="float64").h).all()
    with pytest.raises(ValueError, match=r"W_xh: not finite in float32: 1e\+39 at \[0, 0\]"):
        run(Network(weights), [[0]])


@pytest.mark.parametrize("option", ["precision", "unroll"])
def test_unknown_names(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option}: expected one of .*, got 'fast'"):
        run(rnncli.seeded(), [[1]], **{option: "fast"})


@given(case=cases(N=1), cuts=st.lists(st.integers(0, 40), max_size=4))
def test_a_stream_cut_anywhere_is_one_run(case: Case, cuts: list[int]) -> None:
    network, x, h0 = Network(case.weights), case.x[0], case.h0[0]
    options = {"precision": case.precision, "unroll": "stepwise"}
    blocks = list(stream(network, np.split(x, sorted(cuts)), h0, **options))
    assert [block.first for block in blocks] == steps_before(blocks)
    whole = run(network, x, h0, **options).h
    joined = np.concatenate([whole[:0], *(block.h for block in blocks)])
    assert joined.tobytes() == whole.tobytes()


def steps_before(blocks: list[rnncli.forward.Block]) -> list[int]:
    lengths = [len(block.h) for block in blocks]
    return [1 + sum(lengths[:n]) for n in range(len(lengths))]


# Both products overflow. At step 4 their signs differ, and the sum is no number.
OVERFLOWING = Network(
    Weights(
        np.full((1, 2), 4, np.float32),
        np.full((2, 2), -3e38, np.float32),
        np.zeros(2, np.float32),
    )
)
X = np.array([[1], [-1], [1], [-3e38], [1]], np.float32)
H0 = np.array([1, 0.1], np.float32)


@pytest.mark.parametrize("unroll", ["stepwise", "projected"])
def test_a_state_that_is_not_finite_ends_a_stream(unroll: str) -> None:
    blocks = stream(OVERFLOWING, [X[:2], X[2:]], H0, unroll=unroll)
    assert [len(block.h) for block in (next(blocks), next(blocks))] == [2, 1]
    with pytest.raises(NotFiniteError, match=r"^step 4, unit 0: overflow \(nan\)$"):
        next(blocks)


def test_a_state_that_is_not_finite_at_once_gives_no_block() -> None:
    blocks = stream(OVERFLOWING, [-X[3:4]], np.ones(2, np.float32), unroll="stepwise")
    with pytest.raises(NotFiniteError, match=r"^step 1, unit 0"):
        next(blocks)
