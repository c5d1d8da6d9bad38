"""What cells have in common, and the arrays that they are made of."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np

from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats, as_floats

# The arrays that a cell carries from step to step, (N, size) each. The first
# one, h, is also what its layer gives.
State: TypeAlias = tuple[Floats, ...]

# multiplier(W): a function of an array (N, rows of W) that returns its product
# with W, of one block of columns, as a strategy computes it. What it returns
# holds until it is called again.
Product: TypeAlias = Callable[[Floats], Floats]
Multiplier: TypeAlias = Callable[[Floats], Product]

# apply(activation, a, clip): an activation of values that are limited to ±`clip` first.
Apply: TypeAlias = Callable[[Activation, Any, float], Any]

# combine(sums, out, *state): one step from the sums of all blocks, (blocks, N, H),
# or (N, H) where there is one, and the state before it. It writes h_t into `out`,
# (N, size), of any strides, and returns the state after the step, whose first array
# is `out`. It may overwrite `sums`, and the arrays of the state beside h.
Combine: TypeAlias = Callable[..., Any]


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
        Of a GRU that resets after the product: the recurrent bias of its
        candidate (PyTorch: ``bias_hh_n``), which r multiplies; zeros if left
        out. That of the other gates is in `b_h`.
    w_ch : array, shape (3 * H,), optional
        Of an LSTM: the peepholes of i, f and o (ONNX: ``P``).
    W_hr : array, shape (H, P), optional
        Of an LSTM: the projection of its output (PyTorch: ``weight_hr``,
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
        """Those that there are, by name."""
        return {name: array for name, array in self._asdict().items() if array is not None}

    def converted(self, convert: Callable[[str, Floats], Floats]) -> "Weights":
        """Return the same weights, each array by ``convert(name, array)``."""
        return Weights(
            *[
                None if array is None else convert(name, array)
                for name, array in zip(self._fields, self, strict=True)
            ]  # type: ignore[arg-type]
        )


# The arrays that every cell has.
WEIGHT_NAMES = Weights._fields[:3]


class Operands(NamedTuple):
    """The weights of a step as they are multiplied: a block of H columns for each sum.

    ``sums = x_t @ W_xh + b_h``, and the product of the state is added to the
    last C of its B blocks: ``sums[last C] += h_{t-1} @ W_hh``

    Parameters
    ----------
    W_xh : array, shape (I, B * H)
    W_hh : array, shape (rows, C * H)
    b_h : array, shape (B * H,)
    """

    W_xh: Floats
    W_hh: Floats
    b_h: Floats


class Views:
    """Views of the sums of a step, made anew for another array only.

    Most strategies give the same array at every step.

    Parameters
    ----------
    split : callable
        Returns the views of sums.
    """

    def __init__(self, split: Callable[[Floats], Sequence[Floats]]) -> None:
        self._split = split
        self._sums: Floats | None = None
        self._views: Sequence[Floats] = ()

    def __call__(self, sums: Floats) -> Sequence[Floats]:
        """Return the views of these sums."""
        if sums is not self._sums:
            self._sums, self._views = sums, self._split(sums)
        return self._views


class Cell:
    """A cell: its weights, and one step.

    Its arguments are its weights and what `setting_names` names.

    Attributes
    ----------
    weights : Weights
    gates : int
        How many blocks of H columns the weights have.
    gate_names : tuple of str
        What each of these blocks is called; ``h`` where there is one.
    setting_names : tuple of str
        What the cell is beside its weights.
    extra_names : tuple of str
        Which arrays the weights may have beside the three of every cell.
    state_names : tuple of str
        Names of the state's arrays, ``h`` first.
    sums_alone : bool
        Whether a step is a function of its one sum alone. Then
        ``combine(sums, out)`` is called, without the state, and what it
        returns is not looked at.
    """

    gates: ClassVar[int]
    gate_names: ClassVar[tuple[str, ...]]
    setting_names: ClassVar[tuple[str, ...]]
    extra_names: ClassVar[tuple[str, ...]] = ()
    state_names: ClassVar[tuple[str, ...]] = ("h",)
    sums_alone = False
    weights: Weights

    @property
    def hidden_size(self) -> int:
        """Number of hidden units, H: the columns of a gate."""
        return len(self.weights.b_h) // self.gates

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """How many values each array of the state has: H of h."""
        return (self.hidden_size,)

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the cell is beside its weights."""
        return {name: getattr(self, name) for name in self.setting_names}

    @property
    def ends(self) -> tuple[float, float] | None:
        """The values between which h lies, and nears; None if there are not two."""
        return None

    def replaced(self, weights: Weights | None = None, **settings: Any) -> Self:
        """Return the same cell but for what is given."""
        weights = self.weights if weights is None else weights
        return type(self)(weights, **{**self.settings, **settings})  # type: ignore[call-arg]

    @property
    def operands(self) -> Operands:
        """What a strategy multiplies the input and h by."""
        raise NotImplementedError

    def combine(self, multiplier: Multiplier) -> Combine:
        """Return what makes the next state of the sums, made for a strategy.

        Parameters
        ----------
        multiplier : callable
            Makes the products that are taken within a step.
        """
        raise NotImplementedError

    @property
    def has_step(self) -> bool:
        """Whether `step` is there, and says the whole of a step."""
        return False

    @property
    def inner(self) -> Floats | None:
        """Weights of a product within a step, (H, H); None where there is none."""
        return None

    @cached_property
    def largest_sums(self) -> tuple[float, float, float]:
        """The largest size of a sum of inputs of 1, of one of states of 1, and of a bias."""
        W_xh, W_hh, b_h = self.operands
        with_state = W_hh if self.inner is None else np.hstack([W_hh, self.inner])
        of_x, of_h = (
            float(np.abs(W).sum(axis=0, dtype=np.float64).max(initial=0))
            for W in (W_xh, with_state)
        )
        return of_x, of_h, float(np.abs(b_h).max())

    def inner_operand(self, apply: Apply, sums: Sequence[Any], *state: Any) -> Any:
        """Return what is multiplied by `inner`, as `step` returns the state."""
        raise NotImplementedError

    def step(self, apply: Apply, sums: Sequence[Any], *state: Any) -> tuple[Any, ...]:
        """Return the state after a step of some units, as an equation of any values.

        It says what `combine` computes of whole arrays, for where the steps
        are compiled.

        Parameters
        ----------
        apply : callable
            ``apply(activation, a, clip)``: an activation of values that are
            limited to ±`clip` first.
        sums : sequence
            Of all blocks, then the product with `inner`, if there is one.
        *state
            The state before it.
        """
        raise NotImplementedError

    def bounds(self, sums: Floats, off: Floats, before: State, after: State) -> State:
        """Return how far rounding may move each array of a state in one step.

        Parameters
        ----------
        sums : array, shape (blocks, N, H), or (N, H) where there is one
            Of the step.
        off : array like `sums`
            How far rounding may move them.
        before, after : tuples of arrays
            The state before and after the step.
        """
        raise NotImplementedError


