"""The names of Karpathy's min-char-rnn: ``Wxh``, ``Whh``, ``bh``, and ``Why``, ``by`` of the head.

They do not tell whether a unit has a row or a column of a matrix. Shapes must
tell it, by themselves or by a bias of two axes, and a note says so.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.cells import Weights
from rnncli.model.errors import listed, verbatim
from rnncli.model.formats.found import CellDraft, Draft, Part, read_floats
from rnncli.model.layers import Dense

_CELL = {"Wxh": "W_xh", "Whh": "W_hh", "bh": "b_h"}
_HEAD = {"Why": "W", "by": "b"}
_ROWS_OR_COLUMNS = "name them weight_ih, weight_hh, ... for rows, W_xh, W_hh, ... for columns"


def find_layers(path: str, arrays: Mapping[str, NDArray[Any]]) -> tuple[list[Part], list[str]]:
    """Find the layer and its head; return a note of how their arrays stand too."""
    names = {name.rpartition(".")[2]: name for name in arrays}
    names = {role: name for role, name in names.items() if role in _CELL | _HEAD}
    if not {"Wxh", "Whh"} <= names.keys():
        return [], []
    theirs = {role: read_floats(path, name, arrays[name]) for role, name in names.items()}
    rows = {role: array.T for role, array in theirs.items()}
    fitting = [each for each in (theirs, rows) if _fit({r: a.shape for r, a in each.items()})]
    named = verbatim(listed(names.values()))
    cell = Part("", "rnn", {name: arrays[name] for role, name in names.items() if role in _CELL})
    if len(fitting) > 1:
        why = f"shapes do not tell whether a unit has a row or a column: {named}"
        return [cell._replace(why=why, hint=_ROWS_OR_COLUMNS, needed=True)], []
    (ours,) = fitting or [theirs]
    flat = {role: array.ravel() if role in ("bh", "by") else array for role, array in ours.items()}
    found = {_CELL[role]: array for role, array in flat.items() if role in _CELL}
    found.setdefault("b_h", np.zeros(len(ours["Whh"]), ours["Whh"].dtype))
    by_ours = {_CELL[role]: name for role, name in names.items() if role in _CELL}
    draft = Draft((CellDraft("rnn", Weights(**found), names=by_ours),))
    parts = [cell._replace(layers=[draft])]
    if "Why" in names:
        head = {name: arrays[name] for role, name in names.items() if role in _HEAD}
        parts.append(Part(names["Why"], "", head, [Dense(flat["Why"], flat.get("by"))]))
    side = "row" if ours is rows else "column"
    return parts, [f"{named} are taken with a {side} for each unit, as shapes fit"]


def _fit(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Return whether the arrays fit each other with a column for each unit."""
    H = shapes["Whh"][:1]
    O = shapes.get("Why", ())[1:]
    return (
        shapes["Whh"] == 2 * H
        and shapes["Wxh"][1:] == H
        and shapes.get("bh", H) in (H, (1, *H))
        and shapes.get("Why", H)[:1] == H
        and shapes.get("by", O) in (O, (1, *O))
    )
