"""Our own files: NumPy's ``.npz`` under our names, and the text of what weights do not say.

The arrays are ``W_xh``, ``W_hh`` and ``b_h``, or ``layer_1.forward.W_xh`` and so on; those of a
layer without state ``layer_2.W``. The text is JSON, ``{"format": 1, "layers": [{"direction":
"forward", "merge": "concat", "cells": [{"activation": "tanh", "clip": null}]}]}``: a layer for
each in the file, with the arguments of its class and of its cells; null for no clip. Cells but the
vanilla one say which they are, ``"cell": "lstm"``. A layer without state is ``{"layer": "dense",
"activation": "softmax"}``. Where there is one of these, the whole has the names of all arrays,
``"arrays": [...]``. A model that gives one row a sequence has `Network.last`, ``"last": "state"``.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN, Weights
from rnncli.model.errors import InputError, choice, listed, one_line
from rnncli.model.formats.containers.zips import MOST_MEMBERS, read_archive
from rnncli.model.formats.found import (
    CellDraft,
    Draft,
    Found,
    Part,
    convert_setting,
    find_kind,
    read_floats,
)
from rnncli.model.layers import LAYERS, Layer, Stateless, name_of
from rnncli.model.network import LAST, Network

# The array of text, and its most bytes: enough for 9,999 layers.
_TEXT, _TEXT_MOST = "about", 4 * 2**20
_FORMAT = 1
_WRONG = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_ROLES = {*Weights._fields, *(name for each in LAYERS.values() for name in each.array_names)}
_NAME = re.compile(
    rf"(?:layer_([1-9][0-9]{{0,3}})\.(?:(forward|backward)\.)?)?({'|'.join(sorted(_ROLES))})"
)
# A layer without state is told by its arrays.
_Named = Draft | dict[str, Floats]


def read(data: bytes, path: str) -> Found:
    """Read an ``.npz`` file."""
    arrays = read_archive(data, path)
    text = arrays.pop(_TEXT, None)
    # The names of arrays by role, in each layer and direction.
    names: dict[int, dict[str, dict[str, str]]] = {}
    for match in filter(None, map(_NAME.fullmatch, arrays)):
        ways = names.setdefault(int(match[1] or 1), {})
        ways.setdefault(match[2] or "", {})[match[3]] = match[0]
    layers: list[Any] = [
        _read_layer(path, arrays, names.get(n + 1, {})) for n in range(max(names, default=0))
    ]
    count, last = sum(len(way) for ways in names.values() for way in ways.values()), None
    if text is not None:
        if {"t", "h"} <= arrays.keys():
            raise InputError(path, "expected weights, got a state that rnn run wrote")
        if text.dtype.kind != "U" or text.nbytes > _TEXT_MOST or count < len(arrays):
            what = f"expected text of all arrays, got {text.dtype} of {listed(arrays)}"
            raise InputError(f"{path}: {_TEXT}", what)
        layers, last = read_layers(f"{path}: {_TEXT}", str(text), arrays, layers)
    elif count < len(arrays) or not all(isinstance(layer, Draft) for layer in layers):
        from rnncli.model.formats.names import find_arrays  # 5 ms that our own files do not need

        return find_arrays(arrays, path)
    parts = []
    for number, layer in enumerate(layers, start=1):
        own = [name for way in names.get(number, {}).values() for name in way.values()]
        kind = layer.cells[0].kind if layer.cells else name_of(layer)
        parts.append(Part(f"layer_{number}", kind, {name: arrays[name] for name in own}, [layer]))
    return Found(parts, last=last)


def _read_layer(
    path: str, arrays: Mapping[str, NDArray[Any]], ways: Mapping[str, Mapping[str, str]]
) -> _Named:
    """Read a layer whose arrays are named by direction and role."""
    if not ways or (ways.keys() == {""} and not {"W_xh", "W_hh"} & ways[""].keys()):
        return {r: read_floats(path, n, arrays[n]) for r, n in ways.get("", {}).items()}
    order, cells = tuple(sorted(ways, reverse=True)), []  # forward first
    for names in map(ways.__getitem__, order):
        if "" in order[1:] or not {"W_xh", "W_hh"} <= names.keys() <= {*Weights._fields}:
            raise InputError(path, f"expected W_xh, W_hh and b_h, got {listed(names.values())}")
        weights = {role: read_floats(path, name, arrays[name]) for role, name in names.items()}
        W_hh = weights["W_hh"]
        kind = find_kind(path, W_hh, names)
        weights.setdefault("b_h", np.zeros(W_hh.shape[1], W_hh.dtype))
        # Only a GRU that resets after the product has this bias.
        settings = {"reset": "after"} if "b_n" in names else {}
        cells.append(CellDraft(kind, Weights(**weights), settings, names=names))
    direction = "bidirectional" if len(cells) == 2 else order[0]
    return Draft(tuple(cells), {"direction": direction} if direction else {})


def save_model(file: BinaryIO, network: Network) -> list[str]:
    """Write layers as an uncompressed ``.npz`` file; those of a single cell by the short names."""
    arrays: dict[str, Any] = {}
    layers = network.layers
    for number, layer in enumerate(layers, start=1):
        arrays |= {f"layer_{number}.{name}": array for name, array in layer.arrays.items()}
        for direction, cell in zip(layer.directions, layer.cells, strict=True):
            stem = f"layer_{number}.{direction}." if len(layers) + len(layer.cells) > 2 else ""
            arrays |= {f"{stem}{name}": array for name, array in cell.weights.arrays.items()}
    if len(arrays) >= MOST_MEMBERS:
        what = f"expected under {MOST_MEMBERS:,} arrays in an .npz file, got {len(arrays):,}"
        raise InputError("", what, "write .safetensors")
    np.savez(file, **{_TEXT: np.array(write_text(network, arrays)), **arrays})
    return []


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
    place: str, text: str, names: Iterable[str], layers: Sequence[_Named]
) -> tuple[list[Draft | Stateless], str | None]:
    """Complete the layers that names of arrays tell by the text; return `Network.last` too."""
    path = place.rpartition(": ")[0]
    try:
        about = json.loads(text)
        told, last = about["layers"], about.get("last")
        missing = {*map(str, about.get("arrays", []))} - {*names}
        if about["format"] != _FORMAT or missing:
            raise ValueError(f"expected format {_FORMAT} of arrays, without {listed(missing)}")
        if last is not None:
            choice("last", str(last), LAST)
        # Layers without arrays may stand above the last one with some.
        layers = [*layers, *({} for each in told[len(layers) :] if "layer" in each)]
        made = [_complete(path, layer, each) for layer, each in zip(layers, told, strict=True)]
    except InputError:
        raise
    except _WRONG as error:
        raise InputError(place, f"not what rnn writes: {one_line(error)}") from error
    return made, last


def _complete(path: str, layer: _Named, told: Mapping[str, Any]) -> Draft | Stateless:
    """Fill in the settings of a layer, all of which the text must hold."""
    given = {name: value for name, value in told.items() if name not in ("layer", "cells")}
    made: Draft | Stateless
    if isinstance(layer, Draft):
        cells = []
        for cell, each in zip(layer.cells, told["cells"], strict=True):
            settings = {n: inf if v is None else v for n, v in each.items() if n != "cell"}
            settings = {n: convert_setting(cell.kind, n, v) for n, v in settings.items()}
            cells.append(cell._replace(settings=settings, assumed={}))
        made = Draft(tuple(cells), {**given, **layer.settings})
        described = _describe(made.layer(path))
    else:
        made = choice("layer", told["layer"], LAYERS)(**layer, **given)
        described = _describe(made)
    if described != told:
        raise ValueError(f"expected {described!r:.300}, got {told!r:.300}")
    return made


def _describe(layer: Layer) -> dict[str, Any]:
    if not layer.cells:
        return {"layer": name_of(layer)} | _plain(layer.settings)
    cells = [
        ({} if isinstance(cell, RNN) else {"cell": name_of(cell)}) | _plain(cell.settings)
        for cell in layer.cells
    ]
    return _plain(layer.settings) | {"cells": cells}


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    texts = {n: str(value) for n, value in settings.items() if isinstance(value, Activation)}
    return {name: None if value == inf else value for name, value in settings.items()} | texts
