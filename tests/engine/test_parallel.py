"""Sequences run in parallel over their own steps: right at every join, or step by step."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from conftest import NIGHTLY, runnable
from hypothesis import given
from hypothesis import strategies as st
from random_networks import ALL_ACTIVATIONS, difference, drawn_weights, slope

import rnncli
from rnncli import LSTM, RNN, Network, Weights
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.unroll import parallel as module
from rnncli.model.arrays import Floats
from rnncli.verification import reference
from rnncli.verification.case import case_of_batch
from rnncli.verification.steps import largest_step_error


def inputs(T: int, I: int, N: int = 1, seed: int = 0) -> Floats:
    return np.random.RandomState(seed).normal(size=(N, T, I)).astype("f")


def run(network: Network, x: Floats, unroll: str = "parallel", **options: Any) -> Floats:
    return rnncli.run(network, x, unroll=unroll, **options).h


def worst(network: Network, x: Floats, h: Floats, precision: str = "float32") -> float:
    """Return the largest step error."""
    case = case_of_batch(network, x, precision=precision)
    error = largest_step_error(case, [h.reshape(len(case.x), -1)])
    assert error is not None
    return error


def set_threads(patch: pytest.MonkeyPatch, count: int) -> None:
    """Let any work be worth the threads there are."""
    patch.setattr(module, "THREADS", count)
    patch.setattr("rnncli.engine.threads.THREADS", count)
    patch.setattr("rnncli.engine.runner.WORK", 1)
    patch.setattr(module, "STATES_IN_CACHE", 1)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    set_threads(monkeypatch, request.param)


@pytest.fixture
def unconverged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the segments that have not converged, of each sweep that corrects them."""
    counts: list[int] = []
    right = module.Parallel.sweep

    def counted(self: Any, x: Any, h: Any, starts: Any, ends: Any) -> Any:
        left = right(self, x, h, starts, ends)
        if len(starts[0]) < len(x):
            counts.append(len(left))
        return left

    monkeypatch.setattr(module.Parallel, "sweep", counted)
    return counts


@pytest.mark.parametrize(
    ("cell", "I", "H"),
    [
        ("rnn", 1, 1),
        ("rnn", 1, 4),
        ("rnn", 8, 64),
        ("rnn", 40, 8),  # more inputs than units
        ("lstm", 2, 8),
        ("gru", 2, 8),
    ],
)
@pytest.mark.parametrize("N", [1, 3])
@pytest.mark.usefixtures("threads")
def test_a_contracting_network_runs_in_segments(
    unconverged: list[int], cell: str, I: int, H: int, N: int
) -> None:
    network, x = rnncli.seeded(I, H, 1, "torch", cell=cell), inputs(9_001, I, N)
    h = run(network, x)
    assert set(unconverged) == {0}
    # Right code stays far below the bound; a join may add its share of it.
    assert worst(network, x, h) < 0.5
    # Such networks shrink what differs: whole runs stay together, at a few roundings.
    assert difference(h, run(network, x, "projected", precision="float64")) < 4e-6


