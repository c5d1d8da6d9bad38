"""The LSTM cell."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isinf
from typing import Any, ClassVar, Self

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


class LSTM(Cell):
    """Long short-term memory: Hochreiter & Schmidhuber (1997), with the forget gate of Gers (2000).

    ::

        i, f, g, o = x_t @ W_xh + h_{t-1} @ W_hh + b_h
        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
        h_t = sigmoid(o) tanh(c_t)

    ``LSTM`` in Keras, PyTorch and ONNX. With peepholes (Gers & Schmidhuber,
    2000), ``w_ch c_{t-1}`` is added to i and f, and ``w_ch c_t`` to o. With a
    projection (Sak et al., 2014), ``h_t = (sigmoid(o) tanh(c_t)) @ W_hr``.

    Parameters
    ----------
    weights : Weights
    activation : Activation or str
        Function of g, the candidate.
    recurrent_activation : Activation or str
        Function of the gates i, f and o.
    output_activation : Activation or str, optional
        Function of c_t in h_t; by default the function of g, as in Keras.
    clip : float
        The sums of all gates are limited to ±`clip` (ONNX); infinite for no
        limit.

    Raises
    ------
    ValueError
        The clip is not over 0, or there is no such activation.
    """

    gates = 4
    gate_names = ("i", "f", "g", "o")
    gate_orders: ClassVar = {"onnx": ("i", "o", "f", "g")}
    setting_names = ("activation", "recurrent_activation", "output_activation", "clip")
    state_names = ("h", "c")

    def __init__(
        self,
        weights: Weights,
        activation: Activation | str = TANH,
        recurrent_activation: Activation | str = SIGMOID,
        output_activation: Activation | str | None = None,
        clip: float = inf,
    ) -> None:
        self.weights, self.clip = weights, positive_clip(clip)
        self.activation = parse(activation)
        self.recurrent_activation = parse(recurrent_activation)
        self.output_activation = parse(output_activation or activation)
        self.ends = self.output_activation.ends if weights.W_hr is None else None

    def replaced(self, weights: Weights | None = None, **settings: Any) -> Self:
        """Return the same cell with other weights or settings; two equal functions stay so."""
        if "activation" in settings and self.output_activation == self.activation:
            settings = {"output_activation": settings["activation"]} | settings
        return super().replaced(weights, **settings)

    @classmethod
    def shapes(cls, weights: Weights) -> dict[str, tuple[int, ...]]:
        """Return the shapes of its arrays by name; h has P values."""
        H, W_hr = weights.W_xh.shape[1] // 4, weights.W_hr
        P = H if W_hr is None or W_hr.ndim != 2 else max(1, W_hr.shape[1])
        return super().shapes(weights) | {"W_hh": (P, 4 * H), "w_ch": (3 * H,), "W_hr": (H, P)}

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """H values of c; as many of h, or those of the projection."""
        return len(self.weights.W_hh), self.hidden_size

    def step(self, n: Numbers, sums: Sequence[Any], *state: Any) -> tuple[Any, ...]:
        """Compute h_t and c_t; NumPy runs the usual LSTM by `get_step`."""
        (i, f, g, o), (_h, c) = sums, state
        w_ch, W_hr, gate = self.weights.w_ch, self.weights.W_hr, self.recurrent_activation
        if w_ch is not None:
            p_i, p_f, p_o = (
                n.weight(w, f"w_ch[{k}]") for k, w in zip("ifo", np.split(w_ch, 3), strict=True)
            )
            i, f = i + p_i * c, f + p_f * c
        added = n.apply(gate, i, self.clip) * n.apply(self.activation, g, self.clip)
        c = n.carry(c, n.apply(gate, f, self.clip), added)
        if w_ch is not None:
            o = o + p_o * c
        h = n.apply(gate, o, self.clip) * n.apply(self.output_activation, c)
        return (h if W_hr is None else n.product(h, W_hr, "W_hr")), c

    def get_step(self, multiply: Multiply) -> tuple[Operands, Prepare]:
        """Compute all gates by one tanh, where they are sigmoids and the candidate is a tanh."""
        usual = (self.recurrent_activation, self.activation) == (SIGMOID, TANH)
        if not (usual and self.needs_only_operands and isinf(self.clip)):
            return super().get_step(multiply)
        i_f_o_g = Operands(*(reorder(W, (0, 1, 3, 2)) for W in self.operands))
        operands = i_f_o_g.scale((0.5, 0.5, 0.5, 1.0))
        f_out = self.output_activation.function()
        tanh, times, plus = np.tanh, np.multiply, np.add
        half = np.array(0.5, self.weights.b_h.dtype)  # NumPy takes longer to convert a number

        def prepare(N: int) -> tuple[Floats, State, StepFunction]:
            # With c behind g, one call computes i g and f c.
            blocks = operands.new_sums(N, self.hidden_size, more=1)
            (_, _, o, g, c), products = blocks, np.empty_like(blocks[:2])
            sums, gates, i_f, g_c, (i_g, f_c) = (
                blocks[:4],
                blocks[:3],
                blocks[:2],
                blocks[3:],
                products,
            )

            def step(_h: Floats, out: Floats) -> None:
                tanh(sums, sums)
                times(gates, half, gates)
                plus(gates, half, gates)
                times(i_f, g_c, products)
                plus(f_c, i_g, c)
                f_out(c, g)
                times(o, g, out)

            return sums, (c,), step

        return operands, prepare
