"""What our own files say beside their arrays, as JSON text.

In a weight file: ``{"format": 1, "layers": [{"direction": "bidirectional",
"merge": "concat", "cells": [{"activation": "tanh", "clip": null}, ...]},
...]}``, the bottom layer and the forward cell first; null is no clip. Cells
but the vanilla one say which they are, ``"cell": "lstm"``. A layer without
state is ``{"layer": "dense", "activation": "softmax"}``. Where there is one of
these, the whole has the names of all arrays, ``"arrays": [...]``. A model that
gives one row a sequence has `Network.last` there, ``"last": "state"``.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Any, TypeAlias

from rnncli.model.activations import Activation, parse
from rnncli.model.cells import CELLS, RNN
from rnncli.model.cells.gru import RESETS
from rnncli.model.errors import InputError, choice, listed, one_line, shown
from rnncli.model.formats.spec import CellSpec, LayerSpec
from rnncli.model.formats.tensors import Tensors
from rnncli.model.layers import (
    DIRECTIONS,
    LAYERS,
    MERGES,
    Layer,
    RowActivation,
    name_of,
    row_activation,
)
from rnncli.model.network import LAST, Network

_FORMAT = 1

# read(name, value): a setting as a cell or a layer takes it; ValueError where it is none.
_Reader: TypeAlias = Callable[[str, Any], Any]


def metadata_text(network: Network, names: Iterable[str]) -> str:
    """Return what the weights of a network, under such names, do not say."""
    layers = network.layers
    whole = {"format": _FORMAT, "layers": [_described(layer) for layer in layers]}
    if network.last:
        whole["last"] = network.last
    if not all(layer.cells and all(isinstance(c, RNN) for c in layer.cells) for layer in layers):
        whole["arrays"] = list(names)
    return json.dumps(whole)


def with_metadata(
    tensors: Tensors, layers: Sequence[LayerSpec]
) -> tuple[Sequence[LayerSpec], str | None]:
    """Complete the layers that names tell of with the file's own metadata, if it has any.

    Return them and `Network.last`.
    """
    if tensors.metadata is None:
        return layers, None
    place, text = tensors.metadata
    about = read_json(place, text, _FORMAT)
    _check_arrays(tensors, place, about.get("arrays", []))
    found = about.get("layers")
    if isinstance(found, list):  # above those that have arrays
        above = found[len(layers) :]
        if all(isinstance(each, dict) and "layer" in each for each in above):
            layers = [*layers, *(LayerSpec() for _ in above)]
    if not isinstance(found, list) or len(found) != len(layers):
        got = len(found) if isinstance(found, list) else "no list"
        raise InputError(
            place, f"layers: expected {len(layers)}, as many as in the file, got {got}"
        )
    for cell in (cell for layer in layers for cell in layer.cells):
        if not any(role.startswith("b_") for role in cell.tensors):
            what = "has no bias beside it, which rnn writes always"
            raise InputError(tensors.place(cell.tensors["W_xh"]), what)
    last = about.get("last")
    if last is not None:
        choice(f"{place}: last", str(last), LAST)
    return [
        _completed(f"{place}: layer {number}", layer, each)
        for number, (layer, each) in enumerate(zip(layers, found, strict=True), start=1)
    ], last


def _check_arrays(tensors: Tensors, place: str, arrays: Any) -> None:
    """Check that the file still has all arrays that were written into it."""
    if not isinstance(arrays, list) or not all(isinstance(name, str) for name in arrays):
        raise InputError(place, f"arrays: expected a list of names, got {arrays!r:.40}")
    for name in arrays:
        if name not in tensors.entries:
            raise InputError(tensors.path, f"has no {shown(name)}, which rnn wrote into it")


def read_json(place: str, text: str, form: int) -> dict[str, Any]:
    """Read an object of JSON text that says which format it has."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(place, f"not JSON text: {one_line(error)}") from error
    if not isinstance(found, dict) or "format" not in found:
        raise InputError(place, f"expected what rnn writes there, got {text[:40]!r}")
    if found["format"] != form:
        raise InputError(place, f"of format {found['format']!r:.40}, expected {form}")
    return found


def _described(layer: Layer) -> dict[str, Any]:
    settings = _plain(layer.settings)
    if not layer.cells:
        return {"layer": name_of(layer)} | settings
    cells = [
        ({} if isinstance(cell, RNN) else {"cell": name_of(cell)}) | _plain(cell.settings)
        for cell in layer.cells
    ]
    return settings | {"cells": cells}


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    texts = {n: str(value) for n, value in settings.items() if isinstance(value, Activation)}
    return {name: None if value == inf else value for name, value in settings.items()} | texts


