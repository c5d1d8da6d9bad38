"""Activations: what a step makes of the sum of its products.

Every function here has one signature, ``function(a, out, *parameters)``: it
takes the sums, any shape, and writes the states into `out`, which may be
the same array. Parameters are ONNX's alpha, or alpha and beta.
"""

from collections.abc import Callable
from math import erfc, inf, isfinite, isinf, pi, prod, sqrt
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.arrays import Floats, Truths
from rnncli.model.errors import choice

# How near to an end of its range a value is saturated.
NEAR_END = 1e-3


class Activation(NamedTuple):
    """An activation function and its parameters, as `activation` returns it.

    Parameters
    ----------
    name : str
        One of `ACTIVATIONS`.
    parameters : tuple of float
        Alpha, or alpha and beta, where the function has them.
    """

    name: str
    parameters: tuple[float, ...] = ()

    def __str__(self) -> str:
        """Text that `parse` reads: ``leaky_relu:0.01``."""
        given = ",".join(map(repr, self.parameters))
        return f"{self.name}:{given}" if given else self.name

    @property
    def slope(self) -> float:
        """Steepest slope but for jumps, at least 1: how much an error in the sum can grow.

        Infinite for a function that has none.
        """
        kind = ACTIVATIONS[self.name]
        return max(kind.steepest, abs(prod(self.parameters[: kind.factors])))

    @property
    def ends(self) -> tuple[float, float] | None:
        """The values that it nears or keeps on either side; None if it has not both."""
        found = ACTIVATIONS[self.name].ends
        if found is None or self.name != "scaled_tanh":
            return found
        alpha = abs(self.parameters[0])
        return -alpha, alpha

    @property
    def jumps(self) -> bool:
        """Whether states of sums a rounding apart can be far apart."""
        return self.name == "thresholded_relu" and self.parameters != (0.0,)

    def function(self) -> Callable[[Floats, Floats], Any]:
        """Return ``function(a, out)`` for these parameters."""
        kind = ACTIVATIONS[self.name]
        if not self.parameters:
            return kind.function
        return lambda a, out: kind.function(a, out, *self.parameters)


class Kind(NamedTuple):
    """A kind of activation.

    Parameters
    ----------
    function : callable
        ``function(a, out, *parameters)``.
    defaults : tuple of float or None
        One a parameter; None where it has to be given.
    factors : int
        How many of the parameters multiply the sum.
    steepest : float
        The steepest slope that no parameter sets, at least 1.
    ends : tuple of float, optional
        The values that it nears or keeps on either side, if there are two.
    """

    function: Callable[..., Any]
    defaults: tuple[float | None, ...] = ()
    factors: int = 0
    steepest: float = 1.0
    ends: tuple[float, float] | None = None


def saturated(values: Floats, ends: tuple[float, float]) -> Truths:
    """Return which of the values are within `NEAR_END` of an end of their range."""
    least, greatest = ends
    middle, half = (least + greatest) / 2, (greatest - least) / 2
    return np.asarray(np.abs(np.abs(values - middle) - half) <= NEAR_END)


def activation(name: str, *parameters: float) -> Activation:
    """Return an activation by name; parameters that are left out have ONNX's defaults.

    Raises
    ------
    ValueError
        The name is unknown, or the parameters are too many, too few or not
        finite.
    """
    kind = choice("activation", name, ACTIVATIONS)
    names = ("alpha", "beta")[: len(kind.defaults)]
    if len(parameters) > len(names):
        takes = " and ".join(names) or "no parameter"
        raise ValueError(f"activation {name}: takes {takes}, got {len(parameters)} numbers")
    filled = (*parameters, *kind.defaults[len(parameters) :])
    for parameter, value in zip(names, filled, strict=True):
        if value is None:
            raise ValueError(
                f"activation {name}: {parameter} has no default: "
                f"give {name}:{','.join(f'{n.upper()}' for n in names)}"
            )
        if not isfinite(value):
            raise ValueError(f"activation {name}: {parameter} is not finite: {value}")
    return Activation(name, tuple(float(value) for value in filled if value is not None))


