"""Activations: what a step makes of the sum of its products.

Every function here has one signature, ``function(a, out, *parameters)``: it
takes the sums, any shape, and writes the states into `out`, which may be
the same array. Parameters are ONNX's alpha, or alpha and beta.
"""

from collections.abc import Callable
from math import isfinite, isinf, prod
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.errors import choice


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
        """Steepest slope but for jumps, at least 1: how much an error in the sum can grow."""
        return max(1.0, abs(prod(self.parameters[: ACTIVATIONS[self.name].factors])))

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
    """

    function: Callable[..., Any]
    defaults: tuple[float | None, ...] = ()
    factors: int = 0


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
    """Read ``NAME``, ``NAME:alpha`` or ``NAME:alpha,beta``.

    Raises
    ------
    ValueError
        As for `activation`, or a parameter is not a number.
    """
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
    """Check the limit of sums.

    Raises
    ------
    ValueError
        It is not over 0.
    """
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


ACTIVATIONS = {
    "tanh": Kind(np.tanh),
    "relu": Kind(_relu),
    "sigmoid": Kind(_sigmoid),
    "linear": Kind(_linear),
    "affine": Kind(_affine, (None, None), factors=1),
    "leaky_relu": Kind(_leaky_relu, (0.01,), factors=1),
    "thresholded_relu": Kind(_thresholded_relu, (1.0,)),
    "scaled_tanh": Kind(_scaled_tanh, (None, None), factors=2),
    "hard_sigmoid": Kind(_hard_sigmoid, (0.2, 0.5), factors=1),
    "elu": Kind(_elu, (1.0,), factors=1),
    "softsign": Kind(_softsign),
    "softplus": Kind(_softplus),
}
TANH = Activation("tanh")
SIGMOID = Activation("sigmoid")
