"""The tensors of a weight file, as every format shows them, and how a cell's weights are read."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats, in_dtype
from rnncli.model.cells import Weights

# Float types that become weights; the halves as float32.
FLOATS = ("float16", "bfloat16", "float32", "float64")

# Names that a message lists.
_LISTED = 8

Shape = tuple[int, ...]


class Entry(NamedTuple):
    """What a file says of a tensor before it is read.

    Parameters
    ----------
    shape : tuple of int
    dtype : str
        One of `FLOATS`, or any other name.
    """

    shape: Shape
    dtype: str


class Tensors(NamedTuple):
    """The tensors of an open file, none of them read yet.

    Parameters
    ----------
    path : str
    entries : mapping
        Of each name, what the file says.
    read : callable
        ``read(name)`` gives the values: float16, float32 or float64, in
        either byte order; bfloat16 as float32.
    prefix : str
        What stood before each of the names in the file.
    """

    path: str
    entries: Mapping[str, Entry]
    read: Callable[[str], NDArray[Any]]
    prefix: str = ""

    def place(self, name: str) -> str:
        """Name a tensor in a message."""
        return f"{self.path}: {shown(self.prefix + name)}"

    def under(self, layer: str | None) -> "Tensors":
        """Keep the tensors whose names begin ``layer.`` or ``layer/``, without that.

        None keeps all; an empty text those that stand in no module.

        Raises
        ------
        ValueError
            There are none.
        """
        if layer is None:
            return self
        stem = layer.rstrip("./")
        if not stem:
            kept = [name for name in self.entries if not set("./") & set(name)]
            return self._under(layer, kept, "")
        slash = any(name.startswith(f"{stem}/") for name in self.entries)
        prefix = f"{stem}/" if slash else f"{stem}."
        return self._under(layer, [n for n in self.entries if n.startswith(prefix)], prefix)

    def _under(self, layer: str, names: list[str], prefix: str) -> "Tensors":
        if not names:
            raise ValueError(
                f"{self.path}: holds no tensor under --layer {layer}; it holds "
                f"{listed(self.entries)}"
            )
        return Tensors(
            self.path,
            {name.removeprefix(prefix): self.entries[name] for name in names},
            lambda name: self.read(prefix + name),
            prefix,
        )


class NamedCell(NamedTuple):
    """Names of a cell's tensors.

    Parameters
    ----------
    W_xh, W_hh : str
    b_h : tuple of str
        Several are summed; none are zeros.
    """

    W_xh: str
    W_hh: str
    b_h: tuple[str, ...] = ()


class NamedLayer(NamedTuple):
    """Names of a layer's tensors, and what they say of it.

    Parameters
    ----------
    cells : tuple of NamedCell
        One, or two for both directions, the forward one first.
    direction, merge : str or None
        As for `Recurrent`; None where the names do not tell.
    """

    cells: tuple[NamedCell, ...]
    direction: str | None = None
    merge: str | None = None


class NamedNetwork(NamedTuple):
    """Names of the tensors of a network.

    Parameters
    ----------
    layers : sequence of NamedLayer
        The bottom one first.
    transposed : bool
        Whether matrices stand as (H, I) and (H, H), a row for each unit
        they lead to.
    notes : tuple of str
        What was taken for granted.
    """

    layers: tuple[NamedLayer, ...]
    transposed: bool = False
    notes: tuple[str, ...] = ()


def check_layer(tensors: Tensors, layer: NamedLayer, transposed: bool) -> None:
    """Check types and shapes of a layer's tensors, before any is read.

    Raises
    ------
    ValueError
        One is missing, not of floats, or does not fit the others.
    """
    for cell in layer.cells:
        _check_cell(tensors, cell, transposed)
    first, *others = layer.cells
    expected = tensors.entries[first.W_xh].shape
    for other in others:
        got = tensors.entries[other.W_xh].shape
        if got != expected:
            raise ValueError(
                f"{tensors.place(other.W_xh)}: expected shape {expected} backward too, as "
                f"{shown(first.W_xh)} has it forward, got {got}"
            )


def read_weights(tensors: Tensors, cell: NamedCell, transposed: bool) -> Weights:
    """Read the weights of a cell that has been checked.

    Raises
    ------
    ValueError
        A value is not finite, or the file is damaged.
    """
    W_xh, W_hh = (_floats(tensors, name) for name in (cell.W_xh, cell.W_hh))
    if transposed:
        W_xh, W_hh = W_xh.T, W_hh.T
    return Weights(W_xh, W_hh, _bias(tensors, cell, W_hh))


def listed(names: Iterable[str]) -> str:
    """List names for a message: the first few, and how many more there are."""
    all_names = list(names)
    more = len(all_names) - _LISTED
    text = ", ".join(map(shown, all_names[:_LISTED])) or "nothing"
    return f"{text} and {more} more" if more > 0 else text


def shown(name: str, longest: int = 80) -> str:
    """Give a name that came from a file as a message can hold it: short, on one line."""
    half = longest // 2
    short = name if len(name) <= longest else f"{name[: half - 3]}...{name[-half:]}"
    return short if short.isprintable() and short else repr(short)


def one_line(error: Exception) -> str:
    """Give the text of another library's error as a message can hold it."""
    return shown(" ".join(str(error).split()) or type(error).__name__, 200)


