"""The format of a state file: what it holds, and whether that fits a network."""

import json
import os
from collections.abc import Mapping, Sequence
from itertools import chain
from reprlib import repr as shortened
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from rnncli.model.arrays import Floats, Integers, in_dtype
from rnncli.model.errors import InputError, listed, one_line, word
from rnncli.model.fingerprint import fingerprint
from rnncli.model.layers import name_of
from rnncli.model.network import Network

_FORMAT, _DAMAGED = 1, "not a state file, or a damaged one"
# The fields of the text in their order: the type of the value, of its items and of their items.
_FIELDS: dict[str, tuple[type, ...]] = {
    "cells": (list, str),
    "network": (str,),
    "key_columns": (list, str),
    "keys": (list, list, str),
    "columns": (list, str),
    "task": (str,),
    "size": (int,),
    "sha256": (str,),
    "rows": (int,),
    "center": (list, float),
    "scale": (list, float),
    "precision": (str,),
}


class SavedStates(NamedTuple):
    """The content of a state file."""

    network: str  # fingerprint of the network and precision
    key_columns: Sequence[str]  # none for a single sequence
    keys: Sequence[tuple[str, ...]]  # one empty key for a single sequence
    t: Integers  # (K,)
    arrays: Mapping[str, Floats]  # (K, size) each, by Network.state_names
    cells: tuple[str, ...] = ("rnn",)  # as cells_of returns them
    columns: tuple[str, ...] = ()  # names of the columns that were read, if all have one
    task: str = ""  # the task of a batch that wrote it
    size: int = 0  # bytes of the input of the task, if it is a local file
    sha256: str = ""  # of these bytes
    rows: int = 0  # that were counted of the input
    center: tuple[float, ...] = ()  # the numbers that scaled the columns, if they were scaled
    scale: tuple[float, ...] = ()
    precision: str = ""


def cells_of(network: Network) -> tuple[str, ...]:
    """Return the names in `CELLS` of the kinds of cells of a network, the lowest first."""
    names = (name_of(cell) for layer in network.layers for cell in layer.cells)
    return tuple(dict.fromkeys(names))


def save_state(file: BinaryIO, state: SavedStates) -> None:
    """Write a state file; the same state gives the same bytes."""
    fields = {name: getattr(state, name) for name in _FIELDS}
    defaults = SavedStates._field_defaults
    about = {name: value for name, value in fields.items() if value != defaults.get(name)}
    text = np.array(json.dumps({"format": _FORMAT, **about}))
    arrays: dict[str, Any] = {"about": text, "t": state.t, **state.arrays}
    np.savez(file, **arrays)


def load_state(path: str) -> SavedStates:
    """Read a state file; `fit_states` checks the names and widths of its arrays."""
    from rnncli.model.formats.containers.zips import read_archive  # few runs need it

    check_is_file(path)
    with open(path, "rb") as file:
        data = file.read()
    try:
        arrays: dict[str, Any] = read_archive(data, path)
    except InputError as error:
        reason = error.what.removeprefix("damaged: ") if data else "it is empty"
        raise _damage(path, reason) from error
    unpacked = sum(array.nbytes for array in arrays.values())
    if unpacked > len(data) or not {"about", "t"} <= arrays.keys():
        what = f"expected the arrays about, t and h as they are, got {listed(sorted(arrays))}"
        raise _damage(path, f"{what} of {unpacked:,} bytes")
    try:
        fields = _parse_fields(arrays.pop("about").item())
    except (ValueError, TypeError, RecursionError) as error:
        raise _damage(path, one_line(error)) from error
    t, K = arrays.pop("t"), len(fields["keys"])
    if t.dtype.kind not in "iu" or t.shape != (K,) or ((t < 0) | (t > 2**53)).any():
        raise _damage(path, f"t: expected {K} whole numbers from 0 to 2^53")
    return SavedStates(t=t.astype(np.intp), arrays=arrays, **fields)


def check_is_file(path: str) -> None:
    """Refuse a device, a pipe or a directory."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(path, "not a state file", "a state is read from a file and replaces it")


def fit_states(
    path: str,
    state: SavedStates,
    network: Network,
    identity: str,
    precision: str,
    key_columns: Sequence[str],
    dtype: np.dtype[np.floating],
    scales: Mapping[str, Sequence[float]],
) -> Floats:
    """Check that a state file belongs to a network, and return its states, (K, S)."""
    slices, hint = network.state_names, "give the options of the run that wrote it, or another file"
    if state.network != identity:
        if state.network == fingerprint(network, precision, whole=False):
            what = "left by a version of rnn that took graphs with the same weights for one network"
            raise InputError(path, what, "remove it to begin anew")
        raise InputError(path, _describe_difference(state, network, precision, scales), hint)
    if [*state.key_columns] != [*key_columns]:
        before, now = (listed(names or ["no key"]) for names in (state.key_columns, key_columns))
        raise InputError(path, f"the state of sequences by {before}, this run has {now}", hint)
    expected = {name: (len(state.keys), each.stop - each.start) for name, each in slices.items()}
    shapes = {name: array.shape for name, array in state.arrays.items()}
    if shapes != expected:
        raise _damage(path, f"expected arrays of shape {expected}, got {shortened(shapes)}")
    states = [in_dtype(f"{path}: {name}", state.arrays[name], dtype) for name in slices]
    return np.concatenate(states, axis=1)


def _describe_difference(
    state: SavedStates, network: Network, precision: str, scales: Mapping[str, Sequence[float]]
) -> str:
    """Describe what a state was left with, as far as this run has something else."""
    written = []
    for name in ("center", "scale"):
        before, now = getattr(state, name), scales.get(name, ())
        if [*before] != [*now]:
            each = f"`{name}` {','.join(map(repr, before))}"
            written.append(each if before else f"no `{name}`")
    if state.precision and state.precision != precision:
        written.append(f"`precision` {state.precision}")
    if state.cells != cells_of(network):
        written.append(f"{listed(state.cells)} cells")
    if written:
        return word(f"written with {', '.join(written)}")
    return "the state of a network with other weights, layers or precision"


def _parse_fields(text: str) -> dict[str, Any]:
    """Parse the text, and check its fields."""
    about = json.loads(text)
    number = about.get("format") if isinstance(about, dict) else None
    if number != _FORMAT:
        of = f"format {number}, which another version of rnn writes"
        got = of if isinstance(number, int) else shortened(about)
        raise ValueError(f"about: expected format {_FORMAT}, got {got}")
    names = {"network", "key_columns", "keys"} | _FIELDS.keys() & about.keys()
    fields: dict[str, Any] = {name: about.get(name) for name in names}
    for name, value in fields.items():
        values: list[Any] = [value]
        for kind in _FIELDS[name]:
            if not {*map(type, values)} <= {kind}:
                raise ValueError(f"about: unexpected {name}: {shortened(value)}")
            values = [*chain.from_iterable(values)] if kind is list else []
        fields[name] = tuple(value) if isinstance(value, list) else value
    keys = fields["keys"] = [*map(tuple, fields["keys"])]
    if len(set(keys)) < len(keys) or not {*map(len, keys)} <= {len(fields["key_columns"])}:
        raise ValueError(f"about: a key twice, or of other columns: {shortened(keys)}")
    return fields


def _damage(path: str, reason: str) -> InputError:
    return InputError(path, f"{_DAMAGED}: {reason}")
