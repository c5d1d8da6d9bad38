"""Compiled loops of any size, on any machine: every step, and the state after the last one."""

from collections.abc import Callable
from functools import partial
from itertools import cycle
from math import inf
from typing import Any

import numpy as np
import pytest
from conftest import RUNNABLE
from hypothesis import assume, given
from hypothesis import strategies as st
from machines import MACHINES, machine
from networks import OF_LAYERS, gated_cells

from rnncli.engine.batch import Steps
from rnncli.engine.compiled import compiling, loops
from rnncli.engine.compiled.compiling import FEW_INPUTS
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.unroll import compiled, projected
from rnncli.model.activations import TANH
from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, RNN, Cell, Weights, weight_shapes
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network
from rnncli.verify.case import Case
from rnncli.verify.comparison import Comparison

pytestmark = pytest.mark.skipif("compiled" not in RUNNABLE, reason="needs the extra `fast`")

# Sizes about lanes (4 to 16), panels of them, and the rows of a matrix that are no loop (32).
SIZES = [*range(1, 41), 63, 64, 65, 100, 255, 256, 257]
FEWER = [1, 3, 4, 5, 7, 8, 9, 15, 17, 31, 33, 40, 65]
# Cells, of each of which there is a loop: GRUs that reset h before the product have two in a step.
KINDS = [*CELLS, "gru before"]
# About the inputs that are projected by BLAS.
INPUTS = [1, 2, FEW_INPUTS, FEW_INPUTS + 1, 40]


@pytest.fixture
def on_machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Compile for another machine."""

    def set_to(name: str) -> None:
        chosen = machine(name)
        monkeypatch.setattr(loops, "this_machine", lambda: chosen)

    return set_to


def with_weights(kind: str, I: int, H: int, fill: Callable[..., Any]) -> Cell:
    name, _, reset = kind.partition(" ")
    shapes = weight_shapes(I, H, CELLS[name].gates).items()
    cell = CELLS[name](Weights(**{each: fill(size=shape).astype("f") for each, shape in shapes}))
    return cell.replaced(reset=reset) if reset else cell


def drawn(kind: str, I: int, H: int) -> Cell:
    """Draw a cell as PyTorch does."""
    random, k = np.random.RandomState(100 * I + H), 1 / np.sqrt(H)
    return with_weights(kind, I, H, partial(random.uniform, -k, k))


# Precisions that loops compute in.
COMPILED = ["float32", "float64"]


def case_of(layer: Recurrent, N: int, T: int, precision: str, ragged: bool = False) -> Case:
    """Return a case of random inputs, initial states, and lengths if they are not all alike."""
    random, dtype = np.random.RandomState(N + T), PRECISIONS[precision].dtype
    network = Network(layer)
    x, h0 = random.normal(size=(N, T, network.input_size)), random.normal(size=network.state_size)
    h0 = np.outer(random.uniform(-1, 1, N), h0)
    lengths = random.randint(0, T + 1, N) if ragged else np.full(N, T)
    return Case(network, x.astype(dtype), h0.astype(dtype), lengths, precision)


def right(case: Case) -> None:
    """Check every step by the states of the same run."""
    states = case.run("compiled")
    verdict = Comparison(case, states.layers).judge(states.h, states.layers)
    assert verdict.equal
    assert verdict.step_error is not None
    assert verdict.step_error < 0.4  # right code stays far below the bound


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("kind", KINDS)
def test_sizes(kind: str, name: str, on_machine: Callable[[str], None]) -> None:
    on_machine(name)
    rest = zip(cycle(INPUTS), cycle(range(1, 10)), cycle(COMPILED), strict=False)
    for H, (I, N, precision) in zip(SIZES if name == "this" else FEWER, rest, strict=False):
        right(case_of(Recurrent(drawn(kind, I, H)), N, 6 + H % 2, precision))


@pytest.mark.slow
@given(data=st.data())
def test_settings(data: st.DataObject) -> None:
    draw = data.draw
    random = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    kind, I, H = (
        draw(st.sampled_from(list(CELLS))),
        draw(st.integers(1, 18)),
        draw(st.integers(1, 20)),
    )

    def cell() -> Cell:
        if kind != "rnn":
            return draw(gated_cells(kind, I, H, H, random))
        arrays = (random.normal(0, 0.3, n).astype("f") for n in weight_shapes(I, H).values())
        f, clip = draw(st.sampled_from(OF_LAYERS)), draw(st.sampled_from([inf, 2.0]))
        return RNN(Weights(*arrays), f, clip)

    direction = draw(st.sampled_from(["forward", "backward", "bidirectional"]))
    layer = Recurrent(
        *[cell() for _ in range(1 + (direction == "bidirectional"))], direction=direction
    )
    N, T, ragged = draw(st.integers(1, 9)), draw(st.integers(1, 12)), draw(st.booleans())
    case = case_of(layer, N, T, draw(st.sampled_from(COMPILED)), ragged)
    assume(case.lengths.any())
    assume(np.abs(case.run("stepwise").h_n).max() < 1e15)  # gates without limit overflow soon
    right(case)


def run(cell: Cell, x: Floats, out: Floats, how: Any = compiled) -> list[Floats]:
    """Run (T, N, I) from a state of ones; return h of every step and the state after the last."""
    state = tuple(np.ones((x.shape[1], size), x.dtype) for size in cell.state_sizes)
    with np.errstate(all="ignore"):
        after = how(cell, Steps(x), state, PRECISIONS["float32"], Steps(out))
    return [out, *(array.copy() for array in after)]


def normal(*shape: int) -> Floats:
    return np.random.RandomState(3).normal(size=shape).astype("f")


def places(T: int, N: int, H: int) -> Floats:
    return np.full((T, N, H), np.nan, "f")


def bits(arrays: list[Floats]) -> list[bytes]:
    return [array.tobytes() for array in arrays]


def in_blocks(monkeypatch: pytest.MonkeyPatch, steps: int, *, beside: bool = False) -> None:
    """Copy and project inputs in blocks of so many steps, in a thread or not."""
    monkeypatch.setattr(compiling, "cached_steps", lambda _values: steps)
    monkeypatch.setattr(compiling, "projected_at_once", lambda _cell, _T, _N: (steps, beside))


@pytest.mark.parametrize("I", [3, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_steps_change_nothing(kind: str, I: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operands take turns between two places: after an odd number, they are in the other."""
    cell, x = drawn(kind, I, 5), normal(23, 6, I)
    whole = run(cell, x, places(23, 6, 5))
    weights = sum(W.size for W in cell.operands)
    for steps in (1, 2, 7):
        monkeypatch.setattr(compiling, "WORK", steps * 6 * weights * 4)
        in_blocks(monkeypatch, steps, beside=steps == 7)
        for one, other in zip(run(cell, x, places(23, 6, 5)), whole, strict=True):
            # BLAS may add up the products of few rows in another order.
            np.testing.assert_allclose(one, other, atol=1e-6 if I > FEW_INPUTS else 0, rtol=0)


