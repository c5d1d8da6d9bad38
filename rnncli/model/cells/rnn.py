"""The vanilla cell."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from rnncli.model.activations import TANH, Activation, clipped, parse, positive_clip
from rnncli.model.arrays import Floats
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


class RNN(Cell):
    """The vanilla cell of Elman (1990): one function of one sum.

    ``h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``

    ``SimpleRNN`` in Keras, ``RNN`` in PyTorch and ONNX.

    Parameters
    ----------
    weights : Weights
    activation : Activation or str
        The function f; as text such as ``relu`` or ``leaky_relu:0.1``.
    clip : float
        The sum is limited to ±`clip` before f (ONNX); infinite for no limit.

    Raises
    ------
    ValueError
        The clip is not over 0, or there is no such activation.
    """

    gates = 1
    gate_names = ("h",)
    setting_names = ("activation", "clip")

    def __init__(
        self, weights: Weights, activation: Activation | str = TANH, clip: float = inf
    ) -> None:
        self.weights, self.clip = weights, positive_clip(clip)
        self.activation = parse(activation)
        self.ends = self.activation.ends

    def step(self, n: Numbers, sums: Sequence[Any], *_h: Any) -> tuple[Any, ...]:
        """Compute ``h_t = f(sum)``."""
        return (n.apply(self.activation, sums[0], self.clip),)

    def get_step(self, multiply: Multiply) -> tuple[Operands, Prepare]:  # noqa: ARG002
        """Apply f from the sum to h."""
        f, operands = clipped(self.activation, self.clip), self.operands

        def prepare(N: int) -> tuple[Floats, State, StepFunction]:
            sums = operands.new_sums(N, self.hidden_size)
            (a,) = sums

            def step(_h: Floats, out: Floats) -> None:
                f(a, out)

            return sums, (), step

        return operands, prepare
