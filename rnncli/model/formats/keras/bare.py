"""Weights of Keras without a config: recurrent layers by the names and shapes of their arrays."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rnncli.model.activations import SIGMOID, TANH, parse
from rnncli.model.errors import InputError, listed, shown, verbatim
from rnncli.model.formats.found import CellDraft, Draft, Found, Part, find_kind
from rnncli.model.formats.keras.layers import SIGMOID_SINCE, make_cell
from rnncli.model.formats.keras.settings import HARD_SIGMOID
from rnncli.model.formats.keras.weights import Stored, read_floats, unpack_cudnn

_KINDS = {"rnn": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}
_CELL = re.compile(r"(?:.*_)?cell(?:_[0-9]+)?", re.DOTALL)
_BIDIRECTIONAL = re.compile(r"(?:.*/)?bidirectional(?:_[0-9]+)?", re.DOTALL)
_EXPECTED = ": expected Keras's names (.../kernel, .../recurrent_kernel, ...)"
_ALONE = "holds weights alone: directions (`direction`) and activations are not in the file"


def find(stored: Stored) -> Found:
    """Find the recurrent layers in a file of weights."""
    owners = _group_by_owner(stored)
    by_name = stored.listed() is not None
    cells = {
        owner: paths for owner, paths in owners.items() if _is_cell(stored, paths, by_name=by_name)
    }
    layers = _pair_directions(stored.path, _name_layers(cells))
    parts = []
    for name, each in layers.items():
        drafts = tuple(_make_cell(stored, paths) for paths in each)
        settings = {"direction": "bidirectional"} if len(drafts) == 2 else {}
        arrays = {path: stored.arrays[path] for paths in each for path in paths}
        parts.append(Part(name, _KINDS[drafts[0].kind], arrays, [Draft(drafts, settings)]))
    scopes = {part.name.rpartition("/")[0] for part in parts}
    if not by_name:  # numbers tell the order of layers of one class
        scopes = {_split_number(part.name)[0] for part in parts}
        parts.sort(key=lambda part: _split_number(part.name))
    notes, others = [_ALONE], [owner for owner in owners if owner not in cells]
    if others and len(scopes) == 1:
        notes.append(f"passes over {verbatim(listed(others))}: names do not tell how it is joined")
    if len(parts) > len(scopes) == 1:
        named = verbatim(listed(part.name for part in parts))
        notes.append(f"takes {named} one above the other: names do not tell how they are joined")
    for owner in others:
        arrays = {path: stored.arrays[path] for path in owners[owner]}
        parts.append(Part(owner, "", arrays, why="is no recurrent layer by its names"))
    title = f"Keras {stored.written_by}".rstrip()
    return Found(parts, title, len(scopes) < 2, notes=notes, expected=_EXPECTED)


def _group_by_owner(stored: Stored) -> dict[str, list[str]]:
    """Return the paths of the arrays that each cell or layer owns, in their order."""
    layers = stored.listed()
    every = [stored.numbered()] if layers is None else layers.values()
    owners: dict[str, list[str]] = {}
    for name, path in (each for paths in every for each in paths.items()):
        owner = name.rpartition("/")[0].removesuffix("/vars")
        owners.setdefault(owner or name, []).append(path)
    return owners


def _is_cell(stored: Stored, paths: Sequence[str], *, by_name: bool) -> bool:
    """Return whether arrays are those of a recurrent cell: a kernel, a recurrent one, a bias."""
    if len(paths) not in (2, 3) or (by_name and "recurrent_kernel" not in paths[1].split("/")[-1]):
        return False
    kernel, recurrent = (stored.arrays[path].shape for path in paths[:2])
    return len(kernel) == len(recurrent) == 2 and kernel[1] == recurrent[1]


def _name_layers(cells: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Name cells as their layers, but for stacked ones; Keras 2 has layers that are cells."""
    holders = {}
    for owner in cells:
        parent, _, leaf = owner.rpartition("/")
        holders[owner] = parent if _CELL.fullmatch(leaf) else owner
    several = Counter(holders.values())
    names = {owner: owner if several[holder] > 1 else holder for owner, holder in holders.items()}
    return {names[owner]: paths for owner, paths in cells.items()}


def _pair_directions(path: str, cells: Mapping[str, list[str]]) -> dict[str, list[list[str]]]:
    """Put the two cells of each bidirectional layer together; the backward one has any name."""
    groups: dict[str, list[str]] = {}
    for name in cells:
        groups.setdefault(name.rpartition("/")[0], []).append(name)
    pairs: dict[str, str] = {}
    for parent, names in groups.items():
        wrapped = len(names) == 2 and _BIDIRECTIONAL.fullmatch(parent)
        for name, other in zip(names, names[::-1], strict=True):
            stem, _, inner = name.rpartition("forward_")
            if name.rpartition("/")[2].startswith("forward_"):
                backward = other if wrapped else f"{stem}backward_{inner}"
                pairs |= {name: backward} if backward in cells else {}
    layers: dict[str, list[list[str]]] = {}
    second = {*pairs.values()}
    for name in (name for name in cells if name not in second):
        parent = name.rpartition("/")[0]
        if name in pairs:
            alone = parent if len(groups[parent]) == 2 else ""
            layer = alone or "".join(name.rsplit("forward_", 1))
            layers[layer] = [cells[name], cells[pairs[name]]]
        elif _BIDIRECTIONAL.fullmatch(parent):
            raise InputError(path, f"has {shown(name)}, but no other direction beside it")
        else:
            layers[name] = [cells[name]]
    return layers


def _split_number(name: str) -> tuple[str, int]:
    """Return the name of a layer without its number, and the number."""
    stem = name.rstrip("0123456789")
    return stem.rstrip("_"), int(name[len(stem) :][:9] or 0)


def _make_cell(stored: Stored, paths: Sequence[str]) -> CellDraft:
    """Make a cell, with what is known of cuDNN's, and what was usual in others once."""
    try:
        arrays = {path: read_floats(path, stored.arrays[path]) for path in paths}
        _, (name, W_hh), *bias = arrays.items()
        kind = find_kind(stored.path, W_hh, {"W_hh": name})
        settings: dict[str, Any] = {}
        assumed: dict[str, Any] = {}
        if kind != "rnn" and bias and bias[0][1].shape == (2 * W_hh.shape[1],):
            settings = {"activation": TANH, "recurrent_activation": SIGMOID}
            arrays = unpack_cudnn(kind, arrays)
        elif kind != "rnn" and stored.version < SIGMOID_SINCE:
            assumed = {"recurrent_activation": parse(HARD_SIGMOID[True])}
        if kind == "gru" and bias:
            after = arrays[paths[2]].ndim == 2
            settings["reset"] = "after" if after else "before"
        return make_cell(kind, arrays, settings)._replace(assumed=assumed)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(stored.path, str(error)) from error
