"""What is known of the layers in a file before their weights are read.

A naming finds the layers by the names of their tensors, the file's metadata
completes them, and what the caller says fills in or must agree. The network
is built of what comes out, and only then are its weights read.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.activations import TANH
from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, RNN, Cell, Weights, weight_shapes
from rnncli.model.errors import InputError, shown
from rnncli.model.formats.tensors import FLOATS, Tensors
from rnncli.model.layers import MERGES, Recurrent, merged_size
from rnncli.model.network import Network

# Merges that give as many values as one direction.
_NARROW = ", ".join(name for name in MERGES if merged_size(1, "bidirectional", name) == 1)
# By how many matrices stand side by side in the recurrent weights.
_GATED = {3: "a GRU", 4: "an LSTM"}
PICK = "pick one with `layer` NAME"


class CellSpec(NamedTuple):
    """What is known of a cell.

    Parameters
    ----------
    W_xh, W_hh : str
        Names of its tensors.
    b_h : tuple of str
        Names of its biases: several are summed; none are zeros.
    settings : mapping
        Those of `Cell.settings` that are known.
    """

    W_xh: str
    W_hh: str
    b_h: tuple[str, ...] = ()
    settings: Mapping[str, Any] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all its tensors."""
        return (self.W_xh, self.W_hh, *self.b_h)


class LayerSpec(NamedTuple):
    """What is known of a layer.

    Parameters
    ----------
    cells : tuple of CellSpec
        One, or two for both directions, the forward one first; two have
        their direction among the settings.
    settings : mapping
        Those of `Layer.settings` that are known.
    transposed : bool
        Whether matrices stand with a row for each unit that they lead to.
    cell : str
        Of `CELLS`.
    """

    cells: tuple[CellSpec, ...]
    settings: Mapping[str, Any] = {}
    transposed: bool = False
    cell: str = "rnn"


# Layers, the bottom one first, and a sentence for each thing taken for granted.
Found = tuple[Sequence[LayerSpec], Sequence[str]]


class Stack(NamedTuple):
    """Recurrent layers that belong together.

    Parameters
    ----------
    labels : tuple of str
        What picks it, or a part of it.
    gated : str or None
        What shows that it is an LSTM or a GRU; None for simple layers.
    find : callable
        Returns its layers; raises InputError where they do not go together.
    """

    labels: tuple[str, ...]
    gated: str | None
    find: Callable[[], Found]


