"""Quantities that a layer without state computes at a row.

A layer is one function here and one entry in `OF_LAYERS`.
"""

from collections.abc import Callable

import numpy as np

from rnncli.engine.runner import Runner
from rnncli.explain.quantities import Quantity, Term, sum_of
from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats
from rnncli.model.graph.piece import Piece
from rnncli.model.layers import (
    Dense,
    Embedding,
    LayerNormalization,
    Masking,
    Normalization,
    Pointwise,
    Stateless,
)


def dense(layer: Dense, x: Floats, runner: Runner) -> list[Quantity]:
    """Return ``y_t = f(x_t @ W + b)``."""
    product = runner.multiply(x, layer.W)
    left = runner.precision.operand(x)[0]
    terms = [Term("x_t @ W", product[0], left, layer.W), Term("b", layer.b)]
    return [_function(layer.activation, terms, (product + layer.b)[0], layer(x, runner.multiply))]


def embedding(layer: Embedding, x: Floats, runner: Runner) -> list[Quantity]:
    """Return ``y_t = W[x_t]``."""
    (y,) = layer(x, runner.multiply)
    return [Quantity("y_t", "W[x_t]", [Term(f"W[{int(x[0, 0])}]", y)], y)]


def normalization(layer: Normalization, x: Floats, runner: Runner) -> list[Quantity]:
    """Return ``x_t - center``, and ``y_t = factor (x_t - center) / scale + shift``."""
    apart, (y,) = x - layer.center, layer(x, runner.multiply)
    terms = [Term("x_t", x[0]), Term("-center", -layer.center)]
    d = Quantity("x_t - center", "x_t - center", terms, apart[0])
    name, value = "(x_t - center) / scale", apart / layer.scale
    if layer.factor is not None:
        name, value = f"factor {name}", value * layer.factor
    shift = [] if layer.shift is None else [Term("shift", layer.shift)]
    terms = [Term(name, value[0]), *shift]
    return [d, sum_of("y_t", terms, y)]


def layer_normalization(layer: LayerNormalization, x: Floats, runner: Runner) -> list[Quantity]:
    """Return ``n_t = (x_t - mean(x_t)) / sqrt(var(x_t) + epsilon)``, and y_t from it."""
    ones = np.ones_like(layer.factor)
    (n,) = LayerNormalization(ones, None, layer.epsilon)(x)
    name = f"(x_t - mean(x_t)) / sqrt(var(x_t) + {layer.epsilon:g})"
    shift = [] if layer.shift is None else [Term("shift", layer.shift)]
    terms = [Term("factor n_t", n * layer.factor), *shift]
    (y,) = layer(x, runner.multiply)
    return [sum_of("n_t", [Term(name, n)], n), sum_of("y_t", terms, y)]


def pointwise(layer: Pointwise, x: Floats, runner: Runner) -> list[Quantity]:
    """Return ``y_t = f(x_t)``."""
    return [_function(layer.activation, [Term("x_t", x[0])], x[0], layer(x, runner.multiply))]


def masking(layer: Masking, x: Floats, runner: Runner) -> list[Quantity]:
    """Return ``y_t = x_t``: a row that is masked is no step."""
    (y,) = layer(x, runner.multiply)
    return [sum_of("y_t", [Term("x_t", y)], y)]


def piece(layer: Piece, x: Floats, runner: Runner) -> list[Quantity]:
    """Return y_t, what the operators of a graph make of x_t."""
    (y,) = layer(x, runner.multiply)
    return [Quantity("y_t", repr(layer), [Term(layer.operators, y)], y)]


# quantities(layer, x, runner): what a layer computes at a row, (1, I), by its class. The last
# is y_t.
OF_LAYERS: dict[type, Callable[..., list[Quantity]]] = {
    Dense: dense,
    Embedding: embedding,
    Normalization: normalization,
    LayerNormalization: layer_normalization,
    Pointwise: pointwise,
    Masking: masking,
    Piece: piece,
}


def quantities_of(layer: Stateless, x: Floats, runner: Runner) -> list[Quantity]:
    """Compute the quantities of a layer at a row; the last is y_t."""
    with np.errstate(all="ignore"):
        return OF_LAYERS[type(layer)](layer, x, runner)


def _function(
    function: Activation | str, terms: list[Term], total: Floats, values: Floats
) -> Quantity:
    y_t = sum_of("y_t", terms, values[0])
    name = function if isinstance(function, str) else function.name
    if name == "linear":
        return y_t
    return y_t._replace(equation=f"{name}({y_t.equation})", sum=total, function=function)
