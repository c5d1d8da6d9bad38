"""From what is known of a file's layers to a network with its weights."""

from collections.abc import Mapping, Sequence

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, Cell, Weights
from rnncli.model.cells.gates import summed
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
        if layer.cells:
            pairs = [_cell(tensors, cell, arrays) for cell in layer.cells]
            made.append(Recurrent(*(cell for cell, _ in pairs), **layer.settings))
            biases += [parts for _, parts in pairs]
        else:
            made.append(_stateless(f"{tensors.path}: layer {number}", layer, arrays))
    try:
        return Network(*made), biases
    except ValueError as error:  # where one of the layers has no state
        raise InputError(tensors.path, str(error)) from error


def _stateless(place: str, layer: LayerSpec, arrays: Mapping[str, Floats]) -> Layer:
    own = {role: arrays[name] for role, name in layer.tensors.items()}
    try:
        return LAYERS[layer.kind](**own, **layer.settings)
    except ValueError as error:
        raise InputError(place, str(error)) from error


def _cell(
    tensors: Tensors, cell: CellSpec, arrays: Mapping[str, Floats]
) -> tuple[Cell, tuple[Floats, ...]]:
    """Make a cell of a file's arrays; return the biases that it has there beside it."""
    ours = {role: cell.layout.ours(arrays[name], cell.cell) for role, name in cell.tensors.items()}
    parts = (*ours.pop("b_xr", ()), *(ours.pop(role) for role in BIASES if role in ours))
    W_hh = ours["W_hh"]
    if len(parts) == 2:
        after = cell.cell == "gru" and cell.settings.get("reset") != "before"
        with np.errstate(over="ignore"):
            ours |= summed(*parts, apart=len(W_hh) if after else 0)
        _check_sum(tensors, cell, ours["b_h"])
    else:
        ours["b_h"] = parts[0] if parts else np.zeros(W_hh.shape[1], W_hh.dtype)
    return CELLS[cell.cell](Weights(**ours), **cell.settings), parts


def _check_sum(tensors: Tensors, cell: CellSpec, b_h: Floats) -> None:
    if not np.isfinite(b_h).all():
        first = cell.tensors.get("b_x")
        what = f"the sum {f'with {shown(first)}' if first else 'of its rows'} is not finite"
        raise InputError(tensors.place(cell.tensors["b_r" if first else "b_xr"]), what)
