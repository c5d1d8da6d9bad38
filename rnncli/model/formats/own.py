"""The text in our own files: what the weights of a network do not say.

It is JSON, ``{"format": 1, "layers": [{"direction": "forward", "merge":
"concat", "cells": [{"activation": "tanh", "clip": null}]}]}``: a layer for each
in the file, with the arguments of its class and of its cells; null for no
clip. Cells but the vanilla one say which they are, ``"cell": "lstm"``. A layer
without state is ``{"layer": "dense", "activation": "softmax"}``. Where there is
one of these, the whole has the names of all arrays, ``"arrays": [...]``. A
model that gives one row a sequence has `Network.last`, ``"last": "state"``.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from math import inf
from typing import Any

from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, RNN
from rnncli.model.errors import InputError, choice, listed, one_line, shown
from rnncli.model.formats.found import CellDraft, Draft, convert_setting
from rnncli.model.layers import DIRECTIONS, LAYERS, MERGES, Layer, Stateless, name_of
from rnncli.model.network import LAST, Network

_FORMAT = 1


def write_text(network: Network, names: Iterable[str]) -> str:
    """Write what the weights of a network, under such names, do not say."""
    layers = network.layers
    whole = {"format": _FORMAT, "layers": [_describe(layer) for layer in layers]}
    if network.last:
        whole["last"] = network.last
    if not all(layer.cells and all(isinstance(c, RNN) for c in layer.cells) for layer in layers):
        whole["arrays"] = list(names)
    return json.dumps(whole)


def read_json(place: str, text: str, form: int = _FORMAT) -> dict[str, Any]:
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


def read_layers(
    place: str, text: str, names: Iterable[str], layers: Sequence[Draft | Mapping[str, Floats]]
) -> tuple[list[Draft | Stateless], str | None]:
    """Make the layers of our own file: recurrent ones complete, the others of their arrays.

    `names` are those of the arrays in the file, `layers` what these names
    tell. Return the layers and `Network.last`.
    """
    about = read_json(place, text)
    told, arrays, last = about.get("layers"), about.get("arrays", []), about.get("last")
    if not isinstance(told, list) or not all(isinstance(each, dict) for each in told):
        raise InputError(place, f"layers: expected a list of objects, got {told!r:.40}")
    if not isinstance(arrays, list):
        raise InputError(place, f"arrays: expected a list of names, got {arrays!r:.40}")
    missing = {*map(str, arrays)} - {*names}
    if missing:
        raise InputError(place, f"the file has no {listed(missing)}, which rnn wrote into it")
    # Layers without arrays may stand above the last one with some.
    above = [each for each in told[len(layers) :] if "layer" in each]
    layers = [*layers, *({} for _ in above)]
    if len(told) != len(layers):
        what = f"layers: expected {len(layers)}, as many as in the file, got {len(told)}"
        raise InputError(place, what)
    if last is not None:
        choice(f"{place}: last", str(last), LAST)
    made = [
        _complete(f"{place}: layer {number}", layer, each)
        for number, (layer, each) in enumerate(zip(layers, told, strict=True), start=1)
    ]
    return made, last


def _describe(layer: Layer) -> dict[str, Any]:
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


def _complete(
    place: str, layer: Draft | Mapping[str, Floats], told: Mapping[str, Any]
) -> Draft | Stateless:
    """Complete a layer by what the text tells of it."""
    kind = str(told.get("layer", "recurrent"))
    try:
        if isinstance(layer, Draft) != (kind == "recurrent"):
            other = "a recurrent layer" if isinstance(layer, Draft) else "a layer without state"
            raise ValueError(f"{kind}, the file's arrays are of {other}")
        return _recurrent(layer, told) if isinstance(layer, Draft) else _other(kind, layer, told)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise InputError(place, one_line(error)) from error


def _other(kind: str, arrays: Mapping[str, Floats], told: Mapping[str, Any]) -> Stateless:
    made = choice("layer", kind, LAYERS)
    parameters = signature(made).parameters
    required = {name for name in made.array_names if parameters[name].default is not None}
    if not required <= arrays.keys() <= {*made.array_names}:
        raise ValueError(f"{kind} of {listed(required)}, the file has {listed(arrays)} of it")
    names = [name for name in parameters if name not in made.array_names]
    return made(**arrays, **_settings(kind, told, names))


def _recurrent(layer: Draft, told: Mapping[str, Any]) -> Draft:
    direction, merge = str(told.get("direction")), str(told.get("merge"))
    choice("direction", direction, DIRECTIONS)
    choice("merge", merge, MERGES)
    if layer.settings.get("direction", direction) != direction:
        raise ValueError(f"{direction}, the file's arrays are of {layer.settings['direction']}")
    cells = told.get("cells")
    if not isinstance(cells, list) or [type(each) for each in cells] != [dict] * len(layer.cells):
        raise ValueError(f"cells: expected a list of {len(layer.cells)}, got {cells!r:.40}")
    completed = map(_complete_cell, layer.cells, cells)
    return Draft(tuple(completed), {"direction": direction, "merge": merge})


def _complete_cell(cell: CellDraft, told: Mapping[str, Any]) -> CellDraft:
    kind = str(told.get("cell", "rnn"))
    if kind != cell.kind:
        raise ValueError(f"cell {kind}, the file's arrays are of {cell.kind}")
    if "b_h" not in cell.names and not cell.biases:
        raise ValueError(f"{shown(cell.names['W_xh'])} has no bias, which rnn writes always")
    found = _settings(kind, told, CELLS[kind].setting_names)
    settings = {name: convert_setting(kind, name, value) for name, value in found.items()}
    if cell.settings.get("reset") not in (None, settings.get("reset")):
        raise ValueError(f"reset {settings['reset']}, the file's arrays are of reset after")
    return cell._replace(settings=settings, assumed={})


def _settings(kind: str, told: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return all settings of a cell or a layer."""
    names = list(names)
    # A setting that is off does nothing.
    unknown = {name for name, value in told.items() if value is not False}
    unknown -= {*names, "cell", "layer"}
    if unknown:
        raise ValueError(f"{listed(sorted(unknown))}: no setting of {kind}")
    missing = [name for name in names if told.get(name) is None and name != "clip"]
    if missing:
        raise ValueError(f"{listed(missing)}: expected a value")
    settings = {name: told.get(name) for name in names}
    if not isinstance(settings.get("mask_zero", False), bool):
        raise ValueError("mask_zero: expected true or false")
    return settings | ({"clip": inf} if settings.get("clip", 0) is None else {})
