"""Layers from arrays under PyTorch's names, with embeddings below and linear layers above.

Names and shapes do not tell what a model does between its modules. So only
what leaves little open is taken, and a note says so: an embedding below and a
linear layer above. A file of more is refused.
"""

import re
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from rnncli.model.cells import CELLS
from rnncli.model.errors import shown, verbatim
from rnncli.model.formats.found import Draft, Found, Part, naming, no_layer, read_floats
from rnncli.model.formats.torch.names import Arrays, find_modules, way_out
from rnncli.model.layers import Dense, Embedding, Layer, name_of

_EXPECTED = (
    ": expected names as PyTorch's (weight_ih_l0, weight_hh_l0, ...), or in an .npz file W_xh, "
    "W_hh and b_h, or layer_1.forward.W_xh, layer_1.backward.W_xh, layer_2.forward.W_xh, ..."
)
_PLACES = {"nn.Embedding": "an embedding below", "nn.Linear": "a linear layer above"}


def find_arrays(arrays: Arrays, path: str, *, ordered: bool = False) -> Found:
    """Find the recurrent layers among arrays, an embedding below and a linear layer above.

    `ordered` says that arrays stand in the order in which their modules were
    defined.
    """
    parts, notes = find_modules(path, arrays), list[str]()
    if len(parts) == 1 and parts[0].recurrent:
        parts, notes = _surround(path, parts[0], arrays, ordered=ordered)
    used = {name for part in parts for name in part.arrays}
    others = {name: array for name, array in arrays.items() if name not in used}
    why = "is no recurrent layer by its names"
    parts += [Part(owner, "", own, why=why) for owner, own in _group(others).items()]
    several = sum(part.recurrent for part in parts) > 1
    return Found(parts, ordered=not several, notes=notes, expected=_EXPECTED)


def pick_arrays(arrays: Arrays, path: str, layer: str | None) -> Arrays:
    """Keep the arrays whose names begin ``layer.`` or ``layer/``; None keeps all."""
    if layer is None:
        return arrays
    stem = layer.rstrip("./")
    picked = {name: a for name, a in arrays.items() if name.startswith((f"{stem}.", f"{stem}/"))}
    if not picked:
        raise no_layer(path, stem, _group(arrays))
    return picked


def _group(arrays: Arrays) -> dict[str, dict[str, NDArray[Any]]]:
    """Group arrays by their modules; one of no module has its own name."""
    groups: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        groups.setdefault(re.split(r"[./][^./]*\Z", name)[0], {})[name] = array
    return groups


def _surround(
    path: str, recurrent: Part, arrays: Arrays, *, ordered: bool
) -> tuple[list[Part], list[str]]:
    """Put an embedding below a recurrent module and a linear layer above it, if there are such."""
    names = [*arrays]
    start = names.index(next(iter(recurrent.arrays)))
    groups = _group({name: a for name, a in arrays.items() if name not in recurrent.arrays})
    owners = {owner: own for owner, own in groups.items() if not _of_training(owner, own)}
    inner, kinds = shown(recurrent.name), dict[str, str]()
    for owner, own in owners.items():
        above = ordered and names.index(next(iter(own))) > start
        kinds[_find_kind(owner, own, recurrent, above=above)] = owner
    if "" in kinds or len(kinds) < len(owners):
        joined = inner if recurrent.name else "all"
        why = f"names and shapes do not tell how {joined} is joined to the rest"
        hint = way_out([recurrent.name])
        refused = [Part(name, "", own, (), why, hint, needed=True) for name, own in owners.items()]
        return [recurrent, *refused], []
    parts, said = [recurrent], []
    for kind, place in _PLACES.items():
        if owner := kinds.get(kind, ""):
            own = owners[owner]
            W, *b = (read_floats(path, name, own[name]) for name in sorted(own, reverse=True))
            with naming(path, {}):
                linear = kind == "nn.Linear"
                layer = Dense(W.T, b[0] if b else None) if linear else Embedding(W)
            parts.insert(0 if kind == "nn.Embedding" else 2, Part(owner, kind, own, [layer]))
            said.append(f"{shown(owner)} is taken as {place}")
    note = f"{verbatim(', '.join(said))} {verbatim(inner)}, as shapes fit"
    return parts, [f"{note}: `layer` {verbatim(inner)} takes that alone"] if said else []


def _of_training(owner: str, own: Arrays) -> bool:
    """Return whether arrays are counts, or what people call weights of a loss."""
    counts = all(array.dtype.kind != "f" and not array.ndim for array in own.values())
    loss = re.search("loss|criterion", owner, re.IGNORECASE)
    return counts or (loss is not None and all(array.ndim < 2 for array in own.values()))


def _find_kind(owner: str, own: Arrays, recurrent: Part, *, above: bool) -> str:
    """Decide by its shape whether a module is an embedding below, a linear layer above, or neither.

    `above` says that it was defined after the recurrent module.
    """
    drafts = [layer for layer in recurrent.layers if isinstance(layer, Draft)]
    takes = len(drafts[0].cells[0].weights.W_xh)
    gives = sum(len(cell.weights.W_hh) for cell in drafts[-1].cells)
    shapes = {name.rpartition(".")[2]: array.shape for name, array in own.items()}
    weight, floats = shapes.pop("weight", ()), all(each.dtype.kind == "f" for each in own.values())
    if len(weight) != 2 or shapes not in ({}, {"bias": weight[:1]}) or not floats:
        return ""
    table = not shapes and weight[1] == takes
    if table and "emb" in owner.lower():
        return "nn.Embedding"
    # One that also fits below must be known to stand above.
    sure = above or not (table or weight[0] == takes)
    return "nn.Linear" if weight[1] == gives and sure else ""


def find_unsaid(layers: Sequence[Layer]) -> list[str]:
    """Return a sentence for what PyTorch's names do not tell of layers."""
    said: dict[str, None] = {}
    for cell in (cell for layer in layers for cell in layer.cells):
        usual = CELLS[name_of(cell)](cell.weights).settings
        unsaid = {n: v for n, v in cell.settings.items() if n != "reset" and v != usual[n]}
        said |= {f"{name} {value}": None for name, value in unsaid.items()}
    heads = [str(layer.activation) for layer in layers if isinstance(layer, Dense)]
    said |= {f"activation {head} of the head": None for head in heads if head != "linear"}
    what = "rnn reads it from the file's metadata, other programs have to be told"
    return [f"the names of tensors do not tell {', '.join(said)}: {what}"] if said else []
