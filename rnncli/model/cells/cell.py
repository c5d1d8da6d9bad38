"""The base of all cells, their weights, and the kinds of numbers that their steps take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypeAlias

import numpy as np

from rnncli.model.activations import Activation, clipped
from rnncli.model.arrays import Floats, as_floats

# The arrays that a cell carries from step to step, (N, size) each; the first is h.
State: TypeAlias = tuple[Floats, ...]
# multiply(x, W): a new array, ``x @ W`` for rows (..., K), as a run computes it.
Multiply: TypeAlias = Callable[[Floats, Floats], Floats]
# step(h, out): one step from h_{t-1}, in place: it writes h_t into `out`.
StepFunction: TypeAlias = Callable[[Floats, Floats], None]
# prepare(N): the sums of a step, (B, N, H), to be filled before each; the arrays of the state after
# h, which each step replaces; and the step, which works on these and may overwrite the sums.
Prepare: TypeAlias = Callable[[int], tuple[Floats, State, StepFunction]]


class Weights(NamedTuple):
    """The weights of one cell, those of its gates side by side.

    The gates stand as i f g o in an LSTM, as z r n in a GRU.

    Parameters
    ----------
    W_xh : array, shape (I, gates * H)
        Input weights (Keras: ``kernel``; PyTorch: ``weight_ih``, transposed).
    W_hh : array, shape (H, gates * H)
        Recurrent weights (Keras: ``recurrent_kernel``; PyTorch:
        ``weight_hh``, transposed); (P, gates * H) with a projection.
    b_h : array, shape (gates * H,)
        Bias (PyTorch: ``bias_ih + bias_hh``).
    b_n : array, shape (H,), optional
        For a GRU that resets after the product: the recurrent bias of its
        candidate (PyTorch: ``bias_hh_n``), which r multiplies; zeros if left
        out. That of the other gates is in `b_h`.
    w_ch : array, shape (3 * H,), optional
        For an LSTM: the peepholes of i, f and o (ONNX: ``P``).
    W_hr : array, shape (H, P), optional
        For an LSTM: the projection of its output (PyTorch: ``weight_hr``,
        transposed).
    """

    W_xh: Floats
    W_hh: Floats
    b_h: Floats
    b_n: Floats | None = None
    w_ch: Floats | None = None
    W_hr: Floats | None = None

    @property
    def arrays(self) -> dict[str, Floats]:
        """The arrays by name; those left out are missing."""
        return {name: array for name, array in self._asdict().items() if array is not None}

    def converted(self, convert: Callable[[str, Floats], Floats]) -> Weights:
        """Replace each array by ``convert(name, array)``."""
        return self._replace(**{name: convert(name, a) for name, a in self.arrays.items()})


# The arrays of every cell.
WEIGHT_NAMES = Weights._fields[:3]


class Operands(NamedTuple):
    """The weights of the B sums of a step, H columns each; h adds to the last C of them."""

    W_xh: Floats  # (I, B * H)
    W_hh: Floats  # (rows, C * H)
    b_h: Floats  # (B * H,)

    @property
    def first_with_h(self) -> int:
        """The first column of the sums that h adds to."""
        return len(self.b_h) - int(self.W_hh.shape[1])

    def new_sums(self, N: int, H: int, more: int = 0) -> Floats:
        """Allocate the sums of a step, (B, N, H), and some more blocks behind them."""
        return np.empty((len(self.b_h) // H + more, N, H), self.W_hh.dtype)

    def scale(self, factors: Sequence[float]) -> Operands:
        """Multiply each sum by its factor: 0.5 for a sigmoid, ``0.5 + 0.5 tanh(a / 2)``."""
        W_xh, W_hh, b_h = self
        by = np.repeat(factors, len(b_h) // len(factors)).astype(W_hh.dtype)
        scaled = (W_xh * by, W_hh * by[self.first_with_h :], b_h * by)
        return Operands(*(W.astype(W_hh.dtype, copy=False) for W in scaled))


class Numbers(Protocol):
    """A kind of number for `Cell.step`; its values have ``+``, ``-`` and ``*``."""

    def apply(self, f: Activation, a: Any, clip: float = inf) -> Any:
        """Compute ``f(a)`` for a limited to ±`clip`."""

    def product(self, a: Any, W: Floats, name: str) -> Any:
        """Compute ``a @ W`` for the weights of that name."""

    def weight(self, w: Floats, name: str) -> Any:  # noqa: ARG002
        """Convert an array of one weight for each unit."""
        return w

    def carry(self, c: Any, f: Any, added: Any) -> Any:
        """Compute ``f c + added``, the state c after a step."""
        return f * c + added

    def mix(self, z: Any, a: Any, b: Any) -> Any:
        """Compute ``z a + (1 - z) b``."""
        return b + z * (a - b)


class Arrays(Numbers):
    """NumPy arrays as a kind of number; `multiply` computes ``a @ W``."""

    def __init__(self, multiply: Multiply = np.matmul) -> None:
        self.multiply = multiply

    def apply(self, f: Activation, a: Floats, clip: float = inf) -> Floats:
        """Compute ``f(a)`` for a limited to ±`clip`."""
        out = np.empty_like(a)
        clipped(f, clip)(a, out)
        return out

    def product(self, a: Floats, W: Floats, name: str) -> Floats:  # noqa: ARG002
        """Compute ``a @ W``."""
        return self.multiply(a, W)


class Cell:
    """A cell: its weights, its settings, and a step from the sums that a strategy computes."""

    gates: ClassVar[int]  # blocks of H columns in the weights
    gate_names: ClassVar[tuple[str, ...]]  # of these blocks; h if there is one
    # By framework, the names of the blocks in its order, where that is another one.
    gate_orders: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    setting_names: ClassVar[tuple[str, ...]] = ()
    state_names: ClassVar[tuple[str, ...]] = ("h",)
    weights: Weights
    biases: tuple[Floats, ...] = ()  # the two that a model file has in place of `b_h` and `b_n`
    open: Collection[str] = ()  # settings that a model file leaves open
    ends: tuple[float, float] | None = None  # the range of h, if it has two ends

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.hidden_size}"

    @classmethod
    def find_gates(cls, framework: str) -> tuple[int, ...]:
        """Return the positions of our gates in the arrays of a framework."""
        theirs = cls.gate_orders.get(framework, cls.gate_names)
        return tuple(map(theirs.index, cls.gate_names))

    @classmethod
    def shapes(cls, weights: Weights) -> dict[str, tuple[int, ...]]:
        """Return the shapes of its arrays by name; those of the weights tell its sizes."""
        I, H = len(weights.W_xh), weights.W_xh.shape[1] // cls.gates
        columns = cls.gates * H
        return {"W_xh": (I, columns), "W_hh": (H, columns), "b_h": (columns,)}

    @property
    def hidden_size(self) -> int:
        """Number of hidden units, H: the columns of a gate."""
        return len(self.weights.b_h) // self.gates

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Number of values in each array of the state."""
        return (self.hidden_size,) * len(self.state_names)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings by name."""
        return {name: getattr(self, name) for name in self.setting_names}

    @property
    def sum_names(self) -> tuple[str, ...]:
        """Names of the sums that `step` takes."""
        return self.gate_names

    @property
    def needs_only_operands(self) -> bool:
        """Whether a step needs no weights except its operands."""
        return self.weights.w_ch is None and self.weights.W_hr is None and self.inner is None

    @property
    def operands(self) -> Operands:
        """The weights of the sums that `step` takes."""
        return Operands(*self.weights[:3])

    @property
    def inner(self) -> Floats | None:
        """Weights (H, H) of a product within a step, if there is one."""
        return None

    def replaced(self, weights: Weights | None = None, **settings: Any) -> Self:
        """Return the same cell with other weights or settings."""
        settings = {**self.settings, **settings}
        cell = type(self)(weights or self.weights, **settings)  # type: ignore[call-arg]
        cell.biases = () if weights else self.biases
        return cell

    def step(self, n: Numbers, sums: Sequence[Any], *state: Any) -> tuple[Any, ...]:
        """Compute the state after a step from its sums, one of H units for each of `sum_names`."""
        raise NotImplementedError

    def get_step(self, multiply: Multiply) -> tuple[Operands, Prepare]:
        """Return the operands of the sums, and what prepares the fastest step in NumPy."""
        n, operands = Arrays(multiply), self.operands

        def prepare(N: int) -> tuple[Floats, State, StepFunction]:
            sums, dtype = operands.new_sums(N, self.hidden_size), operands.W_hh.dtype
            each, rest = [*sums], [np.empty((N, size), dtype) for size in self.state_sizes[1:]]

            def step(h: Floats, out: Floats) -> None:
                after = self.step(n, each, h, *rest)
                for array, value in zip((out, *rest), after, strict=True):
                    array[...] = value

            return sums, tuple(rest), step

        return operands, prepare


def take_step(cell: Cell, x: Floats, state: Sequence[Floats]) -> tuple[Floats, ...]:
    """Compute the state after a step from x, (N, I), and the state before, in NumPy."""
    operands = cell.operands
    sums = x @ operands.W_xh + operands.b_h
    sums[:, operands.first_with_h :] += state[0] @ operands.W_hh
    return cell.step(Arrays(), np.split(sums, len(cell.sum_names), 1), *state)


def checked(cell: Cell) -> Cell:
    """Return the cell with finite, C-contiguous floats of fitting shapes for weights."""
    if not isinstance(cell, Cell):
        raise TypeError(f"expected a cell, such as RNN, or Weights, got {type(cell).__name__}")
    weights, gates = cell.weights.converted(as_floats), cell.gates
    shape = weights.W_xh.shape
    if len(shape) != 2 or shape[1] % gates:
        raise ValueError(f"W_xh: expected shape (I, {gates} H), got {shape}")
    if not all(shape):
        raise ValueError(f"expected sizes of at least 1, got {shape[0]}, {shape[1] // gates}")
    expected = cell.shapes(weights)
    for name, array in weights.arrays.items():
        if name not in expected:
            raise ValueError(f"{name}: {type(cell).__name__} has none")
        if array.shape != expected[name]:
            what = f"expected shape {expected[name]}, as W_xh is {shape}, got {array.shape}"
            raise ValueError(f"{name}: {what}")
    result = cell.replaced(weights)
    result.biases, result.open = cell.biases, cell.open
    return result


def split_bias(weights: Weights) -> tuple[Floats, Floats]:
    """Split the bias into those of input and state, as frameworks have them; they add up to it."""
    b_h, b_n = weights.b_h, weights.b_n
    b_x = b_h.astype(min(b_h.dtype, weights.W_hh.dtype))
    b_r = (b_h - b_x).astype(b_x.dtype)
    b_r[b_r == 0] = -0.0  # to add it changes no bit, not even the sign of a zero
    if b_n is not None:
        b_r = np.concatenate([b_r[: -len(b_n)], b_n])
    return b_x, b_r


def sum_biases(b_x: Floats, b_r: Floats, size: int = 0) -> dict[str, Floats]:
    """Add the biases of input and state exactly; the last `size` values of `b_r` become `b_n`."""
    added = len(b_x) - size
    b_h = np.concatenate([np.add(b_x[:added], b_r[:added], dtype=np.float64), b_x[added:]])
    with np.errstate(over="ignore"):
        narrow = b_h.astype(np.result_type(b_x, b_r))
    b_h = narrow if (narrow == b_h).all() else b_h
    return {"b_h": b_h, "b_n": b_r[added:]} if size else {"b_h": b_h}
