"""Layers: a `Recurrent` layer carries a state, the others (`LAYERS`) are functions of a row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import copy
from functools import partial, reduce
from math import inf, isfinite
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from rnncli.model.activations import ACTIVATIONS, Activation, parse
from rnncli.model.arrays import Floats, Truths, as_floats, no_index, not_indices
from rnncli.model.cells import CELLS, RNN, Cell, Multiply, Weights, checked
from rnncli.model.errors import InputError, choice

# convert(name, array): an array in the type that a run computes in.
Convert: TypeAlias = Callable[[str, Floats], Floats]
# An activation of single values, or the name of a function of the whole row.
RowActivation: TypeAlias = Activation | str
# Rows of up to so many values are summed by columns, as NumPy is slow at short rows.
FEW = 16
# The directions of the cells of a layer, by the layer's own.
DIRECTIONS = {
    "forward": ("forward",),
    "backward": ("backward",),
    "bidirectional": ("forward", "backward"),
}
# How the two outputs of a bidirectional layer at a step are merged.
MERGES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "concat": lambda forward, backward: np.concatenate([forward, backward], axis=-1),
    "sum": lambda forward, backward: forward + backward,
    "ave": lambda forward, backward: (forward + backward) / 2,
    "mul": lambda forward, backward: forward * backward,
}


class Recurrent:
    """One or two cells that run over a sequence.

    Parameters
    ----------
    *cells : Cell or Weights
        One, or for both directions two of the same shape, the forward one
        first. Weights are a vanilla cell with tanh. Arrays are kept
        C-contiguous; integers become float64, halves float32.
    direction : {"forward", "backward", "bidirectional"}
        ``backward`` goes from the last step to the first; its outputs have
        the order of the input too.
    merge : {"concat", "sum", "ave", "mul"}
        How a bidirectional layer joins its two outputs of a step (Keras:
        ``merge_mode``).

    Raises
    ------
    ValueError
        A shape does not fit the others, a size is 0, a value is not finite,
        or the cells are not as many as the directions.

    Attributes
    ----------
    starts : sequence of sequences of arrays
        For each cell the states before the first step, by its state names;
        empty for zeros. ``h0`` replaces them.
    cells : tuple of Cell
    input_size, hidden_size : int
        Number of input features, I, and of hidden units of a cell, H.
    output_size : int
        Number of values a step: 2 H where two directions are concatenated.
    c_size : int
        Number of values in the states of all cells beside h, C.
    """

    arrays: Mapping[str, Floats] = {}
    name = ""
    masks = takes_sequences = shortens = recurs = False
    sources: tuple[int, ...] = ()
    open: Collection[str] = ()  # direction and merge, where a model file leaves them open

    def __init__(
        self,
        *cells: Cell | Weights,
        direction: str = "forward",
        merge: str = "concat",
        starts: Sequence[Sequence[Floats]] = (),
    ) -> None:
        self.directions = choice("direction", direction, DIRECTIONS)
        choice("merge", merge, MERGES)
        self.direction, self.merge = direction, merge
        self.settings = {"direction": direction, "merge": merge}
        self.cells = tuple(checked(RNN(c) if isinstance(c, Weights) else c) for c in cells)
        if len(cells) != (count := len(self.directions)):
            raise ValueError(f"a {direction} layer has {count} cells, got {len(cells)}")
        first, last = self.cells[0].weights, self.cells[-1].weights
        for name in ("W_xh", "W_hh"):
            shape, backward = first.arrays[name].shape, last.arrays[name].shape
            if shape != backward:
                raise ValueError(f"{name}: expected shape {shape} backward too, got {backward}")
        self.input_size, self.hidden_size = len(first.W_xh), self.cells[0].hidden_size
        self.output_size = merged_size(self.cells[0].state_sizes[0], direction, merge)
        self.c_size = sum(sum(cell.state_sizes[1:]) for cell in self.cells)
        self.starts = starts
        sizes, expected = (
            [[*map(len, each)] for each in starts],
            [c.state_sizes for c in self.cells],
        )
        if starts and sizes != [[*each] for each in expected]:
            raise ValueError(f"starts: expected states of {expected} units, got {sizes}")

    def __repr__(self) -> str:
        direction = "" if self.direction == "forward" else f" {self.direction}"
        return f"{self.cells[0]!r}{direction}"

    @property
    def ends(self) -> tuple[float, float] | None:
        """The ends of the range of the output, if its cells have the same two."""
        ends = {cell.ends for cell in self.cells}
        plain = len(self.cells) == 1 or self.merge == "concat"
        return ends.pop() if plain and len(ends) == 1 else None

    def merged(self, outputs: Sequence[Floats]) -> Floats:
        """Merge the outputs of the cells."""
        return outputs[0] if len(outputs) == 1 else MERGES[self.merge](*outputs)

    def reversed(self) -> Recurrent:
        """Return the layer for rows that stand from the last step to the first."""
        opposite = {"forward": "backward", "backward": "forward"}
        direction = opposite.get(self.direction, self.direction)
        return Recurrent(*self.cells[::-1], direction=direction, merge=self.merge)

    def converted(self, convert: Convert) -> Recurrent:
        """Return the same layer with its weights converted."""
        layer = copy(self)
        layer.cells = tuple(cell.replaced(cell.weights.converted(convert)) for cell in self.cells)
        return layer


def merged_size(hidden_size: int, direction: str, merge: str) -> int:
    """Count the values of a recurrent layer's output."""
    return hidden_size * (2 if direction == "bidirectional" and merge == "concat" else 1)


