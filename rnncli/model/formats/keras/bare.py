"""Weights of Keras without a config: recurrent layers by the names and shapes of their arrays."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rnncli.model.activations import SIGMOID, TANH, parse
from rnncli.model.errors import InputError, listed, shown, verbatim
from rnncli.model.formats.found import CellDraft, Draft, Found, Part, find_kind
from rnncli.model.formats.keras.layer import HARD_SIGMOID
from rnncli.model.formats.keras.layers import SIGMOID_SINCE, make_cell
from rnncli.model.formats.keras.weights import Stored, read_floats

_KINDS = {"rnn": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}
_CELL = re.compile(r"(?:.*_)?cell(?:_[0-9]+)?", re.DOTALL)
_BIDIRECTIONAL = re.compile(r"(?:.*/)?bidirectional(?:_[0-9]+)?", re.DOTALL)
_EXPECTED = ": expected Keras's names (.../kernel, .../recurrent_kernel, ...)"
_ALONE = "holds weights alone: directions (`direction`) and activations are not in the file"


def find(stored: Stored) -> Found:
    """Find the recurrent layers in a file of weights."""
    group = stored.group
    owners: dict[str, list[str]] = {}  # paths of arrays by the cell or the layer that has them
    for paths in group.layers.values() if group.listed else [group.paths]:
        for name, path in paths.items():
            owner = name.rpartition("/")[0].removesuffix("/vars")
            owners.setdefault(owner or name, []).append(path)
    cells = {owner: paths for owner, paths in owners.items() if _is_cell(stored, paths)}
    parts = []
    for name, each in _pair_directions(stored.path, cells).items():
        drafts = tuple(_make_cell(stored, paths) for paths in each)
        settings = {"direction": "bidirectional"} if len(drafts) == 2 else {}
        arrays = {path: stored.arrays[path] for paths in each for path in paths}
        parts.append(Part(name, _KINDS[drafts[0].kind], arrays, [Draft(drafts, settings)]))
    scopes = {part.name.rpartition("/")[0] for part in parts}
    if not group.listed:  # numbers tell the order of layers of one class
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
    return Found(parts, stored.title, len(scopes) < 2, notes=notes, expected=_EXPECTED)


def _is_cell(stored: Stored, paths: Sequence[str]) -> bool:
    """Return whether arrays are those of a recurrent cell: a kernel, a recurrent one, a bias."""
    if len(paths) not in (2, 3):
        return False
    if stored.group.listed and "recurrent_kernel" not in paths[1].split("/")[-1]:
        return False
    kernel, recurrent = (stored.arrays[path].shape for path in paths[:2])
    return len(kernel) == len(recurrent) == 2 and kernel[1] == recurrent[1]


def _pair_directions(path: str, cells: dict[str, list[str]]) -> dict[str, list[list[str]]]:
    """Return the cells of each layer, one or two, by its name."""
    holders = {}  # a cell has the name of its layer, unless it is one of several
    for owner in cells:
        parent, _, leaf = owner.rpartition("/")
        holders[owner] = parent if _CELL.fullmatch(leaf) else owner
    several = Counter(holders.values())
    named = {o if several[h] > 1 else h: cells[o] for o, h in holders.items()}
    layers: dict[str, list[list[str]]] = {}
    for name, paths in named.items():
        parent, _, leaf = name.rpartition("/")
        way, _, kind = leaf.partition("_")
        other = {"forward": "backward", "backward": "forward"}.get(way, "")
        second = named.get(f"{parent}/{other}_{kind}".removeprefix("/")) if other else None
        if second is not None:
            if way == "forward":
                layers[name if parent in ("", *layers) else parent] = [paths, second]
        elif _BIDIRECTIONAL.fullmatch(parent):
            raise InputError(path, f"has {shown(name)}, but no other direction beside it")
        else:
            layers[name] = [paths]
    return layers


def _split_number(name: str) -> tuple[str, int]:
    """Return the name of a layer without its number, and the number."""
    stem = name.rstrip("0123456789")
    return stem.rstrip("_"), int(name[len(stem) :][:9] or 0)


def _make_cell(stored: Stored, paths: Sequence[str]) -> CellDraft:
    """Make a cell, with what is known of cuDNN's, and what was usual in others once."""
    settings: dict[str, Any] = {}
    assumed: dict[str, Any] = {}
    try:
        arrays = {path: read_floats(path, stored.arrays[path]) for path in paths}
        _, W_hh, *bias = arrays.values()
        kind = find_kind(stored.path, W_hh, {"W_hh": paths[1]})
        packed = kind != "rnn" and bool(bias) and bias[0].shape == (2 * W_hh.shape[1],)
        if packed:
            settings = {"activation": TANH, "recurrent_activation": SIGMOID}
        elif kind != "rnn" and stored.version < SIGMOID_SINCE:
            assumed = {"recurrent_activation": parse(HARD_SIGMOID[True])}
        if kind == "gru" and bias:
            settings["reset"] = "after" if packed or bias[0].ndim == 2 else "before"
        draft = make_cell(kind, arrays, settings, packed=packed)
        return draft._replace(assumed=assumed)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(stored.path, str(error)) from error
