"""Activations: ``function(a, out, *parameters)`` writes into `out`, which may be a."""

from __future__ import annotations

from collections.abc import Callable
from math import erfc, isfinite, isinf, pi, sqrt
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.arrays import Floats, Truths, parse_numbers
from rnncli.model.errors import choice

# A value is saturated if it is within this distance of an end of its range.
NEAR_END = 1e-3


class Activation(NamedTuple):
    """An activation function and its parameters: alpha, or alpha and beta."""

    name: str
    parameters: tuple[float, ...] = ()

    def __str__(self) -> str:
        """Text that `parse` reads: ``leaky_relu:0.01``."""
        numbers = ",".join(map(repr, self.parameters))
        return f"{self.name}:{numbers}" if numbers else self.name

    @property
    def ends(self) -> tuple[float, float] | None:
        """The least and the greatest value, as limits; None unless there are both."""
        return ACTIVATIONS[self.name].ends

    def function(self) -> Callable[[Floats, Floats], Any]:
        """Return ``function(a, out)`` for these parameters."""
        function, parameters = ACTIVATIONS[self.name].function, self.parameters
        return (lambda a, out: function(a, out, *parameters)) if parameters else function


class Kind(NamedTuple):
    """An entry of `ACTIVATIONS`; a name is empty where a framework lacks the function."""

    function: Callable[..., Any]
    onnx: str = ""  # the operator, or the function of a cell
    defaults: tuple[float | None, ...] = ()  # None: the parameter has to be given
    ends: tuple[float, float] | None = None


def saturated(values: Floats, ends: tuple[float, float]) -> Truths:
    """Find the values within `NEAR_END` of an end of their range."""
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
    values = (*parameters, *kind.defaults[len(parameters) :])
    numbers = [float(value) for value in values if value is not None and isfinite(value)]
    if not len(kind.defaults) == len(values) == len(numbers):
        what = f"expected {len(kind.defaults)} finite numbers, got {parameters}"
        raise ValueError(f"activation {name}: {what}")
    return Activation(name, tuple(numbers))


def parse(value: Activation | str) -> Activation:
    """Parse an activation: ``NAME``, ``NAME:alpha`` or ``NAME:alpha,beta``."""
    if isinstance(value, Activation):
        return value
    name, colon, text = value.partition(":")
    numbers = parse_numbers(text.split(",")) if colon else np.empty(0)
    if numbers is None:
        raise ValueError(f"activation {name}: not a number: {text!r}")
    return activation(name, *numbers.tolist())


def positive_clip(clip: float) -> float:
    """Check that the limit of sums is over 0."""
    if not clip > 0:
        raise ValueError(f"clip: expected a number over 0, got {clip}")
    return float(clip)


def clipped(activation: Activation, clip: float) -> Callable[[Floats, Floats], Any]:
    """Return ``function(a, out)`` that limits a to ±`clip` first."""
    f = activation.function()
    return f if isinf(clip) else lambda a, out: f(np.clip(a, -clip, clip, out), out)


def _sigmoid(a: Floats, out: Floats) -> None:
    """Compute ``1 / (1 + exp(-a))``."""
    # np.negative is wrong in place for values with gaps between them, as of NumPy 2.4.6.
    np.subtract(0, a, out)
    np.exp(out, out)
    np.add(out, 1, out)
    np.reciprocal(out, out)


def _hard_sigmoid(a: Floats, out: Floats, alpha: float, beta: float) -> None:
    """Compute ``min(max(alpha a + beta, 0), 1)``."""
    np.multiply(a, alpha, out)
    np.add(out, beta, out)
    np.clip(out, 0, 1, out)


def _to(f: Callable[..., Any]) -> Callable[..., None]:
    """Return a function that writes the values of f into `out`."""
    return lambda a, out, *parameters: np.copyto(out, f(a, *parameters))


def _accurate_sigmoid(a: Floats) -> Any:
    """Compute ``sigmoid(a)`` to the last digits, even where it is near 0."""
    e = np.exp(-np.abs(a))
    return np.where(a < 0, e, 1) / (1 + e)


def _elu(a: Floats, alpha: float) -> Any:
    """Compute ``a if a >= 0 else alpha (exp(a) - 1)``."""
    return np.where(a < 0, alpha * np.expm1(np.minimum(a, 0)), a)