def per_cell(name: str, setting: Any, cells: Sequence[int]) -> list[Any]:
    """Spread a setting, of one value, one a layer or one a cell, over the cells of each layer."""
    is_list = isinstance(setting, Iterable) and not isinstance(setting, str | Activation)
    values, total = list(setting) if is_list else [setting], sum(cells)
    if len(values) == len(cells):
        values = [value for value, n in zip(values, cells, strict=True) for _ in range(n)]
    if len(values) not in (1, total):
        raise ValueError(f"{name}: expected 1 value, one a layer or one a cell, got {len(values)}")
    return values * (total // len(values))


class Stateless:
    """Base of the layers without state: `input_size` values of a row to `output_size`."""

    cells: tuple[Cell, ...] = ()
    directions: tuple[str, ...] = ()
    c_size = 0
    array_names: ClassVar[tuple[str, ...]] = ()
    settings: Mapping[str, Any] = {}  # its arguments except arrays
    masks = False  # whether it masks rows, at which recurrent layers keep their state
    name = ""  # in its model file
    takes_sequences = False  # whether it takes all rows of a sequence at once
    recurs = False  # whether it runs a recurrent layer, of a graph
    shortens = False  # whether its output has fewer rows than its input
    # Numbers of the layers that it takes, 0 for the network's input; empty for the one below.
    sources: tuple[int, ...] = ()
    input_size: int
    output_size: int

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.output_size}"

    @property
    def arrays(self) -> dict[str, Floats]:
        """Its arrays by name, without those that are left out."""
        named = {name: getattr(self, name) for name in self.array_names}
        return {name: array for name, array in named.items() if array is not None}

    def __call__(self, x: Floats, multiply: Multiply = np.matmul) -> Floats:
        """Return the output, (..., output_size), of rows (..., input_size)."""
        raise NotImplementedError

    def masked(self, x: Floats) -> Truths:
        """Find the rows, (..., input_size), that are masked."""
        raise NotImplementedError

    def converted(self, convert: Convert) -> Stateless:
        """Return the same layer with its arrays converted."""
        layer = copy(self)
        for name, array in self.arrays.items():
            setattr(layer, name, convert(name, array))
        return layer


