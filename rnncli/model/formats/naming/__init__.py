"""Namings: names of tensors become layers, and layers names of tensors."""

from collections.abc import Sequence
from math import inf
from typing import Any

from rnncli.model.activations import TANH
from rnncli.model.errors import InputError, listed, verbatim
from rnncli.model.formats.naming import keras, torch
from rnncli.model.formats.spec import PICK, Found, Stack
from rnncli.model.formats.tensors import Tensors
from rnncli.model.layers import Recurrent

# What returns the arrays of layers as a framework names and lays them out.
NAMINGS = {"torch": torch.name_tensors, "keras": keras.name_tensors}
# Settings that the names tell, or that everyone takes for granted.
_NAMED: dict[str, tuple[Any, ...]] = {
    "direction": ("forward", "bidirectional"),
    "merge": ("concat",),
    "activation": (TANH,),
    "clip": (inf,),
}
# Modules that a message lists.
_LISTED = 8


def find_layers(tensors: Tensors) -> Found:
    """Find the one stack of simple recurrent layers in a file, in whichever naming.

    Raises
    ------
    InputError
        There is none, or several, or it is an LSTM or a GRU.
    """
    stacks = [*torch.find_stacks(tensors), *keras.find_stacks(tensors)]
    if not stacks:
        raise InputError(
            tensors.path,
            "holds no recurrent layer: expected names as PyTorch's (weight_ih_l0, weight_hh_l0, "
            "...) or Keras's (.../kernel, .../recurrent_kernel, ...), got "
            f"{listed(tensors.entries)}",
        )
    if len(stacks) > 1:
        several = "; ".join(_labels(tensors, stack) for stack in stacks[:_LISTED])
        more = f" and {len(stacks) - _LISTED} more" if len(stacks) > _LISTED else ""
        raise InputError(tensors.path, f"holds several recurrent modules: {several}{more}", PICK)
    (stack,) = stacks
    if stack.gated:
        labels = _labels(tensors, stack._replace(gated=None))
        others = f"{PICK}: {verbatim(labels)}" if len(stack.labels) > 1 else ""
        what = f"{stack.gated}: only simple recurrent layers are read"
        raise InputError(tensors.path, what, others)
    return stack.find()


def unnamed(layers: Sequence[Recurrent]) -> list[str]:
    """Return a sentence for what no naming tells of layers, so that other programs must be told."""
    settings = [
        f"{name} {value}"
        for layer in layers
        for known in (layer.settings, *(cell.settings for cell in layer.cells))
        for name, value in known.items()
        if value not in _NAMED[name]
    ]
    if not settings:
        return []
    return [
        f"the names of tensors do not tell {', '.join(dict.fromkeys(settings))}: rnn reads it from "
        "the file's metadata, other programs have to be told"
    ]


def _labels(tensors: Tensors, stack: Stack) -> str:
    """List what `layer` can name."""
    labels = listed(f"{tensors.prefix}{label}" for label in stack.labels)
    return f"{labels} (no simple layer)" if stack.gated else labels
