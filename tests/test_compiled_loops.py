"""Compiled loops of any size, on any machine: what only machine code can get wrong."""

from collections.abc import Callable
from itertools import cycle
from math import inf
from typing import Any

import loop as plain
import numpy as np
import pytest
from conftest import NIGHTLY, RUNNABLE
from machines import MACHINES, machine
from networks import OF_LAYERS, weight_shapes

import rnncli
from rnncli.engine.compiled import loop
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.unroll import UNROLLS
from rnncli.model.activations import TANH, parse
from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, Cell, Weights

pytestmark = pytest.mark.skipif("compiled" not in RUNNABLE, reason="needs the extra `fast`")

# Sizes about lanes (4 to 16), panels of them, and the rows of a matrix that are no loop (32).
FEWER = [1, 3, 4, 5, 7, 8, 9, 15, 17, 31, 33, 40, 65]
SIZES = [*range(1, 34), 63, 64, 65, 100, 255, 257] if NIGHTLY else [*FEWER, 13, 16, 32, 256]
# About the inputs that are projected by BLAS.
INPUTS = [1, 2, loop.FEW_INPUTS, loop.FEW_INPUTS + 1, 40]


def make(kind: str, I: int, H: int, fill: Callable[..., Any]) -> Cell:
    shapes = weight_shapes(I, H, CELLS[kind].gates).values()
    return CELLS[kind](Weights(*(fill(size=shape).astype("f") for shape in shapes)))