def _gelu(a: Floats) -> Any:
    """Compute ``a (1 + erf(a / sqrt(2))) / 2`` by erfc, as 1 + erf loses digits below 0."""
    # NumPy has no erfc, and that of the standard library takes one number.
    scaled = np.ravel(a.astype(np.float64) * -sqrt(0.5))
    tails = np.fromiter(map(erfc, scaled.tolist()), np.float64, a.size)
    return a * (0.5 * tails.reshape(a.shape).astype(a.dtype))


def _gelu_tanh(a: Floats) -> Any:
    """Compute ``a (1 + tanh(sqrt(2 / pi) (a + 0.044715 a^3))) / 2``."""
    near = np.clip(a, -30, 30)  # the sigmoid is 0 or 1 beyond
    return a * _accurate_sigmoid(near * (1 + 0.044715 * near * near) * (2 * sqrt(2 / pi)))


# Klambauer et al. (2017), arXiv:1706.02515.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848, 1.0507009873554804934
ACTIVATIONS = {
    "tanh": Kind(np.tanh, "Tanh", ends=(-1, 1)),
    "relu": Kind(lambda a, out: np.maximum(a, 0, out=out), "Relu"),
    "sigmoid": Kind(_sigmoid, "Sigmoid", ends=(0, 1)),
    "linear": Kind(lambda a, out: np.copyto(out, a), "Affine"),
    "affine": Kind(_to(lambda a, p, q: p * a + q), "Affine", (None, None)),
    "leaky_relu": Kind(_to(lambda a, p: np.where(a < 0, p * a, a)), "LeakyRelu", (0.01,)),
    "thresholded_relu": Kind(_to(lambda a, p: np.where(a <= p, 0, a)), "ThresholdedRelu", (1.0,)),
    "scaled_tanh": Kind(_to(lambda a, p, q: p * np.tanh(q * a)), "ScaledTanh", (None, None)),
    "hard_sigmoid": Kind(_hard_sigmoid, "HardSigmoid", (0.2, 0.5), ends=(0, 1)),
    "elu": Kind(_to(_elu), "Elu", (1.0,)),
    "softsign": Kind(_to(lambda a: a / (1 + np.abs(a))), "Softsign", ends=(-1, 1)),
    "softplus": Kind(lambda a, out: np.logaddexp(a, 0, out), "Softplus"),
    "relu6": Kind(lambda a, out: np.clip(a, 0, 6, out), ends=(0, 6)),
    "hard_tanh": Kind(lambda a, out: np.clip(a, -1, 1, out), ends=(-1, 1)),
    "silu": Kind(_to(lambda a: a * _accurate_sigmoid(a))),
    "gelu": Kind(_to(_gelu), "Gelu"),
    "gelu_tanh": Kind(_to(_gelu_tanh)),
    "selu": Kind(_to(lambda a: SELU_SCALE * _elu(a, SELU_ALPHA)), "Selu"),
    # Misra (2019), arXiv:1908.08681.
    "mish": Kind(_to(lambda a: a * np.tanh(np.logaddexp(a, 0))), "Mish"),
    "exponential": Kind(np.exp, "Exp"),
    "hard_silu": Kind(_to(lambda a: a * (np.clip(a + 3, 0, 6) / 6)), "HardSwish"),
}
# The names are those of Keras, which lacks these, or needs arguments for them.
_LACKING = {"affine", "thresholded_relu", "scaled_tanh", "gelu_tanh"}
KERAS = [name for name in ACTIVATIONS if name not in _LACKING]
# Functions of the cells of ONNX; Affine and ScaledTanh are no operators.
ONNX_CELLS = (
    *("tanh", "relu", "sigmoid", "linear", "affine", "leaky_relu", "thresholded_relu"),
    *("scaled_tanh", "hard_sigmoid", "elu", "softsign", "softplus"),
)
ONNX_OPERATORS = {
    name: kind.onnx
    for name, kind in ACTIVATIONS.items()
    if kind.onnx not in ("", "Affine", "ScaledTanh")
}
TANH = Activation("tanh")
SIGMOID = Activation("sigmoid")
