"""Activations of vectors against their formulas in longer floats, over all floats."""

from collections.abc import Callable
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
from rnncli.engine.compiled.activations import FUNCTIONS, applied
from rnncli.engine.compiled.code import Function, Integer, Lanes, Vector
from rnncli.engine.compiled.machine import Machine, compiled_function
from rnncli.model.activations import ACTIVATIONS, Activation, parse
from rnncli.model.arrays import Floats

pytestmark = pytest.mark.skipif("compiled" not in RUNNABLE, reason="needs the extra `fast`")

# Units of the last place that a function may be off, 3.2 at most were found; and the smallest
# numbers that it may be: a factor that is some of them has few digits, and up to 746 is the other.
UNITS, SMALLEST = 5, 746


def computed(write: Callable[[Vector], Vector], machine: Machine, a: Floats) -> Floats:
    """Apply code to as many values as fill vectors."""
    bits = a.itemsize * 8
    code = Function("each", Lanes(machine.bytes * 8 // bits, bits), ["count"], ["a", "out"])

    def body(place: Integer) -> tuple[()]:
        code.store(write(code.load("%a", place)), "%out", place)
        return ()

    code.loop("%count", body, step=code.lanes.width)
    call = compiled_function(code.text(), "each", 1, 2, machine)
    out = np.empty_like(a)
    call(len(a), a.ctypes.data, out.ctypes.data)
    return out


def values(dtype: type) -> Floats:
    """Return floats of any bits, those of sums, and those where something changes."""
    kind, random = np.finfo(dtype), np.random.default_rng(0)
    whole = np.uint32 if kind.bits == 32 else np.uint64
    any_bits: Floats = random.integers(0, 2**kind.bits, 20_000, whole).view(dtype)
    small = [0, kind.tiny, kind.smallest_subnormal]
    ends = [104, 103.97, 88.72283, 88.7229, 709.7827, 709.783, 745.13, 745.14, 746, kind.max, inf]
    edges: Floats = np.array([*small, 1, 3, 6, 9, 30, 0.625, *ends, np.nan], dtype)
    edges = np.concatenate([edges, np.nextafter(edges, dtype(0))])
    sums = [np.linspace(-20, 20, 20_000), np.linspace(-760, 760, 10_000), random.normal(size=9_999)]
    a = np.concatenate([edges, -edges, any_bits, *(each.astype(dtype) for each in sums)])
    return a[: len(a) // 16 * 16]


@pytest.mark.parametrize("f", [f for f in ALL_ACTIVATIONS if f.name in FUNCTIONS], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", MACHINES)
def test_every_float(f: Activation, dtype: type, name: str) -> None:
    """Right to some units of the last place, and not finite wherever NumPy's is not."""
    kind, a = np.finfo(dtype), values(dtype)
    parameters: Any = tuple(np.longdouble(dtype(each)) for each in f.parameters)
    rounded = f._replace(parameters=parameters)
    with np.errstate(all="ignore"):
        found = computed(partial(applied, f), machine(name), a)
        exact = loop.function(rounded)(a.astype(np.longdouble))
        beside = np.empty_like(a)
        f.function()(a, beside)
        assert (np.isnan(found) == np.isnan(beside)).all()
        assert (np.isinf(found) == np.isinf(beside)).all()
        finite = np.isfinite(found) & np.isfinite(exact.astype(dtype))
        off, size = np.abs(found - exact)[finite], np.abs(exact)[finite]
        # An exponent, two units off, is as many times as far off as it is large.
        near = np.clip(np.abs(a[finite]), 0, 30)
        units = UNITS + (3.2 * near * (1 + 0.044715 * near**2) if f.name == "gelu_tanh" else 0)
    # Where a difference is small, it is as far off as what is taken away.
    least = kind.eps / 2 if f.name in ("affine", "hard_sigmoid") else 0
    assert (off <= units * kind.eps * size + SMALLEST * kind.smallest_subnormal + least).all()
    if f.name == "tanh":
        assert np.nanmax(np.abs(found)) == 1
        assert (np.abs(found) == 1)[np.abs(a) > 20].all()  # and the gates of halved sums with it
        assert (np.signbit(found) == np.signbit(a))[~np.isnan(a)].all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_clip_limits_what_is_a_number(dtype: type) -> None:
    a = values(dtype)
    found = computed(partial(applied, parse("linear"), clip=0.3), machine("this"), a)
    np.testing.assert_array_equal(found, np.clip(a, -dtype(0.3), dtype(0.3)))


def test_elu_overflows_no_sooner_than_its_value() -> None:
    cell = rnncli.RNN(rnncli.Weights(np.ones((1, 1)), np.zeros((1, 1)), np.zeros(1)), "elu:3e38")
    h = rnncli.run(rnncli.Network(cell), [[-0.01]], unroll="compiled").h
    assert h.item() == pytest.approx(-2.98e36, rel=1e-2)


def test_every_activation_but_two_is_compiled() -> None:
    """They have no simple formula."""
    assert FUNCTIONS.keys() == ACTIVATIONS.keys() - {"gelu", "power"}
