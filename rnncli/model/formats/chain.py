"""Layers of a file of weights in the order that the caller tells.

Such a file has arrays and no calls: the text ``embedding,lstm,fc:softmax`` names its components
from the bottom to the top, each with an activation or without.
"""

import re
from collections.abc import Mapping

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.contents import Component, Contents, locate, no_layer, read_floats
from rnncli.model.errors import InputError, listed, shown
from rnncli.model.layers import (
    Dense,
    Embedding,
    Layer,
    LayerNormalization,
    Normalization,
    Pointwise,
    Stateless,
)

# By the names of all arrays of a component, without a bias: what it is, in PyTorch or in Keras.
_KINDS: Mapping[frozenset[str], str] = {
    frozenset(names.split()): kind
    for names, kind in {
        "weight": "linear",
        "kernel": "linear of Keras",
        "embeddings": "table",
        "gamma": "layer norm of Keras",
        "weight running_mean running_var": "batch norm",
        "gamma moving_mean moving_variance": "batch norm of Keras",
    }.items()
}
_EPSILON = {True: 1e-3, False: 1e-5}  # Keras's default, and PyTorch's
_ORDER = ["weight", "gamma", "running_mean", "moving_mean", "running_var", "moving_variance"]
_COUNT = "num_batches_tracked"


def make_chain(path: str, contents: Contents, text: str) -> Contents:
    """Return the components that the text names, in its order, each with its layers."""
    known = {each.name: each for each in (*contents.components, *contents.unused)}
    chosen, notes, width = list[Component](), list[str](), 0
    for item in text.split(","):
        name, _, activation = item.strip().partition(":")
        ends = [each for each in known if each.endswith((f".{name}", f"/{name}"))]
        if name not in known and len(ends) != 1:
            raise no_layer(path, name, known)
        component = known[name if name in known else ends[0]]
        layers = list[Layer](component.layers)
        if not layers:
            layer, note = _make_layer(path, component, width)
            layers, notes = [layer], [*notes, *note]
        width = layers[-1].output_size
        if activation:
            with locate(f"{path}: {component.name}"):
                layers.append(Pointwise(activation, width))
        chosen.append(component._replace(layers=layers, why="", needed=False))
    if not any(each.recurrent for each in chosen):
        raise InputError(path, f"a chain has a recurrent layer, got {listed(known)}")
    names = {each.name for each in chosen}
    if rest := [name for name in known if name not in names]:
        notes.append(f"leaves out {listed(rest)}, as `chain` tells")
    return contents._replace(components=chosen, ordered=True, last=None, notes=notes)


def _make_layer(path: str, component: Component, width: int) -> tuple[Stateless, list[str]]:
    """Make the layer of a component by the names and shapes of its arrays; return notes too.

    It takes rows of a width, or of any where it is the first.
    """
    where, name = f"{path}: {component.name}", component.name
    arrays: dict[str, Floats] = {}
    for each, array in component.arrays.items():
        role = re.split(r"[./]", each)[-1].partition(":")[0]
        if role != _COUNT:
            arrays[role] = read_floats(path, each, array)
    bias = arrays.pop("bias", arrays.pop("beta", None))
    kind = _KINDS.get(frozenset(arrays), "")
    of_keras, first = kind.endswith("Keras"), next(iter(arrays.values()), np.empty(()))
    with locate(where):
        if kind.startswith("linear") and first.ndim == 2:
            W = first if of_keras else first.T
            is_table = not width and bias is None and not of_keras
            return (Embedding(first), []) if is_table else (Dense(W, bias), [])
        if kind == "table" and bias is None:
            return Embedding(first), []
        if kind.startswith("batch") or (kind and first.ndim == 1):
            epsilon = _EPSILON[of_keras]
            note = [f"does not tell the epsilon of {shown(name)}: {epsilon:g} is taken"]
            if not kind.startswith("batch"):
                return LayerNormalization(first, bias, epsilon), note
            factor, center, variance = (arrays[role] for role in sorted(arrays, key=_ORDER.index))
            return Normalization(center, np.sqrt(variance + epsilon), bias, factor), note
    what = "a chain has recurrent layers, embeddings, linear layers and normalizations"
    raise InputError(where, f"{what}; its arrays are {listed(component.arrays)}")
