"""Keras's recurrent layers: their cells, and the wrappers around them."""

from collections.abc import Sequence
from math import inf
from typing import Any

from rnncli.model.errors import InputError, shown
from rnncli.model.formats.keras.layers import Flow, Layer, Made, Maker
from rnncli.model.formats.keras.layouts import of_cudnn
from rnncli.model.formats.keras.settings import Settings
from rnncli.model.formats.spec import CellSpec, LayerSpec
from rnncli.model.layers import MERGES, merged_size

# Cells by the class of their layer.
_CELLS = {"SimpleRNN": "rnn", "LSTM": "lstm", "GRU": "gru", "CuDNNLSTM": "lstm", "CuDNNGRU": "gru"}
_CUDNN = "CuDNN"
# Before this version gates were hard sigmoids where nothing else was said.
SIGMOID_SINCE = (2, 3)
_WAYS = ("forward", "backward")


def _recurrent(layer: Layer) -> Made:
    """Return a layer of one cell."""
    return _one_way(layer, [_cell(layer)])


def _rnn(layer: Layer) -> Made:
    """Return a layer of any cell, or of several, each of which takes what the one below gives."""
    inner = layer.within("cell", "cell")
    if inner.kind != "StackedRNNCells":
        return _one_way(layer, [_cell(inner)])
    inners = inner.settings.inners("cells")
    places = inner.place.cells(
        [kind for kind, _ in inners],
        [settings.truth("trainable", True) for _, settings in inners],
    )
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
    masked, sequences = layer.flow.masked, backward.settings.truth("return_sequences")
    if masked and sequences and backward.settings.truth("unroll"):
        what = f"unroll of the backward layer over the mask of {shown(masked)} is not run here"
        raise InputError("", f"{what}: Keras takes that mask in the wrong direction")
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
    kind = layer.kind.removesuffix("Cell")
    if kind not in _CELLS:
        raise InputError("", f"{shown(layer.kind)} is not run here")
    cell, packed = _CELLS[kind], kind.startswith(_CUDNN)
    known = _known(cell, layer.settings, packed=packed)
    bias = "b_xr" if known.get("reset") == "after" else "b_h"
    names = _arrays(layer, packed=packed)
    H = layer.arrays.size(names[1], 0)
    if H and layer.settings.get("units", H) != H:
        what = f"units {layer.settings.get('units')!s:.40}, {shown(names[1])} has {H} rows"
        raise InputError("", what)
    if kind != layer.kind:
        layer.settings.check_rest()
    return CellSpec(dict(zip(("W_xh", "W_hh", bias), names, strict=False)), cell, known)


def _known(cell: str, settings: Settings, *, packed: bool) -> dict[str, Any]:
    """Return the settings of a cell; those of cuDNN are the usual ones."""
    known: dict[str, Any] = {"clip": inf, "activation": settings.activation("activation", "tanh")}
    if cell != "rnn":
        hard = not packed and settings.version < SIGMOID_SINCE
        default = "hard_sigmoid" if hard else "sigmoid"
        known["recurrent_activation"] = settings.activation("recurrent_activation", default)
    if cell == "gru":
        after = packed or settings.truth("reset_after", settings.version >= (3,))
        known["reset"] = "after" if after else "before"
    return known


def _arrays(layer: Layer, *, packed: bool) -> list[str]:
    """Name the kernel, the recurrent kernel and the bias of a cell, as far as it has them."""
    settings, arrays, place = layer.settings, layer.arrays, layer.place
    if layer.kind in _CELLS and not packed:
        place = place.inside("cell")
    names = place.take(2 + (packed or settings.truth("use_bias", True)))
    if packed:
        cell = _CELLS[layer.kind]
        return [arrays.derive(each) for each in of_cudnn(cell, names, arrays.entries)]
    return names


MAKERS: dict[str, Maker] = {
    **dict.fromkeys(_CELLS, _recurrent),
    "RNN": _rnn,
    "Bidirectional": _bidirectional,
}
