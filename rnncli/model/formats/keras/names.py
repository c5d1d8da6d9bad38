"""Keras's paths: ``sequential/simple_rnn/simple_rnn_cell/kernel`` and so on, as `Variable.path`."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from rnncli.model.errors import InputError, listed, shown
from rnncli.model.formats.parts import Part, Stack
from rnncli.model.formats.spec import PICK, CellSpec, LayerSpec, cell_of
from rnncli.model.formats.tensors import Tensors

ROLES = ("kernel", "recurrent_kernel", "bias")
_KINDS = {"rnn": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}
# Keras 3 numbers variables in its own files.
_VARIABLES = "/vars/"
# Keras 2 ends the names of variables with a number.
_NAME = re.compile(
    r"(?P<stem>(?:.*[/._])?)(?P<role>recurrent_kernel|(?<!recurrent_)kernel|bias)(?::0)?",
    re.DOTALL,
)
_CELL = re.compile(r"(?:.*_)?cell(?:_[0-9]+)?", re.DOTALL)
_KNOWN_CELL = re.compile(r"(?:\A|/)(?:simple_rnn|lstm|gru)_cell(?:_[0-9]+)?/\Z")
_FORWARD = "forward_"
_BIDIRECTIONAL = re.compile(r"bidirectional(?:_[0-9]+)?")
_NUMBERED = re.compile(r"(.*?)_?([0-9]{1,9})", re.DOTALL)


class _Layer(NamedTuple):
    """A layer: its path, the name that Keras numbers, and what is known of it."""

    path: str
    inner: str
    spec: LayerSpec

    @property
    def first(self) -> str:
        """The name of its first tensor."""
        return self.spec.cells[0].tensors["W_xh"]


# How many values a layer takes a step, and how many it may give.
_Sizes = tuple[int, set[int]]


def find_stacks(tensors: Tensors, *, ordered: bool = False) -> list[Stack]:
    """Find the recurrent layers, those of one model together."""
    scopes: dict[str, list[_Layer]] = {}
    found: Iterable[_Layer] = _paired(tensors, _cells(tensors))
    if ordered:
        places = {name: place for place, name in enumerate(tensors.entries)}
        found = sorted(found, key=lambda layer: places.get(layer.first, 0))
    for layer in found:
        scopes.setdefault(layer.path.rpartition("/")[0], []).append(layer)
    return [
        Stack(
            tuple(layer.path for layer in layers), partial(_parts, tensors, layers, ordered=ordered)
        )
        for layers in scopes.values()
    ]


def _cells(tensors: Tensors) -> dict[str, CellSpec]:
    """Find the recurrent cells, by the path of the layer; in a stack of cells by the cell's own."""
    owners = find_owners(tensors)
    recurrent = {
        stem[:-1]: _cell(tensors, stem, names)
        for stem, names in owners.items()
        if "recurrent_kernel" in names or _KNOWN_CELL.search(stem)
    }
    holders = Counter(map(_holder, recurrent))
    return {
        owner if holders[_holder(owner)] > 1 else _holder(owner): cell
        for owner, cell in recurrent.items()
    }


def find_owners(tensors: Tensors) -> dict[str, dict[str, str]]:
    """Name the kernel, the recurrent kernel and the bias of each layer, by its stem."""
    owners: dict[str, dict[str, str]] = {}
    for name in tensors.entries:
        stem, role = _numbered_role(tensors, name)
        if match := _NAME.fullmatch(name):
            stem, role = match["stem"], match["role"]
        names = owners.setdefault(stem, {}) if role else {}
        if role in names:
            raise tensors.both(names[role], name)
        names[role] = name
    return owners


def _numbered_role(tensors: Tensors, name: str) -> tuple[str, str]:
    """Return the owner of a numbered array and the array's role, if the owner is recurrent."""
    owner, _, number = name.rpartition(_VARIABLES)
    shapes = [
        tensors.entries[each].shape if each in tensors.entries else ()
        for each in (f"{owner}{_VARIABLES}{k}" for k in range(2))
    ]
    matrices = [len(shape) for shape in shapes] == [2, 2] and shapes[0][1] == shapes[1][1]
    return (f"{owner}/", ROLES[int(number)]) if matrices and number in ("0", "1", "2") else ("", "")


