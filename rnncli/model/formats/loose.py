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
_HEAD = ("Why", "by")
_ROWS_OR_COLUMNS = "name them weight_ih, weight_hh, ... for rows, W_xh, W_hh, ... for columns"


def find_layers(path: str, arrays: Mapping[str, NDArray[Any]]) -> tuple[list[Part], list[str]]:
    """Find the layer and its head; return a note of how their arrays stand too."""
    names = {name: name for name in arrays if name in (*_CELL, *_HEAD)}
    if not {"Wxh", "Whh"} <= names.keys():
        return [], []
    columns = {name: read_floats(path, name, arrays[name]) for name in names}
    rows = {name: array.T for name, array in columns.items()}
    fitting = [each for each in (columns, rows) if _fit({n: a.shape for n, a in each.items()})]
    named = verbatim(listed(names))
    cell = Part("", "rnn", {name: arrays[name] for name in names if name in _CELL})
    if len(fitting) != 1:
        what = "do not fit each other" if not fitting else "fit with a row and a column for a unit"
        why = f"the shapes of {named} {what}"
        return [cell._replace(why=why, hint=_ROWS_OR_COLUMNS, needed=True)], []
    ours = {name: a.ravel() if name in ("bh", "by") else a for name, a in fitting[0].items()}
    weights = {_CELL[name]: array for name, array in ours.items() if name in _CELL}
    weights.setdefault("b_h", np.zeros(len(ours["Whh"]), ours["Whh"].dtype))
    by_ours = {_CELL[name]: name for name in names if name in _CELL}
    parts = [cell._replace(layers=[Draft((CellDraft("rnn", Weights(**weights), names=by_ours),))])]
    if "Why" in names:
        head = {name: arrays[name] for name in names if name in _HEAD}
        parts.append(Part("Why", "", head, [Dense(ours["Why"], ours.get("by"))]))
    side = "row" if fitting[0] is rows else "column"
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
