"""Layers of a file of weights in the order that the caller tells.

Such a file has arrays and no calls: the text ``embedding,lstm,fc:softmax`` names its components
from the bottom to the top, each with an activation or without.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import islice, pairwise, permutations

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
# Classes of PyTorch whose arrays have the names and shapes of layers that they are not.
_UNLIKE = ("GroupNorm", "InstanceNorm1d", "RMSNorm", "PReLU")
# The arrays of Keras's layers in the order in which Keras 3 numbers them.
_NUMBERED: Mapping[str, Sequence[str]] = {
    "dense": ("kernel", "bias"),
    "embedding": ("embeddings",),
    "layer_normalization": ("gamma", "beta"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
_MOST_COMPONENTS, _MOST_VALUES = 7, 2**25  # of which orders are tried
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
    if rest := [name for name, each in known.items() if each.arrays and name not in names]:
        notes.append(f"leaves out {listed(rest)}, as `chain` tells")
    return contents._replace(components=chosen, ordered=True, last=None, notes=notes)


def propose_chain(path: str, contents: Contents) -> str:
    """Return the text of the chain of all components, if one order of them fits by its widths."""
    components = [each for each in contents.components if each.layers or _has_values(each)]
    count = len(components)
    values = sum(array.size for each in components for array in each.arrays.values())
    if count > _MOST_COMPONENTS or values > _MOST_VALUES:
        return ""
    if not any(each.recurrent for each in components):
        return ""
    try:
        bottom, above = (
            [each.layers or [_make_layer(path, each, width)[0]] for each in components]
            for width in (0, 1)
        )
    except InputError:
        return ""
    is_named = ["emb" in each.name.lower() for each in components]

    def fits(order: Sequence[int]) -> bool:
        layers = [*bottom[order[0]], *(layer for k in order[1:] for layer in above[k])]
        tables = [isinstance(above[k][0], Embedding) or is_named[k] for k in order[1:]]
        widths = ((below.output_size, layer.input_size) for below, layer in pairwise(layers))
        return not any(tables) and all(gives == takes for gives, takes in widths)

    orders = [*islice(filter(fits, permutations(range(count))), 2)]
    names = [components[k].name for k in orders[0]] if len(orders) == 1 else []
    ends = {each.name: _find_end(each.name) for each in contents.components}
    short = [ends[name] for name in names]
    names = short if all([*ends.values()].count(end) == 1 for end in short) else names
    return ",".join(names) if all(re.fullmatch(r"[\w./-]{1,80}", name) for name in names) else ""


def _find_end(name: str) -> str:
    """Return the last word of a name, with the one before a number."""
    return re.split(r"[./](?![0-9]+\Z)", name)[-1]


def _has_values(component: Component) -> bool:
    """Return whether a component has more than counts."""
    return any(array.ndim for array in component.arrays.values())


def _make_layer(path: str, component: Component, width: int) -> tuple[Stateless, list[str]]:
    """Make the layer of a component by the names and shapes of its arrays; return notes too.

    It takes rows of a width, or of any where it is the first.
    """
    where, name = f"{path}: {component.name}", component.name
    numbered = _NUMBERED.get(re.sub(r".*/|_[0-9]+\Z", "", name), ())
    roles = {f"{name}/vars/{k}": role for k, role in enumerate(numbered)}
    arrays: dict[str, Floats] = {}
    for each, array in component.arrays.items():
        role = roles.get(each, re.split(r"[./]", each)[-1].partition(":")[0])
        if role != _COUNT:
            arrays[role] = read_floats(path, each, array)
    bias = arrays.pop("bias", arrays.pop("beta", None))
    kind = _KINDS.get(frozenset(arrays), "")
    of_keras, first = kind.endswith("Keras"), next(iter(arrays.values()), np.empty(()))
    class_ = component.kind.rpartition(".")[2]
    with locate(where):
        if class_ in _UNLIKE:
            raise InputError(where, f"is a {class_}: a chain cannot run it; use torch.onnx.export")
        if kind.startswith("linear") and first.ndim == 2:
            W = first if of_keras else first.T
            is_table = not width and bias is None and not of_keras
            note = [f"{shown(name)} is read as an embedding"]
            return (Embedding(first), note) if is_table else (Dense(W, bias), [])
        if kind == "table" and bias is None:
            return Embedding(first), []
        if kind.startswith("batch") or (kind and first.ndim == 1 and bias is not None):
            epsilon = _EPSILON[of_keras]
            norm = "batch" if kind.startswith("batch") else "layer"
            note = [f"{shown(name)} is read as {norm} normalization, epsilon {epsilon:g}"]
            if not kind.startswith("batch"):
                return LayerNormalization(first, bias, epsilon), note
            factor, center, variance = (arrays[role] for role in sorted(arrays, key=_ORDER.index))
            return Normalization(center, np.sqrt(variance + epsilon), bias, factor), note
    what = "a chain has recurrent layers, embeddings, linear layers and normalizations"
    raise InputError(where, f"{what}; its arrays are {listed(component.arrays)}")
