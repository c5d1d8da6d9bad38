"""Keras's paths: ``sequential/simple_rnn/simple_rnn_cell/kernel`` and so on, as `Variable.path`."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice, pairwise
from typing import NamedTuple

from rnncli.model.arrays import Floats
from rnncli.model.cells import WEIGHT_NAMES
from rnncli.model.formats.naming.stack import PICK, Stack, gated
from rnncli.model.formats.tensors import Entry, NamedCell, NamedLayer, NamedNetwork, listed, shown
from rnncli.model.network import Network

_ROLES = dict(zip(("kernel", "recurrent_kernel", "bias"), WEIGHT_NAMES, strict=True))
# Keras 2 ends the names of variables so.
_KERAS_2 = ":0"
_CELL = re.compile(r"(?:.*_)?cell(?:_[0-9]+)?", re.DOTALL)
_KNOWN_CELL = re.compile(r"(?:simple_rnn|lstm|gru)_cell(?:_[0-9]+)?")
_FORWARD = "forward_"
_BIDIRECTIONAL = re.compile(r"bidirectional(?:_[0-9]+)?")
_NUMBERED = re.compile(r"(.*?)_?([0-9]{1,9})", re.DOTALL)
# Layers whose order is sought by their shapes.
_SOUGHT = 8


class _Cell(NamedTuple):
    """A cell's tensors by our names, and the path of its layer.

    In a stack of cells the path is the cell's own.
    """

    path: str
    names: dict[str, str]


class _Layer(NamedTuple):
    """A layer: its path, the name that Keras numbers, and its one or two cells."""

    path: str
    inner: str
    cells: tuple[_Cell, ...]

    @property
    def leaf(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def scope(self) -> str:
        return self.path.rpartition("/")[0]


class _Sizes(NamedTuple):
    """How many values a layer takes a step, and how many it may give."""

    taken: int
    given: set[int]


def find_stacks(entries: Mapping[str, Entry]) -> list[Stack]:
    """Find the recurrent layers, those of one model together."""
    scopes: dict[str, list[_Layer]] = {}
    for layer in _layers(_cells(entries)):
        scopes.setdefault(layer.scope, []).append(layer)
    return [
        Stack(
            tuple(layer.path for layer in layers),
            next(filter(None, (_gated(layer, entries) for layer in layers)), None),
            partial(_network, layers, entries),
        )
        for layers in scopes.values()
    ]


def name_tensors(network: Network) -> dict[str, Floats]:
    """Name a network's arrays as Keras does those of the first Sequential model of a process."""
    tensors: dict[str, Floats] = {}
    wrapped = 0
    for number, layer in enumerate(network.layers):
        name = f"simple_rnn{_end(number)}"
        paths = [f"sequential/{name}"]
        if layer.direction == "bidirectional":
            stem = f"sequential/bidirectional{_end(wrapped)}"
            paths = [f"{stem}/forward_{name}", f"{stem}/backward_{name}"]
            wrapped += 1
        for path, cell in zip(paths, layer.cells, strict=True):
            for role, array in zip(_ROLES, cell.weights, strict=True):
                tensors[f"{path}/simple_rnn_cell/{role}"] = array
    return tensors


def _end(number: int) -> str:
    return f"_{number}" if number else ""


def _cells(entries: Mapping[str, Entry]) -> list[_Cell]:
    """Gather the tensors of each recurrent cell."""
    owners: dict[str, dict[str, str]] = {}
    for name in entries:
        owner, _, role = name.removesuffix(_KERAS_2).rpartition("/")
        if role in _ROLES:
            names = owners.setdefault(owner, {})
            if _ROLES[role] in names:
                raise ValueError(
                    f"expected one of the two, {shown(names[_ROLES[role]])} or {shown(name)}, "
                    "got both"
                )
            names[_ROLES[role]] = name
    recurrent = {
        owner: names
        for owner, names in owners.items()
        if "W_hh" in names or _KNOWN_CELL.fullmatch(owner.rpartition("/")[2])
    }
    holders = Counter(map(_holder, recurrent))
    return [
        _Cell(owner if holders[_holder(owner)] > 1 else _holder(owner), names)
        for owner, names in recurrent.items()
    ]


def _holder(owner: str) -> str:
    """Path of the layer that a cell belongs to; Keras 2 has layers that are their own cells."""
    parent, _, leaf = owner.rpartition("/")
    return parent if _CELL.fullmatch(leaf) else owner


def _layers(cells: Iterable[_Cell]) -> Iterator[_Layer]:
    """Put the two cells of each bidirectional layer together."""
    groups: dict[str, dict[str, _Cell]] = {}
    for cell in cells:
        parent, _, leaf = cell.path.rpartition("/")
        groups.setdefault(parent, {})[leaf] = cell
    for parent, group in groups.items():
        wrapped = bool(_BIDIRECTIONAL.fullmatch(parent.rpartition("/")[2]))
        alone = len(group) == 2
        pairs = _pairs(group, wrapped and alone)
        for leaf, other in pairs.items():
            inner = leaf.removeprefix(_FORWARD)
            path = parent if alone and parent else f"{parent}/{inner}".lstrip("/")
            yield _Layer(path, inner, (group[leaf], group[other]))
        for leaf in sorted(set(group) - set(pairs) - set(pairs.values())):
            if wrapped:
                raise ValueError(f"has {shown(group[leaf].path)}, but no other direction beside it")
            yield _Layer(group[leaf].path, leaf, (group[leaf],))


