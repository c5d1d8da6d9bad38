"""A state file: where the sequences of a run ended, so that another run can go on from there."""

import json
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnncli.arrays import Floats, Integers
from rnncli.network import Network
from rnncli.replacing import replacing

_FORMAT = 1


class State(NamedTuple):
    """What a state file holds.

    Parameters
    ----------
    network : str
        The `identity` of the network it is of.
    key_columns : sequence of str
        What the keys are values of; none for a single sequence.
    keys : sequence of tuples of str
        The key of each sequence; one empty key for a single sequence.
    t : array of int, shape (K,)
        How many steps each has had.
    h : array, shape (K, S)
        The state of all its cells after them.
    """

    network: str
    key_columns: Sequence[str]
    keys: Sequence[tuple[str, ...]]
    t: Integers
    h: Floats


def identity(network: Network, precision: str) -> str:
    """Tell a network and precision from any others: a SHA-256 over its cells."""
    import hashlib  # 3 ms that most runs do not need

    digest = hashlib.sha256(precision.encode())
    for part in network.parts():
        cell = part.cell
        digest.update(f"{part.layer} {part.direction} {cell.activation} {cell.clip}".encode())
        for array in cell.weights:
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def save_state(path: str, state: State) -> None:
    """Write a state file, whole or not at all.

    Raises
    ------
    OSError
        It cannot be written there.
    """
    about = {
        "format": _FORMAT,
        "network": state.network,
        "key_columns": list(state.key_columns),
        "keys": [list(key) for key in state.keys],
    }
    with replacing(path) as file:
        np.savez(file.buffer, about=np.array(json.dumps(about)), t=state.t, h=state.h)


def load_state(path: str) -> State | None:
    """Read a state file, or None where there is none yet.

    Raises
    ------
    ValueError
        The file is damaged, or something else.
    """
    if not os.path.exists(path):
        return None
    check_is_file(path)
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            about, t, h = (arrays[name] for name in ("about", "t", "h"))
        about = json.loads(str(about))
        keys = [tuple(map(str, key)) for key in about["keys"]]
        state = State(str(about["network"]), list(about["key_columns"]), keys, t, h)
        fault = _fault(about["format"], state)
    # A damaged archive fails in zipfile, zlib, struct, json or NumPy, each with errors of its
    # own that say little of state files.
    except Exception as error:
        raise ValueError(f"{path}: not a state file, or a damaged one") from error
    if fault:
        raise ValueError(f"{path}: not a state file, or a damaged one: {fault}")
    return state


def check_is_file(path: str) -> None:
    """Refuse a device, a pipe or a directory.

    Raises
    ------
    ValueError
        It is one.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{path}: not a state file; a state is read from a file and replaces it")


def check_state(path: str, state: State, network: str, key_columns: Sequence[str]) -> None:
    """Refuse the state of another run.

    Raises
    ------
    ValueError
        It is of another network, precision or key.
    """
    if state.network != network:
        raise ValueError(f"{path}: the state of another network or precision")
    if list(state.key_columns) != list(key_columns):
        raise ValueError(
            f"{path}: the state of sequences by {_listed(state.key_columns)}, "
            f"this run has {_listed(key_columns)}"
        )


def _fault(form: int, state: State) -> str:
    """Say what is wrong with what a file holds; nothing, if nothing is."""
    t, h, K = state.t, state.h, len(state.keys)
    if form != _FORMAT:
        return f"of format {form}, expected {_FORMAT}"
    if not (t.shape == (K,) and h.ndim == 2 and len(h) == K):
        return "its parts do not fit together"
    if t.dtype.kind != "i" or h.dtype.kind != "f" or not np.isfinite(h).all() or (t < 0).any():
        return "it holds values that no run leaves"
    return ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "no key"
