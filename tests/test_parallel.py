"""Sequences run in parallel over their own steps: right at every join, or step by step."""

import tracemalloc
from importlib import import_module
from math import inf, isinf
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import ALL_ACTIVATIONS, in_precision
from whole_runs import difference

import rnncli
from rnncli.engine.batch import Steps
from rnncli.engine.precision import PRECISIONS, Precision
from rnncli.engine.unroll import Strategy, fastest, parallel, projected
from rnncli.model.activations import Activation, activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN, Weights
from rnncli.verify.steps import step_errors

FLOAT32 = PRECISIONS["float32"]
module: Any = import_module(
    "rnncli.engine.unroll.parallel"
)  # the package has the function by that name


def cell_of(init: str, input_size: int, hidden_size: int, seed: int = 1) -> RNN:
    (cell,) = rnncli.seeded(input_size, hidden_size, seed, init).layers[0].cells
    assert isinstance(cell, RNN)
    return cell


def inputs(T: int, I: int, N: int = 1, seed: int = 0) -> Floats:
    return np.random.RandomState(seed).normal(size=(T, N, I)).astype(np.float32)


def zeros(cell: RNN, N: int = 1) -> Floats:
    return np.zeros((N, len(cell.weights.b_h)), np.float32)


def worst(cell: RNN, x: Floats, h0: Floats, h: Floats, precision: str = "float32") -> float:
    return max(
        float(step_errors(cell, x[:, n], h0[n], h[:, n], precision).max()) for n in range(len(h0))
    )


def states(
    strategy: Strategy, cell: RNN, x: Floats, h0: Floats, precision: Precision = FLOAT32
) -> Floats:
    h = np.full((len(x), *h0.shape), np.nan, h0.dtype)
    (final,) = strategy(cell, Steps(x), (h0,), precision, Steps(h))
    np.testing.assert_array_equal(final, h[-1])
    return h


