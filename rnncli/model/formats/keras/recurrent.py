"""Keras's recurrent layers: their cells, and the wrappers around them."""

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.cells import CELLS
from rnncli.model.errors import InputError, shown
from rnncli.model.formats.keras.layers import Flow, Layer, Made, Maker
from rnncli.model.formats.keras.places import Arrays
from rnncli.model.formats.keras.settings import Settings
from rnncli.model.formats.spec import CellSpec, LayerSpec
from rnncli.model.formats.tensors import Entry
from rnncli.model.layers import MERGES, merged_size

# Cells by the class of their layer.
_CELLS = {"SimpleRNN": "rnn", "LSTM": "lstm", "GRU": "gru", "CuDNNLSTM": "lstm", "CuDNNGRU": "gru"}
_CUDNN = "CuDNN"
# Keras 1 has a kernel, a recurrent kernel and a bias of each gate: where ours are among them.
_KERAS_1_GATES = {"lstm": (0, 2, 1, 3), "gru": (0, 1, 2)}
# Before this version gates were hard sigmoids where nothing else was said.
_SIGMOID_SINCE = (2, 3)
_WAYS = ("forward", "backward")


def cudnn_tensors(cell: str, names: Sequence[str], arrays: Arrays) -> dict[str, str]:
    """Name the arrays of a cell whose own are laid out as cuDNN has them.

    Parameters
    ----------
    cell : str
    names : sequence of str
        Of its kernel, recurrent kernel and bias.
    arrays : Arrays

    Returns
    -------
    dict
        Names by the roles that `CellSpec` has.
    """
    gates = CELLS[cell].gates
    kernel, recurrent, bias = names
    (two, *others), kind = arrays.entry(bias).shape or (0,), arrays.entry(bias).dtype
    if not others and not two % 2:
        bias = arrays.derive([bias], Entry((2, two // 2), kind), _halves)
    return {
        "W_xh": arrays.derive([kernel], arrays.entry(kernel), partial(_blocks, gates, _refilled)),
        "W_hh": arrays.derive(
            [recurrent], arrays.entry(recurrent), partial(_blocks, gates, _turned)
        ),
        "b_xr": bias,
    }


def _recurrent(layer: Layer) -> Made:
    """Return a layer of one cell."""
    return _one_way(layer, [_cell(layer)])


def _rnn(layer: Layer) -> Made:
    """Return a layer of any cell, or of several, each of which takes what the one below gives."""
    inner = layer.within("cell", "cell")
    if inner.kind != "StackedRNNCells":
        return _one_way(layer, [_cell(inner)])
    inners = inner.settings.inners("cells")
    places = inner.place.cells([kind for kind, _ in inners])
    cells = [
        _cell(inner._replace(kind=kind, settings=settings, place=place))
        for (kind, settings), place in zip(inners, places, strict=True)
    ]
    inner.settings.check_rest()
    return _one_way(layer, cells)


def _one_way(layer: Layer, cells: Sequence[CellSpec]) -> Made:
    settings, flow = layer.settings, layer.flow
    if settings.truth("zero_output_for_mask") and flow.masked:
        raise InputError(
            "", f"zero_output_for_mask, with {shown(flow.masked)} below, is not run here"
        )
    backward = settings.truth("go_backwards") != flow.reversed
    features = layer.arrays.size(cells[-1].tensors["W_hh"], 0)
    above = _above(layer, settings, features, reversed_=backward)
    return [LayerSpec((cell,), {"direction": _WAYS[backward]}) for cell in cells], above


def _bidirectional(layer: Layer) -> Made:
    """Return a layer of two cells, one of which goes backward."""
    forward = layer.within("layer", "forward_layer")
    other = "backward_layer" if layer.settings.get("backward_layer") is not None else "layer"
    backward = layer.within(other, "backward_layer")
    cells = [_wrapped(forward, backward=False), _wrapped(backward, backward=other != "layer")]
    merge = layer.settings.get("merge_mode", "concat")
    if merge not in list(MERGES):
        raise InputError("", f"merge_mode {str(merge).lower():.40} is not run here")
    if layer.flow.reversed:
        if merge == "concat":
            what = "two directions over reversed rows (go_backwards below) are not run here"
            raise InputError("", what)
        cells.reverse()
    features = merged_size(layer.arrays.size(cells[0].tensors["W_hh"], 0), "bidirectional", merge)
    above = _above(layer, forward.settings, features, reversed_=layer.flow.reversed)
    return [LayerSpec(tuple(cells), {"direction": "bidirectional", "merge": merge})], above


def _wrapped(layer: Layer, *, backward: bool) -> CellSpec:
    """Return the cell of one of two directions."""
    settings = layer.settings
    if settings.truth("go_backwards") != backward:
        raise InputError("", f"go_backwards {str(not backward).lower()} in it is not run here")
    # Of any, Bidirectional takes the output for zeros where it gives a sequence, and else not.
    settings.truth("zero_output_for_mask")
    settings.truth("return_sequences")
    cell = _cell(layer.within("cell", "cell") if layer.kind == "RNN" else layer)
    settings.off("time_major")
    settings.check_rest()
    return cell


def _above(layer: Layer, settings: Settings, features: int, *, reversed_: bool) -> Flow:
    """Check what a recurrent layer takes; return what goes on from it."""
    flow = layer.flow
    layer.take_sequence()
    settings.off("time_major")
    if flow.masked and flow.reversed:
        what = f"reversed rows (go_backwards below) with the mask of {shown(flow.masked)}, which is"
        raise InputError("", f"{what} not reversed, are not run here")
    if flow.masked and layer.kind.startswith(_CUDNN):
        raise InputError("", f"{layer.kind} takes no mask, {shown(flow.masked)} gives one")
    flow = flow._replace(features=features, recurrent=layer.name)
    if settings.truth("return_sequences"):
        return flow._replace(reversed=reversed_)
    return flow._replace(axes=2, masked="", reversed=False)


def _cell(layer: Layer) -> CellSpec:
    """Return the cell of a layer, or of one that is a cell itself."""
    settings, place, arrays = layer.settings, layer.place, layer.arrays
    kind, packed = layer.kind.removesuffix("Cell"), layer.kind.startswith(_CUDNN)
    if kind not in _CELLS:
        raise InputError("", f"{shown(layer.kind)} is not run here")
    cell = _CELLS[kind]
    if kind == layer.kind and not packed:
        place = place.inside("cell")
    bias = packed or settings.truth("use_bias", True)
    names = _joined(
        cell, place.take(2 + bias, of=3 * CELLS[cell].gates * (settings.version < (2,))), arrays
    )
    known: dict[str, Any] = {"clip": inf, "activation": settings.activation("activation", "tanh")}
    if cell != "rnn":
        default = "sigmoid" if packed or settings.version >= _SIGMOID_SINCE else "hard_sigmoid"
        known["recurrent_activation"] = settings.activation("recurrent_activation", default)
    if cell == "lstm":
        known["output_activation"] = known["activation"]
    after = cell == "gru" and (packed or settings.truth("reset_after", settings.version >= (3,)))
    if cell == "gru":
        known["reset"] = "after" if after else "before"
    tensors = (
        cudnn_tensors(cell, names, arrays)
        if packed
        else dict(zip(("W_xh", "W_hh", "b_xr" if after else "b_h"), names, strict=False))
    )
    H = arrays.size(tensors["W_hh"], 0)
    if H and settings.get("units", H) != H:
        what = f"units {settings.get('units')!s:.40}, {shown(names[1])} has {H} rows"
        raise InputError("", what)
    if kind != layer.kind:
        settings.check_rest()
    return CellSpec(tensors, cell, known)


def _joined(cell: str, names: Sequence[str], arrays: Arrays) -> Sequence[str]:
    """Join the arrays of the gates, where each has its own."""
    if len(names) <= 3:
        return names
    joined = []
    for role in range(3):
        each = [names[3 * gate + role] for gate in _KERAS_1_GATES[cell]]
        entries = {arrays.entry(name) for name in each}
        if len(entries) > 1:
            raise InputError("", f"{', '.join(map(shown, each))} are not alike")
        ((*rows, columns), dtype) = entries.pop()
        entry = Entry((*rows, columns * len(each)), dtype)
        joined.append(arrays.derive(each, entry, _side_by_side))
    return joined


def _side_by_side(*blocks: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate(blocks, axis=-1)


def _halves(bias: NDArray[Any]) -> NDArray[Any]:
    return bias.reshape(2, -1)


def _blocks(
    gates: int, change: Callable[[NDArray[Any]], NDArray[Any]], array: NDArray[Any]
) -> NDArray[Any]:
    """Change the block of each gate."""
    return np.concatenate([change(block) for block in np.split(array, gates, axis=1)], axis=1)


def _refilled(block: NDArray[Any]) -> NDArray[Any]:
    return block.T.reshape(block.shape, order="F")


def _turned(block: NDArray[Any]) -> NDArray[Any]:
    return block.T


MAKERS: dict[str, Maker] = {
    **dict.fromkeys(_CELLS, _recurrent),
    "RNN": _rnn,
    "Bidirectional": _bidirectional,
}
