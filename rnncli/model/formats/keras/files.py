"""Keras's files: ``.keras``, a zip archive, and HDF5, with the whole model or its weights."""

import json
import re
from typing import Any

import numpy as np

from rnncli.model.cells import WEIGHT_NAMES, Cell, Weights
from rnncli.model.contents import (
    Component,
    Contents,
    find_kind,
    make_layer,
    read_floats,
)
from rnncli.model.errors import InputError, listed, verbatim
from rnncli.model.formats.containers import hdf5
from rnncli.model.formats.containers.zips import FIRST, open_zip, read_member, wrap_damage
from rnncli.model.formats.keras import model
from rnncli.model.formats.keras.layers import CELL_OF, read_cell
from rnncli.model.formats.keras.weights import KerasFile, read_group
from rnncli.model.layers import name_of

_WEIGHTS = "model.weights.h5"
# Parsed, JSON can take twenty times as much.
_TEXT_MOST = 2 * 2**20
# The owner of a cell's arrays: its layer, the direction of a bidirectional one, and the cell.
_OWNER = re.compile(
    r"(?P<layer>.*?)(/(?P<way>forward|backward)_[^/]+)?(?<!/cells)(/([^/]*_)?cell(_\d+)?)?",
    re.DOTALL,
)
_EXPECTED = ": expected Keras's names (.../kernel, .../recurrent_kernel, ...)"
_ALONE = "holds weights alone: directions (`direction`) and activations are not in the file"


def read(data: bytes, path: str, layer: str | None, output: str) -> Contents:
    """Find the layers of a Keras file, by the model's config or by the names of arrays alone."""
    if data.startswith(FIRST):
        with open_zip(path, data) as archive:
            config, about = (
                _parse(f"{path}: {name}", read_member(path, archive, name))
                for name in ("config.json", "metadata.json")
            )
            content = read_member(path, archive, _WEIGHTS)
        arrays, attributes = hdf5.read(content, f"{path}: {_WEIGHTS}")
    else:
        arrays, attributes = hdf5.read(data, path)
        about = attributes[""]
        text = about.get("model_config")
        config = _parse(f"{path}: model_config", text) if isinstance(text, str) else {}
    group, writer = read_group(arrays, attributes), str(about.get("keras_version") or "")
    numbers = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", writer)
    version = (int(numbers[1]), int(numbers[2])) if numbers else (2 if group.listed else 3, 0)
    file = KerasFile(path, arrays, config, group, f"Keras {writer}".rstrip(), version)
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else inner
    whole = isinstance(layers, list) and layers
    return (model.find(file, output) if whole else _find_cells(file)).pick(path, layer)


def _parse(where: str, text: str | bytes) -> dict[str, Any]:
    """Parse a JSON object."""
    if len(text) > _TEXT_MOST:
        raise InputError(where, f"expected at most {_TEXT_MOST:,} characters, got {len(text):,}")
    with wrap_damage(where):
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError(f"expected a JSON object, got {type(value).__name__}")
    return value


def _group_cells(file: KerasFile) -> tuple[dict[str, dict[str, list[str]]], list[Component]]:
    """Return the arrays of cells by layer and direction, and the rest."""
    owners: dict[str, list[str]] = {}  # paths of arrays by their owner
    for paths in file.group.layers.values() if file.group.listed else [file.group.paths]:
        for name, path in paths.items():
            owner = name.rpartition("/")[0].removesuffix("/vars")
            owners.setdefault(owner or name, []).append(path)
    layers: dict[str, dict[str, list[str]]] = {}
    rest = list[Component]()
    for owner, group in owners.items():
        shapes = [file.arrays[path].shape for path in group]
        cell = len(group) in (2, 3) and len(shapes[0]) == len(shapes[1]) == 2
        if cell and shapes[0][1] == shapes[1][1]:
            match: Any = _OWNER.fullmatch(owner)
            name, way = match["layer"], match["way"] or ""
            layers.setdefault(owner if way in layers.get(name, {}) else name, {})[way] = group
        else:
            rest.append(Component(owner, "", {path: file.arrays[path] for path in group}))
    return layers, rest


def _find_cells(file: KerasFile) -> Contents:
    """Find the recurrent layers in a file of weights."""
    (layers, rest), components = _group_cells(file), list[Component]()
    for name, ways in layers.items():
        arrays = {path: file.arrays[path] for group in ways.values() for path in group}
        groups = [ways[way] for way in sorted(ways, reverse=True)]
        cells = [_make_cell(file, group) for group in groups]
        names = dict(zip(WEIGHT_NAMES, groups[-1], strict=False))
        layer = make_layer(file.path, cells, names)
        kind = next(kind for kind, cell in CELL_OF.items() if cell == name_of(cells[0]))
        components.append(Component(name, kind, arrays, [layer]))
    scopes = {each.name.rpartition("/")[0] for each in components}
    if not file.group.listed:  # numbers tell the order of layers of one class
        scopes = {each.name.rstrip("_0123456789") for each in components}
        components.sort(key=lambda each: (len(each.name), each.name))
    named = listed(each.name for each in components)
    notes = [_ALONE]
    if len(scopes) == 1 < len(components):
        notes.append(f"takes {verbatim(named)}: names do not tell how they are joined")
    why = f"names do not tell how {named} is joined to the rest"
    unread = [each._replace(why=why, needed=True) for each in rest] if components else rest
    components += unread
    ordered = len(scopes) < 2 and not unread
    return Contents(components, file.title, ordered, notes=notes, expected=_EXPECTED)


def _make_cell(file: KerasFile, paths: list[str]) -> Cell:
    """Make a cell, with the default activation of gates of its version of Keras."""
    arrays = {path: read_floats(file.path, path, file.arrays[path]) for path in paths}
    W_xh, W_hh, *bias = arrays.values()
    weights = Weights(W_xh, W_hh, np.zeros(W_hh.shape[1], W_hh.dtype))  # whatever the bias is
    kind, settings = find_kind(file.path, weights, {"W_hh": paths[1]}), dict[str, Any]()
    if kind == "gru" and bias:
        settings["reset"] = "after" if bias[0].ndim == 2 else "before"
    cell = read_cell(file.path, kind, arrays, settings)
    if "recurrent_activation" in cell.open and file.version < (2, 3):
        default = cell.replaced(recurrent_activation="hard_sigmoid:0.2,0.5")
        default.open = cell.open
        return default
    return cell
