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
from math import inf
from typing import Any

from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN
from rnncli.model.errors import InputError, choice, listed, one_line, shown
from rnncli.model.formats.found import Draft, convert_setting
from rnncli.model.layers import LAYERS, Layer, Stateless, name_of
from rnncli.model.network import LAST, Network

_FORMAT = 1
_WRONG = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def write_text(network: Network, names: Iterable[str]) -> str:
    """Write what the weights of a network, under such names, do not say."""
    layers = network.layers
    whole = {"format": _FORMAT, "layers": [_describe(layer) for layer in layers]}
    if network.last:
        whole["last"] = network.last
    if not all(layer.cells and all(isinstance(c, RNN) for c in layer.cells) for layer in layers):
        whole["arrays"] = list(names)
    return json.dumps(whole)


def read_layers(
    place: str, text: str, names: Iterable[str], layers: Sequence[Draft | Mapping[str, Floats]]
) -> tuple[list[Draft | Stateless], str | None]:
    """Complete the layers that names of arrays tell; return `Network.last` too.

    A layer without state comes as its arrays.
    """
    path, whole = place.rpartition(": ")[0], place
    try:
        about = json.loads(text)
        if not isinstance(about, dict) or about.get("format") != _FORMAT:
            raise ValueError(f"expected an object of format {_FORMAT}, got {text[:40]!r}")
        told, last = about["layers"], about.get("last")
        if missing := {*map(str, about.get("arrays", []))} - {*names}:
            raise ValueError(f"the file has no {listed(missing)}, which rnn wrote into it")
        # Layers without arrays may stand above the last one with some.
        layers = [*layers, *({} for each in told[len(layers) :] if "layer" in each)]
        if last is not None:
            choice("last", str(last), LAST)
        made: list[Draft | Stateless] = []
        for layer, each in zip(layers, told, strict=True):
            place = f"{whole}: layer {len(made) + 1}"
            if isinstance(layer, Draft):
                made.append(_complete_draft(path, layer, each))
            else:
                made.append(_make_stateless(layer, each))
    except InputError:
        raise
    except _WRONG as error:
        raise InputError(place, f"not what rnn writes: {one_line(error)}") from error
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


def _complete_draft(path: str, layer: Draft, told: Mapping[str, Any]) -> Draft:
    cells = []
    for cell, each in zip(layer.cells, told["cells"], strict=True):
        if "b_h" not in cell.names and not cell.biases:
            raise ValueError(f"{shown(cell.names['W_xh'])} has no bias, which rnn writes always")
        given = {n: inf if value is None else value for n, value in each.items() if n != "cell"}
        given = {name: convert_setting(cell.kind, name, given[name]) for name in given}
        cells.append(cell._replace(settings=given, assumed={}))
    draft = Draft(tuple(cells), {name: told[name] for name in told if name != "cells"})
    _check_same(draft.layer(path), told)
    pairs = [(each.settings, cell.settings) for each, cell in zip(layer.cells, cells, strict=True)]
    for known, said in ((layer.settings, draft.settings), *pairs):
        for name in known.keys() & {"direction", "reset"}:
            if said[name] != known[name]:
                raise ValueError(f"{name} {said[name]}, the file's arrays are of {known[name]}")
    return draft


def _make_stateless(arrays: Mapping[str, Floats], told: Mapping[str, Any]) -> Stateless:
    given = {name: value for name, value in told.items() if name != "layer"}
    if not isinstance(given.get("mask_zero", False), bool):
        raise ValueError("mask_zero: expected true or false")
    made = choice("layer", str(told.get("layer")), LAYERS)(**arrays, **given)
    _check_same(made, told)
    return made


def _check_same(layer: Layer, told: Mapping[str, Any]) -> None:
    """Check that the text is what is written of a layer."""
    if _describe(layer) != told:
        raise ValueError(f"expected {_describe(layer)!r:.300}, got {told!r:.300}")