class Dense(Stateless):
    """A product, a bias and an activation: ``y = f(x @ W + b)``.

    ``Dense`` in Keras, ``Linear`` in PyTorch, ``Gemm`` in ONNX.

    Parameters
    ----------
    W : array, shape (I, O)
        Weights (Keras: ``kernel``; PyTorch: ``weight``, transposed).
    b : array, shape (O,), optional
        Bias; zeros if left out.
    activation : Activation or str
        The function f, or one of the row: ``softmax``, ``exp(a) / sum(exp(a))``,
        or ``log_softmax``, the logarithm of that.

    Raises
    ------
    ValueError
        A shape does not fit the other, a size is 0, a value is not finite,
        or there is no such activation.
    """

    array_names = ("W", "b")

    def __init__(
        self, W: ArrayLike, b: ArrayLike | None = None, activation: Activation | str = "linear"
    ) -> None:
        self.W = _array("W", W, "I", "O")
        self.input_size, self.output_size = self.W.shape
        zeros = np.zeros(self.output_size, self.W.dtype)
        self.b = _array("b", zeros if b is None else b, self.output_size)
        self.activation = row_activation(activation)
        self.settings = {"activation": self.activation}

    def __call__(self, x: Floats, multiply: Multiply = np.matmul) -> Floats:
        """Compute ``f(x @ W + b)``."""
        y = multiply(x, self.W)
        y += self.b
        _function(self.activation)(y, y)
        return y


class Embedding(Stateless):
    """Looks up a row of a table for each whole number: ``y = W[x]``.

    ``Embedding`` in Keras and PyTorch.

    Parameters
    ----------
    W : array, shape (V, E)
        The rows of the numbers 0 to V - 1.
    mask_zero : bool
        Whether 0 masks the row: the recurrent layers above keep their state.

    Raises
    ------
    ValueError
        `W` has another shape, a size is 0, or a value is not finite.
    """

    array_names = ("W",)
    input_size = 1

    def __init__(self, W: ArrayLike, *, mask_zero: bool = False) -> None:
        self.W = _array("W", W, "V", "E")
        self.output_size = self.W.shape[1]
        self.mask_zero = self.masks = mask_zero
        self.settings = {"mask_zero": mask_zero}

    def __call__(self, x: Floats, multiply: Multiply = np.matmul) -> Floats:  # noqa: ARG002
        """Look the rows up."""
        index = x[..., 0]
        wrong = not_indices(index, len(self.W))
        if wrong.any():  # of one that is not at the bottom, whose input is checked
            raise InputError("", no_index(index[wrong][0], len(self.W)))
        return np.asarray(self.W[index.astype(np.intp)])

    def masked(self, x: Floats) -> Truths:
        """Find the rows whose number is 0."""
        return np.asarray(x[..., 0] == 0)

    def converted(self, convert: Convert) -> Embedding:
        """Return the same layer with its table converted, not as an operand of a product."""
        layer = copy(self)
        layer.W = convert("W", self.W.reshape(-1)).reshape(self.W.shape)
        return layer


class Normalization(Stateless):
    """Normalizes each feature: ``y = factor * (x - center) / scale + shift``.

    ``Normalization`` in Keras: `center` is the mean, `scale` the root of the
    variance, at least epsilon. ``BatchNormalization`` in Keras and
    ``BatchNorm1d`` in PyTorch at inference: `center` is the moving mean,
    `scale` ``sqrt(variance + epsilon)``, `factor` gamma, `shift` beta.

    Parameters
    ----------
    center, scale : array, shape (I,)
        In the unit of the feature.
    shift : array, shape (I,), optional
        0 if left out.
    factor : array, shape (I,), optional
        1 if left out.

    Raises
    ------
    ValueError
        A shape does not fit the others, a size or a scale is 0, or a value is
        not finite.
    """

    array_names = ("center", "scale", "shift", "factor")

    def __init__(
        self,
        center: ArrayLike,
        scale: ArrayLike,
        shift: ArrayLike | None = None,
        factor: ArrayLike | None = None,
    ) -> None:
        self.center = _array("center", center, "I")
        self.input_size = self.output_size = I = len(self.center)
        self.scale = _array("scale", scale, I)
        self.shift = None if shift is None else _array("shift", shift, I)
        self.factor = None if factor is None else _array("factor", factor, I)
        if not self.scale.all():
            raise ValueError(f"scale: expected no 0, got one at {int(np.argmin(self.scale != 0))}")

    def __call__(self, x: Floats, multiply: Multiply = np.matmul) -> Floats:  # noqa: ARG002
        """Compute ``factor * (x - center) / scale + shift``."""
        y = np.asarray((x - self.center) / self.scale)
        if self.factor is not None:
            y *= self.factor
        if self.shift is not None:
            y += self.shift
        return y