class Watch:
    """Counts the segments that are run one by one, and the calls of `projected`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.one_by_one: list[int] = []
        self.whole = 0
        step_by_step, right = module.step_by_step, module.projected

        def counted(segments: Any, left: Any) -> None:
            self.one_by_one.append(len(left))
            step_by_step(segments, left)

        def called(*arguments: Any) -> Any:
            self.whole += 1
            return right(*arguments)

        monkeypatch.setattr(module, "step_by_step", counted)
        monkeypatch.setattr(module, "projected", called)


def set_threads(patch: pytest.MonkeyPatch, count: int) -> None:
    """Let any work be worth the threads there are."""
    patch.setattr(module, "THREADS", count)
    patch.setattr("rnncli.engine.threads.THREADS", count)
    patch.setattr("rnncli.engine.threads.WORK", 1)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    set_threads(monkeypatch, request.param)


SIZES = [
    ("torch", 1, 4),
    ("torch", 1, 16),
    ("keras", 1, 16),
    ("torch", 8, 64),
    ("torch", 40, 8),  # more inputs than units
    ("keras", 130, 16),
]


@pytest.mark.slow
@pytest.mark.parametrize(("init", "I", "H"), SIZES)
@pytest.mark.parametrize("N", [1, 3])
@pytest.mark.usefixtures("threads")
def test_a_contracting_network(
    monkeypatch: pytest.MonkeyPatch, init: str, I: int, H: int, N: int
) -> None:
    cell, x = cell_of(init, I, H), inputs(9_001, I, N)
    watch = Watch(monkeypatch)
    h = states(parallel, cell, x, zeros(cell, N))
    assert watch.one_by_one == [0]  # it did run in segments, and all of them converged
    # Right code stays far below the bound; a join may add its share of it.
    assert worst(cell, x, zeros(cell, N), h) < 0.5
    double = PRECISIONS["float64"]
    wide = cell.replaced(weights=Weights(*(a.astype(np.float64) for a in cell.weights[:3])))
    exact = states(projected, wide, x.astype(np.float64), zeros(cell, N).astype(np.float64), double)
    # These networks shrink what differs: whole runs stay together, at a few roundings.
    assert difference(h, exact) < 4e-6


@pytest.mark.parametrize("unroll", ["auto", "parallel"])
def test_sequences_of_unequal_lengths_run_in_segments_while_they_are_long(
    monkeypatch: pytest.MonkeyPatch, unroll: str
) -> None:
    network = rnncli.seeded(1, 4, 1, "torch")
    lengths, x = np.array([30, 9_001, 8_000]), inputs(9_001, 1, 3).swapaxes(0, 1)
    watch = Watch(monkeypatch)
    h = rnncli.run(network, x, lengths=lengths, unroll=unroll).h
    assert watch.one_by_one == [0]  # the steps that two sequences have, and not the third
    for n, T in enumerate(lengths):
        errors = step_errors(
            network.layers[0].cells[0], x[n, :T], np.zeros(4, "f"), h[n, :T], "float32"
        )
        assert errors.max() < 0.5
        assert not h[n, T:].any()


@pytest.mark.parametrize("precision", list(PRECISIONS))
@pytest.mark.parametrize("f", ALL_ACTIVATIONS, ids=str)
def test_every_precision_and_activation(precision: str, f: Activation) -> None:
    how = PRECISIONS[precision]
    clip = 1.0 if isinf(f.slope) else inf  # or the states grow without end
    cell = in_precision(cell_of("torch", 2, 8).replaced(activation=f, clip=clip), precision)
    x = how.operand(inputs(5_000, 2).astype(how.dtype))
    h0 = zeros(cell).astype(how.dtype)
    with np.errstate(all="ignore"):
        h = states(parallel, cell, x, h0, how)
    assert h.dtype == how.dtype
    assert worst(cell, x, h0, h, precision) < 0.5


def test_rounded_operands_give_the_bits_of_one_by_one() -> None:
    """States that round to one operand make the same next step; none is merely near."""
    how = PRECISIONS["bfloat16"]
    cell = in_precision(cell_of("torch", 1, 4), "bfloat16")
    x = how.operand(inputs(9_000, 1))
    h, alone = (states(run, cell, x, zeros(cell), how) for run in (parallel, projected))
    assert np.mean(h == alone) > 0.99


@pytest.mark.slow
def test_a_network_that_is_not_contracting_runs_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, x = cell_of("tensorflow", 1, 16), inputs(20_000, 1)
    expected = states(projected, cell, x, zeros(cell))
    watch = Watch(monkeypatch)
    h = states(parallel, cell, x, zeros(cell))
    assert (watch.whole, watch.one_by_one) == (1, [])
    assert h.tobytes() == expected.tobytes()


# A latch: large inputs set it, and with none it stays as it was for ever.
LATCH = RNN(
    Weights(
        np.full((1, 1), 5, np.float32),
        np.full((1, 1), 2, np.float32),
        np.zeros(1, np.float32),
    )
)


@pytest.mark.slow
@pytest.mark.usefixtures("threads")
def test_segments_that_never_converge(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is contracting wherever a probe is, and remembers in between."""
    T = 40_000
    x = np.random.RandomState(0).choice([-1, 1], size=(T, 1, 1)).astype(np.float32)
    silent = np.arange(T) % (T // module.PROBES) > 1_000
    x[silent] = 0
    watch = Watch(monkeypatch)
    h = states(parallel, LATCH, x, zeros(LATCH))
    assert watch.one_by_one[0] > 0
    assert worst(LATCH, x, zeros(LATCH), h) < 0.5
    # From zero and without input it would stay at zero: only the true state gives ±0.957.
    assert np.abs(h[silent]).min() > 0.9
    np.testing.assert_allclose(h, states(projected, LATCH, x, zeros(LATCH)), rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 1, 4_999, 12_345, 29_999])
