"""A state file: where the sequences of a run ended, so that another run can go on from there.

It is an archive of arrays: ``about``, JSON text; ``t``, the steps that each of
K sequences has had; and the state after them, ``h`` of all cells side by side
and, where cells carry more, an array for each other name. The text is an object
of ``format`` and the fields of a `State` other than its arrays, each left out
where it has its default.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from itertools import chain
from reprlib import repr as shortened
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from rnncli.model.arrays import Floats, Integers, in_dtype
from rnncli.model.errors import InputError, listed, one_line, shown
from rnncli.model.layers import name_of
from rnncli.model.network import Network

_FORMAT = 1
# The fields of the text, in their order there: type of the value, of its items and of theirs.
_FIELDS: dict[str, tuple[type, ...]] = {
    "cells": (list, str),
    "network": (str,),
    "key_columns": (list, str),
    "keys": (list, list, str),
    "columns": (list, str),
    "task": (str,),
    "center": (list, float),
    "scale": (list, float),
}
# Bytes of the end of an archive, and of the list of its members, of which Python makes 15 times
# as many.
_END, _LIST_MOST = 22, 2 * 2**20
# A float64 counts up to this one by one.
_MOST_STEPS = 2**53


class State(NamedTuple):
    """The content of a state file."""

    network: str  # fingerprint of the network and precision
    key_columns: Sequence[str]  # none for a single sequence
    keys: Sequence[tuple[str, ...]]  # one empty key for a single sequence
    t: Integers  # (K,)
    arrays: Mapping[str, Floats]  # (K, size) each, by Network.state_names
    cells: tuple[str, ...] = ("rnn",)  # as cells_of returns them
    columns: tuple[str, ...] = ()  # names of the columns that were read, if all have one
    task: str = ""  # the task of a batch that left it
    center: tuple[float, ...] = ()  # the numbers that scaled the columns, if any did
    scale: tuple[float, ...] = ()


def fingerprint(network: Network, precision: str) -> str:
    """Return a SHA-256 that tells a network and precision from any others.

    Below float64 it has the arrays of a layer in the narrowest of their
    types: that of the file, which a sum of two biases is wider than.
    """
    import hashlib  # 3 ms that most runs do not need

    digest = hashlib.sha256(precision.encode())

    def add(name: str, settings: Iterable[Any], arrays: Mapping[str, Floats]) -> None:
        digest.update(f"{name} {' '.join(map(str, settings))}".encode())
        narrowest = min((array.dtype for array in arrays.values()), default=None)
        for each in arrays.values():
            array = each if precision == "float64" else each.astype(narrowest, copy=False)
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(array.tobytes())

    for number, layer in enumerate(network.layers, start=1):
        for direction, cell in zip(layer.directions, layer.cells, strict=True):
            add(f"{number} {direction}", cell.settings.values(), cell.weights.arrays)
        if not layer.cells:
            settings = [*layer.arrays, *layer.settings.values(), *layer.sources]
            add(f"{number} {type(layer).__name__}", settings, layer.arrays)
    return digest.hexdigest()


def cells_of(network: Network) -> tuple[str, ...]:
    """Return the kinds of cells of a network, by their names in `CELLS`, the lowest first."""
    names = (name_of(cell) for layer in network.layers for cell in layer.cells)
    return tuple(dict.fromkeys(names))


def save_state(file: BinaryIO, state: State) -> None:
    """Write a state file; the same state gives the same bytes."""
    fields = {name: getattr(state, name) for name in _FIELDS}
    defaults = State._field_defaults
    about = {name: value for name, value in fields.items() if value != defaults.get(name)}
    text = np.array(json.dumps({"format": _FORMAT, **about}))
    arrays: dict[str, Any] = {"about": text, "t": state.t, **state.arrays}
    np.savez(file, **arrays)


def load_state(path: str) -> State:
    """Read a state file: all but the names and widths of its arrays, which a network has."""
    check_is_file(path)
    with open(path, "rb") as file:
        try:
            arrays = _read_arrays(file)
            fields = _fields(arrays.pop("about"))
        # zipfile, struct, ast and NumPy have errors of their own, ast even MemoryError.
        except Exception as error:
            raise _damaged(path, one_line(error)) from error
    t, sequences = arrays.pop("t"), len(fields["keys"])
    if t.shape != (sequences,) or ((t < 0) | (t > _MOST_STEPS)).any():
        raise _damaged(path, f"t: expected {sequences} whole numbers from 0 to 2^53")
    return State(t=t.astype(np.intp), arrays=arrays, **fields)


def _read_arrays(file: BinaryIO) -> dict[str, Any]:
    """Read arrays, and text, that are stored as they are: in as much memory as the file has."""
    import warnings
    from zipfile import ZIP_STORED, ZipFile  # 5 ms that most runs do not need

    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END))
    end = file.read()
    if end[:4] != b"PK\5\6" or int.from_bytes(end[12:16], "little") > _LIST_MOST:
        raise ValueError("its end, a list of its members, is missing: was all of it copied?")
    arrays = dict[str, Any]()
    with ZipFile(file) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged text warns of what it would be as Python
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        names = [member.filename.removesuffix(".npy") for member in members]
        if total > size or any(member.compress_type != ZIP_STORED for member in members):
            raise ValueError(f"unpacks to {total:,} bytes, over its own {size:,}")
        if not {"about", "t"} <= {*names}:
            raise ValueError(f"expected the arrays about, t and h, got {listed(names)}")
        for name, member in zip(names, members, strict=True):
            if name in arrays:
                raise ValueError(f"{shown(name)}: is in the archive twice")
            arrays[name] = _parse_array(shown(name), archive.read(member))
    return arrays


def _parse_array(name: str, content: bytes) -> Any:
    """Parse an array, or the text ``about``, as `numpy.save` writes it."""
    head = BytesIO(content)
    if np.lib.format.read_magic(head) != (1, 0):
        raise ValueError(f"{name}: unexpected version of .npy")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(head)
    values = content[head.tell() :]
    if name == "about":
        if dtype.kind != "U" or shape:
            raise ValueError(f"about: expected text, got {dtype} of shape {shape}")
        codec = "utf-32-be" if dtype.byteorder == ">" else "utf-32-le"
        return values.decode(codec, "surrogatepass").rstrip("\0")
    if dtype.kind not in ("iu" if name == "t" else "f"):
        raise ValueError(f"{name}: unexpected type {dtype.name}")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if is_fortran else "C")


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
    """Return the states in a file as those of a network, (K, S)."""
    cells, places, what = cells_of(network), network.state_names, ""
    if state.cells != cells:
        what = f"the state of {listed(state.cells)} cells, this network has {listed(cells)} cells"
    elif state.network != whose:
        what = "the state of another network, precision, center or scale"
    elif [*state.key_columns] != [*key_columns]:
        before, now = (listed(names or ["no key"]) for names in (state.key_columns, key_columns))
        what = f"the state of sequences by {before}, this run has {now}"
    if what:
        raise InputError(path, what, "give the options of the run that wrote it, or another file")
    expected = {name: (len(state.keys), each.stop - each.start) for name, each in places.items()}
    shapes = {name: array.shape for name, array in state.arrays.items()}
    if shapes != expected:
        raise _damaged(path, f"expected arrays of shape {expected}, got {shortened(shapes)}")
    states = [in_dtype(f"{path}: {name}", state.arrays[name], dtype) for name in places]
    return np.concatenate(states, axis=1)


def _fields(text: str) -> dict[str, Any]:
    """Parse the text, and check its fields."""
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"about: not JSON text: {one_line(error)}") from error
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        found = about.get("format") if isinstance(about, dict) else about
        raise ValueError(f"about: of format {found!r:.40}, expected {_FORMAT}")
    required = _FIELDS.keys() - State._field_defaults.keys()
    names = [name for name in _FIELDS if name in about or name in required]
    fields: dict[str, Any] = {name: about.get(name) for name in names}
    for name, value in fields.items():
        if not _consists_of([value], *_FIELDS[name]):
            raise ValueError(f"about: unexpected {name}: {shortened(value)}")
    fields |= {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    keys = fields["keys"] = [*map(tuple, fields["keys"])]
    if len(set(keys)) < len(keys) or not {*map(len, keys)} <= {len(fields["key_columns"])}:
        raise ValueError(f"about: a key twice, or of other columns: {shortened(keys)}")
    return fields


def _consists_of(values: Sequence[Any], kind: type, *inner: type) -> bool:
    """Check the type of values, and those of their items."""
    sound = {*map(type, values)} <= {kind}
    return sound and (not inner or _consists_of([*chain.from_iterable(values)], *inner))


def _damaged(path: str, reason: str) -> InputError:
    return InputError(path, f"not a state file, or a damaged one: {reason}")