def gated(tensors: Tensors, names: Iterable[str], *, transposed: bool = False) -> str | None:
    """Return whether recurrent weights are an LSTM's, (H, 4 H), or a GRU's, (H, 3 H)."""
    for name in names:
        shape = tensors.entries[name].shape if name in tensors.entries else ()
        H, width = (shape[::-1] if transposed else shape) if len(shape) == 2 else (0, 0)
        kind = _GATED.get(width // H) if H and width % H == 0 else None
        if kind:
            return f"{shown(name)} has shape {shape}, as {kind}'s"
    return None


def checked_sizes(tensors: Tensors, layer: LayerSpec) -> tuple[int, int]:
    """Check types and shapes of a layer's tensors before any is read, and return (I, H)."""
    sizes = [_checked_cell(tensors, cell, layer) for cell in layer.cells]
    forward, backward = layer.cells[0].W_xh, layer.cells[-1].W_xh
    expected, got = tensors.entries[forward].shape, tensors.entries[backward].shape
    if got != expected:
        because = f"as {shown(forward)} has it forward"
        raise InputError(
            tensors.place(backward), f"expected shape {expected} backward too, {because}, got {got}"
        )
    return sizes[0]


def with_overrides(
    tensors: Tensors,
    layers: Sequence[LayerSpec],
    sizes: Sequence[tuple[int, int]],
    overrides: Mapping[str, Any],
) -> list[LayerSpec]:
    """Fill in what the caller says where the file is silent.

    Parameters
    ----------
    tensors : Tensors
    layers : sequence of LayerSpec
        The bottom one first.
    sizes : sequence of pairs of int
        (I, H) of each layer.
    overrides : mapping
        Settings of every layer and every cell.

    Raises
    ------
    InputError
        The two differ, or the layers do not fit each other.
    """
    of_cells = {name: overrides[name] for name in overrides if name not in ("direction", "merge")}
    done = []
    for number, (layer, (_, H)) in enumerate(zip(layers, sizes, strict=True), start=1):
        place = f"{tensors.path}: layer {number}"
        taken = sizes[number][0] if number < len(layers) else None
        settings = _layer_settings(place, layer, H, taken, overrides)
        cells = tuple(
            cell._replace(settings=_agreed(place, cell.settings, of_cells)) for cell in layer.cells
        )
        given = merged_size(H, settings["direction"], settings.get("merge", "concat"))
        if taken not in (None, given):
            raise InputError(
                tensors.place(layers[number].cells[0].W_xh),
                f"expected an input size of {given}, as the layer below gives so many values a "
                f"step, got {taken}",
            )
        done.append(layer._replace(cells=cells, settings=settings))
    return done


def assumptions(layers: Sequence[LayerSpec]) -> list[str]:
    """Return a sentence for each thing that nothing tells of complete layers."""
    found = []
    if any("activation" not in cell.settings for layer in layers for cell in layer.cells):
        found.append(f"does not name the activation: {TANH} is taken (`activation`)")
    if any(len(layer.cells) == 2 and "merge" not in layer.settings for layer in layers):
        found.append("does not say how directions are merged: concat is taken (`merge`)")
    return found


def build(
    tensors: Tensors, layers: Sequence[LayerSpec]
) -> tuple[Network, list[tuple[Floats, ...]]]:
    """Read the weights of layers that have been checked; return the biases beside the network.

    Raises
    ------
    ValueError
        A value is not finite, or the file is damaged.
    """
    arrays = tensors.floats([n for layer in layers for cell in layer.cells for n in cell.names])
    made, biases = [], []
    for layer in layers:
        cells: list[Cell] = []
        for cell in layer.cells:
            W_xh, W_hh, *parts = (arrays[name] for name in cell.names)
            if layer.transposed:
                W_xh, W_hh = W_xh.T, W_hh.T
            bias = _summed(tensors, cell, parts) if parts else np.zeros(W_hh.shape[1], W_hh.dtype)
            cells.append(CELLS[layer.cell](Weights(W_xh, W_hh, bias), **cell.settings))
            biases.append(tuple(parts))
        made.append(Recurrent(*cells, **layer.settings))
    return Network(*made), biases


def vanilla_layers(network: Network) -> list[Recurrent]:
    """Return the layers of a network that a file can hold.

    Raises
    ------
    ValueError
        A layer is of another kind.
    """
    layers = []
    for number, layer in enumerate(network.layers, start=1):
        if not isinstance(layer, Recurrent) or not all(isinstance(c, RNN) for c in layer.cells):
            raise ValueError(f"layer {number}: only layers of vanilla cells are written")
        layers.append(layer)
    return layers


def _checked_cell(tensors: Tensors, cell: CellSpec, layer: LayerSpec) -> tuple[int, int]:
    for name in cell.names:
        _check_entry(tensors, name, cell)
    W_xh, W_hh, *biases = (tensors.entries[name].shape for name in cell.names)
    gates = CELLS[layer.cell].gates
    rows, columns = (1, 0) if layer.transposed else (0, 1)
    H = W_hh[rows] if len(W_hh) == 2 else 0
    if H < 1 or W_hh[columns] != gates * H:
        wide = "H" if gates == 1 else f"{gates} H"
        square = f"({wide}, H)" if layer.transposed else f"(H, {wide})"
        raise InputError(tensors.place(cell.W_hh), f"expected shape {square}, got {W_hh}")
    because = f"as {shown(cell.W_hh)} is {W_hh}"
    (_, width), _, bias = weight_shapes(1, H, gates).values()
    if len(W_xh) != 2 or W_xh[columns] != width or W_xh[rows] < 1:
        shape = f"({width}, I)" if layer.transposed else f"(I, {width})"
        turned = " (transposed?)" if len(W_xh) == 2 and W_xh[rows] == width else ""
        raise InputError(
            tensors.place(cell.W_xh), f"expected shape {shape}, {because}, got {W_xh}{turned}"
        )
    for name, got in zip(cell.b_h, biases, strict=True):
        if got != bias:
            raise InputError(tensors.place(name), f"expected shape {bias}, {because}, got {got}")
    return W_xh[rows], H


def _check_entry(tensors: Tensors, name: str, cell: CellSpec) -> None:
    """Check that one of a cell's tensors is there, and of floats."""
    if name not in tensors.entries:
        beside = [shown(tensors.prefix + other) for other in cell.names if other in tensors.entries]
        with_what = ", ".join(beside) or "the layers that it has"
        missing = shown(tensors.prefix + name)
        raise InputError(tensors.path, f"has no {missing}, which goes with {with_what}")
    dtype = tensors.entries[name].dtype
    if dtype not in FLOATS:
        raise InputError(tensors.place(name), f"expected floats ({', '.join(FLOATS)}), got {dtype}")


def _layer_settings(
    place: str, layer: LayerSpec, H: int, taken: int | None, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """Complete the settings of a layer; `taken` is the input size of the one above, if any."""
    known, given = dict(layer.settings), {"direction", "merge"} & overrides.keys()
    two = len(layer.cells) == 2
    if not two:
        given -= {"merge"}
    elif "merge" not in known and taken == 2 * H:
        known["merge"] = "concat"
    elif "merge" not in known and taken == H and overrides.get("merge", "concat") == "concat":
        raise InputError(
            place,
            f"the layer above takes {taken} values a step, as many as one direction gives, so the "
            "two are not concatenated",
            f"give `merge`, one of {_NARROW}",
        )
    settings = _agreed(place, known, {name: overrides[name] for name in given})
    if not two and settings.get("direction") == "bidirectional":
        hint = " `direction` bidirectional was given: leave it out"
        raise InputError(place, "the file holds one direction,", hint)
    return {"direction": "forward"} | settings


def _agreed(place: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the file says, and else what is given."""
    for name in known.keys() & given.keys():
        if known[name] != given[name]:
            text = "none" if known[name] == inf else known[name]
            hint = f" `{name}` {given[name]} was given: leave it out"
            raise InputError(place, f"the file says {name} {text},", hint)
    return {**given, **known}


def _summed(tensors: Tensors, cell: CellSpec, biases: Sequence[Floats]) -> Floats:
    total, *others = biases
    for name, other in zip(cell.b_h[1:], others, strict=True):
        with np.errstate(over="ignore"):
            total = total + other
        if not np.isfinite(total).all():
            what = f"the sum with {shown(cell.b_h[0])} is not finite"
            raise InputError(tensors.place(name), what)
    return total