def checked(cell: Cell) -> Cell:
    """Return the cell with C-contiguous floats for weights.

    Raises
    ------
    TypeError
        It is no cell.
    ValueError
        A shape does not fit the others, a size is 0, an array is not of this
        cell, or the values are not finite numbers.
    """
    if not isinstance(cell, Cell):
        raise TypeError(f"expected a cell, such as RNN, or Weights, got {type(cell).__name__}")
    kind = type(cell).__name__
    for name in cell.weights.arrays:
        if name not in (*WEIGHT_NAMES, *cell.extra_names):
            raise ValueError(f"{name}: {kind} has none")
    weights = cell.weights.converted(as_floats)
    if weights.W_xh.ndim != 2 or weights.W_xh.shape[1] % cell.gates:
        wide = "(I, H)" if cell.gates == 1 else f"(I, {cell.gates} H)"
        raise ValueError(f"W_xh: expected shape {wide}, got {weights.W_xh.shape}")
    I, width = weights.W_xh.shape
    H = width // cell.gates
    P = H if weights.W_hr is None else weights.W_hr.shape[-1]
    expected = weight_shapes(I, H, cell.gates, P) | extra_shapes(H, P)
    for name, array in weights.arrays.items():
        if array.shape != expected[name]:
            raise ValueError(
                f"{name}: expected shape {expected[name]}, as W_xh is {weights.W_xh.shape}, "
                f"got {array.shape}"
            )
    return cell.replaced(weights)


def weight_shapes(
    input_size: int, hidden_size: int, gates: int = 1, projected_size: int | None = None
) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array that every cell has, by name.

    Raises
    ------
    ValueError
        A size is under 1.
    """
    sizes = {"input_size": input_size, "hidden_size": hidden_size}
    if projected_size is not None:
        sizes["projected_size"] = projected_size
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}: expected at least 1, got {size}")
    width = gates * hidden_size
    rows = hidden_size if projected_size is None else projected_size
    return {"W_xh": (input_size, width), "W_hh": (rows, width), "b_h": (width,)}


def extra_shapes(hidden_size: int, projected_size: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array that only some cells have, by name."""
    H, P = hidden_size, projected_size
    return {"b_n": (H,), "w_ch": (3 * H,), "W_hr": (H, P)}
