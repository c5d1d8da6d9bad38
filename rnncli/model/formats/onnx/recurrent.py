"""The nodes ``RNN``, ``LSTM`` and ``GRU`` as cells.

Source: https://onnx.ai/onnx/operators/onnx__LSTM.html and its like.
"""

from collections.abc import Mapping
from math import inf
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.activations import ACTIVATIONS, Activation, activation, positive_clip
from rnncli.model.arrays import Floats
from rnncli.model.cells import Weights
from rnncli.model.cells.gates import ordered, summed
from rnncli.model.errors import InputError, shown
from rnncli.model.formats.found import CellDraft, read_floats
from rnncli.model.graph import Node, RefusedError

Array = NDArray[Any]

# The directions that a node has, by its attribute.
WAYS = {
    "forward": ("forward",),
    "reverse": ("backward",),
    "bidirectional": ("forward", "backward"),
}


class Kind(NamedTuple):
    """A recurrent operator: where our gates stand in its arrays, and its activations by setting."""

    gates: tuple[int, ...]
    functions: dict[str, str]


_GATED = {"recurrent_activation": "Sigmoid", "activation": "Tanh"}
KINDS = {
    "RNN": Kind((0,), {"activation": "Tanh"}),
    "LSTM": Kind((0, 2, 3, 1), {**_GATED, "output_activation": "Tanh"}),
    "GRU": Kind((0, 1, 2), _GATED),
}
PEEPHOLES = (0, 2, 1)  # i o f, and ours are i f o
_KNOWN = {
    *("activations", "activation_alpha", "activation_beta", "clip", "direction", "hidden_size"),
    *("input_forget", "layout", "linear_before_reset", "output_sequence"),
}
# Our names of activations, by ONNX's in small letters: programs write them in either way.
_ACTIVATIONS = {name.replace("_", ""): name for name in ACTIVATIONS if name != "linear"}


def attribute(node: Node, name: str, default: Any) -> Any:
    """Return an attribute of the type of its default."""
    value = node.attributes.get(name, default)
    if not isinstance(value, type(default)):
        kinds = type(default).__name__, type(value).__name__
        raise RefusedError(f"attribute {name}: expected {kinds[0]}, got {kinds[1]}")
    return value


def read_cells(path: str, node: Node, arrays: Mapping[str, Array | None]) -> list[CellDraft]:
    """Read the cell of each direction; `arrays` are W, R, B and P, which may be left out."""
    kind = KINDS[node.op]
    unknown = node.attributes.keys() - _KNOWN
    if unknown:
        raise RefusedError(f"attribute {shown(min(unknown))} is not read")
    way = attribute(node, "direction", "forward")
    if way not in WAYS:
        raise RefusedError(f"there is no direction {shown(way)}")
    if attribute(node, "input_forget", 0):
        raise RefusedError("input_forget (a forget gate of 1 - i) is not run here")
    D = len(WAYS[way])
    _check_shapes(node, len(kind.gates), D, arrays)
    try:
        functions = _functions(node, [*kind.functions.values()] * D)
        settings: dict[str, Any] = {"clip": positive_clip(attribute(node, "clip", inf))}
    except ValueError as error:
        raise RefusedError(str(error)) from error
    if node.op == "GRU":
        settings["reset"] = "after" if attribute(node, "linear_before_reset", 0) else "before"
    found = []
    for d, own in enumerate(np.array_split(np.arange(len(functions)), D)):
        named = dict(zip(kind.functions, [functions[k] for k in own], strict=True))
        found.append(_cell(path, node, d, arrays, {**named, **settings}))
    return found


def _check_shapes(node: Node, G: int, D: int, arrays: Mapping[str, Array | None]) -> None:
    W, R = arrays["W"], arrays["R"]
    if W is None or R is None or R.ndim != 3 or not R.shape[2]:
        got = None if R is None else R.shape
        raise RefusedError(f"R: expected shape (D, {G} H, H), got {got}")
    H, I = R.shape[2], (*W.shape, 0, 0, 0)[2]
    if attribute(node, "hidden_size", H) != H:
        raise RefusedError(f"hidden_size is {attribute(node, 'hidden_size', 0)}, R is {R.shape}")
    shapes = {"W": (D, G * H, I), "R": (D, G * H, H), "B": (D, 2 * G * H), "P": (D, 3 * H)}
    for name, shape in shapes.items():
        array = arrays[name]
        if array is not None and array.shape != shape:
            raise RefusedError(f"{name}: expected shape {shape}, got {array.shape}")


def _cell(
    path: str, node: Node, d: int, arrays: Mapping[str, Array | None], settings: Mapping[str, Any]
) -> CellDraft:
    gates = KINDS[node.op].gates
    roles = {"W": "W_xh", "R": "W_hh", "B": "b_h", "P": "w_ch"}
    names = {role: f"{node.name}: {name}[{d}]" for name, role in roles.items()}
    floats: dict[str, Floats] = {
        role: read_floats(path, names[role], array[d])
        for name, role in roles.items()
        if (array := arrays[name]) is not None
    }
    W_xh, W_hh = (ordered(floats[role].T, gates) for role in ("W_xh", "W_hh"))
    biases: tuple[Floats, ...] = ()
    sums = {"b_h": np.zeros(W_hh.shape[1], W_hh.dtype)}
    if "b_h" in floats:
        b_x, b_r = biases = tuple(ordered(b, gates) for b in np.split(floats["b_h"], 2))
        sums = summed(b_x, b_r, apart=len(W_hh) if settings.get("reset") == "after" else 0)
        with np.errstate(over="ignore"):
            if not np.isfinite(sums["b_h"].astype(W_hh.dtype)).all():
                raise InputError(f"{path}: {shown(names['b_h'])}", "its sum is not finite")
    w_ch = ordered(floats["w_ch"], PEEPHOLES) if "w_ch" in floats else None
    return CellDraft(
        node.op.lower(), Weights(W_xh, W_hh, **sums, w_ch=w_ch), settings, {}, biases, names
    )


def _functions(node: Node, defaults: list[str]) -> list[Activation]:
    """Return the activations of a node: alphas and betas go to those that take them."""
    lists: list[list[Any]] = []
    for name, kind in (
        ("activations", str),
        ("activation_alpha", float),
        ("activation_beta", float),
    ):
        lists.append(node.attributes.get(name, []))
        if not isinstance(lists[-1], list) or not all(isinstance(v, kind) for v in lists[-1]):
            raise RefusedError(f"attribute {name}: expected a list of {kind.__name__}")
    names, *numbers = lists
    names = names or defaults
    if len(names) != len(defaults):
        raise RefusedError(f"expected {len(defaults)} activations, got {len(names)}")
    given, found = [iter(each) for each in numbers], []
    for name in names:
        own = _ACTIVATIONS.get(name.lower())
        if own is None:
            raise RefusedError(f"there is no activation {shown(name)}")
        # The standard has 1 for a ThresholdedRelu where it is left out, ONNX Runtime 0.
        defaults_ = (None,) if own == "thresholded_relu" else ACTIVATIONS[own].defaults
        takes: list[Any] = [next(values, n) for values, n in zip(given, defaults_, strict=False)]
        if None in takes:
            raise RefusedError(f"activation {name} without alpha or beta: programs differ in them")
        found.append(activation(own, *takes))
    return found