def of_records(x: Floats) -> Floats:
    """Place inputs in records beside a byte, so that no address is a multiple of 4."""
    records = np.zeros(x.shape[:2], [("beside", "i1"), ("x", "f", x.shape[2:])])
    records["x"] = x
    return records["x"]


VIEWS: dict[str, Callable[[Floats], Floats]] = {
    "features from the last to the first": lambda x: x[..., ::-1].copy()[..., ::-1],
    "every other feature": lambda x: np.repeat(x, 2, axis=2)[..., ::2],
    "features apart": np.asfortranarray,
    "steps from the last to the first": lambda x: x[::-1].copy()[::-1],
    "sequences one after the other": lambda x: x.swapaxes(0, 1).copy().swapaxes(0, 1),
    "some of more features": lambda x: np.concatenate([x, x], axis=2)[..., : x.shape[2]],
    "records": of_records,
}


@pytest.mark.parametrize("I", [1, 3, 40])
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", KINDS)
def test_inputs_and_outputs_of_any_strides(
    kind: str, view: str, I: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, x = drawn(kind, I, 5), normal(8, 5, I)
    in_blocks(monkeypatch, 3)
    expected = bits(run(cell, x, places(8, 5, 5)))
    apart = np.full((5, 19, 7, 5), np.nan, "f")
    found = run(cell, VIEWS[view](x), apart[:, 2:18:2, 3].swapaxes(0, 1))
    assert bits(found) == expected
    apart[:, 2:18:2, 3] = np.nan
    assert np.isnan(apart).all()  # nothing was written beside


@pytest.mark.slow
@pytest.mark.parametrize("f", OF_LAYERS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_states_that_overflow_are_no_numbers_where_numpys_are_none(kind: str, f: Any) -> None:
    """Weights that are powers of two, so that no rounding moves the step at which it happens."""
    H = 5
    for gain in (2.0**40, -(2.0**40)):
        for gates in (f, TANH):
            cell = with_weights(kind, 1, H, lambda size, gain=gain: np.full(size, gain))
            cell = cell.replaced(activation=f)
            cell = cell if kind == "rnn" else cell.replaced(recurrent_activation=gates)
            x = np.ones((40, 2, 1), "f")
            found, expected = (run(cell, x, places(40, 2, H), how) for how in (compiled, projected))
            for one, other in zip(found, expected, strict=True):
                assert (np.isnan(one) == np.isnan(other)).all()
                assert (np.isposinf(one) == np.isposinf(other)).all()
                assert (np.isneginf(one) == np.isneginf(other)).all()


@pytest.mark.parametrize("value", [np.nan, inf, -inf])
@pytest.mark.parametrize("kind", KINDS)
def test_a_state_that_is_no_number_stays_in_its_sequence(kind: str, value: float) -> None:
    cell, x = drawn(kind, 3, 20), normal(9, 6, 3)
    expected = run(cell, x, places(9, 6, 20))
    x[4, 2, 1] = value
    found, beside = (run(cell, x, places(9, 6, 20), how) for how in (compiled, projected))
    for one, other, right in zip(found, beside, expected, strict=True):
        assert (np.isfinite(one) == np.isfinite(other)).all()
        others = np.arange(6) != 2
        assert one[..., others, :].tobytes() == right[..., others, :].tobytes()
