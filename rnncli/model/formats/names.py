"""Names of tensors become layers, and layers names of tensors."""

import re
from collections.abc import Sequence

from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, WEIGHT_NAMES
from rnncli.model.errors import InputError, listed, verbatim
from rnncli.model.formats import loose
from rnncli.model.formats.parts import Model, Part, Stack
from rnncli.model.formats.tensors import Tensors
from rnncli.model.formats.torch import names as torch
from rnncli.model.formats.torch.heads import surrounded
from rnncli.model.layers import Layer, Recurrent, name_of

_HINT = "write .npz"
_EXPECTED = ": expected names as PyTorch's (weight_ih_l0, weight_hh_l0, ...)"


def find_model(
    tensors: Tensors, *, ordered: bool = False, stacks: Sequence[Stack] | None = None
) -> Model:
    """Find the recurrent layers in a file, by PyTorch's names, and what stands beside them."""
    modules = torch.find_stacks(tensors) if stacks is None else []
    if stacks is None:
        stacks = modules or loose.find_stacks(tensors)
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


def name_tensors(layers: Sequence[Layer]) -> dict[str, Floats]:
    """Return the arrays of layers as PyTorch names and lays them out."""
    recurrent = [layer for layer in layers if isinstance(layer, Recurrent)]
    if len(recurrent) < len(layers):
        raise InputError("", "PyTorch's names are for recurrent layers alone", _HINT)
    cells = [cell for layer in layers for cell in layer.cells]
    for role in dict.fromkeys(role for cell in cells for role in cell.weights.arrays):
        if role not in (*WEIGHT_NAMES, "b_n", "W_hr"):
            raise InputError("", f"PyTorch has no name for {role}", _HINT)
    kinds = dict.fromkeys(
        name_of(cell) + " with W_hr" * ("W_hr" in cell.weights.arrays) for cell in cells
    )
    if len(kinds) > 1:
        what = f"PyTorch's names are for layers of one kind, got {', '.join(kinds)}"
        raise InputError("", what, _HINT)
    return torch.name_tensors(recurrent)


def unnamed(layers: Sequence[Layer]) -> list[str]:
    """Return a sentence for what the names of tensors do not tell of cells."""
    settings: dict[str, None] = {}
    for cell in (cell for layer in layers for cell in layer.cells):
        usual = CELLS[name_of(cell)](cell.weights).settings
        for name, value in cell.settings.items():
            if name != "reset" and value != usual[name]:
                settings[f"{name} {value}"] = None
    if not settings:
        return []
    return [
        f"the names of tensors do not tell {', '.join(settings)}: rnn reads it from the file's "
        "metadata, other programs have to be told"
    ]
