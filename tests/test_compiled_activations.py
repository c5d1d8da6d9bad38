"""Activations of vectors against their formulas in longer floats, over all floats."""

from collections.abc import Callable
from functools import partial
from math import inf, pi, sqrt
from typing import Any

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


def share(a: Any) -> Any:
    e = np.exp(-np.abs(a))
    return np.where(a < 0, e, 1) / (1 + e)


def elu(a: Any, alpha: Any = 1) -> Any:
    return np.where(a < 0, alpha * np.expm1(np.minimum(a, 0)), a)


def softplus(a: Any) -> Any:
    return np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))


def exponent(a: Any) -> Any:
    near = np.clip(a, -30, 30)
    return 2 * sqrt(2 / pi) * (near + 0.044715 * near**3)


# Of the longest floats, written as their sources do.
TRUTHS: dict[str, Callable[..., Any]] = {
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "sigmoid": share,
    "linear": lambda a: a,
    "affine": lambda a, alpha, beta: alpha * a + beta,
    "leaky_relu": lambda a, alpha: np.where(a < 0, alpha * a, a),
    "thresholded_relu": lambda a, alpha: np.where(a < alpha, 0, a),
    "scaled_tanh": lambda a, alpha, beta: alpha * np.tanh(beta * a),
    "hard_sigmoid": lambda a, alpha, beta: np.clip(alpha * a + beta, 0, 1),
    "elu": elu,
    "softsign": lambda a: a / (1 + np.abs(a)),
    "softplus": softplus,
    "relu6": lambda a: np.clip(a, 0, 6),
    "silu": lambda a: a * share(a),
    "gelu_tanh": lambda a: a * share(exponent(a)),
    "selu": lambda a: 1.0507009873554804934 * elu(a, 1.6732632423543772848),
    "mish": lambda a: a * np.tanh(softplus(a)),
    "exponential": np.exp,
    "hard_silu": lambda a: a * (np.clip(a + 3, 0, 6) / 6),
    "maximum": np.maximum,
    "minimum": np.minimum,
}


@pytest.mark.parametrize("f", [f for f in ALL_ACTIVATIONS if f.name in FUNCTIONS], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "this" else pytest.mark.slow) for name in MACHINES],
)
def test_every_float(f: Activation, dtype: type, name: str) -> None:
    """Right to some units of the last place, and not finite wherever NumPy's is not."""
    kind, a = np.finfo(dtype), values(dtype)
    parameters = [np.longdouble(dtype(each)) for each in f.parameters]
    with np.errstate(all="ignore"):
        found = computed(partial(applied, f), machine(name), a)
        exact = TRUTHS[f.name](a.astype(np.longdouble), *parameters)
        beside = np.empty_like(a)
        f.function()(a, beside)
        assert (np.isnan(found) == np.isnan(beside)).all()
        assert (np.isinf(found) == np.isinf(beside)).all()
        finite = np.isfinite(found) & np.isfinite(exact.astype(dtype))
        off, size = np.abs(found - exact)[finite], np.abs(exact)[finite]
        # An exponent, two units off, is as many times as far off as it is large.
        units = UNITS + (2 * np.abs(exponent(a[finite])) if f.name == "gelu_tanh" else 0)
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
    assert FUNCTIONS.keys() == TRUTHS.keys() == ACTIVATIONS.keys() - {"gelu", "power"}
