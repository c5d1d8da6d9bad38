"""What stands around recurrent layers, as names and shapes of PyTorch's tensors tell.

They do not tell what a model does between its modules. So only what leaves
little open is taken, and a note says so: an embedding below and a linear layer
above. A file of more is refused.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple

from rnncli.model.errors import InputError, listed, shown, verbatim
from rnncli.model.formats.parts import Part
from rnncli.model.formats.shapes import sizes_of
from rnncli.model.formats.spec import LayerSpec, Layout
from rnncli.model.formats.tensors import FLOATS, Shape, Tensors

_TRANSPOSED = Layout(transposed=True)
# What people call an embedding.
_EMBEDDING = "emb"
# What they call a function of the training, which may have weights of classes.
_LOSS = re.compile("loss|criterion", re.IGNORECASE)


class _Matrix(NamedTuple):
    """A module of a matrix, with or without a bias, that may be linear or an embedding."""

    name: str
    shape: Shape
    tensors: Sequence[str]
    first: bool

    def is_embedding(self, takes: int) -> bool:
        """Whether it can only be one, below a layer that takes so many values a step."""
        rows, width = self.shape
        named = _EMBEDDING in self.name.lower()
        return (
            len(self.tensors) == 1 and width == takes and (named or (self.first and rows != takes))
        )

    @property
    def stem(self) -> str:
        return f"{self.name}." if self.name else ""

    def part(self, kind: str, layer: LayerSpec) -> Part:
        return Part(self.name, kind, self.tensors, [layer])


def way_out(recurrent: Sequence[str]) -> str:
    """Return the hint for a file of which only recurrent modules can be run."""
    alone = "`layer` NAME runs one of " if recurrent[1:] else "`layer` "
    names = verbatim(listed(recurrent))
    alone = f"{alone}{names}{'' if recurrent[1:] else ' runs that alone'}, " if recurrent[0] else ""
    return f"{alone}torch.onnx.export writes the whole model"


def linear(tensors: Tensors, stem: str) -> LayerSpec:
    """Return what an `nn.Linear` is here, whose names begin so."""
    roles = {"W": f"{stem}weight", "b": f"{stem}bias"}
    names = {role: name for role, name in roles.items() if role == "W" or name in tensors.entries}
    return LayerSpec(kind="dense", tensors=names, layout=_TRANSPOSED)


def embedding(stem: str) -> LayerSpec:
    """Return what an `nn.Embedding` is here, whose names begin so."""
    return LayerSpec(kind="embedding", tensors={"W": f"{stem}weight"})


def fit(tensors: Tensors, layers: Sequence[LayerSpec]) -> bool:
    """Return whether each layer takes as many values as the one below gives."""
    known = _known_sizes(tensors, layers)
    return all(below[1] == above[0] for below, above in pairwise(known))


def _known_sizes(tensors: Tensors, layers: Sequence[LayerSpec]) -> list[tuple[int, int]]:
    """Return how many values layers take and give, without those whose tensors do not tell."""
    found = []
    for layer in layers:
        with suppress(InputError):
            found.append(sizes_of(tensors, layer))
    return [(I, O) for I, O, *_ in found if I and O]


def surrounded(
    tensors: Tensors, recurrent: Sequence[Part], *, ordered: bool = False
) -> tuple[list[Part], list[str]]:
    """Put an embedding below a recurrent module and a linear layer above it, if there are such."""
    used = {name for part in recurrent for name in part.tensors}
    owners: dict[str, list[str]] = {}
    before: set[str] = set()
    for name, entry in tensors.entries.items():
        if name not in used:
            if _LOSS.search(name) or (entry.dtype not in FLOATS and not entry.shape):
                continue  # of the training: weights of a loss, and counts
            owners.setdefault(name.rpartition(".")[0], []).append(name)
        elif ordered and not before:
            before = set(owners)
    sizes = _known_sizes(tensors, [layer for part in recurrent for layer in part.layers])
    if not owners or not sizes:
        return list(recurrent), []
    takes, gives = sizes[0][0], sizes[-1][1]
    found = [_matrix(tensors, owner, own, first=owner in before) for owner, own in owners.items()]
    matrices = [each for each in found if each]
    below = [each for each in matrices if each.is_embedding(takes)]
    above = [each for each in matrices if not each.is_embedding(takes)]
    inner = (tensors.prefix + recurrent[0].name).rstrip("./")
    known = len(matrices) == len(owners) and len(below) < 2
    if not known or not _is_head(above, takes, gives, ordered=ordered):
        what = shown(inner) if inner else "all"
        why = f"names and shapes do not tell how {what} is joined to the rest"
        hint = way_out([inner])
        groups = [
            (owner or name, names if owner else [name])
            for owner, names in owners.items()
            for name in (names[:1] if owner else names)
        ]
        others = [Part(name, "", names, why=why, hint=hint, needed=True) for name, names in groups]
        return [*recurrent, *others], []
    parts = [
        *(each.part("nn.Embedding", embedding(each.stem)) for each in below),
        *recurrent,
        *(each.part("nn.Linear", linear(tensors, each.stem)) for each in above),
    ]
    taken = [(each, "an embedding below") for each in below]
    taken += [(each, "a linear layer above") for each in above]
    (first, role), *rest = [(shown(tensors.prefix + each.name), role) for each, role in taken]
    more = [f", {name} as {role}" for name, role in rest]
    what = verbatim(f"{first} is taken as {role}{''.join(more)} {shown(inner)}")
    return parts, [f"{what}, as shapes fit: `layer` {verbatim(shown(inner))} takes that alone"]


def _matrix(tensors: Tensors, owner: str, names: Sequence[str], *, first: bool) -> _Matrix | None:
    """Return the module, if its tensors are a matrix or a matrix and a bias."""
    if any(tensors.entries[name].dtype not in FLOATS for name in names):
        return None
    shapes = {name.rpartition(".")[2]: tensors.entries[name].shape for name in names}
    weight = shapes.pop("weight", ())
    if len(weight) == 2 and shapes in ({}, {"bias": weight[:1]}):
        return _Matrix(owner, weight, names, first)
    return None


def _is_head(above: Sequence[_Matrix], takes: int, gives: int, *, ordered: bool) -> bool:
    """Return whether there is at most one module, which can only be a linear layer above."""
    if len(above) != 1:
        return not above
    (module,) = above
    rows, width = module.shape
    # One that also fits below, as it is or as an embedding, must be known to stand above.
    fits_below = rows == takes or (len(module.tensors) == 1 and width == takes)
    return width == gives and (not fits_below or (ordered and not module.first))
