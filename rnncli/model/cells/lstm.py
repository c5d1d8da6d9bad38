"""The LSTM cell."""

from collections.abc import Sequence
from functools import cached_property
from math import inf, isinf
from typing import Any

import numpy as np

from rnncli.model.activations import (
    SIGMOID,
    TANH,
    Activation,
    as_activation,
    clipped,
    positive_clip,
)
from rnncli.model.arrays import Floats
from rnncli.model.cells.cell import (
    Apply,
    Cell,
    Combine,
    Multiplier,
    Operands,
    State,
    Views,
    Weights,
)
from rnncli.model.cells.gates import ordered


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
        Of g, the candidate.
    recurrent_activation : Activation or str
        Of the gates i, f and o.
    output_activation : Activation or str, optional
        Of c_t in h_t; that of g by default, as in Keras.
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
    setting_names = ("activation", "recurrent_activation", "output_activation", "clip")
    state_names = ("h", "c")
    extra_names = ("w_ch", "W_hr")

    def __init__(
        self,
        weights: Weights,
        activation: Activation | str = TANH,
        recurrent_activation: Activation | str = SIGMOID,
        output_activation: Activation | str | None = None,
        clip: float = inf,
    ) -> None:
        self.weights, self.clip = weights, positive_clip(clip)
        self.activation = as_activation(activation)
        self.recurrent_activation = as_activation(recurrent_activation)
        self.output_activation = as_activation(output_activation or activation)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """H values of c; as many of h, or those of the projection."""
        return len(self.weights.W_hh), self.hidden_size

    @property
    def ends(self) -> tuple[float, float] | None:
        """The ends of what is made of c, if h is not projected."""
        return None if self.weights.W_hr is not None else self.output_activation.ends

    @property
    def halved(self) -> bool:
        """Whether the gates are halved: one tanh then serves all."""
        return (
            self.recurrent_activation == SIGMOID
            and self.activation == TANH
            and self.weights.w_ch is None
            and isinf(self.clip)
        )

    @cached_property
    def operands(self) -> Operands:
        """The weights in the order i f o g.

        Where the gates are sigmoids, i, f and o are halved, since
        ``sigmoid(a) = 0.5 + 0.5 tanh(a / 2)``: one tanh then serves all.
        Halving changes no bit of a sum.
        """
        half = 0.5 if self.halved else 1.0
        factors = np.repeat((half, half, half, 1.0), self.hidden_size)
        return Operands(
            *(ordered(W, (0, 1, 3, 2)) * factors.astype(W.dtype) for W in self.weights[:3])
        )

    def combine(self, multiplier: Multiplier) -> Combine:
        """Return the step from the sums of i, f, o and g."""
        combine = self._halved_step() if self.halved else self._any_step()
        if self.weights.W_hr is None:
            return combine
        project = multiplier(self.weights.W_hr)

        def projected(sums: Floats, out: Floats, _h: Floats, c: Floats) -> State:
            whole = np.empty_like(c)
            _, c = combine(sums, whole, _h, c)
            out[...] = project(whole)
            return out, c

        return projected

    def _halved_step(self) -> Combine:
        f_out = self.output_activation.function()
        tanh, multiply, add = np.tanh, np.multiply, np.add
        half = np.array(0.5, self.weights.b_h.dtype)  # NumPy takes longer to convert a number
        views = Views(lambda sums: (sums[:3], *sums))

        def step(sums: Floats, out: Floats, _h: Floats, c: Floats) -> State:
            gates, i, f, o, g = views(sums)
            tanh(sums, sums)
            multiply(gates, half, gates)
            add(gates, half, gates)
            multiply(f, c, c)
            multiply(i, g, g)
            add(c, g, c)
            f_out(c, g)
            multiply(o, g, out)
            return out, c

        return step

    def _any_step(self) -> Combine:
        f_gate = clipped(self.recurrent_activation, self.clip)
        f_candidate = clipped(self.activation, self.clip)
        f_out = self.output_activation.function()
        peepholes = None if self.weights.w_ch is None else np.split(self.weights.w_ch, 3)

        def step(sums: Floats, out: Floats, _h: Floats, c: Floats) -> State:
            i, f, o, g = sums
            if peepholes:
                i += peepholes[0] * c
                f += peepholes[1] * c
            f_gate(i, i)
            f_gate(f, f)
            f_candidate(g, g)
            np.multiply(f, c, c)
            np.multiply(i, g, g)
            np.add(c, g, c)
            if peepholes:
                o += peepholes[2] * c
            f_gate(o, o)
            f_out(c, g)
            np.multiply(o, g, out)
            return out, c

        return step

    @property
    def has_step(self) -> bool:
        """Whether it has neither peepholes nor a projection."""
        return self.weights.w_ch is None and self.weights.W_hr is None

    def step(self, apply: Apply, sums: Sequence[Any], _h: Any, c: Any) -> tuple[Any, ...]:
        """Return h and c: ``c = f c + i g``, ``h = o f(c)``."""
        i, f, o, g = sums

        def gate(a: Any) -> Any:
            if self.halved:
                return 0.5 * apply(TANH, a, inf) + 0.5
            return apply(self.recurrent_activation, a, self.clip)

        c = gate(f) * c + gate(i) * apply(self.activation, g, self.clip)
        return gate(o) * apply(self.output_activation, c, inf), c

    def bounds(self, sums: Floats, off: Floats, before: State, after: State) -> State:
        """Return the errors of the gates, carried to c and h.

        ``dc = |c_{t-1}| df + |g| di + |i| dg``, ``dh = |tanh c| do + |o| dc``,
        each gate's by its own slope, and a few roundings of every product.
        """
        eps = np.finfo(off.dtype).eps
        c_before, c = np.abs(before[1]), np.abs(after[1])
        if self.weights.W_hr is not None or not self.halved:
            # Nothing is known of the size of the gates: what rounding alone does to the state.
            return tuple(4 * eps * np.abs(array) for array in after)
        tanh = np.tanh(sums)
        i, f, o = 0.5 + 0.5 * tanh[:3]
        g, out = tanh[3], np.empty_like(c)
        self.output_activation.function()(after[1], out)
        # The halved sums of the gates are as far off as half a whole one.
        d_i, d_f, d_o, d_g = (1 - tanh * tanh) * off + 2 * eps
        d_i, d_f, d_o = d_i / 2, d_f / 2, d_o / 2
        d_c = c_before * d_f + np.abs(g) * d_i + i * d_g + 2 * eps * (f * c_before + c)
        steepest = self.output_activation.slope
        slope = 1 - out * out if self.output_activation == TANH else steepest
        d_h = np.abs(out) * d_o + o * (slope * d_c + 2 * eps * np.abs(out))
        return d_h + 2 * eps * np.abs(after[0]), d_c
