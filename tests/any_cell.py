"""A cell and a layer that rnncli does not know, and their steps for the plain loop.

What runs them may not assume that the output is the state, that there is one gate,
or that every layer is recurrent.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import loop
import numpy as np

from rnncli.model.activations import SIGMOID, TANH
from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell, Multiply, Numbers, Weights
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
    def needs_only_operands(self) -> bool:
        return False

    def step(self, n: Numbers, sums: Sequence[Any], *state: Any) -> tuple[Any, ...]:
        (i, g), (_h, c) = sums, state
        keep = np.full(self.hidden_size, self.keep, self.weights.b_h.dtype)
        c = n.carry(c, n.weight(keep, "keep"), n.apply(SIGMOID, i) * n.apply(TANH, g))
        return n.apply(TANH, c), c

    def replaced(self, weights: Weights | None = None, **settings: Any) -> "Leaky":
        weights = self.weights if weights is None else weights
        return type(self)(weights, **{"keep": self.keep, **settings})


class Head(Stateless):
    """A layer without state: ``y_t = x_t @ W``."""

    array_names = ("W",)

    def __init__(self, W: Floats) -> None:
        self.W = W
        self.input_size, self.output_size = W.shape

    def __call__(self, x: Floats, multiply: Multiply = np.matmul) -> Floats:
        return multiply(x, self.W)


def step_of(cell: Leaky, w: dict[str, Any], dot: Any) -> Any:
    def step(x: Any, h: Any, c: Any) -> tuple[Any, Any]:
        i, g = (dot(x, w["W_xh"]) + dot(h, w["W_hh"]) + w["b_h"]).reshape(2, -1)
        c = cell.keep * c + loop.sigmoid(i) * np.tanh(g)
        return np.tanh(c), c

    return step


loop.STEPS[Leaky] = step_of
loop.ROWS[Head] = lambda layer, x, _: x @ layer.W


def drawn(I: int, H: int, seed: int) -> Leaky:
    random = np.random.RandomState(seed)
    shapes = ((I, 2 * H), (H, 2 * H), (2 * H,))
    arrays = (random.uniform(-1, 1, shape) / np.sqrt(2 * H) for shape in shapes)
    return Leaky(Weights(*(array.astype(np.float32) for array in arrays)))
