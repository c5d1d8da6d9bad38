"""Activations of vectors against their formulas in longer floats, over all floats."""

from functools import partial
from math import inf
from typing import Any

import loop
import numpy as np
import pytest
from conftest import RUNNABLE
from machines import MACHINES, machine
from networks import ALL_ACTIVATIONS

import rnncli
from rnncli.engine.compiled.activations import FUNCTIONS, Vectors
from rnncli.engine.compiled.code import Function, Integer
from rnncli.model.activations import Activation, parse
from rnncli.model.arrays import Floats

pytestmark = pytest.mark.skipif("compiled" not in RUNNABLE, reason="needs the extra `fast`")

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
        exact = loop.function(f._replace(parameters=parameters))(a.astype(np.longdouble))
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


@pytest.mark.parametrize("name", [f.name for f in ALL_ACTIVATIONS if f.name not in FUNCTIONS])
def test_other_activations_run_by_numpy(name: str) -> None:
    (f,) = (f for f in ALL_ACTIVATIONS if f.name == name)
    random = np.random.RandomState(0)
    cell = rnncli.RNN(rnncli.Weights(*(random.normal(size=s) for s in ((1, 3), (3, 3), 3))), f)
    run = partial(rnncli.run, rnncli.Network(cell), random.normal(size=(5, 1)))
    np.testing.assert_array_equal(run(unroll="compiled").h, run(unroll="projected").h)
