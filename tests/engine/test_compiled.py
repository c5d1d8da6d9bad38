"""Compiled loops and their activations, of any size, for any machine."""

import re
from collections.abc import Callable
from itertools import cycle
from math import inf
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import NIGHTLY, RUNNABLE
from random_networks import ALL_ACTIVATIONS, OF_LAYERS, weight_shapes

import rnncli
from rnncli.engine.compiled import code, loop
from rnncli.engine.compiled.activations import FUNCTIONS, Vectors
from rnncli.engine.compiled.code import Function, Integer, Machine, this_machine
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.unroll import UNROLLS
from rnncli.model.activations import TANH, Activation, parse
from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, Cell, Weights
from rnncli.verification import reference

pytestmark = pytest.mark.skipif("compiled" not in RUNNABLE, reason="needs the extra `fast`")

# This machine, and what it lacks in others for which code is compiled, and run here.
LACKING = {"avx2": "avx512|avx10", "sse": "avx|fma|f16c|xop|vaes|vpclmul"}
MACHINES = ["this", *LACKING, "generic"]


def machine(name: str) -> Machine:
    """Return this machine, or one that lacks some of what it has."""
    here = this_machine()
    if name == "this":
        return here
    if name == "generic":
        return Machine("generic", "", 16, 2)
    features = re.sub(rf"\+(?={LACKING[name]})", "-", here.features)
    return Machine(here.cpu, features, min(here.bytes, 16 if name == "sse" else 32), 2)


# Units of the last place that a function may be off, 3.2 at most were found.
UNITS = 5


def compute(f: Activation, a: Floats, name: str, clip: float = inf) -> Floats:
    """Apply code for a machine to as many values as fill vectors."""
    chosen = machine(name)
    code = Function("each", chosen.bytes // 4, ["count"], ["a", "out"])

    def body(place: Integer) -> tuple[()]:
        code.store(Vectors().apply(f, code.load("%a", place), clip), "%out", place, code.width)
        return ()

    code.loop("%count", body, step=code.width)
    out = np.empty_like(a)
    code.compile(chosen)(len(a), a.ctypes.data, out.ctypes.data)
    return out


def values() -> Floats:
    """Return floats of any bits, those of sums, and those where something changes."""
    random, kind = np.random.default_rng(0), np.finfo("f")
    any_bits: Floats = np.frombuffer(random.bytes(80_000), "f")
    least = [0, kind.tiny, kind.smallest_subnormal]
    edges: Floats = np.array([*least, 1, 3, 6, 9, 9.000119, kind.max, inf, np.nan], "f")
    edges = np.concatenate([edges, np.nextafter(edges, np.float32(0))])
    sums = [np.linspace(-20, 20, 20_000), np.linspace(-760, 760, 10_000), random.normal(size=9_999)]
    a = np.concatenate([edges, -edges, any_bits, *(each.astype("f") for each in sums)])
    return a[: len(a) // 16 * 16]


@pytest.mark.parametrize("f", [f for f in ALL_ACTIVATIONS if f.name in FUNCTIONS], ids=str)
@pytest.mark.parametrize("name", MACHINES)
def test_every_float(f: Activation, name: str) -> None:
    """Right to some units of the last place, and not finite wherever NumPy's is not."""
    a, kind = values(), np.finfo("f")
    parameters: Any = tuple(np.longdouble(np.float32(each)) for each in f.parameters)
    with np.errstate(all="ignore"):
        found = compute(f, a, name)
        exact = reference.activate(f._replace(parameters=parameters), a.astype(np.longdouble))
        numpys = np.empty_like(a)
        f.function()(a, numpys)
        assert (np.isnan(found) == np.isnan(numpys)).all()
        assert (np.isinf(found) == np.isinf(numpys)).all()
        finite = np.isfinite(found) & np.isfinite(exact.astype("f"))
        off, size = np.abs(found - exact)[finite], np.abs(exact)[finite]
    # Where a difference is small, it is as far off as what is taken away, half a tanh too.
    least = {"hard_sigmoid": 0.5, "sigmoid": 1.5}.get(f.name, 0) * kind.eps
    assert (off <= UNITS * kind.eps * size + 8 * kind.smallest_subnormal + least).all()
    if f.name == "tanh":
        assert np.nanmax(np.abs(found)) == 1
        assert (np.abs(found) == 1)[np.abs(a) > 20].all()
        assert (np.signbit(found) == np.signbit(a))[~np.isnan(a)].all()
    if f.name == "sigmoid":  # an open gate keeps all of a state
        assert (found == 1)[a > 40].all()


def test_a_clip_limits_numbers() -> None:
    a, limit = values(), np.float32(0.3)
    found = compute(parse("linear"), a, "this", clip=0.3)
    np.testing.assert_array_equal(found, np.clip(a, -limit, limit))


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
            expected = reference.run(network, x[n], h0[n])
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


def pack_in_records(x: Floats) -> Floats:
    """Place inputs in records behind a byte, so that no address is a multiple of 4."""
    records = np.zeros(x.shape[:2], [("byte", "i1"), ("x", "f", x.shape[2:])])
    records["x"] = x
    return records["x"]


VIEWS: dict[str, Callable[[Floats], Floats]] = {
    "features from the last to the first": lambda x: x[..., ::-1].copy()[..., ::-1],
    "steps from the last to the first": lambda x: x[::-1].copy()[::-1],
    "some of more features": lambda x: np.concatenate([x, x], axis=2)[..., : x.shape[2]],
    "records": pack_in_records,
}


@pytest.mark.parametrize("I", [1, 3, 40])
@pytest.mark.parametrize("kind", CELLS)
def test_blocks_and_strides_change_nothing(
    kind: str, I: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two places of h take turns: after an odd number of steps they are swapped."""
    cell, x = draw(kind, I, 5), normal(23, 6, I)
    whole = run(cell, x)
    weights = sum(W.size for W in cell.operands)
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


@pytest.mark.parametrize("I", [3, 40])
@pytest.mark.parametrize("kind", CELLS)
def test_the_order_of_large_weights_changes_nothing(
    kind: str, I: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows take a step before the next one, and the loop multiplies all inputs."""
    for H, N in ((5, 2), (16, 4), (40, 5), (65, 9)):
        cell, x = draw(kind, I, H), normal(7, N, I)
        expected = run(cell, x)
        with monkeypatch.context() as patch:
            patch.setattr(loop, "LARGE", 0)
            patch.setattr(loop, "WORK", 3 * N * sum(W.size for W in cell.operands))
            for found, right in zip(run(cell, x), expected, strict=True):
                atol = 1e-6 if I > loop.FEW_INPUTS else 0
                np.testing.assert_allclose(found, right, atol=atol, rtol=0)


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


def test_each_setting_has_a_loop() -> None:
    cell, x = draw("rnn", 2, 5), normal(4, 2)
    for f in ("tanh", "hard_sigmoid", "hard_sigmoid:0.1,0.4", "tanh"):
        network = rnncli.Network(cell.replaced(activation=parse(f)))
        h = [rnncli.run(network, x, unroll=name).h for name in UNROLLS]
        np.testing.assert_allclose(h[-1], h[0], atol=1e-6, rtol=0)


def test_an_llvm_that_would_warn_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    old = SimpleNamespace(llvm_version_info=(15, 0, 7))
    monkeypatch.setattr(code, "_llvm", lambda: old)
    assert code.lacks.__wrapped__().endswith("(LLVM is older than 16)")
