"""Layers without state: what they give at a step is a function of that row alone."""

from collections.abc import Callable, Mapping
from copy import copy
from functools import reduce
from math import inf, isfinite
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from rnncli.model.activations import ACTIVATIONS, Activation, as_activation
from rnncli.model.arrays import Floats, Truths, as_floats
from rnncli.model.cells import Cell
from rnncli.model.errors import InputError, choice

# convert(name, array): an array in the type that a run computes in.
Convert: TypeAlias = Callable[[str, Floats], Floats]
# multiply(x, W): a new array, ``x @ W`` for rows (..., K), as a run computes it.
Multiply: TypeAlias = Callable[[Floats, Floats], Floats]
# Values of a row whose softmax is sooner taken by columns.
FEW = 16
_MORE = " (`precision` float64 holds more)"
# An activation of single values, or one of the whole row.
OfRow: TypeAlias = Literal["softmax", "log_softmax"]
RowActivation: TypeAlias = Activation | OfRow


class Stateless:
    """Base of the layers without state.

    Attributes
    ----------
    input_size, output_size : int
        Number of values that it takes and gives at a step.
    settings : mapping
        What the layer is beside its arrays.
    masks : bool
        Whether there are rows at which the layers above keep their state; it
        then is a `Masks` too.
    """

    cells: tuple[Cell, ...] = ()
    directions: tuple[str, ...] = ()
    array_names: ClassVar[tuple[str, ...]] = ()
    settings: Mapping[str, Any] = {}
    masks = False
    input_size: int
    output_size: int

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.output_size}"

    @property
    def arrays(self) -> dict[str, Floats]:
        """Those that there are, by name."""
        named = {name: getattr(self, name) for name in self.array_names}
        return {name: array for name, array in named.items() if array is not None}

    def __call__(self, x: Floats, multiply: Multiply = np.matmul) -> Floats:
        """Return what the layer gives at rows, shape (..., output_size).

        Parameters
        ----------
        x : array, shape (..., input_size)
        multiply : callable
            Computes a product of rows and a matrix.
        """
        raise NotImplementedError

    def converted(self, convert: Convert) -> "Stateless":
        """Return the same layer with its arrays converted."""
        layer = copy(self)
        for name, array in self.arrays.items():
            setattr(layer, name, convert(name, array))
        return layer


class Masks(Protocol):
    """A layer that masks rows."""

    def masked(self, x: Floats) -> Truths:
        """Return which rows of its input, (..., input_size), are masked."""


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
        self,
        W: ArrayLike,
        b: ArrayLike | None = None,
        activation: Activation | str = "linear",
    ) -> None:
        self.W = _array("W", W, "I", "O")
        self.input_size, self.output_size = self.W.shape
        zeros = np.zeros(self.output_size, self.W.dtype)
        self.b = zeros if b is None else _vector("b", b, "W", self.W)
        self.activation = row_activation(activation)
        self.settings = {"activation": self.activation}

    def __call__(self, x: Floats, multiply: Multiply = np.matmul) -> Floats:
        """Compute ``f(x @ W + b)``."""
        y = multiply(x, self.W)
        y += self.b
        _function(self.activation)(y, y)
        return y


class Embedding(Stateless):
    """A row of a table for each whole number: ``y = W[x]``.

    ``Embedding`` in Keras and PyTorch.

    Parameters
    ----------
    W : array, shape (V, E)
        A row for each of the numbers 0 to V - 1.
    mask_zero : bool
        Whether 0 is no step: the recurrent layers above keep their state.

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
        return np.asarray(self.W[x[..., 0].astype(np.intp)])

    def masked(self, x: Floats) -> Truths:
        """Return where the number is 0."""
        return np.asarray(x[..., 0] == 0)

    def converted(self, convert: Convert) -> "Embedding":
        """Return the same layer with its table converted, not as an operand of a product.

        Raises
        ------
        InputError
            The type has no room for the numbers of all rows.
        """
        layer = copy(self)
        layer.W = convert("W", self.W.reshape(-1)).reshape(self.W.shape)
        dtype = layer.W.dtype
        most = 2 ** (np.finfo(dtype).nmant + 1)
        if len(self.W) > most + 1:
            raise InputError("W", f"{len(self.W)} rows, {dtype} numbers {most + 1}", _MORE)
        return layer


class Normalization(Stateless):
    """Each feature by its own statistics: ``y = factor * (x - center) / scale + shift``.

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
        self.input_size = self.output_size = len(self.center)
        self.scale = _vector("scale", scale, "center", self.center)
        if not self.scale.all():
            raise ValueError(f"scale: expected no 0, got one at {int(np.argmin(self.scale != 0))}")
        self.shift = None if shift is None else _vector("shift", shift, "center", self.center)
        self.factor = None if factor is None else _vector("factor", factor, "center", self.center)

    def __call__(self, x: Floats, multiply: Multiply = np.matmul) -> Floats:  # noqa: ARG002
        """Compute ``factor * (x - center) / scale + shift``."""
        y = np.asarray((x - self.center) / self.scale)
        if self.factor is not None:
            y *= self.factor
        if self.shift is not None:
            y += self.shift
        return y

    def converted(self, convert: Convert) -> "Stateless":
        """Return the same layer with its arrays converted.

        Raises
        ------
        InputError
            A scale is 0 in the type.
        """
        layer = super().converted(convert)
        scale = layer.arrays["scale"]
        if not scale.all():
            place = int(np.argmin(scale != 0))
            what = f"0 in {scale.dtype}: {self.scale[place]} at [{place}]"
            raise InputError("scale", what, _MORE)
        return layer