class LayerNormalization(Stateless):
    """Normalizes each row by its own statistics.

    ``y = factor * (x - mean(x)) / sqrt(var(x) + epsilon) + shift``, the mean and
    the variance being those of the row. ``LayerNormalization`` in Keras and
    ONNX, ``LayerNorm`` in PyTorch.

    Parameters
    ----------
    factor : array, shape (I,)
        Keras: ``gamma``; PyTorch: ``weight``.
    shift : array, shape (I,), optional
        0 if left out. Keras: ``beta``; PyTorch: ``bias``.
    epsilon : float
        Added to the variance, at least 0. Keras's default; that of PyTorch
        and ONNX is 1e-5.

    Raises
    ------
    ValueError
        A shape does not fit the other, a size is 0, a value is not finite, or
        epsilon is under 0.
    """

    array_names = ("factor", "shift")

    def __init__(
        self, factor: ArrayLike, shift: ArrayLike | None = None, epsilon: float = 1e-3
    ) -> None:
        self.factor = _array("factor", factor, "I")
        self.input_size = self.output_size = len(self.factor)
        self.shift = None if shift is None else _array("shift", shift, self.input_size)
        if not 0 <= epsilon < inf:
            raise ValueError(f"epsilon: expected a finite number from 0 on, got {epsilon}")
        self.epsilon = float(epsilon)
        self.settings = {"epsilon": self.epsilon}

    def __call__(self, x: Floats, multiply: Multiply = np.matmul) -> Floats:  # noqa: ARG002
        """Compute ``factor * (x - mean(x)) / sqrt(var(x) + epsilon) + shift``."""
        columns, axis = _columns(x)
        columns -= _total(columns, axis) / self.input_size
        root = np.sqrt(_total(columns * columns, axis) / self.input_size + self.epsilon)
        columns /= np.where(np.isinf(root), np.nan, root)  # an overflow must not give 0
        y = np.multiply(np.moveaxis(columns, axis, -1), self.factor, order="C")
        if self.shift is not None:
            y += self.shift
        return y


class Pointwise(Stateless):
    """An activation alone: ``y = f(x)``.

    ``Activation`` in Keras; ``Tanh``, ``Softmax`` and others in PyTorch and
    ONNX.

    Parameters
    ----------
    activation : Activation or str
        The function f, as for `Dense`.
    size : int
        Number of features, I.

    Raises
    ------
    ValueError
        The size is under 1, or there is no such activation.
    """

    def __init__(self, activation: Activation | str, size: int) -> None:
        self.activation = row_activation(activation)
        self.input_size = self.output_size = _size(size)
        self.settings = {"activation": self.activation, "size": size}

    def __call__(self, x: Floats, multiply: Multiply = np.matmul) -> Floats:  # noqa: ARG002
        """Compute ``f(x)``."""
        y = np.empty_like(x)
        _function(self.activation)(x, y)
        return y


