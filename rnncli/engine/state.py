"""A state file: where the sequences of a run ended, so that another run can go on from there.

It is an archive of arrays: ``about``, JSON text; ``t``, the steps that each of
K sequences has had; and the state after them, ``h`` of all cells side by side
and, where cells carry more, an array for each other name. The text is an object:
``format``, ``network``, ``key_columns`` and ``keys``; ``cells``, where they are
not vanilla ones alone; ``columns``, where those that were read have names;
``center`` and ``scale``, where the columns were scaled by these numbers;
``task``, where a task of a batch left it.
"""

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from rnncli.model.arrays import Floats, Integers, in_dtype
from rnncli.model.errors import InputError, listed, shown
from rnncli.model.layers import name_of
from rnncli.model.network import Network

if TYPE_CHECKING:
    from rnncli.model.formats.containers.archive import Archive

_FORMAT = 1
# So many steps a float64 counts one by one.
_MOST_STEPS = 2**53
# What cells are called in messages.
_NETWORKS = {"rnn": "a vanilla RNN", "lstm": "an LSTM", "gru": "a GRU"}
# The cells of a network whose state file does not name them.
_VANILLA = ("rnn",)
# The way out where a state is of another run.
_OTHER_RUN = "give the options of the run that wrote it, or another file"
# The same where the network is another: what scales the columns is part of it.
_OTHER_NETWORK = (
    "give the options of the run that wrote it, `center` and `scale` too, or another file"
)


class State(NamedTuple):
    """What a state file holds.

    Parameters
    ----------
    network : str
        The `fingerprint` of the network and precision.
    key_columns : sequence of str
        What the keys are values of; none for a single sequence.
    keys : sequence of tuples of str
        The key of each sequence; one empty key for a single sequence.
    t : array of int, shape (K,)
        How many steps each has had.
    arrays : mapping of arrays, shape (K, size) each
        The state of all cells after them, by `Network.state_names`.
    cells : tuple of str
        The kinds of cells, as `cells_of` returns them.
    columns : tuple of str
        The names of the columns that were read; none where they are not known.
    task : str
        What tells the task of a batch that left it from any other.
    center, scale : tuple of float
        The numbers that scaled the columns, if any did.
    """

    network: str
    key_columns: Sequence[str]
    keys: Sequence[tuple[str, ...]]
    t: Integers
    arrays: Mapping[str, Floats]
    cells: tuple[str, ...] = _VANILLA
    columns: tuple[str, ...] = ()
    task: str = ""
    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()


def fingerprint(network: Network, precision: str) -> str:
    """Return a SHA-256 that tells a network and precision from any others.

    Below float64 it has the arrays of a layer in the narrowest of their
    types: that of the file, which a sum of two biases is wider than.
    """
    import hashlib  # 3 ms that most runs do not need

    digest = hashlib.sha256(precision.encode())

    def add(arrays: Mapping[str, Floats]) -> None:
        narrowest = min((array.dtype for array in arrays.values()), default=None)
        for each in arrays.values():
            array = each if precision == "float64" else each.astype(narrowest, copy=False)
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(array.tobytes())

    for number, layer in enumerate(network.layers, start=1):
        for direction, cell in zip(layer.directions, layer.cells, strict=True):
            settings = " ".join(map(str, cell.settings.values()))
            digest.update(f"{number} {direction} {settings}".encode())
            add(cell.weights.arrays)
        if not layer.cells:
            settings = " ".join(map(str, [*layer.arrays, *layer.settings.values()]))
            digest.update(f"{number} {type(layer).__name__} {settings}".encode())
            add(layer.arrays)
    return digest.hexdigest()


def cells_of(network: Network) -> tuple[str, ...]:
    """Return the kinds of cells of a network, by their names in `CELLS`, the lowest first."""
    names = (name_of(cell) for layer in network.layers for cell in layer.cells)
    return tuple(dict.fromkeys(names))


def save_state(file: BinaryIO, state: State) -> None:
    """Write a state file; the same state gives the same bytes."""
    about = {
        "format": _FORMAT,
        **({} if state.cells == _VANILLA else {"cells": list(state.cells)}),
        "network": state.network,
        "key_columns": list(state.key_columns),
        "keys": list(state.keys),
        **({"columns": list(state.columns)} if state.columns else {}),
        **({"task": state.task} if state.task else {}),
        **({"center": list(state.center)} if state.center else {}),
        **({"scale": list(state.scale)} if state.scale else {}),
    }
    arrays: dict[str, Any] = {"about": np.array(json.dumps(about)), "t": state.t, **state.arrays}
    np.savez(file, **arrays)


def load_state(path: str) -> State | None:
    """Read a state file, or None where there is none yet."""
    if not os.path.exists(path):
        return None
    check_is_file(path)
    from rnncli.model.formats.containers.archive import opened  # 5 ms that most runs do not need

    try:
        with opened(path) as archive:
            return _read(archive)
    except InputError as error:
        raise _damaged(path, str(error).removeprefix(f"{path}: ")) from error


