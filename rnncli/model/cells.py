"""Cells: one time step each, written as its equation.

A cell knows its weights and one step. How many steps are taken, in which
order and by which products is the engine's matter, so a new cell is a class
here and an entry in `CELLS`.
"""

from collections.abc import Callable, Mapping
from math import inf, isinf
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from rnncli.model.activations import TANH, Activation, parse
from rnncli.model.arrays import Floats, as_floats

# The arrays that a cell carries from step to step, (N, size) each. The first
# one, h, is also what its layer gives.
State: TypeAlias = tuple[Floats, ...]

# multiplier(W): a function of h, (N, rows of W), that returns h @ W as a strategy
# computes it. What it returns holds until it is called again.
Product: TypeAlias = Callable[[Floats], Floats]
Multiplier: TypeAlias = Callable[[Floats], Product]

# step(a_t, state, out): one step from the projected input a_t = x_t @ W_xh,
# (N, gates * H), with b_h where `stepper` got no bias. It writes h_t into `out`,
# (N, H), of any strides, and returns the state after the step, whose first
# array is `out`. It may overwrite `a_t`, which may be `out`; the arrays of
# `state` stay as they are.
Step: TypeAlias = Callable[[Floats, State, Floats], State]

# combine(sums, out, *others): the same from the sums of all gates, (N, gates * H),
# and the state's arrays beside h. It writes h_t into `out`, and returns the
# others after the step; where there are none, what it returns is not looked at.
Combine: TypeAlias = Callable[..., Any]


class Weights(NamedTuple):
    """The weights of one cell, those of its gates side by side.

    Parameters
    ----------
    W_xh : array, shape (I, gates * H)
        Input weights (Keras: ``kernel``; PyTorch: ``weight_ih``, transposed).
    W_hh : array, shape (H, gates * H)
        Recurrent weights (Keras: ``recurrent_kernel``; PyTorch:
        ``weight_hh``, transposed).
    b_h : array, shape (gates * H,)
        Bias (PyTorch: ``bias_ih + bias_hh``).
    """

    W_xh: Floats
    W_hh: Floats
    b_h: Floats


WEIGHT_NAMES = Weights._fields


class Cell(Protocol):
    """What the engine asks of a cell."""

    @property
    def weights(self) -> Weights:
        """The weights."""

    @property
    def gates(self) -> int:
        """How many blocks of H columns the weights have."""

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the state's arrays, ``h`` first."""

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """How many values each of them has."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the cell is beside its weights."""

    def combine(self) -> Combine | None:
        """Return the step from the sums of all gates; None if it needs more than these."""

    def stepper(self, multiplier: Multiplier, bias: Floats | None = None) -> Step:
        """Return the step, made for a strategy.

        Parameters
        ----------
        multiplier : callable
            Makes a recurrent product of a matrix.
        bias : array, shape (gates * H,), optional
            Added last; None where `a_t` has it already.
        """

    def bounds(self, off: Floats, before: State, after: State) -> State:
        """Return how far the arrays of a state may be off after one step.

        Parameters
        ----------
        off : array, shape (N, gates * H)
            How far rounding may move the sums of the gates.
        before, after : tuples of arrays
            The state before and after the step.
        """

    def replaced(self, weights: Weights) -> "Cell":
        """Return the same cell with other weights."""


class RNN:
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
    state_names = ("h",)

    def __init__(
        self, weights: Weights, activation: Activation | str = TANH, clip: float = inf
    ) -> None:
        if not clip > 0:
            raise ValueError(f"clip: expected a number over 0, got {clip}")
        self.weights, self.clip = weights, float(clip)
        self.activation = parse(activation) if isinstance(activation, str) else activation

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Number of hidden units, H."""
        return (len(self.weights.W_hh),)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Activation and clip."""
        return {"activation": self.activation, "clip": self.clip}

    def combine(self) -> Combine:
        """Return the clip and the activation: ``h_t = f(sums)``."""
        f, clip = self.activation.function(), self.clip
        if isinf(clip):
            return f

        def clipped(sums: Floats, out: Floats) -> None:
            np.maximum(sums, -clip, out=out)
            np.minimum(out, clip, out=out)
            f(out, out)

        return clipped

    def stepper(self, multiplier: Multiplier, bias: Floats | None = None) -> Step:
        """Return the step; see `Cell.stepper`."""
        return step_of_sums(self.combine(), multiplier(self.weights.W_hh), bias)

    def bounds(self, off: Floats, before: State, after: State) -> State:  # noqa: ARG002
        """Return the error of the sum times the steepest slope, and that of f itself."""
        (h,) = after
        eps = np.finfo(h.dtype).eps
        return (self.activation.slope * off + 4 * eps * np.abs(h),)

    def replaced(
        self,
        weights: Weights | None = None,
        *,
        activation: Activation | str | None = None,
        clip: float | None = None,
    ) -> "RNN":
        """Return the same cell but for what is given."""
        return RNN(
            self.weights if weights is None else weights,
            self.activation if activation is None else activation,
            self.clip if clip is None else clip,
        )


# Cells by the names that files have for them.
CELLS = {"rnn": RNN}


def step_of_sums(combine: Combine, product: Product, bias: Floats | None = None) -> Step:
    """Return the step of a cell whose gates are one sum: ``a_t + h_{t-1} @ W_hh + b_h``."""

    def step(a_t: Floats, state: State, out: Floats) -> State:
        sums = np.add(a_t, product(state[0]), a_t)
        if bias is not None:
            np.add(sums, bias, sums)
        if len(state) > 1:
            return (out, *combine(sums, out, *state[1:]))
        combine(sums, out)
        return (out,)

    return step


def checked(cell: Cell) -> Cell:
    """Return the cell with C-contiguous floats for weights.

    Raises
    ------
    TypeError
        It is no cell.
    ValueError
        A shape does not fit the others, a size is 0, or the values are not
        finite numbers.
    """
    if not hasattr(cell, "stepper"):
        raise TypeError(f"expected a cell, such as RNN, or Weights, got {type(cell).__name__}")
    weights = Weights(*map(as_floats, WEIGHT_NAMES, cell.weights))
    if weights.W_xh.ndim != 2 or weights.W_xh.shape[1] % cell.gates:
        raise ValueError(f"W_xh: expected shape {_wide('I', cell.gates)}, got {weights.W_xh.shape}")
    I, width = weights.W_xh.shape
    expected = weight_shapes(I, width // cell.gates, cell.gates)
    for name, array in zip(WEIGHT_NAMES, weights, strict=True):
        if array.shape != expected[name]:
            raise ValueError(
                f"{name}: expected shape {expected[name]}, as W_xh is {weights.W_xh.shape}, "
                f"got {array.shape}"
            )
    return cell.replaced(weights)


def weight_shapes(input_size: int, hidden_size: int, gates: int = 1) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array of a cell's weights, by name.

    Raises
    ------
    ValueError
        A size is under 1.
    """
    for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
        if size < 1:
            raise ValueError(f"{name}: expected at least 1, got {size}")
    return {
        "W_xh": (input_size, gates * hidden_size),
        "W_hh": (hidden_size, gates * hidden_size),
        "b_h": (gates * hidden_size,),
    }


def _wide(rows: str, gates: int) -> str:
    return f"({rows}, H)" if gates == 1 else f"({rows}, {gates} H)"
