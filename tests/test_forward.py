"""The public way to run a network, and the stream that carries its state."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import Case, cases

import rnncli
from rnncli.engine.rows import Rows
from rnncli.engine.run import run
from rnncli.engine.stream import Carried, stream
from rnncli.model.cells import Weights
from rnncli.model.errors import NotFiniteError
from rnncli.model.network import Network
from rnncli.verify.steps import step_errors

Options = dict[str, Any]


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


@pytest.mark.slow
@given(case=cases())
def test_a_batch_and_its_sequences_have_the_same_shapes_and_states(case: Case) -> None:
    network = case.network
    batch = run(network, case.x, case.h0, precision=case.precision, unroll="stepwise")
    assert batch.h.shape == (*case.x.shape[:2], network.output_size)
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
    options: Options = {option: "fast"}
    with pytest.raises(ValueError, match=f"{option}: expected one of .*, got 'fast'"):
        run(rnncli.seeded(), [[1]], **options)


@pytest.mark.slow
@given(case=cases(N=1), cuts=st.lists(st.integers(0, 40), max_size=4))
def test_a_stream_cut_anywhere_is_one_run(case: Case, cuts: list[int]) -> None:
    network, x, h0 = case.network, case.x[0], case.h0[0]
    options: Options = {"precision": case.precision, "unroll": "stepwise"}
    carried = Carried(h0)
    parts = [Rows(part) for part in np.split(x, sorted(cuts))]
    blocks = list(stream(network, parts, carried=carried, **options))
    whole = run(network, x, h0, **options)
    joined = np.concatenate([whole.h[:0], *(block.h for block in blocks)])
    assert joined.tobytes() == whole.h.tobytes()
    assert [t for block in blocks for t in block.t] == list(range(1, len(x) + 1))
    assert carried.state[0].tobytes() == whole.h_n.tobytes()
    assert carried.t[0] == len(x)


@pytest.mark.slow
@given(case=cases(N=1), data=st.data())
def test_interleaved_sequences_are_as_if_alone(case: Case, data: st.DataObject) -> None:
    network, x, h0 = case.network, case.x[0], case.h0[0]
    options: Options = {"precision": case.precision, "unroll": "stepwise"}
    drawn = data.draw(st.lists(st.integers(0, 5), min_size=len(x), max_size=len(x)))
    key = np.unique(np.array(drawn, np.intp), return_inverse=True)[1]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(x)), max_size=3)))
    parts = map(Rows, np.split(x, cuts), np.split(key, cuts))
    carried = Carried(h0, sequences=0)
    blocks = list(stream(network, parts, carried=carried, **options))
    h = np.concatenate([np.empty((0, network.output_size), x.dtype), *(b.h for b in blocks)])
    t = np.concatenate([np.empty(0, np.intp), *(block.t for block in blocks)])
    for number in range(len(carried.t)):
        alone = run(network, x[key == number], h0, **options)
        assert h[key == number].tobytes() == alone.h.tobytes()
        assert t[key == number].tolist() == list(range(1, len(alone.h) + 1))
        assert carried.state[number].tobytes() == alone.h_n.tobytes()
        assert carried.t[number] == len(alone.h)


@pytest.mark.slow
@given(case=cases(N=1, T=60))
def test_sequences_run_together_have_right_steps(case: Case) -> None:
    network, x, h0 = case.network, case.x[0], case.h0[0]
    key = np.random.RandomState(0).randint(0, 7, len(x))
    (block,) = stream(network, [Rows(x, key)], precision=case.precision, carried=Carried(h0, 0))
    for number in range(7):
        rows = key == number
        errors = step_errors(case.cell, x[rows], h0, block.h[rows], case.precision)
        assert errors.max(initial=0) < 0.5


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
    blocks = stream(OVERFLOWING, [Rows(X[:2]), X[2:]], H0, unroll=unroll)
    assert [len(block.h) for block in (next(blocks), next(blocks))] == [2, 1]
    with pytest.raises(NotFiniteError, match=r"^step 4, unit 0: overflow \(nan\)$"):
        next(blocks)


def test_a_state_that_is_not_finite_at_once_gives_no_block() -> None:
    carried = Carried(np.ones(2, np.float32))
    blocks = stream(OVERFLOWING, [-X[3:4]], unroll="stepwise", carried=carried)
    with pytest.raises(NotFiniteError, match=r"^step 1, unit 0"):
        next(blocks)


def test_the_sequence_with_a_state_that_is_not_finite_is_named() -> None:
    x, key = np.concatenate([X, X]), np.repeat([1, 0], len(X))
    x[:5] = 1
    blocks = stream(
        OVERFLOWING,
        [Rows(x, key)],
        unroll="stepwise",
        carried=Carried(H0, 0),
        keys=[("a", "1"), ("b", "2")],
    )
    assert len(next(blocks).h) == 8
    with pytest.raises(NotFiniteError, match=r"^a 1: step 4, unit 0: overflow \(nan\)$"):
        next(blocks)
