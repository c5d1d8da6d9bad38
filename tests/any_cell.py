"""Cells and a layer that rnncli does not know, and their steps for the plain loop.

What runs them may not assume that the output is the state, that there is one gate,
that the gates are one sum, or that every layer is recurrent.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import loop
import numpy as np

from rnncli.model.activations import SIGMOID, TANH
from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell, Multiply, Numbers, Operands, Weights
from rnncli.model.layers import Stateless


class Leaky(Cell):
    """``i, g = sigmoid, tanh of the sums; c_t = keep c_{t-1} + i g; h_t = tanh(c_t)``."""

    gates = 2
    gate_names = ("i", "g")
    state_names = ("h", "c")

    def __init__(self, weights: Weights, keep: float = 0.5) -> None:
        self.weights, self.keep = weights, keep

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"cell": type(self).__name__, "keep": self.keep}

    @property
    def compilable(self) -> bool:
        return False

    def step(self, n: Numbers, sums: Sequence[Any], *state: Any) -> tuple[Any, ...]:
        (i, g), (_h, c) = sums, state
        keep = np.full(self.hidden_size, self.keep, self.weights.b_h.dtype)
        c = n.carry(c, n.weight(keep, "keep"), n.apply(SIGMOID, i) * n.apply(TANH, g))
        return n.apply(TANH, c), c

    def replaced(self, weights: Weights | None = None, **settings: Any) -> "Leaky":
        weights = self.weights if weights is None else weights
        return type(self)(weights, **{"keep": self.keep, **settings})


class Gated(Leaky):
    """The same, but g comes from ``(i * h_{t-1}) @ W_g``: its gates are not one sum."""

    @property
    def sum_names(self) -> tuple[str, ...]:
        return ("g", "i")

    @property
    def operands(self) -> Operands:
        H = self.hidden_size
        turned = (np.concatenate([W[..., H:], W[..., :H]], axis=-1) for W in self.weights[:3])
        W_xh, W_hh, b_h = turned  # g, then i
        return Operands(W_xh, np.ascontiguousarray(W_hh[:, H:]), b_h)

    @property
    def inner(self) -> Floats:
        return np.ascontiguousarray(self.weights.W_hh[:, self.hidden_size :])

    def step(self, n: Numbers, sums: Sequence[Any], *state: Any) -> tuple[Any, ...]:
        (g, i), (h, c) = sums, state
        i = n.apply(SIGMOID, i)
        g = n.apply(TANH, g + n.product(i * h, self.inner, "W_hh[g]"))
        keep = np.full(self.hidden_size, self.keep, self.weights.b_h.dtype)
        c = n.weight(keep, "keep") * c + i * g  # which no kind of number carries along time
        return n.apply(TANH, c), c


class Head(Stateless):
    """A layer without state: ``y_t = x_t @ W``."""

    array_names = ("W",)

    def __init__(self, W: Floats) -> None:
        self.W = W
        self.input_size, self.output_size = W.shape

    def __call__(self, x: Floats, multiply: Multiply = np.matmul) -> Floats:
        return multiply(x, self.W)


def step_of(cell: Leaky, w: dict[str, Any], dot: Any) -> Any:
    W_i, W_g = np.split(w["W_hh"], 2, axis=1)

    def step(x: Any, h: Any, c: Any) -> tuple[Any, Any]:
        i, g = (dot(x, w["W_xh"]) + w["b_h"]).reshape(2, -1)
        i = loop.sigmoid(i + dot(h, W_i))
        c = cell.keep * c + i * np.tanh(g + dot(i * h if isinstance(cell, Gated) else h, W_g))
        return np.tanh(c), c

    return step


loop.STEPS |= {Leaky: step_of, Gated: step_of}
loop.ROWS[Head] = lambda layer, x, _: x @ layer.W


def drawn(kind: type[Leaky], I: int, H: int, seed: int) -> Leaky:
    random = np.random.RandomState(seed)
    shapes = ((I, 2 * H), (H, 2 * H), (2 * H,))
    arrays = (random.uniform(-1, 1, shape) / np.sqrt(2 * H) for shape in shapes)
    return kind(Weights(*(array.astype(np.float32) for array in arrays)))