@pytest.mark.usefixtures("threads")
def test_what_is_not_finite_begins_at_the_same_step(step: int) -> None:
    cell = cell_of("torch", 1, 4).replaced(activation=activation("relu"))
    x = inputs(30_000, 1)
    x[step] = 3e38
    cell = cell.replaced(weights=cell.weights._replace(W_xh=np.full((1, 4), 4, np.float32)))
    with np.errstate(all="ignore"):
        runs = [states(run, cell, x, zeros(cell)) for run in (parallel, projected)]
    first = [int(np.argmin(np.isfinite(h).all(axis=(1, 2)))) for h in runs]
    assert first == [step, step]
    if step:
        assert worst(cell, x[:step], zeros(cell), runs[0][:step]) < 0.5


@pytest.mark.slow
@given(data=st.data())
def test_every_step_is_right_whatever_the_network(data: st.DataObject) -> None:
    """Spectral radii from forgetting at once to growing without end."""
    random = np.random.RandomState(data.draw(st.integers(0, 2**32 - 1)))
    I, H, N = (data.draw(st.integers(1, most)) for most in (3, 12, 2))
    radius = data.draw(st.floats(0.1, 1.5))
    f = data.draw(st.sampled_from(ALL_ACTIVATIONS))
    W_hh = random.normal(size=(H, H))
    W_hh *= radius / np.abs(np.linalg.eigvals(W_hh)).max()
    scale = 10.0 ** data.draw(st.integers(-4, 1))
    arrays = (scale * random.normal(size=(I, H)), W_hh, scale * random.normal(size=H))
    cell = RNN(Weights(*(array.astype(np.float32) for array in arrays)), f)
    x, h0 = inputs(700, I, N, seed=1), random.normal(size=(N, H)).astype(np.float32)
    run = data.draw(st.sampled_from([parallel, fastest]))
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(module, "SHORT", 64)
        set_threads(patch, data.draw(st.sampled_from([1, 2])))
        h, alone = states(run, cell, x, h0), states(projected, cell, x, h0)
    finite = [np.isfinite(states).all(axis=(1, 2)) for states in (h, alone)]
    rows = [len(h) if each.all() else int(np.argmin(each)) for each in finite]
    # A growing run may reach the largest float a step sooner by another rounding.
    assert abs(rows[0] - rows[1]) <= 1
    sound = min(rows)
    if sound:
        assert worst(cell, x[:sound], h0, h[:sound]) < 1


@pytest.mark.slow
@given(T=st.integers(256, 900), N=st.integers(1, 3), seed=st.integers(0, 9))
def test_any_length_has_a_state_for_every_step(T: int, N: int, seed: int) -> None:
    cell = cell_of("torch", 2, 4, seed)
    x = inputs(T, 2, N, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHORT", 256)
        h = states(parallel, cell, x, zeros(cell, N))
    assert h.shape == (T, N, 4)
    assert worst(cell, x, zeros(cell, N), h) < 0.5


def test_segments_may_leave_no_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []

    def counted(cell: RNN, x: Steps, *others: Any) -> Any:
        left.append(len(x))
        return projected(cell, x, *others)

    monkeypatch.setattr(module, "projected", counted)
    monkeypatch.setattr(module, "SHORT", 256)
    cell = cell_of("torch", 2, 4)
    for T in range(420, 460):
        h = states(parallel, cell, inputs(T, 2), zeros(cell))
        assert worst(cell, inputs(T, 2), zeros(cell), h) < 0.5
    assert 0 in left


@pytest.mark.slow
@pytest.mark.parametrize(
    ("init", "I", "H", "T"),
    [("torch", 1, 16, 400_000), ("tensorflow", 1, 16, 400_000), ("torch", 100, 2, 200_000)],
)
@pytest.mark.usefixtures("threads")
def test_memory_beside_input_and_output_does_not_grow(init: str, I: int, H: int, T: int) -> None:
    cell, x = cell_of(init, I, H), np.resize(inputs(1_009, I), (T, 1, I))
    tracemalloc.start()
    h = states(parallel, cell, x, zeros(cell))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - h.nbytes < 64e6
