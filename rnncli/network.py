"""What a network is: its weights and their shapes, checked once, here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]

T = TypeVar("T")

WEIGHT_NAMES = ("W_xh", "W_hh", "b_h")


class Weights(NamedTuple):
    """The weights of one cell.

    A step is ``h_t = tanh(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``: the
    recurrent network of Elman (1990), ``SimpleRNN`` in Keras, ``RNN`` in
    PyTorch and ONNX.

    Parameters
    ----------
    W_xh : array, shape (I, H)
        Input weights (Keras: ``kernel``; PyTorch: ``weight_ih``, transposed).
    W_hh : array, shape (H, H)
        Recurrent weights (Keras: ``recurrent_kernel``; PyTorch:
        ``weight_hh``, transposed).
    b_h : array, shape (H,)
        Bias (PyTorch: ``bias_ih + bias_hh``).
    """

    W_xh: Floats
    W_hh: Floats
    b_h: Floats


@dataclass(frozen=True)
class Network:
    """A recurrent network of one layer.

    Parameters
    ----------
    weights : Weights
        Three arrays of finite numbers, of matching shapes. They are kept
        C-contiguous; integers become float64.

    Raises
    ------
    ValueError
        A shape does not fit the others, a size is 0, or a value is not finite.
    """

    weights: Weights

    def __post_init__(self) -> None:
        weights = Weights(*map(_as_floats, self.weights, WEIGHT_NAMES))
        _check_shapes(weights)
        object.__setattr__(self, "weights", weights)

    @property
    def input_size(self) -> int:
        """Number of input features, I."""
        return len(self.weights.W_xh)

    @property
    def hidden_size(self) -> int:
        """Number of hidden units, H."""
        return len(self.weights.W_hh)


def weight_shapes(input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
    """Shape of each array of a cell's weights, by name.

    Raises
    ------
    ValueError
        A size is under 1.
    """
    for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
        if size < 1:
            raise ValueError(f"{name}: expected at least 1, got {size}")
    return {
        "W_xh": (input_size, hidden_size),
        "W_hh": (hidden_size, hidden_size),
        "b_h": (hidden_size,),
    }


def weight_count(input_size: int, hidden_size: int) -> int:
    """Count the numbers in a cell's weights, ``(I + H + 1) * H``."""
    return (input_size + hidden_size + 1) * hidden_size


def choice(name: str, chosen: str, choices: Mapping[str, T]) -> T:
    """Look a name up among the members of a family.

    Raises
    ------
    ValueError
        No member has that name; the message lists those there are.
    """
    if chosen not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {chosen!r}")
    return choices[chosen]


def _as_floats(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values)
    if array.dtype.kind in "iu":
        array = array.astype(np.float64)
    if array.dtype.kind != "f":
        raise ValueError(f"{name}: expected numbers, got an array of {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: holds a value that is not finite")
    return np.ascontiguousarray(array)


def _check_shapes(weights: Weights) -> None:
    if weights.W_xh.ndim != 2:
        raise ValueError(f"W_xh: expected shape (I, H), got {weights.W_xh.shape}")
    input_size, hidden_size = weights.W_xh.shape
    expected = weight_shapes(input_size, hidden_size)
    for name, array in zip(WEIGHT_NAMES, weights, strict=True):
        if array.shape != expected[name]:
            raise ValueError(
                f"{name}: expected shape {expected[name]}, as W_xh is {weights.W_xh.shape}, "
                f"got {array.shape}"
            )
