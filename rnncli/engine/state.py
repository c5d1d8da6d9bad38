"""A state file: where the sequences of a run ended, so that another run can go on from there."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnncli.model.arrays import Floats, Integers, in_dtype
from rnncli.model.network import Network
from rnncli.writers.files import writing


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
    for number, layer in enumerate(network.layers, start=1):
        for direction, cell in zip(layer.directions, layer.cells, strict=True):
            settings = " ".join(map(str, cell.settings.values()))
            digest.update(f"{number} {direction} {settings}".encode())
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
    from rnncli.engine.statefile import arrays_of

    with writing(path) as file:
        np.savez(file.buffer, **arrays_of(state))


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
    from rnncli.engine.statefile import read_state
    from rnncli.model.formats.archive import opened  # 5 ms that most runs do not need

    try:
        with opened(path) as archive:
            return read_state(archive)
    except ValueError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: not a state file, or a damaged one: {reason}") from error


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


def fitting_states(path: str, state: State, h0: Floats) -> Floats:
    """Give the states of a file, (K, S), in the float type of `h0`, (S,).

    Raises
    ------
    ValueError
        They are of another size, or one is not finite in that type.
    """
    expected = (len(state.keys), len(h0))
    if state.h.shape != expected:
        raise ValueError(
            f"{path}: h: expected shape {expected}, as the network has it, got {state.h.shape}"
        )
    return in_dtype(f"{path}: h", state.h, h0.dtype)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "no key"
