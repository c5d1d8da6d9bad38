"""From what is known of a file's layers to a network with its weights."""

from collections.abc import Mapping, Sequence

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, Cell, Weights
from rnncli.model.errors import InputError, shown
from rnncli.model.formats.spec import BIASES, CellSpec, LayerSpec
from rnncli.model.formats.tensors import Tensors
from rnncli.model.layers import LAYERS, Layer, Recurrent
from rnncli.model.network import Network


def build(
    tensors: Tensors, layers: Sequence[LayerSpec]
) -> tuple[Network, list[tuple[Floats, ...]]]:
    """Read the weights of layers that have been checked; return the biases beside the network.

    Raises
    ------
    ValueError
        A value is not finite, or the file is damaged.
    """
    cells = [cell for layer in layers for cell in layer.cells]
    named = [*(layer.tensors for layer in layers), *(cell.tensors for cell in cells)]
    arrays = tensors.floats([name for names in named for name in names.values()])
    made: list[Layer] = []
    biases = []
    for number, layer in enumerate(layers, start=1):
        built: list[Cell] = []
        for cell in layer.cells:
            weights, both = _weights(tensors, cell, arrays)
            built.append(CELLS[cell.cell](weights, **cell.settings))
            biases.append(both)
        if built:
            made.append(Recurrent(*built, **layer.settings))
            continue
        own = {role: arrays[name] for role, name in layer.tensors.items()}
        try:
            made.append(LAYERS[layer.kind](**own, **layer.settings))
        except ValueError as error:
            raise InputError(f"{tensors.path}: layer {number}", str(error)) from error
    try:
        return Network(*made), biases
    except ValueError as error:  # where one of the layers has no state
        raise InputError(tensors.path, str(error)) from error


def _weights(
    tensors: Tensors, cell: CellSpec, arrays: Mapping[str, Floats]
) -> tuple[Weights, tuple[Floats, ...]]:
    """Make the weights of a cell of a file's arrays; return its biases beside them."""
    ours = {role: cell.layout.ours(arrays[name], cell.cell) for role, name in cell.tensors.items()}
    parts = [*ours.pop("b_xr", ()), *(ours.pop(role) for role in BIASES if role in ours)]
    W_hh = ours["W_hh"]
    H = W_hh.shape[1] // CELLS[cell.cell].gates
    if not parts:
        return Weights(**ours, b_h=np.zeros(W_hh.shape[1], W_hh.dtype)), ()
    total, *others = parts
    for other in others:
        if cell.cell == "gru" and cell.settings.get("reset") != "before":
            # r multiplies this part; in the sum, -0.0 changes no bit.
            ours["b_n"] = other[-H:]
            other = np.concatenate([other[:-H], np.full(H, -0.0, other.dtype)])
        with np.errstate(over="ignore"):
            total = total + other
        if not np.isfinite(total).all():
            first = cell.tensors.get("b_x")
            what = f"the sum {f'with {shown(first)}' if first else 'of its rows'} is not finite"
            raise InputError(tensors.place(cell.tensors["b_r" if first else "b_xr"]), what)
    return Weights(**ours, b_h=total), tuple(parts)