class Masking(Stateless):
    """Masks the rows whose features all have one value.

    There the recurrent layers above keep their state and repeat their output.
    ``Masking`` in Keras.

    Parameters
    ----------
    value : float
        The value of a masked row, compared in the precision of the run.
    size : int
        Number of features, I.

    Raises
    ------
    ValueError
        The value is not finite, or the size under 1.
    """

    masks = True

    def __init__(self, value: float, size: int) -> None:
        if not isfinite(value):
            raise ValueError(f"value: expected a finite number, got {value}")
        self.value = float(value)
        self.input_size = self.output_size = _size(size)
        self.settings = {"value": self.value, "size": size}

    def __call__(self, x: Floats, multiply: Multiply = np.matmul) -> Floats:  # noqa: ARG002
        """Replace masked rows by zeros."""
        y = x.copy()
        y[self.masked(x)] = 0
        return y

    def masked(self, x: Floats) -> Truths:
        """Find the rows whose features all are the value."""
        with np.errstate(over="ignore"):  # no row has a value that the type cannot hold
            value = x.dtype.type(self.value)
        return np.asarray((x == value).all(axis=-1))


Layer: TypeAlias = Recurrent | Stateless
# Layers without state by their names in files.
LAYERS: dict[str, type[Stateless]] = {
    "dense": Dense,
    "embedding": Embedding,
    "normalization": Normalization,
    "layer_normalization": LayerNormalization,
    "activation": Pointwise,
    "masking": Masking,
}


def name_of(layer: Cell | Layer) -> str:
    """Return the name of a cell or a layer in `CELLS` or `LAYERS`; empty if it has none."""
    return next((name for name, kind in (CELLS | LAYERS).items() if type(layer) is kind), "")


def row_activation(value: Activation | str) -> RowActivation:
    """Read an activation from text; a function of the whole row stays a name."""
    if value in _ROWWISE:
        return value
    if isinstance(value, str):
        choice("activation", value.partition(":")[0], dict.fromkeys([*ACTIVATIONS, *_ROWWISE]))
    return parse(value)


def _function(activation: RowActivation) -> Callable[[Floats, Floats], Any]:
    return _ROWWISE[activation] if isinstance(activation, str) else activation.function()


def _softmax(a: Floats, out: Floats, *, log: bool = False) -> None:
    """Compute ``exp(a) / sum(exp(a))`` of each row, or its logarithm."""
    columns, axis = _columns(a)
    columns -= columns.max(axis=axis, keepdims=True)  # so that no power overflows
    powers = np.exp(columns)
    total = _total(powers, axis)
    out[...] = np.moveaxis(columns - np.log(total) if log else powers / total, axis, -1)


_ROWWISE: dict[str, Callable[[Floats, Floats], Any]] = {
    "softmax": _softmax,
    "log_softmax": partial(_softmax, log=True),
}


def _columns(x: Floats) -> tuple[Floats, int]:
    """Copy rows (..., K), columns first if they are few; return the axis of the columns too."""
    axis = -1 if x.shape[-1] > FEW else 0
    return np.array(np.moveaxis(x, -1, axis), order="C"), axis


def _total(columns: Floats, axis: int) -> Floats:
    """Sum each row, in an order that does not depend on how many rows there are."""
    if axis == 0:
        return np.asarray(reduce(np.add, columns))
    return np.asarray(columns.sum(axis=axis, keepdims=True))


def _array(name: str, values: ArrayLike, *axes: str | int) -> Floats:
    """Return floats of a shape; an axis with a name may have any size but 0."""
    array = as_floats(name, values)
    pairs = zip(axes, array.shape, strict=False)
    fits = all(isinstance(axis, str) or axis == size for axis, size in pairs)
    if array.ndim != len(axes) or not fits or not array.size:
        shape = ", ".join(map(str, axes)) + "," * (len(axes) == 1)
        raise ValueError(f"{name}: expected shape ({shape}), got {array.shape}")
    return array


def _size(size: int) -> int:
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"size: expected a whole number from 1 on, got {size}")
    return size
