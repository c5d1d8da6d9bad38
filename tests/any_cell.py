"""Cells and a layer that rnncli does not know, and the same written out as loops.

What runs them may not assume that the output is the state, that there is one gate,
that the gates are one sum, or that every layer is recurrent.
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import numpy as np

from rnncli.model.activations import SIGMOID, TANH
from rnncli.model.arrays import Floats
from rnncli.model.cells import Apply, Cell, Combine, Multiplier, Operands, State, Weights
from rnncli.model.layers import Multiply, Stateless


def sigmoid(a: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-a)))


class Leaky(Cell):
    """``i, g = sigmoid, tanh of the sums; c_t = keep c_{t-1} + i g; h_t = tanh(c_t)``."""

    gates = 2
    gate_names = ("i", "g")
    state_names = ("h", "c")

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
            after = self.keep * c + sigmoid(i) * np.tanh(g)
            np.tanh(after, out)
            return out, after

        return combine

    has_step = True

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
            i = sigmoid(sums[1])
            after = self.keep * c + i * np.tanh(sums[0] + of_g(i * h))
            np.tanh(after, out)
            return out, after

        return combine

    def bounds(self, sums: Floats, off: Floats, before: State, after: State) -> State:
        return super().bounds(sums, off[::-1], before, after)


def loop(cell: Leaky, x: Floats, state: State) -> tuple[Floats, State]:
    """Run one sequence, (T, I), step by step in float64."""
    W_xh, W_hh, b_h = (array.astype(np.float64) for array in cell.weights[:3])
    H = len(W_hh)
    h, c = (array.astype(np.float64) for array in state)
    rows = np.empty((len(x), H))
    for t, x_t in enumerate(x.astype(np.float64)):
        a = x_t @ W_xh + b_h
        i = sigmoid(a[:H] + h @ W_hh[:, :H])
        g = np.tanh(a[H:] + (i * h if isinstance(cell, Gated) else h) @ W_hh[:, H:])
        c = cell.keep * c + i * g
        h = rows[t] = np.tanh(c)
    return rows, (h, c)


class Head(Stateless):
    """A layer without state: ``y_t = x_t @ W``."""

    array_names = ("W",)

    def __init__(self, W: Floats) -> None:
        self.W = W
        self.input_size, self.output_size = W.shape

    def __call__(self, x: Floats, multiply: Multiply = np.matmul) -> Floats:
        return multiply(x, self.W)


def drawn(kind: type[Leaky], I: int, H: int, seed: int) -> Leaky:
    random = np.random.RandomState(seed)
    shapes = ((I, 2 * H), (H, 2 * H), (2 * H,))
    arrays = (random.uniform(-1, 1, shape) / np.sqrt(2 * H) for shape in shapes)
    return kind(Weights(*(array.astype(np.float32) for array in arrays)))