def parse(text: str) -> Activation:
    """Read ``NAME``, ``NAME:alpha`` or ``NAME:alpha,beta``."""
    name, colon, given = text.partition(":")
    parameters = []
    for number in given.split(",") if colon else ():
        try:
            parameters.append(float(number))
        except ValueError:
            raise ValueError(f"activation {name}: not a number: {number!r}") from None
    return activation(name, *parameters)


def as_activation(given: Activation | str) -> Activation:
    """Return an activation that may be given as text, as for `parse`."""
    return parse(given) if isinstance(given, str) else given


def positive_clip(clip: float) -> float:
    """Check the limit of sums."""
    if not clip > 0:
        raise ValueError(f"clip: expected a number over 0, got {clip}")
    return float(clip)


def clipped(activation: Activation, clip: float) -> Callable[[Floats, Floats], Any]:
    """Return ``function(a, out)`` of sums that are limited to ±`clip` first."""
    f = activation.function()
    if isinf(clip):
        return f

    def limited(a: Floats, out: Floats) -> None:
        np.maximum(a, -clip, out=out)
        np.minimum(out, clip, out=out)
        f(out, out)

    return limited


def _linear(a: Floats, out: Floats) -> None:
    """Compute ``a``."""
    if out is not a:
        out[...] = a


def _relu(a: Floats, out: Floats) -> None:
    """Compute ``max(a, 0)``."""
    np.maximum(a, 0, out=out)


def _sigmoid(a: Floats, out: Floats) -> None:
    """Compute ``1 / (1 + exp(-a))``."""
    # Not np.negative: NumPy 2.4.6 gets it wrong in place where values do not lie side by side.
    np.subtract(0, a, out)
    np.exp(out, out)
    np.add(out, 1, out)
    np.reciprocal(out, out)


def _affine(a: Floats, out: Floats, alpha: float, beta: float) -> None:
    """Compute ``alpha a + beta``."""
    np.multiply(a, alpha, out)
    np.add(out, beta, out)


def _leaky_relu(a: Floats, out: Floats, alpha: float) -> None:
    """Compute ``a if a >= 0 else alpha a``."""
    np.multiply(a, np.where(a >= 0, a.dtype.type(1), a.dtype.type(alpha)), out)


def _thresholded_relu(a: Floats, out: Floats, alpha: float) -> None:
    """Compute ``a if a >= alpha else 0``."""
    # Not a product with 0 and 1: what is not a number must stay so.
    np.copyto(out, np.where(a < alpha, a.dtype.type(0), a))


def _scaled_tanh(a: Floats, out: Floats, alpha: float, beta: float) -> None:
    """Compute ``alpha tanh(beta a)``."""
    np.multiply(a, beta, out)
    np.tanh(out, out)
    np.multiply(out, alpha, out)


def _hard_sigmoid(a: Floats, out: Floats, alpha: float, beta: float) -> None:
    """Compute ``min(max(alpha a + beta, 0), 1)``."""
    _affine(a, out, alpha, beta)
    np.clip(out, 0, 1, out)


def _elu(a: Floats, out: Floats, alpha: float) -> None:
    """Compute ``a if a >= 0 else alpha (exp(a) - 1)``."""
    below = np.expm1(np.minimum(a, 0))
    np.copyto(out, np.where(a < 0, below * a.dtype.type(alpha), a))


def _softsign(a: Floats, out: Floats) -> None:
    """Compute ``a / (1 + |a|)``."""
    np.divide(a, 1 + np.abs(a), out)


def _softplus(a: Floats, out: Floats) -> None:
    """Compute ``log(1 + exp(a))``."""
    np.logaddexp(a, a.dtype.type(0), out)


def _maximum(a: Floats, out: Floats, alpha: float) -> None:
    """Compute ``max(a, alpha)``."""
    np.maximum(a, alpha, out=out)


def _minimum(a: Floats, out: Floats, alpha: float) -> None:
    """Compute ``min(a, alpha)``."""
    np.minimum(a, alpha, out=out)


def _power(a: Floats, out: Floats, alpha: float) -> None:
    """Compute ``a ** alpha``."""
    np.power(a, alpha, out=out)


def _relu6(a: Floats, out: Floats) -> None:
    """Compute ``min(max(a, 0), 6)``."""
    np.clip(a, 0, 6, out)