def check_is_file(path: str) -> None:
    """Refuse a device, a pipe or a directory."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(path, "not a state file", "a state is read from a file and replaces it")


def fitting_states(
    path: str,
    state: State,
    network: Network,
    whose: str,
    key_columns: Sequence[str],
    dtype: np.dtype[np.floating],
) -> Floats:
    """Return the states in a file as those of a network."""
    cells, names = cells_of(network), network.state_names
    if state.cells != cells:
        what = f"the state of {_kinds(state.cells)}, this network is {_kinds(cells)}"
        raise InputError(path, what, _OTHER_RUN)
    if state.network != whose:
        raise InputError(path, "the state of another network or precision", _OTHER_NETWORK)
    if list(state.key_columns) != list(key_columns):
        raise InputError(
            path,
            f"the state of sequences by {_named(state.key_columns)}, "
            f"this run has {_named(key_columns)}",
            _OTHER_RUN,
        )
    if set(state.arrays) != set(names):
        raise _damaged(path, _unexpected(names, ["about", "t", *state.arrays]))
    states = []
    for name, place in names.items():
        expected, array = (len(state.keys), place.stop - place.start), state.arrays[name]
        if array.shape != expected:
            raise InputError(
                f"{path}: {name}",
                f"expected shape {expected}, as the network has it, got {array.shape}",
            )
        states.append(in_dtype(f"{path}: {name}", array, dtype))
    return np.concatenate(states, axis=1)


def _read(archive: "Archive") -> State:
    from rnncli.model.formats.metadata import read_json

    if not {"about", "t", "h"} <= archive.members.keys():
        raise InputError(archive.path, _unexpected(["h"], archive.members))
    # It is written uncompressed; text that is JSON takes many times its own memory.
    archive.check_sizes(archive.members, most_times=1)
    place = archive.place("about")
    about = read_json(place, archive.text("about"), _FORMAT)
    network = about.get("network")
    cells = _texts(place, "cells", about.get("cells", list(_VANILLA)))
    columns = _texts(place, "columns", about.get("columns", []))
    key_columns = _texts(place, "key_columns", about.get("key_columns"))
    if not isinstance(network, str):
        raise InputError(place, f"network: expected a text, got {network!r:.40}")
    found = _keys(place, about.get("keys"), len(key_columns))
    t = _rows(archive, "t", "iu", (len(found),))
    wrong = t[(t < 0) | (t > _MOST_STEPS)]
    if len(wrong):
        raise InputError(archive.place("t"), f"expected 0 to 2^53, got {wrong[0]}")
    names = [name for name in archive.members if name not in ("about", "t")]
    arrays = {name: _rows(archive, name, "f", (len(found), "S")) for name in names}
    task = about.get("task", "")
    if not isinstance(task, str):
        raise InputError(place, f"task: expected a text, got {task!r:.40}")
    scaling = [_numbers(place, name, about.get(name, [])) for name in ("center", "scale")]
    t = t.astype(np.intp)
    return State(network, key_columns, found, t, arrays, cells, columns, task, *scaling)


def _texts(place: str, name: str, texts: Any) -> tuple[str, ...]:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError(place, f"{name}: expected a list of texts, got {texts!r:.40}")
    return tuple(texts)


def _numbers(place: str, name: str, numbers: Any) -> tuple[float, ...]:
    sound = isinstance(numbers, list) and {*map(type, numbers)} <= {int, float}
    if not sound or not all(map(math.isfinite, numbers)):
        raise InputError(place, f"{name}: expected a list of numbers, got {numbers!r:.40}")
    return tuple(map(float, numbers))


def _keys(place: str, keys: Any, columns: int) -> list[tuple[str, ...]]:
    """Check that these are texts, as many in each key as there are columns, and no key twice."""
    sound = (
        isinstance(keys, list)
        and {*map(type, keys)} <= {list}
        and {*map(len, keys)} <= {columns}
        and {*map(type, chain.from_iterable(keys))} <= {str}
    )
    if not sound:
        raise InputError(place, f"keys: expected a list of lists of {columns}, got {keys!r:.40}")
    found = [*map(tuple, keys)]
    if len(set(found)) < len(found):
        (key, _), *_ = Counter(found).most_common(1)
        raise InputError(place, f"the key {shown(' '.join(key))} twice")
    return found


def _rows(archive: "Archive", name: str, kinds: str, expected: tuple[int | str, ...]) -> Any:
    """Read an array of floats or of whole numbers, with a row for each key."""
    place, member = archive.place(name), archive.members[name]
    shape, dtype = member.entry
    if member.dtype.kind not in kinds:
        numbers = "floats" if kinds == "f" else "whole numbers"
        raise InputError(place, f"expected {numbers}, got {dtype}")
    if len(shape) != len(expected) or shape[0] != expected[0]:
        rows = str(expected).replace("'", "")
        raise InputError(place, f"expected shape {rows}, a row for each key, got {shape}")
    return archive.array(name)


def _unexpected(names: Iterable[str], found: Iterable[str]) -> str:
    *others, last = names
    return (
        f"expected the arrays {', '.join(['about', 't', *others])} and {last}, got {listed(found)}"
    )


def _damaged(path: str, reason: str) -> InputError:
    return InputError(path, f"not a state file, or a damaged one: {reason}")


def _kinds(cells: Iterable[str]) -> str:
    return shown(" and ".join(_NETWORKS.get(cell, cell) for cell in cells))


def _named(names: Sequence[str]) -> str:
    return ", ".join(names) or "no key"