def _completed(place: str, layer: LayerSpec, found: Any) -> LayerSpec:
    if "layer" in _object(place, found):
        return _completed_stateless(place, layer, found)
    direction, merge, cells = (found.get(name) for name in ("direction", "merge", "cells"))
    if layer.tensors:
        raise InputError(place, f"a recurrent layer has no {listed(layer.tensors)}, the file does")
    directions = choice(f"{place}: direction", str(direction), DIRECTIONS)
    choice(f"{place}: merge", str(merge), MERGES)
    in_names = layer.settings.get("direction")
    if in_names not in (None, direction) or len(directions) != len(layer.cells):
        got = in_names or ("one direction" if layer.cells else "no cell")
        raise InputError(place, f"{direction}, the file's tensors are of {got}")
    if not isinstance(cells, list) or len(cells) != len(layer.cells):
        what = f"cells: expected a list of {len(layer.cells)}, got {cells!r:.40}"
        raise InputError(place, what)
    completed = (
        _completed_cell(place, cell, _object(place, each))
        for cell, each in zip(layer.cells, cells, strict=True)
    )
    return LayerSpec(tuple(completed), {"direction": str(direction), "merge": str(merge)})


def _completed_stateless(place: str, layer: LayerSpec, found: dict[str, Any]) -> LayerSpec:
    kind = str(found["layer"])
    required, readers = choice(f"{place}: layer", kind, _STATELESS)
    if layer.cells:
        raise InputError(place, f"{kind}, the file's tensors are of a recurrent layer")
    missing = set(required) - layer.tensors.keys()
    if missing:
        raise InputError(place, f"{kind}, the file has no {listed(sorted(missing))} of it")
    others = layer.tensors.keys() - set(LAYERS[kind].array_names)
    if others:
        raise InputError(place, f"{kind} has no {listed(sorted(others))}, the file does")
    return layer._replace(kind=kind, settings=_settings(place, kind, found, readers))


def _completed_cell(place: str, cell: CellSpec, found: dict[str, Any]) -> CellSpec:
    kind = str(found.get("cell", "rnn"))
    choice(f"{place}: cell", kind, CELLS)
    if cell.cell not in ("", kind):
        raise InputError(place, f"cell {kind}, the file's tensors are of {cell.cell}")
    readers = {name: _CELLS[name] for name in CELLS[kind].setting_names}
    settings = _settings(place, kind, found, readers)
    known = cell.settings.get("reset")
    if known not in (None, settings.get("reset")):
        what = f"reset {settings['reset']}, the file's tensors are of reset {known}"
        raise InputError(place, what)
    return cell._replace(cell=kind, settings=settings)


def _settings(
    place: str, kind: str, found: dict[str, Any], readers: Mapping[str, _Reader]
) -> dict[str, Any]:
    # A setting that is off does nothing.
    on = {name for name, value in found.items() if value is not False}
    unknown = on - readers.keys() - {"cell", "layer"}
    if unknown:
        raise InputError(place, f"{listed(sorted(unknown))}: no setting of {kind}")
    try:
        return {name: read(name, found.get(name)) for name, read in readers.items()}
    except ValueError as error:
        raise InputError(place, one_line(error)) from error


def _object(place: str, found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise InputError(place, f"expected an object, got {found!r:.40}")
    return found


def _activation(name: str, found: Any) -> Activation:
    try:
        return parse(str(found))
    except ValueError as error:
        raise ValueError(f"{name}{str(error).removeprefix('activation')}") from None


def _row_activation(name: str, found: Any) -> RowActivation:  # noqa: ARG001 - as all readers
    return row_activation(str(found))


def _clip(name: str, found: Any) -> float:
    if found is None:
        return inf
    if type(found) not in (int, float) or not 0 < found <= sys.float_info.max:
        raise ValueError(f"{name}: expected null or a number over 0, got {found!r:.40}")
    return float(found)


def _number(name: str, found: Any) -> float:
    if type(found) not in (int, float) or not abs(found) <= sys.float_info.max:
        raise ValueError(f"{name}: expected a finite number, got {found!r:.40}")
    return float(found)


def _size(name: str, found: Any) -> int:
    if type(found) is not int or not 0 < found <= sys.maxsize:
        raise ValueError(f"{name}: expected a whole number over 0, got {found!r:.40}")
    return found


def _reset(name: str, found: Any) -> str:
    return choice(name, str(found), dict.fromkeys(RESETS, str(found)))


def _truth(name: str, found: Any) -> bool:
    if not isinstance(found, bool):
        raise ValueError(f"{name}: expected true or false, got {found!r:.40}")
    return found


# What reads each setting of cells.
_CELLS: dict[str, _Reader] = {
    "activation": _activation,
    "recurrent_activation": _activation,
    "output_activation": _activation,
    "clip": _clip,
    "reset": _reset,
}
# The arrays that a layer without state must have, and what reads its settings.
_STATELESS: dict[str, tuple[tuple[str, ...], dict[str, _Reader]]] = {
    "dense": (("W",), {"activation": _row_activation}),
    "embedding": (("W",), {"mask_zero": _truth}),
    "normalization": (("center", "scale"), {}),
    "layer_normalization": (("factor",), {"epsilon": _number}),
    "activation": ((), {"activation": _row_activation, "size": _size}),
    "masking": ((), {"value": _number, "size": _size}),
}
