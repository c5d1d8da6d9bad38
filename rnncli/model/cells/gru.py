"""The GRU cell."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isinf
from typing import Any, ClassVar

import numpy as np

from rnncli.model.activations import SIGMOID, TANH, Activation, parse, positive_clip
from rnncli.model.arrays import Floats, reorder
from rnncli.model.cells.cell import (
    Cell,
    Multiply,
    Numbers,
    Operands,
    Prepare,
    State,
    StepFunction,
    Weights,
)
from rnncli.model.errors import choice

RESETS = ("after", "before")


class GRU(Cell):
    """The gated recurrent unit of Cho et al. (2014), arXiv:1406.1078.

    ::

        z, r = sigmoid(x_t @ W_xh[z, r] + h_{t-1} @ W_hh[z, r] + b_h[z, r])
        n = tanh(x_t @ W_xh[n] + b_h[n] + r (h_{t-1} @ W_hh[n] + b_n))   reset after
        n = tanh(x_t @ W_xh[n] + b_h[n] + (r h_{t-1}) @ W_hh[n])         reset before
        h_t = z h_{t-1} + (1 - z) n

    ``GRU`` in Keras, PyTorch and ONNX. Resetting after the product is
    PyTorch's and Keras's (``reset_after``); resetting before it ONNX's
    default (``linear_before_reset=0``).

    Parameters
    ----------
    weights : Weights
    activation : Activation or str
        Function of n, the candidate.
    recurrent_activation : Activation or str
        Function of the gates z and r.
    clip : float
        The sums of all gates are limited to ±`clip` (ONNX); infinite for no
        limit.
    reset : {"after", "before"}
        Whether r multiplies the product of the candidate, or h before it.

    Raises
    ------
    ValueError
        The clip is not over 0, there is no such activation or reset, or
        weights that reset before the product have a `b_n`.
    """

    gates = 3
    gate_names = ("z", "r", "n")
    gate_orders: ClassVar = {"torch": ("r", "z", "n")}
    setting_names = ("activation", "recurrent_activation", "clip", "reset")

    def __init__(
        self,
        weights: Weights,
        activation: Activation | str = TANH,
        recurrent_activation: Activation | str = SIGMOID,
        clip: float = inf,
        reset: str = "after",
    ) -> None:
        self.weights, self.clip = weights, positive_clip(clip)
        self.activation = parse(activation)
        self.recurrent_activation = parse(recurrent_activation)
        self.ends = self.activation.ends  # h lies between the candidate and the h before
        self.reset = choice("reset", reset, dict.fromkeys(RESETS, reset))
        if reset == "before" and weights.b_n is not None:
            raise ValueError("b_n: a GRU that resets before the product adds it to b_h")

    @classmethod
    def shapes(cls, weights: Weights) -> dict[str, tuple[int, ...]]:
        """Return the shapes of its arrays by name."""
        return super().shapes(weights) | {"b_n": (weights.W_xh.shape[1] // 3,)}

    @property
    def sum_names(self) -> tuple[str, ...]:
        """The candidate without h, the gates and, for a reset after it, the product of h."""
        return ("n", "z", "r", "m") if self.reset == "after" else ("n", "z", "r")

    @property
    def operands(self) -> Operands:
        """The weights of n, z and r, and of ``m = h_{t-1} @ W_hh[n] + b_n``."""
        H, dtype = self.hidden_size, self.weights.W_hh.dtype
        W_xh, W_hh, b_h = (reorder(W, (2, 0, 1)) for W in self.weights[:3])
        if self.reset == "before":
            return Operands(W_xh, W_hh[:, H:].copy(), b_h)
        b_n = np.zeros(H, dtype) if self.weights.b_n is None else self.weights.b_n
        return Operands(
            np.concatenate([W_xh, np.zeros_like(W_xh[:, :H])], axis=1),
            np.concatenate([W_hh[:, H:], W_hh[:, :H]], axis=1),
            np.concatenate([b_h, b_n]),
        )

    @property
    def inner(self) -> Floats | None:
        """Recurrent weights of the candidate, if r multiplies h before their product."""
        W_n = self.weights.W_hh[:, 2 * self.hidden_size :]
        return None if self.reset == "after" else np.ascontiguousarray(W_n)

    def step(self, n: Numbers, sums: Sequence[Any], *state: Any) -> tuple[Any, ...]:
        """Compute h_t; NumPy runs the usual GRU by `get_step`."""
        (h,) = state
        a, z, r, *m = sums  # a is the sum of the candidate
        # r first: in compiled code the candidate waits for it.
        r, z = (n.apply(self.recurrent_activation, gate, self.clip) for gate in (r, z))
        reset = n.product(r * h, self.inner, "W_hh[n]") if self.inner is not None else r * m[0]
        a = n.apply(self.activation, a + reset, self.clip)
        return (n.mix(z, h, a),)

    def get_step(self, multiply: Multiply) -> tuple[Operands, Prepare]:
        """Compute both gates by one tanh, where they are sigmoids."""
        if self.recurrent_activation != SIGMOID or not isinf(self.clip):
            return super().get_step(multiply)
        operands = self.operands.scale((1.0, 0.5, 0.5, 1.0)[: len(self.sum_names)])
        f, W_n = self.activation.function(), self.inner
        tanh, times, plus, minus = np.tanh, np.multiply, np.add, np.subtract
        half = np.array(0.5, self.weights.b_h.dtype)  # NumPy takes longer to convert a number

        def prepare(N: int) -> tuple[Floats, State, StepFunction]:
            sums = operands.new_sums(N, self.hidden_size)
            gates, (n, z, r, *m) = sums[1:3], sums

            def step(h: Floats, out: Floats) -> None:
                tanh(gates, gates)
                times(gates, half, gates)
                plus(gates, half, gates)
                if W_n is None:
                    times(r, m[0], r)
                    plus(n, r, n)
                else:
                    times(r, h, r)
                    plus(n, multiply(r, W_n), n)
                f(n, n)
                minus(h, n, r)
                times(z, r, r)
                plus(n, r, out)

            return sums, (), step

        return operands, prepare
