"""Layers from arrays under PyTorch's names, with embeddings below and linear layers above.

Names and shapes do not tell what a model does between its modules. So only
what leaves little open is taken, and a note says so: an embedding below and a
linear layer above. A file of more is refused.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import dropwhile
from typing import Any

from numpy.typing import NDArray

from rnncli.model.cells import CELLS
from rnncli.model.errors import shown, verbatim
from rnncli.model.formats.contents import Component, Contents, Draft, locate, no_layer, read_floats
from rnncli.model.formats.torch.names import Arrays, find_modules
from rnncli.model.layers import Dense, Embedding, Layer, name_of

_EXPECTED = ": expected PyTorch's names (weight_ih_l0, ...), or W_xh, W_hh and b_h in an .npz file"
_WHY = "names and shapes do not tell how modules are joined (torch.onnx.export writes it)"
_ROLES = {"nn.Embedding": "an embedding below", "nn.Linear": "a linear layer above"}


def find_arrays(
    arrays: Arrays, path: str, known: Mapping[str, Mapping[str, Any]] = {}, *, ordered: bool = False
) -> Contents:
    """Find the recurrent layers among arrays, an embedding below and a linear layer above.

    `known` has settings of the cells of modules. `ordered` says that arrays
    stand in the order in which their modules were defined.
    """
    components = find_modules(path, arrays, known)
    used = {name for each in components for name in each.arrays}
    rest = _group({name: array for name, array in arrays.items() if name not in used})
    if len(components) == 1:
        later = {*dropwhile(lambda name: name not in used, arrays)} if ordered else set[str]()
        return _surround(path, components[0], rest, later)
    why = "is no recurrent layer by its names"
    components += [Component(owner, "", group, why=why) for owner, group in rest.items()]
    return Contents(components, ordered=False, expected=_EXPECTED)


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
    path: str, recurrent: Component, groups: Mapping[str, Arrays], later: set[str]
) -> Contents:
    """Put an embedding below a recurrent module and a linear layer above it, if there are such.

    `later` has the names of arrays that were defined after the recurrent module.
    """
    module, notes = verbatim(shown(recurrent.name)), list[str]()
    by_kind = {recurrent.kind: recurrent}
    for owner, group in groups.items():
        loss = re.search("loss|criterion", owner, re.IGNORECASE)
        if all(a.ndim < 2 if loss else not a.ndim and a.dtype.kind != "f" for a in group.values()):
            continue  # a count, or what the loss weighs
        kind = _find_kind(owner, group, recurrent, above=not later.isdisjoint(group))
        if not kind or kind in by_kind:
            refused = [Component(name, "", a, (), _WHY, needed=True) for name, a in groups.items()]
            return Contents([recurrent, *refused])
        with locate(path, {}):
            W, *b = (read_floats(path, name, group[name]) for name in sorted(group, reverse=True))
            layer = Embedding(W) if kind == "nn.Embedding" else Dense(W.T, b[0] if b else None)
        by_kind[kind] = Component(owner, kind, group, [layer])
        what = f"{verbatim(shown(owner))} is taken as {_ROLES[kind]} {module}, as shapes fit"
        notes.append(f"{what}: `layer` {module} takes that alone")
    order = ("nn.Embedding", recurrent.kind, "nn.Linear")
    return Contents([by_kind[kind] for kind in order if kind in by_kind], notes=notes)


def _find_kind(owner: str, arrays: Arrays, recurrent: Component, *, above: bool) -> str:
    """Decide by its shape whether a module is an embedding below, a linear layer above, or neither.

    `above` says that it was defined after the recurrent module.
    """
    drafts = [layer for layer in recurrent.layers if isinstance(layer, Draft)]
    takes = len(drafts[0].cells[0].weights.W_xh)
    gives = sum(len(cell.weights.W_hh) for cell in drafts[-1].cells)
    shapes = {name.rpartition(".")[2]: array.shape for name, array in arrays.items()}
    weight = shapes.pop("weight", ())
    if len(weight) != 2 or shapes not in ({}, {"bias": weight[:1]}):
        return ""
    table = not shapes and weight[1] == takes
    if table and "emb" in owner.lower():
        return "nn.Embedding"
    # One that also fits below must be known to stand above.
    sure = above or not (table or weight[0] == takes)
    return "nn.Linear" if weight[1] == gives and sure else ""


def find_unsaid(layers: Sequence[Layer]) -> list[str]:
    """Return a sentence for what PyTorch's names do not tell of layers."""
    unsaid: dict[str, None] = {}
    for cell in (cell for layer in layers for cell in layer.cells):
        usual = CELLS[name_of(cell)](cell.weights).settings
        unsaid |= {f"{n} {value}": None for n, value in cell.settings.items() if value != usual[n]}
    if isinstance(layers[-1], Dense) and str(layers[-1].activation) != "linear":
        unsaid[f"activation {layers[-1].activation} of the head"] = None
    what = "rnn reads it from the file's metadata, other programs have to be told"
    return [f"the names of tensors do not tell {', '.join(unsaid)}: {what}"] if unsaid else []
