"""Activations against the reference's formulas, ONNX's defaults and their own claims."""

from math import isinf

import numpy as np
import pytest
from conftest import RUNNABLE, runnable
from hypothesis import assume, given
from hypothesis import strategies as st
from networks import ALL_ACTIVATIONS, Case, cases

from rnncli.engine.run import run
from rnncli.model.activations import ACTIVATIONS, Activation, activation, parse
from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN, Weights
from rnncli.verify import reference
from rnncli.verify.steps import step_errors

IDS = [each.name for each in ALL_ACTIVATIONS]
ONE = Weights(np.ones((1, 1)), np.zeros((1, 1)), np.zeros(1))


# What ONNX's RNN takes where a model names no alpha and beta (the operators' own defaults).
ONNX_DEFAULTS = {
    "leaky_relu": (0.01,),
    "thresholded_relu": (1.0,),
    "hard_sigmoid": (0.2, 0.5),
    "elu": (1.0,),
}


def test_defaults_are_onnxs() -> None:
    given = {name: activation(name).parameters for name in ACTIVATIONS if name not in NEEDY}
    assert {name: values for name, values in given.items() if values} == ONNX_DEFAULTS


NEEDY = ("affine", "scaled_tanh", "maximum", "minimum", "power")


@pytest.mark.parametrize("name", NEEDY)
def test_what_has_no_default_must_be_given(name: str) -> None:
    with pytest.raises(ValueError, match=f"^activation {name}: alpha has no default: give {name}:"):
        parse(name)
    if len(ACTIVATIONS[name].defaults) > 1:
        with pytest.raises(ValueError, match=f"^activation {name}: beta has no default"):
            parse(f"{name}:1")


VALUES = {
    "tanh": (0.5, 0.46211715726000973),
    "relu": (-2.0, 0.0),
    "sigmoid": (0.5, 0.6224593312018546),
    "linear": (-2.0, -2.0),
    "affine:2,0.5": (3.0, 6.5),
    "leaky_relu": (-2.0, -0.02),
    "leaky_relu:0.25": (-2.0, -0.5),
    "thresholded_relu": (0.75, 0.0),
    "thresholded_relu:0.5": (0.75, 0.75),
    "scaled_tanh:2,0.5": (1.0, 0.9242343145200195),
    "hard_sigmoid": (1.0, 0.7),
    "hard_sigmoid:0.16666666666666666,0.5": (1.5, 0.75),
    "elu": (-1.0, -0.6321205588285577),
    "elu:0.5": (-1.0, -0.31606027941427883),
    "softsign": (-3.0, -0.75),
    "softplus": (0.5, 0.9740769841801067),
    "relu6": (7.0, 6.0),
    "silu": (-1.5, -0.2736382857095345),
    "gelu": (-1.5, -0.1002108019032871),
    "gelu_tanh": (-1.5, -0.10042842301976708),
    "selu": (-1.0, -1.1113307378125628),
    "mish": (-1.5, -0.29809974216680674),
    "exponential": (-1.5, 0.22313016014842982),
    "hard_silu": (-1.5, -0.375),
    "maximum:-1": (-1.5, -1.0),
    "minimum:0.5": (-1.5, -1.5),
    "power:3": (-1.5, -3.375),
}


