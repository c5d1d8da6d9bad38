"""Arrays under PyTorch's names become layers, with what stands around them.

Names and shapes do not tell what a model does between its modules. So only
what leaves little open is taken, and a note says so: an embedding below and a
linear layer above. A file of more is refused.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from numpy.typing import NDArray

from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS
from rnncli.model.errors import InputError, did_you_mean, listed, sentence, shown, verbatim
from rnncli.model.formats.found import Draft, FileLayer, Found, Part, naming, read_floats
from rnncli.model.formats.torch.names import Arrays, explain, find_modules, way_out
from rnncli.model.layers import Dense, Embedding, Layer, name_of

_EXPECTED = ": expected names as PyTorch's (weight_ih_l0, weight_hh_l0, ...)"
# What people call a function of the training, which may have weights of classes.
_LOSS = re.compile("loss|criterion", re.IGNORECASE)


def find_arrays(arrays: Arrays, path: str, *, ordered: bool = False) -> Found:
    """Find the recurrent layers among arrays, and what stands around them.

    `ordered` says that arrays stand in the order in which their modules were
    defined.
    """
    parts, notes = find_modules(path, arrays), list[str]()
    if len(parts) == 1 and parts[0].recurrent:
        parts, notes = _surround(path, parts[0], arrays, ordered=ordered)
    used = {name for part in parts for name in part.arrays}
    others: dict[str, dict[str, NDArray[Any]]] = {}
    for name in (name for name in arrays if name not in used):
        others.setdefault(re.split(r"[./][^./]*\Z", name)[0], {})[name] = arrays[name]
    why = "is no recurrent layer by its names"
    parts += [Part(owner, "", own, why=why) for owner, own in others.items()]
    ordered = sum(part.recurrent for part in parts) < 2
    return Found(parts, ordered=ordered, notes=notes, expected=_EXPECTED)


def pick_arrays(arrays: Arrays, path: str, layer: str | None) -> Arrays:
    """Keep the arrays whose names begin ``layer.`` or ``layer/``; None keeps all."""
    if layer is None:
        return arrays
    stem = layer.rstrip("./")
    picked = {name: a for name, a in arrays.items() if name.startswith((f"{stem}.", f"{stem}/"))}
    if picked:
        return picked
    ends = [(name, mark.start()) for name in arrays for mark in re.finditer("[/.]", name)]
    modules = dict.fromkeys(name[:end] for name, end in ends)
    names = listed(modules or arrays)
    others = sentence("", f"{layer}; it holds {names}", did_you_mean(stem, modules))
    raise InputError(path, "holds no tensor", f" under `layer` {verbatim(others)}")


def take_array(path: str, arrays: Arrays, role: str) -> Floats | None:
    """Read the array of a module that is named so, if there is one."""
    names = [name for name in arrays if name.rpartition(".")[2] == role]
    return read_floats(path, names[0], arrays[names[0]]) if names else None


def make_part(path: str, part: Part, make: Callable[[], FileLayer]) -> Part:
    """Add a layer to a part, or why the model cannot be run without."""
    try:
        with naming(path, {"W": f"{part.name}.weight", "b": f"{part.name}.bias"}):
            return part._replace(layers=[make()])
    except InputError as error:
        return part._replace(why=explain(path, error), hint=error.hint, needed=True)


def make_matrix(path: str, part: Part) -> FileLayer:
    """Make the layer of an `nn.Linear` or an `nn.Embedding`."""
    W, bias = (take_array(path, part.arrays, role) for role in ("weight", "bias"))
    if W is None:
        raise ValueError("has no weight")
    return Embedding(W) if part.kind == "nn.Embedding" else Dense(W.T, bias)


def _surround(
    path: str, recurrent: Part, arrays: Arrays, *, ordered: bool
) -> tuple[list[Part], list[str]]:
    """Put an embedding below a recurrent module and a linear layer above it, if there are such."""
    matrices = {name.rpartition(".")[0] for name, array in arrays.items() if array.ndim > 1}
    owners: dict[str, dict[str, NDArray[Any]]] = {}
    first: list[str] | None = None
    for name, array in arrays.items():
        owner = name.rpartition(".")[0]
        if name in recurrent.arrays:
            first = list(owners) if first is None else first
        # Weights of a loss and counts are of the training.
        elif (array.dtype.kind == "f" or array.ndim) and (
            owner in matrices or not _LOSS.search(name)
        ):
            owners.setdefault(owner, {})[name] = array
    kinds = {}
    for owner, own in owners.items():
        before = owner in (first or ()) if ordered else None
        kinds[_find_kind(owner, own, recurrent, before)] = owner
    inner = shown(recurrent.name)
    if "" in kinds or len(kinds) < len(owners):
        joined = inner if recurrent.name else "all"
        why = f"names and shapes do not tell how {joined} is joined to the rest"
        groups = {owner: own for owner, own in owners.items() if owner}
        groups |= {name: {name: array} for name, array in owners.get("", {}).items()}
        hint = way_out([recurrent.name])
        others = [Part(name, "", own, (), why, hint, needed=True) for name, own in groups.items()]
        return [recurrent, *others], []
    around = {}
    for kind, owner in kinds.items():
        part = Part(owner, kind, owners[owner])
        around[kind] = [make_part(path, part, partial(make_matrix, path, part))]
    below, above = (around.get(kind, []) for kind in ("nn.Embedding", "nn.Linear"))
    said = [f"{shown(part.name)} is taken as an embedding below" for part in below]
    said += [f"{shown(part.name)} is taken as a linear layer above" for part in above]
    note = f"{verbatim(', '.join(said))} {verbatim(inner)}, as shapes fit"
    notes = [f"{note}: `layer` {verbatim(inner)} takes that alone"] if said else []
    return [*below, recurrent, *above], notes


def _find_kind(owner: str, own: Arrays, recurrent: Part, first: bool | None) -> str:
    """Decide by its shape whether a module is an embedding below, a linear layer above, or neither.

    `first` says whether it was defined before the recurrent module.
    """
    drafts = [layer for layer in recurrent.layers if isinstance(layer, Draft)]
    takes = len(drafts[0].cells[0].weights.W_xh)
    gives = sum(len(cell.weights.W_hh) for cell in drafts[-1].cells)
    shapes = {name.rpartition(".")[2]: array.shape for name, array in own.items()}
    floats = all(array.dtype.kind == "f" for array in own.values())
    weight = shapes.pop("weight", ())
    if len(weight) != 2 or shapes not in ({}, {"bias": weight[:1]}) or not floats:
        return ""
    rows, width = weight
    table = not shapes and width == takes
    if table and ("emb" in owner.lower() or (first and rows != takes)):
        return "nn.Embedding"
    # One that also fits below must be known to stand above.
    fits_below = table or rows == takes
    return "nn.Linear" if width == gives and (first is False or not fits_below) else ""


def find_unsaid(layers: Sequence[Layer]) -> list[str]:
    """Return a sentence for what PyTorch's names do not tell of layers."""
    said: dict[str, None] = {}
    for cell in (cell for layer in layers for cell in layer.cells):
        usual = CELLS[name_of(cell)](cell.weights).settings
        for name, value in cell.settings.items():
            if name != "reset" and value != usual[name]:
                said[f"{name} {value}"] = None
    for layer in layers:
        if isinstance(layer, Dense) and str(layer.activation) != "linear":
            said[f"activation {layer.activation} of the head"] = None
    what = "rnn reads it from the file's metadata, other programs have to be told"
    return [f"the names of tensors do not tell {', '.join(said)}: {what}"] if said else []
