"""The vanilla cell."""

from collections.abc import Sequence
from functools import cached_property
from math import inf
from typing import Any

import numpy as np

from rnncli.model.activations import TANH, Activation, as_activation, clipped, positive_clip
from rnncli.model.arrays import Floats
from rnncli.model.cells.cell import Apply, Cell, Combine, Multiplier, Operands, State, Weights


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
    sums_alone = True
    has_step = True

    def __init__(
        self, weights: Weights, activation: Activation | str = TANH, clip: float = inf
    ) -> None:
        self.weights, self.clip = weights, positive_clip(clip)
        self.activation = as_activation(activation)

    @property
    def ends(self) -> tuple[float, float] | None:
        """The ends of f."""
        return self.activation.ends

    @cached_property
    def operands(self) -> Operands:
        """The weights as they are."""
        return Operands(*self.weights[:3])

    def combine(self, multiplier: Multiplier) -> Combine:  # noqa: ARG002
        """Return the clip and the activation: ``h_t = f(sums)``."""
        return clipped(self.activation, self.clip)

    def step(self, apply: Apply, sums: Sequence[Any], _h: Any) -> tuple[Any, ...]:
        """Return h: ``f(sum)``."""
        return (apply(self.activation, sums[0], self.clip),)

    def bounds(self, sums: Floats, off: Floats, before: State, after: State) -> State:  # noqa: ARG002
        """Return the error of the sum times the steepest slope, and that of f itself."""
        (h,) = after
        eps = np.finfo(h.dtype).eps
        return (self.activation.slope * off + 4 * eps * np.abs(h),)
