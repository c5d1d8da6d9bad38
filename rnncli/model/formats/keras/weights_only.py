"""Weights of Keras without a config: recurrent layers by the names and shapes of their arrays."""

import re
from typing import Any

from rnncli.model.activations import parse
from rnncli.model.errors import listed, verbatim
from rnncli.model.formats.contents import CellDraft, Component, Contents, Draft, find_kind, naming
from rnncli.model.formats.keras.layers import CELL_OF, make_cell
from rnncli.model.formats.keras.weights import Stored, read_floats

# What has the arrays of a cell: its layer, the direction of a bidirectional one, and the cell.
_OWNER = re.compile(
    r"(?P<layer>.*?)(/(?P<way>forward|backward)_[^/]+)?(?<!/cells)(/([^/]*_)?cell(_\d+)?)?",
    re.DOTALL,
)
_EXPECTED = ": expected Keras's names (.../kernel, .../recurrent_kernel, ...)"
_ALONE = "holds weights alone: directions (`direction`) and activations are not in the file"


def find(stored: Stored) -> Contents:
    """Find the recurrent layers in a file of weights."""
    owners: dict[str, list[str]] = {}  # paths of arrays by what has them
    for paths in stored.group.layers.values() if stored.group.listed else [stored.group.paths]:
        for name, path in paths.items():
            owner = name.rpartition("/")[0].removesuffix("/vars")
            owners.setdefault(owner or name, []).append(path)
    layers: dict[str, dict[str, list[str]]] = {}
    others = []
    for owner, own in owners.items():
        shapes = [stored.arrays[path].shape for path in own]
        cell = len(own) in (2, 3) and len(shapes[0]) == len(shapes[1]) == 2
        if cell and shapes[0][1] == shapes[1][1]:
            match: Any = _OWNER.fullmatch(owner)
            name, way = match["layer"], match["way"] or ""
            layers.setdefault(owner if way in layers.get(name, {}) else name, {})[way] = own
        else:
            others.append(Component(owner, "", {path: stored.arrays[path] for path in own}))
    parts = []
    for name, ways in layers.items():
        arrays = {path: stored.arrays[path] for own in ways.values() for path in own}
        cells = [_make_cell(stored, ways[way]) for way in sorted(ways, reverse=True)]
        settings = {"direction": "bidirectional"} if len(cells) == 2 else {}
        kind = next(kind for kind, cell in CELL_OF.items() if cell == cells[0].kind)
        parts.append(Component(name, kind, arrays, [Draft(tuple(cells), settings)]))
    scopes = {part.name.rpartition("/")[0] for part in parts}
    if not stored.group.listed:  # numbers tell the order of layers of one class
        scopes = {part.name.rstrip("_0123456789") for part in parts}
        parts.sort(key=lambda part: (len(part.name), part.name))
    named = listed(part.name for part in parts)
    notes = [_ALONE]
    if len(scopes) == 1 < len(parts):
        notes.append(f"takes {verbatim(named)}: names do not tell how they are joined")
    why = f"names do not tell how {named} is joined to the rest"
    parts += [part._replace(why=why, needed=True) for part in others] if parts else others
    return Contents(parts, stored.title, len(scopes) < 2, notes=notes, expected=_EXPECTED)


def _make_cell(stored: Stored, paths: list[str]) -> CellDraft:
    """Make a cell, with the activation of gates that was usual once."""
    with naming(stored.path, {}):
        arrays = {path: read_floats(path, stored.arrays[path]) for path in paths}
        _, W_hh, *bias = arrays.values()
        kind, settings = find_kind(stored.path, W_hh, {"W_hh": paths[1]}), dict[str, Any]()
        if kind == "gru" and bias:
            settings["reset"] = "after" if bias[0].ndim == 2 else "before"
        cell = make_cell(kind, arrays, settings)
    if kind != "rnn" and stored.version < (2, 3):
        return cell._replace(assumed={"recurrent_activation": parse("hard_sigmoid:0.2,0.5")})
    return cell