def _cell(tensors: Tensors, stem: str, names: Mapping[str, str]) -> CellSpec:
    """Name a cell's tensors, also those that should be there and are not.

    The bias of a GRU that resets after the product is two, (2, 3 H).
    """
    W_xh, W_hh = (names.get(role, f"{stem}{role}") for role in ROLES[:2])
    found = {"W_xh": W_xh, "W_hh": W_hh}
    kind = cell_of(tensors, found)
    settings = {}
    if "bias" in names:
        two = kind == "gru" and len(tensors.entries[names["bias"]].shape) == 2
        found["b_xr" if two else "b_h"] = names["bias"]
        if kind == "gru":
            settings["reset"] = "after" if two else "before"
    return CellSpec(found, kind, settings)


def _holder(owner: str) -> str:
    """Path of the layer that a cell belongs to; Keras 2 has layers that are their own cells."""
    parent, _, leaf = owner.rpartition("/")
    return parent if _CELL.fullmatch(leaf) else owner


def _paired(tensors: Tensors, cells: Mapping[str, CellSpec]) -> Iterator[_Layer]:
    """Put the two cells of each bidirectional layer together."""
    groups: dict[str, dict[str, CellSpec]] = {}
    for path, cell in cells.items():
        parent, _, leaf = path.rpartition("/")
        groups.setdefault(parent, {})[leaf] = cell
    for parent, group in groups.items():
        wrapped = bool(_BIDIRECTIONAL.fullmatch(parent.rpartition("/")[2]))
        stem = f"{parent}/" if parent else ""
        alone = len(group) == 2
        paired: set[str] = set()
        for leaf in group:
            inner = leaf.removeprefix(_FORWARD)
            backward = f"backward_{inner}"
            if wrapped and alone and backward not in group:  # it may have any name
                (backward,) = group.keys() - {leaf}
            if leaf.startswith(_FORWARD) and backward in group:
                path = parent if alone and parent else f"{stem}{inner}"
                spec = LayerSpec((group[leaf], group[backward]), {"direction": "bidirectional"})
                yield _Layer(path, inner, spec)
                paired |= {leaf, backward}
        for leaf in sorted(group.keys() - paired):
            if wrapped:
                what = f"has {shown(stem + leaf)}, but no other direction beside it"
                raise InputError(tensors.path, what)
            yield _Layer(f"{stem}{leaf}", leaf, LayerSpec((group[leaf],)))


def _parts(
    tensors: Tensors, layers: Sequence[_Layer], *, ordered: bool
) -> tuple[Sequence[Part], Sequence[str]]:
    """Order layers, and check that each takes what the one below gives."""
    sorted_ = layers if ordered else _ordered(tensors, layers)
    for below, above in pairwise(sorted_):
        lower, upper = _sizes(tensors, below), _sizes(tensors, above)
        if lower and upper and upper[0] not in lower[1]:
            given = " or ".join(map(str, sorted(lower[1])))
            takes = f"{shown(above.path)} takes {upper[0]} values a step"
            raise InputError(tensors.path, f"{takes}, {shown(below.path)} gives {given}", PICK)
    return [
        Part(
            layer.path,
            _KINDS.get(layer.spec.cells[0].cell, ""),
            layer.spec.names,
            [layer.spec],
        )
        for layer in sorted_
    ], []


def _ordered(tensors: Tensors, layers: Sequence[_Layer]) -> Sequence[_Layer]:
    """Order layers from the bottom by their numbers."""
    paths = [layer.path for layer in layers]
    for names in ([layer.inner for layer in layers], [path.rpartition("/")[2] for path in paths]):
        numbers = [_numbered(name) for name in names]
        if len({stem for stem, _ in numbers}) == 1 and len(set(numbers)) == len(layers):
            return [layers[i] for i in sorted(range(len(layers)), key=numbers.__getitem__)]
    what = f"the order of {listed(paths)} is not in the file"
    raise InputError(tensors.path, what, f"{PICK}; model.save('model.keras') in Keras writes it")


def _numbered(name: str) -> tuple[str, int]:
    match = _NUMBERED.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, 0)


def _sizes(tensors: Tensors, layer: _Layer) -> _Sizes | None:
    """Return a layer's sizes, if its tensors are there and have two axes."""
    cell = layer.spec.cells[0]
    names = (cell.tensors["W_xh"], cell.tensors["W_hh"])
    shapes = [tensors.entries[name].shape for name in names if name in tensors.entries]
    if [len(shape) for shape in shapes] != [2, 2]:
        return None
    (taken, _), (H, _) = shapes
    return taken, {H, H * len(layer.spec.cells)}
