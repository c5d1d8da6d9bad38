"""Weights of Keras without a config: recurrent layers by the names and shapes of their arrays."""

import re
from typing import Any

from rnncli.model.activations import parse
from rnncli.model.errors import listed, verbatim
from rnncli.model.formats.contents import CellDraft, Component, Contents, Draft, find_kind, locate
from rnncli.model.formats.keras.layers import CELL_OF, make_cell
from rnncli.model.formats.keras.weights import KerasFile, read_floats

# The owner of a cell's arrays: its layer, the direction of a bidirectional one, and the cell.
_OWNER = re.compile(
    r"(?P<layer>.*?)(/(?P<way>forward|backward)_[^/]+)?(?<!/cells)(/([^/]*_)?cell(_\d+)?)?",
    re.DOTALL,
)
_EXPECTED = ": expected Keras's names (.../kernel, .../recurrent_kernel, ...)"
_ALONE = "holds weights alone: directions (`direction`) and activations are not in the file"


def find(file: KerasFile) -> Contents:
    """Find the recurrent layers in a file of weights."""
    owners: dict[str, list[str]] = {}  # paths of arrays by their owner
    for paths in file.group.layers.values() if file.group.listed else [file.group.paths]:
        for name, path in paths.items():
            owner = name.rpartition("/")[0].removesuffix("/vars")
            owners.setdefault(owner or name, []).append(path)
    layers: dict[str, dict[str, list[str]]] = {}
    rest = []
    for owner, group in owners.items():
        shapes = [file.arrays[path].shape for path in group]
        cell = len(group) in (2, 3) and len(shapes[0]) == len(shapes[1]) == 2
        if cell and shapes[0][1] == shapes[1][1]:
            match: Any = _OWNER.fullmatch(owner)
            name, way = match["layer"], match["way"] or ""
            layers.setdefault(owner if way in layers.get(name, {}) else name, {})[way] = group
        else:
            rest.append(Component(owner, "", {path: file.arrays[path] for path in group}))
    components = []
    for name, ways in layers.items():
        arrays = {path: file.arrays[path] for group in ways.values() for path in group}
        cells = [_make_cell(file, ways[way]) for way in sorted(ways, reverse=True)]
        settings = {"direction": "bidirectional"} if len(cells) == 2 else {}
        kind = next(kind for kind, cell in CELL_OF.items() if cell == cells[0].kind)
        components.append(Component(name, kind, arrays, [Draft(tuple(cells), settings)]))
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
    return Contents(components, file.title, len(scopes) < 2, notes=notes, expected=_EXPECTED)


def _make_cell(file: KerasFile, paths: list[str]) -> CellDraft:
    """Make a cell, with the default activation of gates of its version of Keras."""
    with locate(file.path, {}):
        arrays = {path: read_floats(path, file.arrays[path]) for path in paths}
        _, W_hh, *bias = arrays.values()
        kind, settings = find_kind(file.path, W_hh, {"W_hh": paths[1]}), dict[str, Any]()
        if kind == "gru" and bias:
            settings["reset"] = "after" if bias[0].ndim == 2 else "before"
        cell = make_cell(kind, arrays, settings)
    if kind != "rnn" and file.version < (2, 3):
        return cell._replace(assumed={"recurrent_activation": parse("hard_sigmoid:0.2,0.5")})
    return cell
