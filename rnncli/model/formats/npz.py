"""Our own files: NumPy's ``.npz`` under our names, with the settings of layers as text.

The arrays are ``W_xh``, ``W_hh`` and ``b_h``, or ``layer_1.forward.W_xh`` and so on; a layer
without state has ``layer_2.W``. The text is JSON, ``{"format": 1, "layers": [{"direction":
"forward", "merge": "concat", "cells": [{"activation": "tanh", "clip": null}]}]}``: a layer for
each in the file, with the arguments of its class and of its cells; null for no clip. Cells but the
vanilla one say which they are, ``"cell": "lstm"``. A layer without state is ``{"layer": "dense",
"activation": "softmax"}``. Where there is one of these, the whole has the names of all arrays,
``"arrays": [...]``. A model that gives one row a sequence has `Network.last`, ``"last": "state"``.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from math import inf
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, RNN, Cell, Weights
from rnncli.model.contents import (
    Component,
    Contents,
    find_kind,
    make_cell,
    make_layer,
    read_floats,
)
from rnncli.model.errors import InputError, listed
from rnncli.model.formats.containers.zips import MOST_MEMBERS, read_archive, wrap_damage
from rnncli.model.layers import LAYERS, Layer, Recurrent, name_of
from rnncli.model.network import LAST, Network

# The array of text, and its most bytes: enough for 9,999 layers.
_TEXT, _TEXT_MOST = "about", 4 * 2**20
_FORMAT = 1
_NAME = re.compile(r"(?:layer_([1-9][0-9]{0,3})\.(?:(forward|backward)\.)?)?([A-Za-z]\w*)")


def read(data: bytes, path: str, layer: str | None, _: str = "") -> Contents:
    """Read an ``.npz`` file, or such arrays as a JSON object of lists."""
    is_json = re.match(rb"\s*\{", data)
    arrays = _read_json(data, path) if is_json else read_archive(data, path)
    text, last = arrays.pop(_TEXT, None), None
    if text is None:  # lists of whole numbers, written by hand
        arrays = {n: a.astype(float) if a.dtype == np.int64 else a for n, a in arrays.items()}
    # The names of arrays by role, in each layer and direction.
    names: dict[int, dict[str, dict[str, str]]] = {}
    roles = {*Weights._fields, *(name for each in LAYERS.values() for name in each.array_names)}
    for match in filter(None, map(_NAME.fullmatch, arrays)):
        if match[3] in roles:
            ways = names.setdefault(int(match[1] or 1), {})
            ways.setdefault(match[2] or "", {})[match[3]] = match[0]
    named = [names.get(number + 1, {}) for number in range(max(names, default=0))]
    layers: list[Any] = [_read_layer(path, arrays, ways) for ways in named]
    known = sum(len(used) for ways in named for used in ways.values()) == len(arrays)
    if text is not None:
        if text.dtype.kind != "U" or text.nbytes > _TEXT_MOST or not known:
            what = f"expected the text of a network and its arrays, got {listed(arrays)}"
            hint = "a state file goes to `state`" if "t" in arrays else ""
            raise InputError(f"{path}: {_TEXT}", what, hint)
        layers, last = read_layers(f"{path}: {_TEXT}", str(text), arrays, layers)
        for ways, each in zip(named, layers, strict=False):
            if not {*ways} <= {"", *each.directions}:
                what = f"expected the directions {listed(ways)}, got {each.settings['direction']}"
                raise InputError(f"{path}: {_TEXT}", what)
    elif not known or not all(isinstance(layer, Recurrent) for layer in layers):
        # It takes 5 ms, which our own files do not need.
        from rnncli.model.formats.mlx_flax import find_named

        return find_named(arrays, path).pick(path, layer)
    components = []
    for number, each in enumerate(layers, start=1):
        ways = names.get(number, {})
        used = {name: arrays[name] for way in ways.values() for name in way.values()}
        kind = name_of(each.cells[0] if each.cells else each)
        components.append(Component(f"layer_{number}", kind, used, [each]))
    return Contents(components, last=last).pick(path, layer)


def _read_json(data: bytes, path: str) -> dict[str, NDArray[Any]]:
    """Read a JSON object of lists of numbers as arrays."""
    try:
        arrays = {name: np.array(values) for name, values in json.loads(data).items()}
    except (ValueError, RecursionError) as error:
        what = "expected a model file, got JSON that is no object of lists such as W_xh"
        raise InputError(path, what) from error
    if {"model", "weights"} <= arrays.keys():
        what = "was written by rnn weights for other programs"
        raise InputError(path, what, "save the network as .npz to read it again")
    return arrays


def _read_layer(
    path: str, arrays: Mapping[str, NDArray[Any]], ways: Mapping[str, Mapping[str, str]]
) -> Recurrent | dict[str, Floats]:
    """Read a layer whose arrays are named by direction and role; only arrays, without state."""
    if not any(way or {"W_xh", "W_hh"} & names.keys() for way, names in ways.items()):
        return {r: read_floats(path, n, arrays[n]) for r, n in ways.get("", {}).items()}
    order, cells = sorted(ways, reverse=True), []  # forward first
    for way in order:
        names = ways[way]
        if "" in order[1:] or not {"W_xh", "W_hh"} <= names.keys() <= {*Weights._fields}:
            raise InputError(path, f"expected W_xh, W_hh and b_h, got {listed(names.values())}")
        known = {role: read_floats(path, name, arrays[name]) for role, name in names.items()}
        W_xh, W_hh = known["W_xh"], known["W_hh"]
        weights = Weights(**{"b_h": np.zeros(W_xh.shape[-1:], W_hh.dtype), **known})
        kind = find_kind(path, weights, names)
        cells.append(make_cell(path, kind, weights, {}, names))
    direction = {"direction": order[0]} if order[0] and len(cells) == 1 else {}
    return make_layer(path, cells, names, **direction)


def save_model(file: BinaryIO, network: Network) -> list[str]:
    """Write layers as an uncompressed ``.npz`` file; those of a single cell by the short names."""
    arrays, layers = dict[str, Any](), network.layers
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
    """Write the settings of a network, whose weights have these names, as text."""
    about = {"format": _FORMAT, "layers": [_describe(layer) for layer in network.layers]}
    if network.last:
        about["last"] = network.last
    if not all(layer.cells and isinstance(layer.cells[0], RNN) for layer in network.layers):
        about["arrays"] = list(names)
    return json.dumps(about)


def read_layers(
    where: str, text: str, names: Iterable[str], layers: Sequence[Recurrent | dict[str, Floats]]
) -> tuple[list[Layer], str | None]:
    """Complete layers, of which only arrays are known, by the text; return `Network.last` too."""
    complete = list[Layer]()
    with wrap_damage(where):
        about = json.loads(text)
        entries, last = about["layers"], about.get("last")
        missing = {*map(str, about.get("arrays", []))} - {*names}
        if about["format"] != _FORMAT or missing or last not in (None, *LAST):
            raise ValueError(f"expected format {_FORMAT} of arrays, without {listed(missing)}")
        # Layers without arrays may stand above the last one with some.
        for known, entry in zip_longest(layers, entries, fillvalue=dict[str, Any]()):
            settings = {n: value for n, value in entry.items() if n not in ("layer", "cells")}
            if isinstance(known, Recurrent):
                cells = []
                for cell, each in zip(known.cells, entry["cells"], strict=True):
                    kind = each.get("cell", "rnn")
                    _check_known(where, kind, CELLS)
                    values: dict[str, Any] = {n: v for n, v in each.items() if n != "cell"}
                    values |= {name: inf for name, value in values.items() if value is None}
                    cells.append(CELLS[kind](cell.weights, **values))
                layer: Layer = Recurrent(*cells, **settings)
            else:
                _check_known(where, entry["layer"], LAYERS)
                layer = LAYERS[entry["layer"]](**known, **settings)
            if _describe(layer) != entry:
                raise ValueError(f"expected {_describe(layer)!r:.300}, got {entry!r:.300}")
            complete.append(layer)
    return complete, last


def _check_known(where: str, kind: str, known: Iterable[str]) -> None:
    """Refuse a cell or a layer that another version has."""
    if kind not in known:
        what = f"has a {kind!r:.80}, which this version does not know; it knows {listed(known)}"
        raise InputError(where, what)


def _describe(item: Layer | Cell) -> dict[str, Any]:
    """Describe a layer or a cell by the arguments of its class, as JSON has them."""
    about: dict[str, Any] = {}
    if (kind := name_of(item)) not in ("", "rnn"):
        about["cell" if isinstance(item, Cell) else "layer"] = kind
    for name, value in item.settings.items():
        text = str(value) if isinstance(value, Activation) else value
        about[name] = None if value == inf else text
    if isinstance(item, Recurrent):
        about["cells"] = [_describe(cell) for cell in item.cells]
    return about
