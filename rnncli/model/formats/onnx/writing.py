"""A network as an ONNX model.

It takes ``x``, (N, T, I), of any N and T, and gives ``y``, or ``h`` where the
network has no head: (N, T, O), or (N, O) of a network that gives one row a
sequence. Its nodes are named after the layers: ``layer_1/LSTM``.
"""

from math import isinf
from typing import Any, BinaryIO

import numpy as np

from rnncli.model.activations import ACTIVATIONS, ONNX_CELLS, ONNX_OPERATORS
from rnncli.model.arrays import in_dtype, reorder
from rnncli.model.cells import split_bias
from rnncli.model.errors import InputError
from rnncli.model.formats.containers.protobuf import message
from rnncli.model.graph import Array
from rnncli.model.graph.recurrent import KINDS
from rnncli.model.layers import Recurrent, RowActivation, name_of
from rnncli.model.network import Network

_OPSET, _IR_VERSION = 20, 9  # of ONNX 1.15, in 2023: the first to have Gelu
_LARGEST = 2**31  # bytes of a protocol buffer
_HINT = "write .npz"
# By type, the field of an attribute for a value, and the number of the type; five more for a list.
_FIELDS = {float: (2, 1), int: (3, 2), str: (4, 3)}
_ELEMENTS = {"float32": 1, "int64": 7}
# Operators with an array of a layer, in this order, and the values that change nothing.
_ROWS = {
    "W": ("MatMul", None),
    "b": ("Add", None),
    "center": ("Sub", 0),
    "scale": ("Div", 1),
    "factor": ("Mul", None),
    "shift": ("Add", None),
}
# Layers that these operators and an activation make.
_CHAINS = ("dense", "normalization", "activation")
# Activations as operators with their attributes.
_OPERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (op, {}) for name, op in ONNX_OPERATORS.items()},
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
    "softmax": ("Softmax", {"axis": -1}),
    "log_softmax": ("LogSoftmax", {"axis": -1}),
}
_FUNCTIONS = ("recurrent_activation", "activation", "output_activation")  # in ONNX's order


class _Writer:
    """Nodes by the names of their outputs, tensors by name, and what added names begin with."""

    def __init__(self) -> None:
        self.stem = ""
        self.nodes: dict[str, list[tuple[int, Any]]] = {}
        self.tensors: dict[str, Array] = {}
        self.rounds = False  # whether matrices of float64 are rounded

    def add(self, op: str, *inputs: str, index: int = 0, **attributes: Any) -> str:
        """Add a node; return the name of its only output, which has this index."""
        name = f"{self.stem}/{op}"
        while name in self.nodes:
            name += "_"
        outputs = [*[""] * index, name]
        fields: list[tuple[int, Any]] = [*((1, n) for n in inputs), *((2, n) for n in outputs)]
        fields += [(3, name), (4, op)]
        for key, value in attributes.items():
            values, more = (value, 5) if isinstance(value, list) else ([value], 0)
            field, kind = _FIELDS[type(values[0])]
            numbers = ((field + more, each) for each in values)
            fields.append((5, message((1, key), *numbers, (20, kind + more))))
        self.nodes[name] = fields
        return name

    def tensor(self, name: str, values: Any) -> str:
        """Add a tensor; floats become float32. Return its name."""
        name, array = f"{self.stem}/{name}", np.asarray(values)
        if array.dtype.kind == "f":  # sums of biases are float64, too
            self.rounds = self.rounds or (array.ndim > 1 and array.itemsize > 4)
            array = in_dtype(name, array, np.dtype(np.float32))
        self.tensors[name] = array
        return name

    def refuse(self, what: str) -> InputError:
        """Return the error for what is not written."""
        return InputError(self.stem.replace("_", " "), f"is not written as ONNX: {what}", _HINT)

    def add_recurrent(self, layer: Recurrent, rows: str, *, states: bool) -> str:
        """Add a layer of rows (T, N, I); return the name of (T, N, O), or of its final states."""
        kind, weights = name_of(layer.cells[0]).upper(), [cell.weights for cell in layer.cells]
        if kind not in KINDS:
            raise self.refuse(f"cell {kind.lower()}")
        if any(each.W_hr is not None or each.w_ch is not None for each in weights):
            raise self.refuse("a cell with a projection or peepholes")
        if len(weights) == 2 and layer.merge != "concat":
            raise self.refuse(f"merge {layer.merge}")
        order = np.argsort(KINDS[kind].find_gates("onnx")).tolist()
        arrays = {
            "W": [reorder(each.W_xh, order).T for each in weights],
            "R": [reorder(each.W_hh, order).T for each in weights],
            "B": [np.concatenate([reorder(b, order) for b in split_bias(w)]) for w in weights],
        }
        inputs = [rows, *(self.tensor(name, np.stack(each)) for name, each in arrays.items())]
        y = self.add(kind, *inputs, index=int(states), **self.list_attributes(layer))
        axis = 0 if states else 1  # that of directions
        if len(weights) == 1:
            return self.add("Squeeze", y, self.tensor("axis", [axis]))
        y = self.add("Transpose", y, perm=[1, 0, 2] if states else [0, 2, 1, 3])
        return self.add("Reshape", y, self.tensor("shape", [0] * (axis + 1) + [layer.output_size]))

    def list_attributes(self, layer: Recurrent) -> dict[str, Any]:
        """Return the attributes of a node: alphas, and betas, go to the functions that have one."""
        settings = [cell.settings for cell in layer.cells]
        for name in ("clip", "reset"):
            if settings[0].get(name) != settings[-1].get(name):
                raise self.refuse(f"two directions of another {name}")
        functions = [each[name] for each in settings for name in _FUNCTIONS if name in each]
        for each in functions:
            if each.name not in ONNX_CELLS:
                raise self.refuse(f"activation {each} in a cell")
        numbers = [(1.0, 0.0) if f.name == "linear" else f.parameters for f in functions]
        attributes = {
            "activation_alpha": [each[0] for each in numbers if each],
            "activation_beta": [each[1] for each in numbers if len(each) > 1],
            "activations": [ACTIVATIONS[each.name].onnx for each in functions],
            "clip": None if isinf(settings[0]["clip"]) else settings[0]["clip"],
            "direction": layer.direction.replace("backward", "reverse"),
            "hidden_size": layer.hidden_size,
            "linear_before_reset": int(settings[0].get("reset") == "after"),
        }
        return {name: value for name, value in attributes.items() if value}

    def add_stateless(self, layer: Any, rows: str) -> str:
        """Add a layer without state; return the name of its output."""
        kind, arrays = name_of(layer), layer.arrays
        if layer.masks:
            raise self.refuse("masked rows")
        if kind == "embedding":
            index = self.add("Cast", rows, to=_ELEMENTS["int64"])
            y = self.add("Gather", self.tensor("W", layer.W), index, axis=0)
            return self.add("Squeeze", y, self.tensor("axis", [2]))
        if kind == "layer_normalization":
            names = [self.tensor(*named) for named in arrays.items()]
            return self.add("LayerNormalization", rows, *names, axis=-1, epsilon=layer.epsilon)
        if kind not in _CHAINS:
            raise self.refuse(f"layer {kind}")
        for name, (op, nothing) in _ROWS.items():
            array = arrays.get(name)
            if op == "Div" and array is not None and not array.astype(np.float32).all():
                raise self.refuse("a scale of 0 in float32")
            if array is not None and (nothing is None or (array != nothing).any()):
                rows = self.add(op, rows, self.tensor(name, array))
        return self.add_activation(layer.settings.get("activation", "linear"), rows)

    def add_activation(self, function: RowActivation, rows: str) -> str:
        """Add an activation; return the name of its output."""
        name, numbers = (function, ()) if isinstance(function, str) else function
        if name == "linear":
            return rows
        if name == "silu":
            return self.add("Mul", rows, self.add("Sigmoid", rows))
        if name not in _OPERATORS:
            raise self.refuse(f"activation {function}")
        op, attributes = _OPERATORS[name]
        named: dict[str, Any] = dict(zip(("alpha", "beta"), numbers, strict=False))
        return self.add(op, rows, **attributes, **named)


