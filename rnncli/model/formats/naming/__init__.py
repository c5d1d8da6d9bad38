"""Namings: names of tensors become layers, and layers names of tensors."""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import NamedTuple

from rnncli.model.activations import TANH
from rnncli.model.arrays import Floats
from rnncli.model.formats.naming import keras, torch
from rnncli.model.formats.naming.stack import PICK, Stack
from rnncli.model.formats.tensors import Entry, NamedNetwork, Tensors, listed
from rnncli.model.network import Network


class Naming(NamedTuple):
    """How a framework names the tensors of recurrent layers.

    Parameters
    ----------
    find_stacks : callable
        Finds the stacks among the tensors of a file, by name.
    name_tensors : callable
        Gives a network's arrays as the framework names and lays them out.
    """

    find_stacks: Callable[[Mapping[str, Entry]], list[Stack]]
    name_tensors: Callable[[Network], dict[str, Floats]]


NAMINGS = {
    "torch": Naming(torch.find_stacks, torch.name_tensors),
    "keras": Naming(keras.find_stacks, keras.name_tensors),
}


# Modules that a message lists.
_LISTED = 8


def find_network(tensors: Tensors) -> NamedNetwork:
    """Find the one stack of simple recurrent layers in a file, in whichever naming.

    Raises
    ------
    ValueError
        There is none, or several, or it is an LSTM or a GRU.
    """
    try:
        found = [s for naming in NAMINGS.values() for s in naming.find_stacks(tensors.entries)]
        named = _single(tensors, found).network()
    except ValueError as error:
        raise ValueError(f"{tensors.path}: {error}") from error
    return named._replace(notes=tuple(f"{tensors.path}: {note}" for note in named.notes))


def unsaid(network: Network) -> list[str]:
    """Say what no naming tells of a network, so that others who read its file must be told."""
    said = []
    for layer in network.layers:
        if layer.direction == "backward":
            said.append("direction backward")
        if layer.direction == "bidirectional" and layer.merge != "concat":
            said.append(f"merge {layer.merge}")
        for cell in layer.cells:
            said += [f"activation {cell.activation}"] if cell.activation != TANH else []
            said += [f"clip {cell.clip}"] if isfinite(cell.clip) else []
    if not said:
        return []
    return [
        f"the names of tensors do not tell {', '.join(dict.fromkeys(said))}: rnn reads it from "
        "the file's metadata, other programs have to be told"
    ]


def _single(tensors: Tensors, stacks: list[Stack]) -> Stack:
    if not stacks:
        raise ValueError(
            "holds no recurrent layer: expected names as PyTorch's (weight_ih_l0, weight_hh_l0, "
            "...) or Keras's (.../kernel, .../recurrent_kernel, ...), got "
            f"{listed(tensors.entries)}"
        )
    if len(stacks) > 1:
        several = "; ".join(_labels(tensors, stack) for stack in stacks[:_LISTED])
        more = f" and {len(stacks) - _LISTED} more" if len(stacks) > _LISTED else ""
        raise ValueError(f"holds several recurrent modules: {several}{more}: {PICK}")
    if stacks[0].gated:
        labels = [f"{tensors.prefix}{label}" for label in stacks[0].labels]
        others = f"; {PICK}: {listed(labels)}" if len(labels) > 1 else ""
        raise ValueError(f"{stacks[0].gated}: only simple recurrent layers are read{others}")
    return stacks[0]


def _labels(tensors: Tensors, stack: Stack) -> str:
    """List what --layer can name."""
    labels = listed(f"{tensors.prefix}{label}" for label in stack.labels)
    return f"{labels} (no simple layer)" if stack.gated else labels