def draw(kind: str, I: int, H: int) -> Cell:
    random, k = np.random.RandomState(100 * I + H), 1 / np.sqrt(H)
    return make(kind, I, H, lambda size: random.uniform(-k, k, size))


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("kind", CELLS)
def test_every_size_is_near_the_plain_loop(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = machine(name)
    monkeypatch.setattr(loop, "this_machine", lambda: chosen)
    rest = zip(cycle(INPUTS), cycle(range(1, 10)), strict=False)
    for H, (I, N) in zip(SIZES if name == "this" else FEWER, rest, strict=False):
        random, T, atol = np.random.RandomState(N), 6 + H % 2, 20 * float(np.finfo("f").eps)
        network = rnncli.Network(draw(kind, I, H))
        x = random.normal(size=(N, T, I)).astype("f")
        h0 = random.uniform(-1, 1, (N, network.state_size)).astype("f")
        found = rnncli.run(network, x, h0, unroll="compiled")
        for n in range(N):
            expected = plain.run(network, x[n], h0[n])
            np.testing.assert_allclose(found.h[n], expected.outputs[-1], atol=atol, rtol=0)
            np.testing.assert_allclose(found.h_n[n], expected.h_n, atol=atol, rtol=0)


def run(cell: Cell, x: Floats, out: Floats | None = None, unroll: str = "compiled") -> list[Floats]:
    """Run (T, N, I) from a state of ones; return h of every step and the state after the last."""
    out = np.full((*x.shape[:2], cell.hidden_size), np.nan, "f") if out is None else out
    state = tuple(np.ones((x.shape[1], size), x.dtype) for size in cell.state_sizes)
    with np.errstate(all="ignore"):
        after = UNROLLS[unroll](cell, PRECISIONS["float32"])(x, state, (out,))
    return [out, *(array.copy() for array in after)]


def normal(*shape: int) -> Floats:
    return np.random.RandomState(3).normal(size=shape).astype("f")


def bits(arrays: list[Floats]) -> list[bytes]:
    return [array.tobytes() for array in arrays]


def place_in_records(x: Floats) -> Floats:
    """Place inputs in records behind a byte, so that no address is a multiple of 4."""
    records = np.zeros(x.shape[:2], [("byte", "i1"), ("x", "f", x.shape[2:])])
    records["x"] = x
    return records["x"]


VIEWS: dict[str, Callable[[Floats], Floats]] = {
    "features from the last to the first": lambda x: x[..., ::-1].copy()[..., ::-1],
    "steps from the last to the first": lambda x: x[::-1].copy()[::-1],
    "some of more features": lambda x: np.concatenate([x, x], axis=2)[..., : x.shape[2]],
    "records": place_in_records,
}


@pytest.mark.parametrize("I", [1, 3, 40])
@pytest.mark.parametrize("kind", CELLS)
def test_blocks_and_strides_change_nothing(
    kind: str, I: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two places of h take turns: after an odd number of steps they are swapped."""
    cell, x = draw(kind, I, 5), normal(23, 6, I)
    whole = run(cell, x)
    weights = sum(W.size for W in loop.CompiledCell(cell).weights)
    for steps in (1, 2, 7):
        monkeypatch.setattr(loop, "WORK", steps * 6 * weights)
        monkeypatch.setattr(loop, "SUMS_IN_CACHE", steps * 6 * max(I, 32))
        monkeypatch.setattr(loop, "ROWS", steps * 6)
        monkeypatch.setattr(loop, "STEPS", 1)
        for view in VIEWS.values():
            wide = np.full((6, 49, 7, 5), np.nan, "f")
            found = run(cell, view(x), wide[:, 2:48:2, 3].swapaxes(0, 1))
            for one, other in zip(found, whole, strict=True):
                # BLAS may add up the products of few rows in another order.
                atol = 1e-6 if I > loop.FEW_INPUTS else 0
                np.testing.assert_allclose(one, other, atol=atol, rtol=0)
            wide[:, 2:48:2, 3] = np.nan
            assert np.isnan(wide).all()  # nothing was written elsewhere


@pytest.mark.parametrize("kind", CELLS)
def test_states_overflow_as_they_do_in_numpy(kind: str) -> None:
    """Weights that are powers of two, so that no rounding moves the step at which it happens."""
    for f in OF_LAYERS:
        for gain, gates in ((2.0**40, f), (-(2.0**40), TANH)):
            cell = make(kind, 1, 5, lambda size, gain=gain: np.full(size, gain))
            cell = cell.replaced(activation=f)
            cell = cell if kind == "rnn" else cell.replaced(recurrent_activation=gates)
            x = np.ones((40, 2, 1), "f")
            found, expected = (run(cell, x, unroll=name) for name in ("compiled", "projected"))
            for one, other in zip(found, expected, strict=True):
                assert (np.isnan(one) == np.isnan(other)).all()
                assert (np.isposinf(one) == np.isposinf(other)).all()
                assert (np.isneginf(one) == np.isneginf(other)).all()


@pytest.mark.parametrize("value", [np.nan, inf, -inf])
@pytest.mark.parametrize("kind", CELLS)
def test_a_state_that_is_no_number_stays_in_its_sequence(kind: str, value: float) -> None:
    cell, x = draw(kind, 3, 20), normal(9, 6, 3)
    expected = run(cell, x)
    x[4, 2, 1] = value
    found, by_numpy = (run(cell, x, unroll=name) for name in ("compiled", "projected"))
    others = np.arange(6) != 2
    for one, other, right in zip(found, by_numpy, expected, strict=True):
        assert (np.isfinite(one) == np.isfinite(other)).all()
        assert one[..., others, :].tobytes() == right[..., others, :].tobytes()


def test_peepholes_a_projection_and_an_early_reset_run_by_numpy() -> None:
    cell, x = draw("lstm", 3, 4), normal(5, 2, 3)
    peepholes, projection = {"w_ch": normal(12)}, {"W_hr": normal(4, 4)}
    others = [cell.replaced(cell.weights._replace(**each)) for each in (peepholes, projection)]
    for other in (*others, draw("gru", 3, 4).replaced(reset="before")):
        assert bits(run(other, x)) == bits(run(other, x, unroll="projected"))


def test_each_setting_has_a_loop() -> None:
    cell, x = draw("rnn", 2, 5), normal(4, 2)
    for f in ("tanh", "hard_sigmoid", "hard_sigmoid:0.1,0.4", "tanh"):
        network = rnncli.Network(cell.replaced(activation=parse(f)))
        h = [rnncli.run(network, x, unroll=name).h for name in UNROLLS]
        np.testing.assert_allclose(h[-1], h[0], atol=1e-6, rtol=0)