def save_model(file: BinaryIO, network: Network) -> list[str]:
    """Write a network as an ONNX model; return a sentence for each type that is rounded."""
    writer, rows = _Writer(), "x"
    recurrent = [number for number, layer in enumerate(network.layers) if layer.cells]
    for number, layer in enumerate(network.layers):
        writer.stem = f"layer_{number + 1}"
        if not isinstance(layer, Recurrent):
            rows = writer.add_stateless(layer, rows)
            continue
        if number == recurrent[0]:
            rows = writer.add("Transpose", rows, perm=[1, 0, 2])
        last = network.last if number == recurrent[-1] else ""
        rows = writer.add_recurrent(layer, rows, states=last == "state")
        if last == "step":
            rows = writer.add("Gather", rows, writer.tensor("step", -1), axis=0)
        if last is None:
            rows = writer.add("Transpose", rows, perm=[1, 0, 2])
    rows = writer.add("Identity", rows) if rows == "x" else rows
    size = sum(array.nbytes for array in writer.tensors.values())
    if size >= _LARGEST:
        what = f"expected under 2 GiB of weights in an .onnx file, got {size:,} bytes"
        raise InputError("", what, _HINT)
    name, steps = "y" if network.head else "h", ("T",) if network.last is None else ()
    writer.nodes[rows] = [(2, name) if each == (2, rows) else each for each in writer.nodes[rows]]
    graph = message(
        *((1, message(*node)) for node in writer.nodes.values()),
        (2, "network"),
        *((5, _tensor(*named)) for named in writer.tensors.items()),
        (11, _value("x", "N", "T", network.input_size)),
        (12, _value(name, "N", *steps, network.output_size)),
    )
    opset = message((2, _OPSET))
    file.write(message((1, _IR_VERSION), (2, "rnncli"), (7, graph), (8, opset)))
    text = "its float64 weights are rounded to float32: ONNX Runtime has no such recurrent nodes"
    return [text] if writer.rounds else []


def _tensor(name: str, array: Array) -> bytes:
    raw = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    kind = _ELEMENTS[array.dtype.name]
    return message(*((1, size) for size in array.shape), (2, kind), (8, name), (9, raw))


def _value(name: str, *axes: str | int) -> bytes:
    """Return an input or an output of float32, its axes with names or sizes."""
    sizes = [message((1 + isinstance(axis, str), axis)) for axis in axes]
    tensor = message((1, 1), (2, message(*((1, size) for size in sizes))))
    return message((1, name), (2, message((1, tensor))))
