"""What our own files say beside their arrays, as JSON text.

In a weight file: ``{"format": 1, "layers": [{"direction": "bidirectional",
"merge": "concat", "cells": [{"activation": "tanh", "clip": null}, ...]},
...]}``, the bottom layer and the forward cell first; null is no clip. Cells
but the vanilla one say which they are, ``"cell": "lstm"``, and then the whole
has the names of all arrays, ``"arrays": [...]``.
"""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Any

from rnncli.model.activations import Activation, parse
from rnncli.model.cells import CELLS, RNN, Cell
from rnncli.model.cells.gru import RESETS
from rnncli.model.errors import InputError, choice, listed, one_line, shown
from rnncli.model.formats.spec import CellSpec, LayerSpec, default_settings, kind_of
from rnncli.model.formats.tensors import Tensors
from rnncli.model.layers import DIRECTIONS, MERGES, Recurrent

_FORMAT = 1


def metadata_text(layers: Sequence[Recurrent], names: Iterable[str]) -> str:
    """Return what the weights of layers, under such names, do not say."""
    described = [
        {**layer.settings, "cells": [_described(cell) for cell in layer.cells]} for layer in layers
    ]
    vanilla = all(isinstance(cell, RNN) for layer in layers for cell in layer.cells)
    arrays = {} if vanilla else {"arrays": list(names)}
    return json.dumps({"format": _FORMAT, "layers": described} | arrays)


def with_metadata(tensors: Tensors, layers: Sequence[LayerSpec]) -> Sequence[LayerSpec]:
    """Complete the layers that names tell of with the file's own metadata, if it has any.

    Raises
    ------
    InputError
        The text is damaged, of another format, or of another network.
    """
    if tensors.metadata is None:
        return layers
    place, text = tensors.metadata
    about = read_json(place, text, _FORMAT)
    found, arrays = about.get("layers"), about.get("arrays", [])
    if not isinstance(arrays, list) or not all(isinstance(name, str) for name in arrays):
        raise InputError(place, f"arrays: expected a list of names, got {arrays!r:.40}")
    for name in arrays:
        if name not in tensors.entries:
            raise InputError(tensors.path, f"has no {shown(name)}, which rnn wrote into it")
    if not isinstance(found, list) or len(found) != len(layers):
        got = len(found) if isinstance(found, list) else "no list"
        raise InputError(
            place, f"layers: expected {len(layers)}, as many as in the file, got {got}"
        )
    for cell in (cell for layer in layers for cell in layer.cells):
        if not any(role.startswith("b_") for role in cell.tensors):
            what = "has no bias beside it, which rnn writes always"
            raise InputError(tensors.place(cell.tensors["W_xh"]), what)
    return [
        _completed(f"{place}: layer {number}", layer, each)
        for number, (layer, each) in enumerate(zip(layers, found, strict=True), start=1)
    ]


def read_json(place: str, text: str, form: int) -> dict[str, Any]:
    """Read an object of JSON text that says which format it has.

    Raises
    ------
    InputError
        It is none, or of another format.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(place, f"not JSON text: {one_line(error)}") from error
    if not isinstance(found, dict) or "format" not in found:
        raise InputError(place, f"expected what rnn writes there, got {text[:40]!r}")
    if found["format"] != form:
        raise InputError(place, f"of format {found['format']!r:.40}, expected {form}")
    return found


def _described(cell: Cell) -> dict[str, Any]:
    settings = {name: _plain(value) for name, value in cell.settings.items()}
    return settings if isinstance(cell, RNN) else {"cell": kind_of(cell, CELLS)} | settings


def _plain(setting: Any) -> Any:
    if isinstance(setting, Activation):
        return str(setting)
    return None if setting == inf else setting


def _completed(place: str, layer: LayerSpec, found: Any) -> LayerSpec:
    direction, merge, cells = (
        _object(place, found).get(n) for n in ("direction", "merge", "cells")
    )
    directions = choice(f"{place}: direction", str(direction), DIRECTIONS)
    choice(f"{place}: merge", str(merge), MERGES)
    in_names = layer.settings.get("direction")
    if in_names not in (None, direction) or len(directions) != len(layer.cells):
        got = in_names or "one direction"
        raise InputError(place, f"{direction}, the file's tensors are of {got}")
    if not isinstance(cells, list) or len(cells) != len(layer.cells):
        what = f"cells: expected a list of {len(layer.cells)}, got {cells!r:.40}"
        raise InputError(place, what)
    completed = (
        _completed_cell(place, cell, _object(place, each))
        for cell, each in zip(layer.cells, cells, strict=True)
    )
    return LayerSpec(tuple(completed), {"direction": str(direction), "merge": str(merge)})


def _completed_cell(place: str, cell: CellSpec, found: dict[str, Any]) -> CellSpec:
    kind = str(found.get("cell", "rnn"))
    choice(f"{place}: cell", kind, CELLS)
    if cell.cell not in ("", kind):
        raise InputError(place, f"cell {kind}, the file's tensors are of {cell.cell}")
    names = default_settings(kind).keys()
    unknown = found.keys() - names - {"cell"}
    if unknown:
        raise InputError(place, f"{listed(sorted(unknown))}: no setting of {kind}")
    try:
        settings = {name: _READ[name](name, found.get(name)) for name in names}
    except ValueError as error:
        raise InputError(place, one_line(error)) from error
    reset = settings.get("reset")
    if cell.settings.get("reset", reset) != reset:
        raise InputError(
            place, f"reset {reset}, the file's tensors are of reset {cell.settings['reset']}"
        )
    return cell._replace(cell=kind, settings=settings)


def _object(place: str, found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise InputError(place, f"expected an object, got {found!r:.40}")
    return found


def _activation(name: str, found: Any) -> Activation:
    try:
        return parse(str(found))
    except ValueError as error:
        raise ValueError(f"{name}{str(error).removeprefix('activation')}") from None


def _clip(name: str, found: Any) -> float:
    if found is None:
        return inf
    if type(found) not in (int, float) or not 0 < found <= sys.float_info.max:
        raise ValueError(f"{name}: expected null or a number over 0, got {found!r:.40}")
    return float(found)


def _reset(name: str, found: Any) -> str:
    return choice(name, str(found), dict.fromkeys(RESETS, str(found)))


def _truth(name: str, found: Any) -> bool:
    if not isinstance(found, bool):
        raise ValueError(f"{name}: expected true or false, got {found!r:.40}")
    return found


_READ: dict[str, Callable[[str, Any], Any]] = {
    "activation": _activation,
    "recurrent_activation": _activation,
    "output_activation": _activation,
    "clip": _clip,
    "reset": _reset,
    "input_forget": _truth,
}