def _silu(a: Floats, out: Floats) -> None:
    """Compute ``a sigmoid(a)``."""
    np.multiply(a, _share(a), out)


def _gelu(a: Floats, out: Floats) -> None:
    """Compute ``a (1 + erf(a / sqrt(2))) / 2``, without a difference where a is under 0."""
    # NumPy has no erf; that of the standard library takes one number.
    scaled = np.ravel(a.astype(np.float64) * -sqrt(0.5))
    tails = np.fromiter(map(erfc, scaled.tolist()), np.float64, a.size)
    np.multiply(a, 0.5 * tails.reshape(a.shape).astype(a.dtype), out)


def _gelu_tanh(a: Floats, out: Floats) -> None:
    """Compute ``a (1 + tanh(sqrt(2 / pi) (a + 0.044715 a^3))) / 2``."""
    near = np.clip(a, -30, 30)  # beyond, the share is 0 or 1
    np.multiply(a, _share(near * (1 + 0.044715 * near * near) * (2 * sqrt(2 / pi))), out)


def _selu(a: Floats, out: Floats) -> None:
    """Compute ``1.05 elu(a, 1.67)``: Klambauer et al. (2017), arXiv:1706.02515."""
    _elu(a, out, SELU_ALPHA)
    np.multiply(out, SELU_SCALE, out)


def _mish(a: Floats, out: Floats) -> None:
    """Compute ``a tanh(log(1 + exp(a)))``: Misra (2019), arXiv:1908.08681."""
    # tanh(log(n)) is (n^2 - 1) / (n^2 + 1), here for exp(a) or its reciprocal: none overflows.
    e = np.exp(-np.abs(a))
    over = np.where(a < 0, e * (e + 2), 1 + 2 * e)
    np.multiply(a, over / (over + np.where(a < 0, a.dtype.type(2), 2 * e * e)), out)


def _hard_silu(a: Floats, out: Floats) -> None:
    """Compute ``a min(max(a + 3, 0), 6) / 6``."""
    np.multiply(a, np.clip(a + 3, 0, 6) / 6, out)


def _share(a: Floats) -> Floats:
    """Return ``sigmoid(a)``, to the last digits also where it is small."""
    e = np.exp(-np.abs(a))
    return np.asarray(np.where(a < 0, e, a.dtype.type(1)) / (1 + e))


SELU_ALPHA, SELU_SCALE = 1.6732632423543772848, 1.0507009873554804934
ACTIVATIONS = {
    "tanh": Kind(np.tanh, ends=(-1, 1)),
    "relu": Kind(_relu),
    "sigmoid": Kind(_sigmoid, ends=(0, 1)),
    "linear": Kind(_linear),
    "affine": Kind(_affine, (None, None), factors=1),
    "leaky_relu": Kind(_leaky_relu, (0.01,), factors=1),
    "thresholded_relu": Kind(_thresholded_relu, (1.0,)),
    "scaled_tanh": Kind(_scaled_tanh, (None, None), factors=2, ends=(-1, 1)),
    "hard_sigmoid": Kind(_hard_sigmoid, (0.2, 0.5), factors=1, ends=(0, 1)),
    "elu": Kind(_elu, (1.0,), factors=1),
    "softsign": Kind(_softsign, ends=(-1, 1)),
    "softplus": Kind(_softplus),
    "relu6": Kind(_relu6, ends=(0, 6)),
    "silu": Kind(_silu, steepest=1.09983933),
    "gelu": Kind(_gelu, steepest=1.12890415),
    "gelu_tanh": Kind(_gelu_tanh, steepest=1.12899307),
    "selu": Kind(_selu, steepest=SELU_ALPHA * SELU_SCALE),
    "mish": Kind(_mish, steepest=1.08849817),
    "exponential": Kind(np.exp, steepest=inf),
    "hard_silu": Kind(_hard_silu, steepest=1.5),
    "maximum": Kind(_maximum, (None,)),
    "minimum": Kind(_minimum, (None,)),
    "power": Kind(_power, (None,), steepest=inf),
}
TANH = Activation("tanh")
SIGMOID = Activation("sigmoid")
