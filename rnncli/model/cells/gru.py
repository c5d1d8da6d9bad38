"""The GRU cell."""

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
        Of n, the candidate.
    recurrent_activation : Activation or str
        Of the gates z and r.
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
    setting_names = ("activation", "recurrent_activation", "clip", "reset")
    extra_names = ("b_n",)
    has_step = True

    def __init__(
        self,
        weights: Weights,
        activation: Activation | str = TANH,
        recurrent_activation: Activation | str = SIGMOID,
        clip: float = inf,
        reset: str = "after",
    ) -> None:
        self.weights, self.clip = weights, positive_clip(clip)
        self.activation = as_activation(activation)
        self.recurrent_activation = as_activation(recurrent_activation)
        self.reset = choice("reset", reset, dict.fromkeys(RESETS, reset))
        if reset == "before" and weights.b_n is not None:
            raise ValueError("b_n: a GRU that resets before the product adds it to b_h")

    @property
    def ends(self) -> tuple[float, float] | None:
        """The ends of the candidate: h lies between it and the h before."""
        return self.activation.ends

    @property
    def halved(self) -> bool:
        """Whether the gates are sigmoids of unlimited sums, by the tanh of half of them."""
        return self.recurrent_activation == SIGMOID and isinf(self.clip)

    @cached_property
    def operands(self) -> Operands:
        """The weights of the candidate's input, then those of z and r.

        If r multiplies the product, ``m = h_{t-1} @ W_hh[n] + b_n`` is a sum
        of its own. Where the gates are sigmoids, z and r are halved:
        ``sigmoid(a) = 0.5 + 0.5 tanh(a / 2)``, which changes no bit of a sum.
        """
        half, H, dtype = 0.5 if self.halved else 1.0, self.hidden_size, self.weights.W_hh.dtype
        factors = np.repeat((1.0, half, half), H).astype(dtype)
        W_xh, W_hh, b_h = (
            np.multiply(ordered(W, (2, 0, 1)), factors, dtype=dtype) for W in self.weights[:3]
        )
        if self.reset == "before":
            return Operands(W_xh, W_hh[:, H:].copy(), b_h)
        b_n = np.zeros(H, dtype) if self.weights.b_n is None else self.weights.b_n
        return Operands(
            np.concatenate([W_xh, np.zeros_like(W_xh[:, :H])], axis=1),
            np.concatenate([W_hh[:, H:], W_hh[:, :H]], axis=1),
            np.concatenate([b_h, b_n], dtype=dtype),
        )

    def combine(self, multiplier: Multiplier) -> Combine:
        """Return the step from the sums of n, z and r, and of m if r multiplies it."""
        f_gates, f_candidate = self._gates(), clipped(self.activation, self.clip)
        product = None
        if self.inner is not None:
            product = multiplier(self.inner)
        multiply, add, subtract = np.multiply, np.add, np.subtract
        views = Views(lambda sums: (sums[1:3], *sums))

        def step(sums: Floats, out: Floats, h: Floats) -> State:
            gates, n, z, r, *of_state = views(sums)
            f_gates(gates)
            if product:
                multiply(r, h, r)
                m = product(r)
            else:
                (m,) = of_state
                multiply(r, m, m)
            add(n, m, n)
            f_candidate(n, n)
            subtract(h, n, r)
            multiply(z, r, r)
            add(n, r, out)
            return (out,)

        return step

    def _gates(self) -> Any:
        """Return the function of z and r, in place."""
        if not self.halved:
            f = clipped(self.recurrent_activation, self.clip)
            return lambda gates: f(gates, gates)

        tanh, multiply, add = np.tanh, np.multiply, np.add
        half = np.array(0.5, self.weights.b_h.dtype)  # NumPy takes longer to convert a number

        def halved(gates: Floats) -> None:
            tanh(gates, gates)
            multiply(gates, half, gates)
            add(gates, half, gates)

        return halved

    def _candidate(self) -> Floats:
        """Recurrent weights of the candidate, (H, H)."""
        return self.weights.W_hh[:, 2 * self.hidden_size :]

    @cached_property
    def inner(self) -> Floats | None:
        """Recurrent weights of the candidate, if r does not multiply their product but h."""
        return None if self.reset == "after" else np.ascontiguousarray(self._candidate())

    def inner_operand(self, apply: Apply, sums: Sequence[Any], *state: Any) -> Any:
        """Return ``r h``."""
        return self._gate(apply, sums[2]) * state[0]

    def step(self, apply: Apply, sums: Sequence[Any], *state: Any) -> tuple[Any, ...]:
        """Return h of n, z, r and m: ``n = f(n + r m)`` or ``f(n + m)``, ``h = n + z (h - n)``."""
        (h,) = state
        n, z, r, m = sums
        if self.reset == "after":
            m = self._gate(apply, r) * m
        n = apply(self.activation, n + m, self.clip)
        return (n + self._gate(apply, z) * (h - n),)

    def _gate(self, apply: Apply, a: Any) -> Any:
        if self.halved:
            return 0.5 * apply(TANH, a, inf) + 0.5
        return apply(self.recurrent_activation, a, self.clip)

    def bounds(self, sums: Floats, off: Floats, before: State, after: State) -> State:
        """Return the errors of the gates, carried to h.

        ``dn = da_n + |m| dr + |r| dm``, ``dh = |h_{t-1} - n| dz + |1 - z| dn``,
        each gate's by its own slope, and a few roundings of every product.
        """
        eps = np.finfo(off.dtype).eps
        (h,), (h_after,) = before, after
        if not self.halved or self.activation != TANH:
            # Nothing is known of the size of the gates: what rounding alone does to the state.
            return (4 * eps * np.abs(h_after),)
        tanh = np.tanh(sums[1:3])
        z, r = 0.5 + 0.5 * tanh
        d_z, d_r = ((1 - tanh * tanh) * off[1:3] + 2 * eps) / 2
        if self.reset == "after":
            m, d_m = sums[3], off[3]
            d_sum = off[0] + np.abs(m) * d_r + r * d_m
            n = np.tanh(sums[0] + r * m)
        else:
            W = self._candidate()
            size = np.abs(r * h) @ np.abs(W)
            d_sum = off[0] + (len(W) + 4) * eps * size + (np.abs(h) * d_r) @ np.abs(W)
            n = np.tanh(sums[0] + (r * h) @ W)
        d_n = (1 - n * n) * d_sum + 2 * eps * np.abs(n)
        return (np.abs(h - n) * d_z + (1 - z) * d_n + 4 * eps * np.abs(h_after),)
