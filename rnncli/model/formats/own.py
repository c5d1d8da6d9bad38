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
from rnncli.model.formats.found import CellDraft, Draft
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
    if not isinstance(arrays, list) or not {*map(str, arrays)} <= {*names}:
        missing = listed({*map(str, arrays)} - {*names}) if isinstance(arrays, list) else "them"
        raise InputError(place, f"the file has no {missing}, which rnn wrote into it")
    # Layers without arrays may stand above the last one with some.
    above = [each for each in told[len(layers) :] if "layer" in each]
    layers = [*layers, *({} for _ in above)]
    if len(told) != len(layers):
        what = f"layers: expected {len(layers)}, as many as in the file, got {len(told)}"
        raise InputError(place, what)
    if last is not None:
        choice(f"{place}: last", str(last), LAST)
    made: list[Draft | Stateless] = []
    for number, (layer, each) in enumerate(zip(layers, told, strict=True), start=1):
        where = f"{place}: layer {number}"
        try:
            made.append(_complete(layer, each))
        except InputError:
            raise
        except (ArithmeticError, TypeError, ValueError) as error:
            raise InputError(where, one_line(error)) from error
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


def _complete(layer: Draft | Mapping[str, Floats], told: Mapping[str, Any]) -> Draft | Stateless:
    """Complete a layer by what the text tells of it; raise ValueError where the two differ."""
    if isinstance(layer, Draft) != ("layer" not in told):
        raise ValueError("one of the text and of the file's arrays is a recurrent layer")
    if not isinstance(layer, Draft):
        kind = str(told["layer"])
        made = choice("layer", kind, LAYERS)
        names = [name for name in signature(made).parameters if name not in made.array_names]
        return made(**layer, **_settings(kind, told, names))
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
    settings = _settings(kind, told, CELLS[kind].setting_names)
    if cell.settings.get("reset") not in (None, settings.get("reset")):
        raise ValueError(f"reset {settings['reset']}, the file's arrays are of reset after")
    return cell._replace(settings=settings, assumed={})


def _settings(kind: str, told: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return all settings of a cell or a layer."""
    names = list(names)
    # A setting that is off does nothing.
    unknown = {name for name, value in told.items() if value is not False} - {*names}
    if unknown - {"cell", "layer"}:
        raise ValueError(f"{listed(sorted(unknown))}: no setting of {kind}")
    missing = [name for name in names if name not in told]
    if missing:
        raise ValueError(f"{listed(missing)}: expected a value")
    settings = {name: told[name] for name in names}
    if not isinstance(settings.get("mask_zero", False), bool):
        raise ValueError("mask_zero: expected true or false")
    return settings | ({"clip": inf} if settings.get("clip", 0) is None else {})
