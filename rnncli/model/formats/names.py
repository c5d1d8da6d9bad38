"""Namings: names of tensors become layers, and layers names of tensors."""

import re
from collections.abc import Sequence

from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, WEIGHT_NAMES
from rnncli.model.errors import InputError, choice, listed, verbatim
from rnncli.model.formats import loose
from rnncli.model.formats.keras import names as keras
from rnncli.model.formats.parts import Model, Part, Stack
from rnncli.model.formats.tensors import Tensors
from rnncli.model.formats.torch import names as torch
from rnncli.model.formats.torch.heads import surrounded
from rnncli.model.layers import Layer, Recurrent, name_of

# What returns the arrays of layers as a framework names and lays them out, and which arrays it
# has names for beside those that every cell has.
NAMINGS = {
    "torch": (torch.name_tensors, ("b_n", "W_hr")),
    "keras": (keras.name_tensors, ("b_n",)),
}
# Settings of layers that the names tell, or that everyone takes for granted.
_NAMED = {"direction": ("forward", "bidirectional"), "merge": ("concat",)}
_HINT = "write .npz"
_EXPECTED = (
    ": expected names as PyTorch's (weight_ih_l0, weight_hh_l0, ...) or Keras's (.../kernel, "
    ".../recurrent_kernel, ...)"
)


def find_model(tensors: Tensors, *, ordered: bool = False) -> Model:
    """Find the recurrent layers in a file, in whichever naming, and what stands beside them.

    Parameters
    ----------
    tensors : Tensors
    ordered : bool
        Whether they stand as modules were defined.

    Raises
    ------
    InputError
        The layers of the only stack do not go together.
    """
    modules = torch.find_stacks(tensors)
    stacks = [*modules, *keras.find_stacks(tensors, ordered=ordered)] or loose.find_stacks(tensors)
    if len(stacks) == 1:
        found, notes = stacks[0].find()
        if modules:
            found, notes = surrounded(tensors, found, ordered=ordered)
    else:
        found, notes = [part for stack in stacks for part in _parts(stack)], []
    parts = [part._replace(name=f"{tensors.prefix}{part.name}".rstrip("./")) for part in found]
    used = {name for part in parts for name in part.tensors}
    others: dict[str, list[str]] = {}
    for name in tensors.entries:
        if name not in used:
            others.setdefault(re.split(r"[./][^./]*\Z", name)[0], []).append(name)
    parts += [
        Part(f"{tensors.prefix}{owner}", "", names, why="is no recurrent layer by its names")
        for owner, names in others.items()
    ]
    if others and len(stacks) == 1 and not modules:
        owners = verbatim(listed(tensors.prefix + owner for owner in others))
        notes = [*notes, f"passes over {owners}: names do not tell how it is joined"]
    return Model(
        loose.with_vectors(tensors, parts),
        parts,
        ordered=len(stacks) < 2,
        notes=notes,
        expected=_EXPECTED,
    )


def _parts(stack: Stack) -> Sequence[Part]:
    """Return the parts of one of several stacks, or why it is none."""
    try:
        return stack.find()[0]
    except InputError as error:
        return [Part(label, "", why=error.what, hint=error.hint) for label in stack.labels]


def name_tensors(layers: Sequence[Layer], naming: str) -> dict[str, Floats]:
    """Return the arrays of layers as a framework names and lays them out.

    Raises
    ------
    InputError
        The naming has no names for such layers.
    """
    name, named = choice("naming", naming, NAMINGS)
    recurrent = [layer for layer in layers if isinstance(layer, Recurrent)]
    if len(recurrent) < len(layers):
        raise InputError("", f"the naming {naming} has no names for layers without state", _HINT)
    cells = [cell for layer in layers for cell in layer.cells]
    for role in dict.fromkeys(role for cell in cells for role in cell.weights.arrays):
        if role not in (*WEIGHT_NAMES, *named):
            raise InputError("", f"the naming {naming} has no name for {role}", _HINT)
    kinds = dict.fromkeys(
        name_of(cell) + " with W_hr" * ("W_hr" in cell.weights.arrays) for cell in cells
    )
    if len(kinds) > 1:
        what = f"the naming {naming} is for layers of one kind, got {', '.join(kinds)}"
        raise InputError("", what, _HINT)
    return name(recurrent)


def unnamed(layers: Sequence[Layer]) -> list[str]:
    """Return a sentence for what no naming tells of layers, so that other programs must be told."""
    settings = []
    for layer in layers:
        settings += [f"{name} {v}" for name, v in layer.settings.items() if v not in _NAMED[name]]
        for cell in layer.cells:
            usual = CELLS[name_of(cell)](cell.weights).settings
            settings += [
                f"{name} {value}"
                for name, value in cell.settings.items()
                if name != "reset" and value != usual[name]
            ]
    if not settings:
        return []
    return [
        f"the names of tensors do not tell {', '.join(dict.fromkeys(settings))}: rnn reads it from "
        "the file's metadata, other programs have to be told"
    ]
