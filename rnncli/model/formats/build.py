"""From what is known of a file's layers to a network with its weights."""

from collections.abc import Sequence

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
    tensors: Tensors, layers: Sequence[LayerSpec], last: str | None = None
) -> tuple[Network, list[tuple[Floats, ...]]]:
    """Read the weights of layers that have been checked; return the biases beside the network.

    They are read one by one: of a tensor that is laid out anew none stays twice.
    `last` is as for `Network`.
    """
    made: dict[int, Layer] = {}
    biases = []
    for number, layer in enumerate(layers):
        if layer.cells:
            pairs = [_cell(tensors, cell) for cell in layer.cells]
            made[number] = Recurrent(*(cell for cell, _ in pairs), **layer.settings)
            biases += [parts for _, parts in pairs]
        elif "size" in layer.settings or LAYERS[layer.kind].array_names:  # which tell its size
            made[number] = _stateless(tensors, number, layer)
    _make_sized(tensors, layers, made)
    try:
        return Network(*(made[number] for number in range(len(layers))), last=last), biases
    except ValueError as error:  # where one of the layers has no state
        raise InputError(tensors.path, str(error)) from error


def _make_sized(tensors: Tensors, layers: Sequence[LayerSpec], made: dict[int, Layer]) -> None:
    """Make the layers that are as wide as the one below, or at the bottom as the one above."""
    for number in range(len(layers)):
        if number not in made:
            known = made[number - 1].output_size if number else 0
            if not number and made:
                known = made[min(made)].input_size
            layer = layers[number]._replace(settings={**layers[number].settings, "size": known})
            made[number] = _stateless(tensors, number, layer)


def _stateless(tensors: Tensors, number: int, layer: LayerSpec) -> Layer:
    place = f"{tensors.path}: layer {number + 1}"
    own = {
        role: layer.layout.ours(tensors.floats(name), "") for role, name in layer.tensors.items()
    }
    try:
        return LAYERS[layer.kind](**own, **layer.settings)
    except ValueError as error:
        raise InputError(place, str(error)) from error


def _cell(tensors: Tensors, cell: CellSpec) -> tuple[Cell, tuple[Floats, ...]]:
    """Make a cell of a file's arrays; return the biases that it has there beside it."""
    ours = {
        role: cell.layout.ours(tensors.floats(name), cell.cell)
        for role, name in cell.tensors.items()
    }
    parts = (*ours.pop("b_xr", ()), *(ours.pop(role) for role in BIASES if role in ours))
    W_hh = ours["W_hh"]
    if len(parts) == 2:
        after = cell.cell == "gru" and cell.settings.get("reset") != "before"
        ours |= summed(*parts, apart=len(W_hh) if after else 0)
        with np.errstate(over="ignore"):
            _check_sum(tensors, cell, ours["b_h"].astype(W_hh.dtype))
    else:
        ours["b_h"] = parts[0] if parts else np.zeros(W_hh.shape[1], W_hh.dtype)
    return CELLS[cell.cell](Weights(**ours), **{**cell.assumed, **cell.settings}), parts


def _check_sum(tensors: Tensors, cell: CellSpec, b_h: Floats) -> None:
    if not np.isfinite(b_h).all():
        first = cell.tensors.get("b_x")
        what = f"the sum {f'with {shown(first)}' if first else 'of its rows'} is not finite"
        raise InputError(tensors.place(cell.tensors["b_r" if first else "b_xr"]), what)
