"""Compiled loops of any size, on any machine: what only machine code can get wrong."""

from collections.abc import Callable
from functools import partial
from itertools import cycle
from math import inf
from typing import Any

import numpy as np
import pytest
from conftest import NIGHTLY, RUNNABLE
from machines import MACHINES, machine
from networks import OF_LAYERS

from rnncli.engine.batch import Steps
from rnncli.engine.compiled import compiling, loops
from rnncli.engine.compiled.compiling import FEW_INPUTS
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.unroll import compiled, projected
from rnncli.model.activations import TANH
from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, Cell, Weights, weight_shapes
from rnncli.model.network import Network
from rnncli.verify.case import Case
from rnncli.verify.steps import largest_step_error

pytestmark = pytest.mark.skipif("compiled" not in RUNNABLE, reason="needs the extra `fast`")

# Sizes about lanes (4 to 16), panels of them, and the rows of a matrix that are no loop (32).
SIZES = (
    [*range(1, 34), 63, 64, 65, 100, 255, 257]
    if NIGHTLY
    else [1, *range(3, 20, 2), 31, 32, 33, 65, 256]
)
FEWER = [1, 3, 4, 5, 7, 8, 9, 15, 17, 31, 33, 40, 65]
# Cells, of each of which there is a loop: GRUs that reset h before the product have two in a step.
KINDS = [*CELLS, "gru before"]
# About the inputs that are projected by BLAS.
INPUTS = [1, 2, FEW_INPUTS, FEW_INPUTS + 1, 40]


def with_weights(kind: str, I: int, H: int, fill: Callable[..., Any]) -> Cell:
    name, _, reset = kind.partition(" ")
    shapes = weight_shapes(I, H, CELLS[name].gates).items()
    cell = CELLS[name](Weights(**{each: fill(size=shape).astype("f") for each, shape in shapes}))
    return cell.replaced(reset=reset) if reset else cell


def drawn(kind: str, I: int, H: int) -> Cell:
    """Draw a cell as PyTorch does."""
    random, k = np.random.RandomState(100 * I + H), 1 / np.sqrt(H)
    return with_weights(kind, I, H, partial(random.uniform, -k, k))


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_step_of_every_size_is_right(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = machine(name)
    monkeypatch.setattr(loops, "this_machine", lambda: chosen)
    rest = zip(cycle(INPUTS), cycle(range(1, 10)), cycle(["float32", "float64"]), strict=False)
    for H, (I, N, precision) in zip(SIZES if name == "this" else FEWER, rest, strict=False):
        random, dtype, T = np.random.RandomState(N), PRECISIONS[precision].dtype, 6 + H % 2
        network = Network(drawn(kind, I, H))
        x, h0 = random.normal(size=(N, T, I)), random.uniform(-1, 1, (N, network.state_size))
        case = Case(network, x.astype(dtype), h0.astype(dtype), np.full(N, T), precision)
        error = largest_step_error(case, case.outputs("compiled"))
        assert error is not None
        assert error < 0.4  # right code stays far below the bound


def run(cell: Cell, x: Floats, out: Floats, how: Any = compiled) -> list[Floats]:
    """Run (T, N, I) from a state of ones; return h of every step and the state after the last."""
    state = tuple(np.ones((x.shape[1], size), x.dtype) for size in cell.state_sizes)
    with np.errstate(all="ignore"):
        after = how(cell, Steps(x), state, PRECISIONS["float32"], Steps(out))
    return [out, *(array.copy() for array in after)]


def normal(*shape: int) -> Floats:
    return np.random.RandomState(3).normal(size=shape).astype("f")


def empty(T: int, N: int, H: int) -> Floats:
    return np.full((T, N, H), np.nan, "f")


def bits(arrays: list[Floats]) -> list[bytes]:
    return [array.tobytes() for array in arrays]


def in_blocks(monkeypatch: pytest.MonkeyPatch, steps: int, *, threaded: bool = False) -> None:
    """Copy and project inputs in blocks of so many steps, in a thread or not."""
    monkeypatch.setattr(compiling, "cached_steps", lambda _values: steps)
    monkeypatch.setattr(compiling, "projected_at_once", lambda _cell, _T, _N: (steps, threaded))


@pytest.mark.parametrize("I", [3, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_steps_change_nothing(kind: str, I: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operands take turns between two places: after an odd number, they are in the other."""
    cell, x = drawn(kind, I, 5), normal(23, 6, I)
    whole = run(cell, x, empty(23, 6, 5))
    weights = sum(W.size for W in cell.operands)
    for steps in (1, 2, 7):
        monkeypatch.setattr(compiling, "WORK", steps * 6 * weights * 4)
        in_blocks(monkeypatch, steps, threaded=steps == 7)
        for one, other in zip(run(cell, x, empty(23, 6, 5)), whole, strict=True):
            # BLAS may add up the products of few rows in another order.
            np.testing.assert_allclose(one, other, atol=1e-6 if I > FEW_INPUTS else 0, rtol=0)


def of_records(x: Floats) -> Floats:
    """Place inputs in records behind a byte, so that no address is a multiple of 4."""
    records = np.zeros(x.shape[:2], [("byte", "i1"), ("x", "f", x.shape[2:])])
    records["x"] = x
    return records["x"]


VIEWS: dict[str, Callable[[Floats], Floats]] = {
    "features from the last to the first": lambda x: x[..., ::-1].copy()[..., ::-1],
    "every other feature": lambda x: np.repeat(x, 2, axis=2)[..., ::2],
    "in the order of Fortran": np.asfortranarray,
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
    expected = bits(run(cell, x, empty(8, 5, 5)))
    wide = np.full((5, 19, 7, 5), np.nan, "f")
    found = run(cell, VIEWS[view](x), wide[:, 2:18:2, 3].swapaxes(0, 1))
    assert bits(found) == expected
    wide[:, 2:18:2, 3] = np.nan
    assert np.isnan(wide).all()  # nothing was written elsewhere


@pytest.mark.parametrize("kind", KINDS)
def test_states_that_overflow_are_no_numbers_where_numpys_are_none(kind: str) -> None:
    """Weights that are powers of two, so that no rounding moves the step at which it happens."""
    for f in OF_LAYERS:
        for gain, gates in ((2.0**40, f), (-(2.0**40), TANH)):
            cell = with_weights(kind, 1, 5, lambda size, gain=gain: np.full(size, gain))
            cell = cell.replaced(activation=f)
            cell = cell if kind == "rnn" else cell.replaced(recurrent_activation=gates)
            x = np.ones((40, 2, 1), "f")
            found, expected = (run(cell, x, empty(40, 2, 5), how) for how in (compiled, projected))
            for one, other in zip(found, expected, strict=True):
                assert (np.isnan(one) == np.isnan(other)).all()
                assert (np.isposinf(one) == np.isposinf(other)).all()
                assert (np.isneginf(one) == np.isneginf(other)).all()


@pytest.mark.parametrize("value", [np.nan, inf, -inf])
@pytest.mark.parametrize("kind", KINDS)
def test_a_state_that_is_no_number_stays_in_its_sequence(kind: str, value: float) -> None:
    cell, x = drawn(kind, 3, 20), normal(9, 6, 3)
    expected = run(cell, x, empty(9, 6, 20))
    x[4, 2, 1] = value
    found, by_numpy = (run(cell, x, empty(9, 6, 20), how) for how in (compiled, projected))
    for one, other, right in zip(found, by_numpy, expected, strict=True):
        assert (np.isfinite(one) == np.isfinite(other)).all()
        others = np.arange(6) != 2
        assert one[..., others, :].tobytes() == right[..., others, :].tobytes()