def _pairs(group: Mapping[str, _Cell], wrapped: bool) -> dict[str, str]:
    """Find the backward cell of each forward one; in a wrapper it may have any name."""
    pairs = {}
    for leaf in group:
        if leaf.startswith(_FORWARD):
            backward = f"backward_{leaf.removeprefix(_FORWARD)}"
            if backward not in group and wrapped:
                (backward,) = set(group) - {leaf}
            if backward in group:
                pairs[leaf] = backward
    return pairs


def _gated(layer: _Layer, entries: Mapping[str, Entry]) -> str | None:
    """Say what a layer's tensors show it to be, if it is no simple layer."""
    for cell in layer.cells:
        name = cell.names.get("W_hh", "")
        shape = entries[name].shape if name else ()
        kind = gated(shape)
        if kind:
            return f"{shown(name)} has shape {shape}, as {kind}'s"
    return None


def _network(layers: Sequence[_Layer], entries: Mapping[str, Entry]) -> NamedNetwork:
    ordered, notes = _ordered(layers, entries)
    for below, above in pairwise(ordered):
        _check_fit(below, above, entries)
    found = (
        NamedLayer(
            tuple(_named(cell) for cell in layer.cells),
            "bidirectional" if len(layer.cells) == 2 else None,
        )
        for layer in ordered
    )
    return NamedNetwork(tuple(found), notes=notes)


def _check_fit(below: _Layer, above: _Layer, entries: Mapping[str, Entry]) -> None:
    """Refuse layers that their names, but not their shapes, show as a stack."""
    lower, upper = (_sizes(layer, entries) for layer in (below, above))
    if lower and upper and upper.taken not in lower.given:
        given = " or ".join(map(str, sorted(lower.given)))
        raise ValueError(
            f"{shown(above.path)} takes {upper.taken} values a step, {shown(below.path)} gives "
            f"{given}: {PICK}"
        )


def _named(cell: _Cell) -> NamedCell:
    """Name a cell's tensors, also those that should be there and are not."""
    some = next(iter(cell.names.values()))
    owner = some.removesuffix(_KERAS_2).rpartition("/")[0]
    stem = f"{owner}/" if owner else ""
    W_xh, W_hh = (
        cell.names.get(_ROLES[role], f"{stem}{role}") for role in ("kernel", "recurrent_kernel")
    )
    bias = cell.names.get("b_h")
    return NamedCell(W_xh, W_hh, (bias,) if bias else ())


def _ordered(
    layers: Sequence[_Layer], entries: Mapping[str, Entry]
) -> tuple[Sequence[_Layer], tuple[str, ...]]:
    """Order layers from the bottom: by their numbers, or else as only their shapes fit.

    Raises
    ------
    ValueError
        Neither tells.
    """
    for names in ([layer.inner for layer in layers], [layer.leaf for layer in layers]):
        numbers = [_numbered(name) for name in names]
        if len({stem for stem, _ in numbers}) == 1 and len(set(numbers)) == len(layers):
            return [layers[i] for i in sorted(range(len(layers)), key=numbers.__getitem__)], ()
    sizes = [size for size in (_sizes(layer, entries) for layer in layers) if size]
    if len(sizes) < len(layers):
        return layers, ()  # a tensor is missing or misshapen, as is said when it is to be read
    chains = list(islice(_chains(sizes, ()), 2)) if len(layers) <= _SOUGHT else []
    paths = [layer.path for layer in layers]
    if len(chains) != 1:
        raise ValueError(f"neither names nor shapes tell the order of {listed(paths)}: {PICK}")
    (chain,) = chains
    note = f"{listed(paths[i] for i in chain)} are taken as layers in this order, as they fit"
    return [layers[i] for i in chain], (note,)


def _numbered(name: str) -> tuple[str, int]:
    match = _NUMBERED.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, 0)


def _sizes(layer: _Layer, entries: Mapping[str, Entry]) -> _Sizes | None:
    """Tell a layer's sizes, if its tensors are there and have two axes."""
    names = layer.cells[0].names
    if not {"W_xh", "W_hh"} <= set(names):
        return None
    kernel, recurrent = entries[names["W_xh"]].shape, entries[names["W_hh"]].shape
    if len(kernel) != 2 or len(recurrent) != 2:
        return None
    H = recurrent[0]
    return _Sizes(kernel[0], {H, H * len(layer.cells)})


def _chains(sizes: Sequence[_Sizes], chain: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Go through the orders in which each layer takes what the one before gives."""
    if len(chain) == len(sizes):
        yield chain
    for i, size in enumerate(sizes):
        if i not in chain and (not chain or size.taken in sizes[chain[-1]].given):
            yield from _chains(sizes, (*chain, i))
