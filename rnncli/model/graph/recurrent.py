"""The nodes ``RNN``, ``LSTM`` and ``GRU`` as cells.

Source: https://onnx.ai/onnx/operators/onnx__LSTM.html and its like.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from math import inf
from typing import Any

import numpy as np

from rnncli.model.activations import ACTIVATIONS, Activation, activation, positive_clip
from rnncli.model.arrays import reorder
from rnncli.model.cells import GRU, LSTM, RNN, Cell, Weights, sum_biases
from rnncli.model.cells.cell import take_step
from rnncli.model.contents import make_cell, read_floats
from rnncli.model.errors import shown
from rnncli.model.graph import Array, Node, RefusedError
from rnncli.model.graph.labels import (
    SEVERAL,
    Labels,
    join,
    join_along,
    label_of,
    labels,
    row_label,
    sequences_of,
)
from rnncli.model.layers import Recurrent

# By ONNX's direction, ours.
WAYS = {"forward": "forward", "reverse": "backward", "bidirectional": "bidirectional"}
# Recurrent operators.
KINDS: dict[str, type[Cell]] = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
_GATED = {"recurrent_activation": "Sigmoid", "activation": "Tanh"}
# By operator, its default activations by our settings.
_FUNCTIONS = {
    "RNN": {"activation": "Tanh"},
    "LSTM": {**_GATED, "output_activation": "Tanh"},
    "GRU": _GATED,
}
PEEPHOLES = (0, 2, 1)  # i o f, and ours are i f o
_ROLES = {"W": "W_xh", "R": "W_hh", "B": "b_h", "P": "w_ch"}
# Attributes with their defaults.
_ATTRIBUTES: dict[str, Any] = {
    "activations": [], "activation_alpha": [], "activation_beta": [], "clip": inf,
    "direction": "forward", "hidden_size": 0, "input_forget": 0, "layout": 0,
    "linear_before_reset": 0, "output_sequence": 0,
}  # fmt: skip
_TYPES = {name: type(value) for name, value in _ATTRIBUTES.items()}
# By ONNX's name in small letters, ours: programs write capitals or not.
_ACTIVATIONS = {name.replace("_", ""): name for name in ACTIVATIONS if name != "linear"}


def read_layer(path: str, node: Node, arrays: Mapping[str, Any]) -> Recurrent:
    """Read the layer of a node; `arrays` are W, R, B and P, which may be left out."""
    known, functions = {**_ATTRIBUTES, **node.attributes}, _FUNCTIONS[node.op]
    odd = [name for name, value in known.items() if type(value) is not _TYPES.get(name)]
    if odd:
        raise RefusedError(f"attribute {shown(odd[0])} is not read")
    if known["direction"] not in WAYS or known["input_forget"]:
        raise RefusedError(f"direction {shown(known['direction'])}, or input_forget, is not run")
    if known["layout"] not in (0, 1):
        raise RefusedError(f"layout: expected 0 or 1, got {known['layout']}")
    D, G = 1 + (known["direction"] == "bidirectional"), KINDS[node.op].gates
    H, I = ((*arrays[name].shape, 0, 0, 0)[2] for name in "RW")
    shapes = {"R": (D, G * H, H), "W": (D, G * H, I), "B": (D, 2 * G * H), "P": (D, 3 * H)}
    for name, shape in shapes.items():
        if arrays[name] is not None and (arrays[name].shape != shape or not H):
            raise RefusedError(f"{name}: expected shape {shape}, got {arrays[name].shape}")
    reset = "after" if known["linear_before_reset"] else "before"
    settings: dict[str, Any] = {"reset": reset} if node.op == "GRU" else {}
    try:
        settings["clip"] = positive_clip(known["clip"])
        activations = _read_functions(known, [*functions.values()] * D)
    except (TypeError, ValueError) as error:
        raise RefusedError(str(error)) from error
    count = len(functions)
    named = [dict(zip(functions, activations[d * count :], strict=False)) for d in range(D)]
    cells = [_read_cell(path, node, d, arrays, {**named[d], **settings}) for d in range(D)]
    return Recurrent(*cells, direction=WAYS[known["direction"]])


def run_inside(node: Node, layer: Recurrent) -> Node:
    """Return the operator ``Recur``, which runs a recurrent node over whole sequences."""
    known = {"layer": layer, "layout": node.attributes.get("layout", 0)}
    inputs = [*node.inputs[:1], *node.inputs[5:7]]
    return Node("Recur", node.name, "", inputs, node.outputs, known)


def recur(x: Array, *states: Any, layer: Recurrent, layout: int = 0) -> list[Array]:
    """Run a layer from states that the graph computes; return its rows and its final states.

    Rows are (T, N, I) and (T, D, N, H), states (D, N, H); layout 1 has N first.
    """
    x, *starts = (a.swapaxes(0, 1) if layout and a is not None else a for a in (x, *states))
    if any(isinstance(each, Labels) for each in (x, *starts)):
        outputs = _label_rows(x, starts, layer)
    else:
        outputs = _run_cells(x, starts, layer)
    rows, *finals = outputs
    if not layout:
        return outputs
    return [rows.transpose(2, 0, 1, 3), *(final.swapaxes(0, 1) for final in finals)]


def _run_cells(x: Array, starts: Sequence[Any], layer: Recurrent) -> list[Array]:
    """Run each cell from its states; zeros for None."""
    rows, finals = [], []
    for d, (cell, way) in enumerate(zip(layer.cells, layer.directions, strict=True)):
        state = [np.zeros((x.shape[1], size), x.dtype) for size in cell.state_sizes]
        for k, start in enumerate(starts):
            if start is not None and start.shape != (len(layer.cells), *state[k].shape):
                raise ValueError("a state of other units")
            state[k] = state[k] if start is None else start[d]
        turn, h = -1 if way == "backward" else 1, []
        for x_t in x[::turn]:
            state = [*take_step(cell, x_t, state)]
            h.append(state[0])
        rows.append(np.stack(h)[::turn])
        finals.append(state)
    if layer.merge != "concat":
        return [layer.merged(rows)[:, None]]
    return [np.stack(rows, 1), *map(np.stack, zip(*finals, strict=True))]


def _label_rows(x: Array, starts: Sequence[Any], layer: Recurrent) -> list[Array]:
    """Label the outputs of a layer: each depends on all steps of its sequence."""
    (T, N), D, sizes = x.shape[:2], len(layer.cells), layer.cells[0].state_sizes
    known = [join_along(label_of(each), (0, 2)) for each in (x, *starts) if each is not None]
    rows = np.broadcast_to(row_label(SEVERAL, sequences_of(reduce(join, known)))[:, None], (N, 1))
    if layer.merge != "concat":
        return [labels(np.broadcast_to(rows, (T, 1, N, layer.output_size)))]
    shapes = [(T, D, N, sizes[0]), *((D, N, size) for size in sizes)]
    return [labels(np.broadcast_to(rows, shape)) for shape in shapes]


def _read_cell(
    path: str, node: Node, d: int, arrays: Mapping[str, Any], settings: Mapping[str, Any]
) -> Cell:
    gates = KINDS[node.op].find_gates("onnx")
    names = {role: f"{node.name}: {name}[{d}]" for name, role in _ROLES.items()}
    floats = {
        name: read_floats(path, names[role], array[d])
        for name, role in _ROLES.items()
        if (array := arrays[name]) is not None
    }
    W_xh, W_hh = (reorder(floats[name].T, gates) for name in "WR")
    biases: tuple[Any, ...] = ()
    sums = {"b_h": np.zeros(W_hh.shape[1], W_hh.dtype)}
    if "B" in floats:
        biases = tuple(reorder(b, gates) for b in np.split(floats["B"], 2))
        after = settings.get("reset") == "after"
        sums = sum_biases(biases[0], biases[1], size=len(W_hh) if after else 0)
    w_ch = reorder(floats["P"], PEEPHOLES) if "P" in floats else None
    weights = Weights(W_xh, W_hh, **sums, w_ch=w_ch)
    return make_cell(path, node.op.lower(), weights, settings, names, biases)


def _read_functions(known: Mapping[str, Any], defaults: list[str]) -> list[Activation]:
    """Return the activations of a node: alphas and betas go to functions with such parameters."""
    names = known["activations"] or defaults
    numbers = [iter(known[name]) for name in ("activation_alpha", "activation_beta")]
    if len(names) != len(defaults):
        raise RefusedError(f"expected {len(defaults)} activations, got {len(names)}")
    activations = []
    for name in names:
        ours = _ACTIVATIONS.get(str(name).lower(), "")
        # The standard has 1 for a ThresholdedRelu where it is left out, ONNX Runtime 0.
        usual = (None,) if ours == "thresholded_relu" else ACTIVATIONS[ours or "tanh"].defaults
        takes: list[Any] = [next(each, n) for each, n in zip(numbers, usual, strict=False)]
        if not ours or None in takes:
            what = "is unknown, or programs differ in its alpha and beta where they are left out"
            raise RefusedError(f"activation {shown(str(name))} {what}")
        activations.append(activation(ours, *takes))
    return activations
