"""Cells and a layer that rnncli does not know, and their steps for the plain loop.

What runs them may not assume that the output is the state, that there is one gate,
that the gates are one sum, or that every layer is recurrent.
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import loop
import numpy as np

from rnncli.model.activations import SIGMOID, TANH
from rnncli.model.arrays import Floats
from rnncli.model.cells import Apply, Cell, Combine, Multiplier, Operands, State, Weights
from rnncli.model.layers import Multiply, Stateless


class Leaky(Cell):
    """``i, g = sigmoid, tanh of the sums; c_t = keep c_{t-1} + i g; h_t = tanh(c_t)``."""

    gates = 2
    gate_names = ("i", "g")
    state_names = ("h", "c")
    has_step = True

    def __init__(self, weights: Weights, keep: float = 0.5) -> None:
        self.weights, self.keep = weights, keep

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return (len(self.weights.W_hh),) * 2

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"cell": type(self).__name__, "keep": self.keep}

    @property
    def operands(self) -> Operands:
        return Operands(*self.weights[:3])

    def combine(self, multiplier: Multiplier) -> Combine:  # noqa: ARG002
        def combine(sums: Floats, out: Floats, _h: Floats, c: Floats) -> State:
            i, g = sums
            after = self.keep * c + loop.sigmoid(i) * np.tanh(g)
            np.tanh(after, out)
            return out, after

        return combine

    def step(self, apply: Apply, sums: Sequence[Any], _h: Any, c: Any) -> tuple[Any, ...]:
        i, g = sums
        c = self.keep * c + apply(SIGMOID, i, inf) * apply(TANH, g, inf)
        return apply(TANH, c, inf), c

    def bounds(self, sums: Floats, off: Floats, before: State, after: State) -> State:  # noqa: ARG002
        i, g = off
        eps = np.finfo(off.dtype).eps
        c = i / 4 + g + 8 * eps * (np.abs(before[1]) + np.abs(after[1]))
        return c + 4 * eps * np.abs(after[0]), c

    def replaced(self, weights: Weights | None = None, **settings: Any) -> "Leaky":
        weights = self.weights if weights is None else weights
        return type(self)(weights, **{"keep": self.keep, **settings})


class Gated(Leaky):
    """The same, but g comes from ``(i * h_{t-1}) @ W_g``: its gates are not one sum.

    Nor does it say so of the step that it has by inheritance.
    """

    @property
    def operands(self) -> Operands:
        H = len(self.weights.W_hh)
        turned = (np.concatenate([W[..., H:], W[..., :H]], axis=-1) for W in self.weights[:3])
        W_xh, W_hh, b_h = turned  # g, then i
        return Operands(W_xh, np.ascontiguousarray(W_hh[:, H:]), b_h)

    def combine(self, multiplier: Multiplier) -> Combine:
        of_g = multiplier(np.ascontiguousarray(self.weights.W_hh[:, len(self.weights.W_hh) :]))

        def combine(sums: Floats, out: Floats, h: Floats, c: Floats) -> State:
            i = loop.sigmoid(sums[1])
            after = self.keep * c + i * np.tanh(sums[0] + of_g(i * h))
            np.tanh(after, out)
            return out, after

        return combine

    def bounds(self, sums: Floats, off: Floats, before: State, after: State) -> State:
        return super().bounds(sums, off[::-1], before, after)


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
