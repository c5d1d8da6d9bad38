"""The names of Karpathy's min-char-rnn: ``Wxh``, ``Whh`` and ``bh``, of one vanilla layer.

They do not tell whether a unit has a row or a column of a matrix. Shapes must
tell it, by themselves or by a bias of two axes, and a note says so.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from rnncli.model.errors import listed, verbatim
from rnncli.model.formats.parts import Part, Stack
from rnncli.model.formats.spec import BIASES, CellSpec, LayerSpec, Layout
from rnncli.model.formats.tensors import Derived, Entry, Tensors

_ROLES = {"Wxh": "W_xh", "Whh": "W_hh", "bh": "b_h"}
_ROWS_OR_COLUMNS = "name them weight_ih, weight_hh, ... for rows, W_xh, W_hh, ... for columns"


def find_stacks(tensors: Tensors) -> list[Stack]:
    """Find the layer."""
    names = {role: name for name, role in _ROLES.items() if name in tensors.entries}
    found = {"W_xh", "W_hh"} <= names.keys()
    return [Stack(("",), partial(_parts, tensors, names))] if found else []


def with_vectors(tensors: Tensors, parts: Sequence[Part]) -> Tensors:
    """Take biases of two axes, (H, 1) or (1, H), as vectors."""
    cells = [cell for part in parts for layer in part.layers for cell in layer.cells]
    names = [cell.tensors[role] for cell in cells for role in BIASES if role in cell.tensors]
    entries = {name: tensors.entries[name] for name in names if name in tensors.entries}
    return tensors.with_derived(
        {
            name: Derived([name], Entry((max(entry.shape),), entry.dtype), np.ravel)
            for name, entry in entries.items()
            if len(entry.shape) == 2 and 1 in entry.shape
        }
    )


def _parts(tensors: Tensors, names: Mapping[str, str]) -> tuple[Sequence[Part], Sequence[str]]:
    """Describe the layer, or say that nothing tells how its arrays stand."""
    layouts = [Layout(transposed) for transposed in (False, True)]
    fitting = [layout for layout in layouts if _fits(tensors, names, layout)]
    named = listed(tensors.prefix + name for name in names.values())
    part = Part("", "rnn", list(names.values()), needed=True)
    if len(fitting) > 1:
        why = f"shapes do not tell whether a unit has a row or a column: {named}"
        return [part._replace(why=why, hint=_ROWS_OR_COLUMNS)], []
    layout = (fitting or layouts)[0]
    side = "row" if layout.transposed else "column"
    note = f"{verbatim(named)} are taken with a {side} for each unit, as shapes fit"
    return [part._replace(layers=[LayerSpec((CellSpec(names, "rnn", {}, layout),))])], [note]


def _fits(tensors: Tensors, names: Mapping[str, str], layout: Layout) -> bool:
    """Return whether the arrays of a cell fit each other so."""
    shapes = {role: layout.turned(tensors.entries[name].shape) for role, name in names.items()}
    H = len(tensors.entries[names["W_hh"]].shape) == 2 and shapes["W_hh"][0]
    return (
        shapes["W_hh"] == (H, H)
        and shapes["W_xh"][1:] == (H,)
        and shapes.get("b_h", (H,)) in ((H,), (1, H))
    )