def _check_cell(tensors: Tensors, cell: NamedCell, transposed: bool) -> None:
    for name in (cell.W_xh, cell.W_hh, *cell.b_h):
        _check_entry(tensors, name, cell)
    recurrent = tensors.entries[cell.W_hh].shape
    if len(recurrent) != 2 or recurrent[0] != recurrent[1] or recurrent[0] < 1:
        raise ValueError(f"{tensors.place(cell.W_hh)}: expected shape (H, H), got {recurrent}")
    H = recurrent[0]
    because = f"as {shown(cell.W_hh)} is {recurrent}"
    shape = tensors.entries[cell.W_xh].shape
    side = 0 if transposed else 1
    if len(shape) != 2 or shape[side] != H or min(shape) < 1:
        expected = f"({H}, I)" if transposed else f"(I, {H})"
        hint = " (transposed?)" if len(shape) == 2 and shape[1 - side] == H else ""
        raise ValueError(
            f"{tensors.place(cell.W_xh)}: expected shape {expected}, {because}, got {shape}{hint}"
        )
    for name in cell.b_h:
        got = tensors.entries[name].shape
        if got != (H,):
            raise ValueError(f"{tensors.place(name)}: expected shape ({H},), {because}, got {got}")


def _check_entry(tensors: Tensors, name: str, cell: NamedCell) -> None:
    """Refuse a cell one of whose tensors is not there, or not of floats."""
    if name not in tensors.entries:
        names = (cell.W_xh, cell.W_hh, *cell.b_h)
        beside = [shown(tensors.prefix + other) for other in names if other in tensors.entries]
        raise ValueError(
            f"{tensors.path}: has no {shown(tensors.prefix + name)}, which goes with "
            f"{', '.join(beside) or 'the layers that it has'}"
        )
    dtype = tensors.entries[name].dtype
    if dtype not in FLOATS:
        raise ValueError(
            f"{tensors.place(name)}: expected floats ({', '.join(FLOATS)}), got {dtype}"
        )


def _floats(tensors: Tensors, name: str) -> Floats:
    """Read finite numbers in this machine's byte order."""
    array = tensors.read(name)
    return in_dtype(tensors.place(name), array, np.dtype(f"f{max(4, array.dtype.itemsize)}"))


def read_biases(tensors: Tensors, cell: NamedCell) -> tuple[Floats, ...]:
    """Read the biases of a cell that has been checked, those that `read_weights` sums.

    Raises
    ------
    ValueError
        As for `read_weights`.
    """
    return tuple(_floats(tensors, name) for name in cell.b_h)


def _bias(tensors: Tensors, cell: NamedCell, W_hh: Floats) -> Floats:
    if not cell.b_h:
        return np.zeros(len(W_hh), W_hh.dtype)
    first, *others = read_biases(tensors, cell)
    for name, other in zip(cell.b_h[1:], others, strict=True):
        with np.errstate(over="ignore"):
            first = first + other
        if not np.isfinite(first).all():
            raise ValueError(
                f"{tensors.place(name)}: the sum with {shown(cell.b_h[0])} is not finite"
            )
    return first