class LayerNormalization(Stateless):
    """The values of a row by their own statistics.

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
        What is added to the variance, at least 0. Keras's default; that of
        PyTorch and ONNX is 1e-5.

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
        self.shift = None if shift is None else _vector("shift", shift, "factor", self.factor)
        if not 0 <= epsilon < inf:
            raise ValueError(f"epsilon: expected a finite number from 0 on, got {epsilon}")
        self.epsilon = float(epsilon)
        self.settings = {"epsilon": self.epsilon}

    def __call__(self, x: Floats, multiply: Multiply = np.matmul) -> Floats:  # noqa: ARG002
        """Compute ``factor * (x - mean(x)) / sqrt(var(x) + epsilon) + shift``."""
        columns, axis = _columns(x)
        columns -= _total(columns, axis) / self.input_size
        root = np.sqrt(_total(columns * columns, axis) / self.input_size + self.epsilon)
        columns /= np.where(np.isinf(root), np.nan, root)  # by infinity it would be 0
        y = np.multiply(_rows(columns, axis), self.factor, order="C")
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
        The function f, or one of the row: ``softmax``, ``exp(x) / sum(exp(x))``,
        or ``log_softmax``, the logarithm of that.
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
    """Rows that are no steps: those whose features are all one value.

    The recurrent layers above keep their state there, and give their output
    once more. ``Masking`` in Keras.

    Parameters
    ----------
    value : float
        What stands for no value, compared in the precision of the run.
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
        """Return the rows, with zeros for those that are masked."""
        y = x.copy()
        y[self.masked(x)] = 0
        return y

    def masked(self, x: Floats) -> Truths:
        """Return where all features are the value."""
        with np.errstate(over="ignore"):  # too large for the type: no row has it
            value = x.dtype.type(self.value)
        masked = np.asarray(x[..., 0] == value)  # NumPy is slow at short rows: few are looked at
        masked[masked] = (x[masked] == value).all(axis=-1)
        return masked


def row_activation(given: Activation | str) -> RowActivation:
    """Return an activation that may be given as text, or the name of one of rows.

    Raises
    ------
    ValueError
        There is no such activation, or its parameters are wrong.
    """
    for name in _OF_ROWS:
        if given == name:
            return name
    if isinstance(given, str):
        choice("activation", given.partition(":")[0], dict.fromkeys([*ACTIVATIONS, *_OF_ROWS]))
    return as_activation(given)


def _function(activation: RowActivation) -> Callable[[Floats, Floats], Any]:
    return _OF_ROWS[activation] if isinstance(activation, str) else activation.function()


def _softmax(a: Floats, out: Floats) -> None:
    """Compute ``exp(a) / sum(exp(a))`` of each row; less its largest, so that none overflows."""
    columns, axis = _columns(a)
    columns -= columns.max(axis=axis, keepdims=True)
    np.exp(columns, columns)
    columns /= _total(columns, axis)
    out[...] = _rows(columns, axis)


def _log_softmax(a: Floats, out: Floats) -> None:
    """Compute ``a - log(sum(exp(a)))`` of each row; less its largest, so that none overflows."""
    columns, axis = _columns(a)
    columns -= columns.max(axis=axis, keepdims=True)
    columns -= np.log(_total(np.exp(columns), axis))
    out[...] = _rows(columns, axis)


_OF_ROWS: dict[OfRow, Callable[[Floats, Floats], Any]] = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
}


def _columns(x: Floats) -> tuple[Floats, int]:
    """Copy rows (..., K), by columns if these are few; return the axis of a row's values too.

    NumPy is slow at short rows.
    """
    if x.shape[-1] > FEW:
        return np.array(x, order="C"), -1
    return np.array(np.moveaxis(x, -1, 0), order="C"), 0


def _rows(columns: Floats, axis: int) -> Floats:
    """View what `_columns` copied as rows again."""
    return np.moveaxis(columns, axis, -1)


def _total(columns: Floats, axis: int) -> Floats:
    """Return the sum of each row, in an order that does not depend on how many there are."""
    if axis == 0:
        return np.asarray(reduce(np.add, columns))
    return np.asarray(columns.sum(axis=axis, keepdims=True))


def _array(name: str, values: ArrayLike, *axes: str) -> Floats:
    array = as_floats(name, values)
    if array.ndim != len(axes) or not array.size:
        shape = f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return array


def _vector(name: str, values: ArrayLike, other: str, like: Floats) -> Floats:
    array, size = as_floats(name, values), like.shape[-1]
    if array.shape != (size,):
        raise ValueError(
            f"{name}: expected shape ({size},), as {other} is {like.shape}, got {array.shape}"
        )
    return array


def _size(size: int) -> int:
    if size < 1:
        raise ValueError(f"size: expected at least 1, got {size}")
    return size
