"""Activations against values from elsewhere, the plain loop, and their own claims."""

from typing import Any

import numpy as np
import pytest
from random_networks import ALL_ACTIVATIONS

from rnncli.model.activations import Activation, parse
from rnncli.verification.reference import activate

EACH = pytest.mark.parametrize("f", ALL_ACTIVATIONS, ids=[each.name for each in ALL_ACTIVATIONS])
TYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])

# Worked out by hand or with another calculator, to the last digits of float64.
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
    "thresholded_relu:0.75": (0.75, 0.0),
    "scaled_tanh:2,0.5": (1.0, 0.9242343145200195),
    "hard_sigmoid": (1.0, 0.7),
    "hard_sigmoid:0.16666666666666666,0.5": (1.5, 0.75),
    "elu": (-1.0, -0.6321205588285577),
    "elu:0.5": (-1.0, -0.31606027941427883),
    "softsign": (-3.0, -0.75),
    "softplus": (0.5, 0.9740769841801067),
    "relu6": (7.0, 6.0),
    "hard_tanh": (-1.5, -1.0),
    "silu": (-1.5, -0.2736382857095345),
    "gelu": (-1.5, -0.1002108019032871),
    "gelu_tanh": (-1.5, -0.10042842301976708),
    "selu": (-1.0, -1.1113307378125628),
    "mish": (-1.5, -0.29809974216680674),
    "exponential": (-1.5, 0.22313016014842982),
    "hard_silu": (-1.5, -0.375),
}


def computed(f: Activation, a: Any) -> Any:
    out = np.empty_like(a)
    with np.errstate(all="ignore"):
        f.function()(a, out)
    return out


@pytest.mark.parametrize(("text", "value"), VALUES.items(), ids=VALUES)
def test_values(text: str, value: tuple[float, float]) -> None:
    a, expected = np.array([[value[0]]]), value[1]
    for found in (computed(parse(text), a), activate(parse(text), a)):
        assert found.item() == pytest.approx(expected, rel=1e-15)
    assert parse(str(parse(text))) == parse(text)


@EACH
@TYPES
def test_any_sum(f: Activation, dtype: Any) -> None:
    """In place too, next to other values, large and tiny: nothing overflows but an exponential."""
    kind = np.finfo(dtype)
    tiny = [kind.smallest_subnormal, kind.tiny, 1e-30]
    edges = [*tiny, 0, 60, 100, 1e30, np.nan]
    a = np.array([*np.linspace(-30, 30, 2001), *edges, *np.negative(edges)], dtype)
    found, inside, strided = computed(f, a), a.copy(), np.repeat(a[:, None], 3, axis=1)
    with np.errstate(all="ignore"):
        f.function()(inside, inside)
        f.function()(strided[:, 1:2], strided[:, 1:2])
        expected = activate(f, a.astype(np.float64))
    assert inside.tobytes() == found.tobytes()
    # Strides may take another loop, whose last digit is its own.
    np.testing.assert_allclose(strided[:, 1], found, rtol=4 * float(kind.eps))
    # Each takes a few operations, each a few units of the last place off; a difference that is
    # small is as far off as the larger of its terms, and the exponent of a tail as it is large.
    close = f.name in ("affine", "hard_sigmoid", "gelu", "gelu_tanh")
    atol = float(kind.eps if close else kind.tiny)
    with np.errstate(over="ignore"):
        expected = expected.astype(dtype)
    np.testing.assert_allclose(found, expected, rtol=8 * float(kind.eps), atol=atol)


@EACH
def test_ends_are_where_large_sums_lead(f: Activation) -> None:
    with np.errstate(all="ignore"):
        low, high = sorted(activate(f, np.array([-1e6, 1e6])))
    if f.ends is not None:
        np.testing.assert_allclose((low, high), f.ends, rtol=0, atol=1e-5)
    elif f.name != "scaled_tanh":  # whose parameter is its end
        assert max(abs(low), abs(high)) > 1e3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sin", "activation: expected one of tanh, relu, .*, got 'sin'"),
        ("elu:1,2", "activation elu: expected 1 finite numbers, got .1.0, 2.0."),
        ("elu:1,x", "activation elu: not a number: '1,x'"),
        ("elu:nan", "activation elu: expected 1 finite numbers, got .nan,."),
    ],
)
def test_bad_text(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        parse(text)
