"""Names that people give to arrays of one layer: ``W_ih``, ``Wxh``, ``lstm_w_hh``, ``bh``, ...

They do not tell whether a unit has a row or a column of a matrix. Shapes must
tell it, by themselves or by a bias of two axes, and a note says so.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from rnncli.model.errors import listed, verbatim
from rnncli.model.formats.parts import Part, Stack
from rnncli.model.formats.spec import BIASES, CellSpec, LayerSpec, Layout, cell_of
from rnncli.model.formats.tensors import Derived, Entry, Tensors
from rnncli.model.formats.torch.names import LAYOUT

# Names without the marks in them, and what they are here.
_ROLES = {
    "wih": "W_xh",
    "whh": "W_hh",
    "bih": "b_x",
    "bhh": "b_r",
    "wxh": "W_xh",
    "whx": "W_xh",
    "wx": "W_xh",
    "wh": "W_hh",
    "bh": "b_h",
    "b": "b_h",
}
_NAME = re.compile(
    r"(?P<stem>(?:.*[./_])?)(?P<role>w_?(?:ih|hh|xh|hx|x|h)|b_?(?:ih|hh|h)?)",
    re.DOTALL | re.IGNORECASE,
)
# What PyTorch's names end in: its order of gates is taken for theirs.
_TORCH = "ih"
_ROWS_OR_COLUMNS = (
    "name them weight_ih, weight_hh, ... for rows, kernel, recurrent_kernel, ... for columns"
)
_IN_ORDER = (
    "put them in PyTorch's order, and name them weight_ih, weight_hh, ..., or in Keras's, and name "
    "them kernel, recurrent_kernel, ..."
)


def find_stacks(tensors: Tensors) -> list[Stack]:
    """Find the layers, each by what stands before the names of its arrays."""
    modules: dict[str, dict[str, str]] = {}
    for match in filter(None, map(_NAME.fullmatch, tensors.entries)):
        role = _ROLES[match["role"].replace("_", "").lower()]
        names = modules.setdefault(match["stem"], {})
        if role in names:
            raise tensors.both(names[role], match[0])
        names[role] = match[0]
    return [
        Stack((stem[:-1],), partial(_parts, tensors, stem[:-1], names))
        for stem, names in modules.items()
        if {"W_xh", "W_hh"} <= names.keys()
    ]


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


def _parts(
    tensors: Tensors, module: str, names: Mapping[str, str]
) -> tuple[Sequence[Part], Sequence[str]]:
    """Name the layer, or say why nothing tells how its arrays stand."""
    torch = names["W_xh"].lower().endswith(_TORCH)
    layouts = [Layout(transposed, LAYOUT.orders if torch else {}) for transposed in (False, True)]
    fitting = [layout for layout in layouts if _fits(tensors, names, layout)]
    layout = fitting[0] if fitting else layouts[0]
    kind = cell_of(tensors, names, layout)
    gated = kind not in ("", "rnn")
    named = listed(tensors.prefix + name for name in names.values())
    part = Part(module, kind, list(names.values()), needed=True)
    if len(fitting) > 1:
        why = f"shapes do not tell whether a unit has a row or a column: {named}"
        return [part._replace(why=why, hint=_ROWS_OR_COLUMNS)], []
    if gated and not torch:
        why = f"names do not tell the order of the gates: {named}"
        return [part._replace(why=why, hint=_IN_ORDER)], []
    side = "row" if layout.transposed else "column"
    gates = ", and gates in PyTorch's order" if gated else ""
    note = f"{verbatim(named)} are taken with a {side} for each unit, as shapes fit{gates}"
    return [part._replace(layers=[LayerSpec((CellSpec(names, kind, {}, layout),))])], [note]


def _fits(tensors: Tensors, names: Mapping[str, str], layout: Layout) -> bool:
    """Return whether the arrays of a cell fit each other so."""
    shapes = {role: layout.turned(tensors.entries[name].shape) for role, name in names.items()}
    if not cell_of(tensors, names, layout) or len(shapes["W_xh"]) != 2:
        return False
    width = shapes["W_hh"][1]
    biases = [shapes[role] for role in BIASES if role in shapes]
    return shapes["W_xh"][1] == width and all(b in ((width,), (1, width)) for b in biases)