@pytest.mark.parametrize("unroll", ["auto", "parallel"])
def test_sequences_of_unequal_lengths_run_in_segments_while_they_are_long(
    unconverged: list[int], unroll: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnncli.engine.unroll.Auto.compiled", None)
    network, x = rnncli.seeded(1, 4, 1, "torch"), inputs(9_001, 1, 3)
    lengths = [30, 9_001, 8_000]
    h = run(network, x, unroll, lengths=lengths)
    assert unconverged == [0]  # the steps that two sequences have, and not the third
    for n, T in enumerate(lengths):
        assert worst(network, x[n : n + 1, :T], h[n : n + 1, :T]) < 0.5
        assert not h[n, T:].any()


def test_a_network_that_is_not_contracting_runs_in_no_segments(unconverged: list[int]) -> None:
    network, x = rnncli.seeded(1, 16, 1), inputs(20_000, 1)
    assert run(network, x).tobytes() == run(network, x, "projected").tobytes()
    assert unconverged == []


@pytest.mark.usefixtures("threads")
def test_segments_that_never_converge_are_run_one_by_one(unconverged: list[int]) -> None:
    """A latch: large inputs set it, and with none it stays as it was for ever.

    It is contracting wherever a probe is, and remembers in between.
    """
    latch = Network(Weights(*(np.full(shape, w, "f") for shape, w in LATCH)))
    T = 40_000
    x = np.random.RandomState(0).choice([-1, 1], size=(1, T, 1)).astype("f")
    silent = np.arange(T) % (T // module.PROBES) > 1_000
    x[0, silent] = 0
    h = run(latch, x)
    assert unconverged[0] > 0
    assert worst(latch, x, h) < 0.5
    # From zero and without input it would stay at zero: only the true state gives ±0.957.
    assert np.abs(h[0, silent]).min() > 0.9
    np.testing.assert_allclose(h, run(latch, x, "projected"), rtol=0, atol=1e-6)


LATCH: Any = [((1, 1), 5), ((1, 1), 2), (1, 0)]


def test_one_unit_that_remembers_is_enough_to_run_one_by_one() -> None:
    """Its c adds the inputs up for ever: where runs from zero begin, they stay apart."""
    weights = drawn_weights(3, 5, 4, 1)
    b_h = weights.b_h.copy()
    b_h[5] = 20  # f is 1 to the last bit
    network, x = Network(LSTM(weights._replace(b_h=b_h))), inputs(9_001, 3)[0]
    h_n = rnncli.run(network, x, unroll="parallel").h_n
    right = reference.run(network, x, np.zeros(network.state_size)).h_n
    assert np.abs(right[5]) > 1_000
    # c adds up 9,001 roundings of values of its size.
    assert np.abs(h_n[5] - right[5]) < 9_001 * 6e-8 * np.abs(right[5])


@pytest.mark.parametrize("step", [0, 1, 12_345, 29_999])
@pytest.mark.usefixtures("threads")
def test_states_that_are_not_finite_begin_at_the_same_step(step: int) -> None:
    (cell,) = rnncli.seeded(1, 4, 1, "torch", activation="relu").layers[0].cells
    network = Network(cell.replaced(cell.weights._replace(W_xh=np.full((1, 4), 4, "f"))))
    x = inputs(30_000, 1)
    x[0, step] = 3e38
    h = run(network, x)
    for states in (h, run(network, x, "projected")):
        assert np.argmin(np.isfinite(states[0]).all(axis=1)) == step
    assert step == 0 or worst(network, x[:, :step], h[:, :step]) < 0.5


@given(data=st.data())
def test_every_step_is_right_whatever_the_network(data: st.DataObject) -> None:
    """Spectral radii from forgetting at once to growing without end, and any number of steps."""
    random = np.random.RandomState(data.draw(st.integers(0, 2**32 - 1)))
    I, H, N = (data.draw(st.integers(1, most)) for most in (3, 12, 2))
    radius, f = data.draw(st.floats(0.1, 1.5)), data.draw(st.sampled_from(ALL_ACTIVATIONS))
    W_hh = random.normal(size=(H, H))
    W_hh *= radius / np.abs(np.linalg.eigvals(W_hh)).max()
    scale = 10.0 ** data.draw(st.integers(-4, 1))
    arrays = (scale * random.normal(size=(I, H)), W_hh, scale * random.normal(size=H))
    network = Network(RNN(Weights(*(array.astype("f") for array in arrays)), f))
    x = inputs(data.draw(st.integers(256, 700)), I, N, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHORT", 64)
        set_threads(patch, data.draw(st.sampled_from([1, 2])))
        runs = [run(network, x, how) for how in ("parallel", "projected")]
    finite: list[Any] = [np.isfinite(h).all(axis=(0, 2)) for h in runs]
    sound = [len(each) if each.all() else int(np.argmin(each)) for each in finite]
    # A growing run may reach the largest float a step sooner by another rounding.
    assert abs(sound[0] - sound[1]) <= 1
    T = min(sound)
    assert T == 0 or worst(network, x[:, :T], runs[0][:, :T]) < 1


def test_memory_beyond_input_and_output_does_not_grow() -> None:
    network, x = rnncli.seeded(1, 16, 1, "torch"), np.resize(inputs(1_009, 1), (1, 400_000, 1))
    tracemalloc.start()
    h = run(network, x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - h.nbytes < 64e6


# Units, inputs, biases and time constants of unlike size: a unit of 1e-7 next to one of 1 has as
# many digits of its own.


def unlike(random: np.random.Generator, size: int) -> Floats:
    """Sizes from 1 down to 1e-7; one time in four all are alike."""
    return 10.0 ** -random.uniform(0, random.choice([0, 3, 7, 7]), size)


def unlike_units(seed: int) -> tuple[Network, Floats, str]:
    """Draw a network that is contracting in most cases, 4,096 to 50,000 steps and a precision."""
    random = np.random.default_rng(seed)
    f = ALL_ACTIVATIONS[seed % len(ALL_ACTIVATIONS)]
    I, H = int(random.integers(1, 4)), int(random.integers(1, 9))
    unit, feature, bias = (unlike(random, n) for n in (H, I, H))
    if random.random() < 0.5:
        unit *= 10.0 ** random.uniform(0, 7)  # above 1 too
    # How much of itself a unit carries on: time constants from none to a hundred steps.
    own = (1 - 10 ** -random.uniform(0, 2, H)) * random.choice([0, 1, 1, -1], H) / slope(f)
    among = random.normal(size=(H, H)) * (random.random((H, H)) < 0.5) / slope(f)
    among = np.triu(among, 1) if random.random() < 0.8 else 0.3 * among / np.sqrt(H)
    W_hh = (np.diag(own) + among) * unit / unit[:, None]
    W_xh = random.normal(size=(I, H)) * (random.random((I, H)) < 0.8) * unit / feature[:, None]
    b_h = random.normal(size=H) * bias * unit * 10.0 ** random.uniform(0, 3)
    weights = Weights(*(array.astype("f") for array in (W_xh, W_hh, b_h)))
    T = int(4_096 * (50_000 / 4_096) ** random.random())
    x = (random.normal(size=(1, T, I)) + random.choice([0, 0, 1, 1000])) * feature
    precision = list(PRECISIONS)[seed // len(ALL_ACTIVATIONS) % len(PRECISIONS)]
    return Network(RNN(weights, f)), x.astype("f"), precision


def check_steps(network: Network, x: Floats, precision: str = "float32") -> None:
    """Check each strategy for long sequences, up to where states, and then the bound, overflow."""
    for unroll in {"auto", "parallel", "compiled"} & {"auto", *runnable(precision)}:
        h = run(network, x, unroll, precision=precision)
        bounded: Any = (np.abs(h) < np.finfo(h.dtype).max / 1e6).all(axis=(0, 2))
        T = len(bounded) if bounded.all() else int(np.argmin(bounded))
        error = worst(network, x[:, :T].astype(h.dtype), h[:, :T], precision) if T else 0
        # Rounding uses a few hundredths of the bound, half at most; a join may add a quarter.
        assert error <= 0.75, unroll


@pytest.mark.parametrize("seed", range(3_000 if NIGHTLY else 12))
def test_every_step_of_every_unit_is_right(seed: int) -> None:
    check_steps(*unlike_units(seed))


def test_a_slow_unit_next_to_a_large_one_that_does_not_touch_it() -> None:
    """Pressure in Pa and a slow mean: the mean forgets within 1,600 steps, not at once."""
    weights = Weights(*(np.array(rows, "f") for rows in ([[0, 1]], [[0, 0], [0, 0.99]], [1e6, 0])))
    check_steps(Network(RNN(weights, "linear")), inputs(20_000, 1))