@pytest.mark.parametrize(("text", "value"), VALUES.items(), ids=VALUES)
def test_values(text: str, value: tuple[float, float]) -> None:
    """Worked out by hand or with another calculator, to the last digits of float64."""
    a, expected = np.array([[value[0]]]), value[1]
    out = np.empty_like(a)
    parse(text).function()(a, out)
    assert out.item() == pytest.approx(expected, rel=1e-15)
    assert reference.activate(RNN(ONE, parse(text)), a).item() == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("f", ALL_ACTIVATIONS, ids=IDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_in_place_or_not_and_over_all_floats(f: Activation, dtype: type) -> None:
    a: Floats = np.array([*np.linspace(-30, 30, 2001), 1e30, -1e30, 1e-30, 0.0, -0.0], dtype)
    with np.errstate(all="ignore"):
        beside, inside = np.empty_like(a), a.copy()
        f.function()(a, beside)
        f.function()(inside, inside)
    assert beside.tobytes() == inside.tobytes()
    expected = reference.activate(RNN(ONE, f), a.astype(np.float64))
    # Each takes a few operations, each a few units of the last place off.
    np.testing.assert_allclose(beside, expected, rtol=8 * float(np.finfo(dtype).eps), atol=1e-7)


@pytest.mark.parametrize("f", ALL_ACTIVATIONS, ids=IDS)
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_values_that_do_not_lie_side_by_side_change_in_place(f: Activation, dtype: str) -> None:
    a = np.linspace(-2, 2, 24, dtype=dtype).reshape(6, 4)
    whole, column = np.empty_like(a), a[:, 1:2]
    f.function()(a.copy(), whole)
    f.function()(column, column)
    # Strides may take another loop, whose last digit is its own.
    np.testing.assert_allclose(column, whole[:, 1:2], rtol=4 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("f", ALL_ACTIVATIONS, ids=IDS)
def test_what_is_not_a_number_stays_so(f: Activation) -> None:
    a = np.array([np.nan, 1.0], np.float32)
    with np.errstate(invalid="ignore"):
        f.function()(a, a)
    assert np.isnan(a[0])


@pytest.mark.parametrize("f", ALL_ACTIVATIONS, ids=IDS)
def test_no_slope_is_steeper(f: Activation) -> None:
    a = np.linspace(-10, 10, 200_001)
    steps = np.abs(np.diff(reference.activate(RNN(ONE, f), a))) / np.diff(a)
    if isinf(f.slope):
        assert not f.jumps
        assert steps.max() > 2e4 or f.name == "power"  # that of `PARAMETERS` is flat
        return
    jumps = steps > 100  # a jump within one step of 1e-4
    assert jumps.sum() == f.jumps
    assert steps[~jumps].max() <= f.slope * (1 + 1e-9)
    assert f.slope < 1.001 * max(1, steps[~jumps].max())


@pytest.mark.parametrize("f", ALL_ACTIVATIONS, ids=IDS)
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_large_sums_and_tiny_ones(f: Activation, dtype: str) -> None:
    """Nothing overflows but an exponential, and nothing is less exact where it is small."""
    kind = np.finfo(dtype)
    tiny = [kind.smallest_subnormal, kind.tiny]
    a = np.array([100, -100, 60, -60, 0, *tiny, *np.negative(tiny)], dtype)
    out = np.empty_like(a)
    overflows = f.name in ("exponential", "sigmoid")
    with np.errstate(all="raise", under="ignore", over="ignore" if overflows else "raise"):
        f.function()(a, out)
    with np.errstate(over="ignore"):
        expected = reference.activate(RNN(ONE, f), a.astype(np.float64)).astype(dtype)
    np.testing.assert_allclose(out, expected, rtol=8 * float(kind.eps), atol=float(kind.tiny))


@pytest.mark.slow
@pytest.mark.parametrize("f", ALL_ACTIVATIONS, ids=IDS)
@given(
    case=cases(),
    clip=st.sampled_from([np.inf, 0.5]),
    unroll=st.sampled_from(["auto", *RUNNABLE]),
)
def test_every_step_is_right(f: Activation, case: Case, clip: float, unroll: str) -> None:
    assume(unroll in ("auto", *runnable(case.precision)))
    cell = case.cell.replaced(activation=f, clip=clip)
    case = case._replace(cell=cell)
    states = run(case.network, case.x, case.h0, precision=case.precision, unroll=unroll).h
    for x, h0, h in zip(case.x, case.h0, states, strict=True):
        sound = np.isfinite(h).all(axis=1)
        rows = len(h) if sound.all() else int(np.argmin(sound))
        errors = step_errors(cell, x[:rows], h0, h[:rows], case.precision)
        assert errors.max(initial=0) < 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sin", "activation: expected one of tanh, relu, .*, got 'sin'"),
        ("tanh:1", "activation tanh: takes no parameter, got 1 numbers"),
        ("elu:1,2", "activation elu: takes alpha, got 2 numbers"),
        ("elu:x", "activation elu: not a number: 'x'"),
        ("elu:", "activation elu: not a number: ''"),
        ("elu:nan", "activation elu: alpha is not finite: nan"),
    ],
)
def test_bad_text(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        parse(text)


@given(alpha=st.floats(-10, 10), beta=st.floats(-10, 10))
def test_text_reads_back(alpha: float, beta: float) -> None:
    assert parse(str(activation("affine", alpha, beta))) == Activation("affine", (alpha, beta))
    assert str(parse("tanh")) == "tanh"


@pytest.mark.parametrize("f", ALL_ACTIVATIONS, ids=IDS)
def test_ends_are_where_large_sums_lead(f: Activation) -> None:
    with np.errstate(over="ignore"):
        low, high = sorted(reference.activated(f, np.array([-1e6, 1e6])))
    if f.ends is None:
        assert max(abs(low), abs(high)) > 1e3
    else:
        np.testing.assert_allclose((low, high), f.ends, rtol=0, atol=1e-5)
    assert activation("scaled_tanh", -2, 1).ends == (-2, 2)
