"""A network as an ONNX model.

It takes ``x``, (N, T, I), of any N and T, and gives ``y``, or ``h`` where the
network has no head: (N, T, O), or (N, O) of a network that gives one row a
sequence. Its nodes are named after the layers: ``layer_1/LSTM``.
"""

from collections.abc import Callable, Sequence
from math import isinf, nan, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.activations import ACTIVATIONS, ONNX_CELLS, ONNX_OPERATORS, Activation
from rnncli.model.arrays import Floats, in_dtype
from rnncli.model.cells import Cell
from rnncli.model.cells.gates import ordered, two_biases
from rnncli.model.errors import InputError
from rnncli.model.formats.containers.protobuf import message
from rnncli.model.formats.onnx.messages import LARGEST, Node
from rnncli.model.formats.onnx.recurrent import KINDS, PEEPHOLES
from rnncli.model.formats.spec import Layout
from rnncli.model.layers import Recurrent, name_of
from rnncli.model.network import Network

# Of ONNX 1.12, in 2022: the first to have LayerNormalization.
_OPSET, _IR_VERSION = 17, 8
_ELSE = "write .npz"

# By type, the field of an attribute for a value, and the number of the type; five more each
# for a list.
_FIELDS = {float: (2, 1), int: (3, 2), str: (4, 3)}
_LIST = 5
_ELEMENTS = {"float32": 1, "int64": 7}

_DIRECTIONS = {"forward": "forward", "backward": "reverse", "bidirectional": "bidirectional"}
# What a layer does with its arrays, in this order.
_ROWS = {
    "dense": (("W", "MatMul"), ("b", "Add")),
    "normalization": (("center", "Sub"), ("scale", "Div"), ("factor", "Mul"), ("shift", "Add")),
    "activation": (),
}
# Values of arrays that change nothing.
_NOTHING = {"center": 0, "scale": 1}
_OPERATORS = {**ONNX_OPERATORS, "softmax": "Softmax", "log_softmax": "LogSoftmax"}
_MERGES = {"sum": "ReduceSum", "ave": "ReduceMean", "mul": "ReduceProd"}


class _Graph:
    """Nodes, each after those whose outputs it takes, and the tensors that they take.

    Attributes
    ----------
    stem : str
        What the names of those that are added begin with.
    nodes : dict
        By the names of their outputs.
    tensors : dict
        By name.
    """

    def __init__(self) -> None:
        self.stem = ""
        self.nodes: dict[str, Node] = {}
        self.tensors: dict[str, NDArray[Any]] = {}

    def add(self, op: str, *inputs: str, place: int = 0, **attributes: Any) -> str:
        """Add a node; return the name of its output at this place, the only one."""
        name = f"{self.stem}/{op}"
        while name in self.nodes:
            name += "_"
        for key, value in attributes.items():
            numbers = np.array(value)
            if numbers.dtype.kind == "f":
                in_dtype(f"{name}: {key}", numbers, np.dtype(np.float32))
        self.nodes[name] = Node(op, name, "", inputs, [""] * place + [name], attributes)
        return name

    def tensor(self, name: str, array: NDArray[Any]) -> str:
        """Add a tensor; floats become float32. Return its name."""
        name = f"{self.stem}/{name}"
        if array.dtype.kind == "f":
            array = in_dtype(name, array, np.dtype(np.float32))
        self.tensors[name] = array
        return name

    def number(self, value: float) -> str:
        """Add a number; return its name."""
        return self.tensor(repr(value), np.array(value))

    def one(self, name: str, cells: Sequence[Cell]) -> Any:
        """Return a setting of all cells of a layer, for which a node has but one attribute."""
        values = [cell.settings.get(name) for cell in cells]
        if values[0] != values[-1]:
            raise self.lacks(f"node with {name} {values[0]} forward and {values[-1]} backward")
        return values[0]

    def lacks(self, what: str) -> InputError:
        """Return the error for what ONNX cannot express."""
        return InputError(self.stem.replace("_", " "), f"ONNX has no {what}", _ELSE)


def model_bytes(network: Network) -> bytes:
    """Return a network as the bytes of an ONNX model."""
    graph, rows = _Graph(), "x"
    recurrent = [number for number, layer in enumerate(network.layers) if layer.cells]
    for number, layer in enumerate(network.layers):
        graph.stem = f"layer_{number + 1}"
        if not isinstance(layer, Recurrent):
            rows = _stateless(graph, layer, rows)
            continue
        if number == recurrent[0]:
            rows = graph.add("Transpose", rows, perm=[1, 0, 2])
        last = network.last if number == recurrent[-1] else ""
        rows = _recurrent(graph, layer, rows, states=last == "state")
        if last == "step":
            rows = graph.add("Gather", rows, graph.tensor("step", np.array(-1)), axis=0)
        if last is None:
            rows = graph.add("Transpose", rows, perm=[1, 0, 2])
    if rows == "x":
        graph.add("Identity", rows)
    size = sum(array.nbytes for array in graph.tensors.values())
    if size >= LARGEST:
        what = f"expected under 2 GiB of weights in an .onnx file, got {size:,} bytes"
        raise InputError("", what, _ELSE)
    return _model(graph, network)


def _recurrent(graph: _Graph, layer: Recurrent, rows: str, *, states: bool) -> str:
    """Add a layer that takes (T, N, I); return what gives (T, N, O), or of final states (N, O)."""
    cells, kind = layer.cells, name_of(layer.cells[0])
    inputs = [rows, *(graph.tensor(*named) for named in _arrays(graph, layer).items())]
    if len(inputs) > 4:  # peepholes stand behind lengths and initial states
        inputs[4:4] = [""] * 3
    given = graph.add(kind.upper(), *inputs, place=int(states), **_attributes(graph, layer))
    axis = 0 if states else 1  # that of directions
    if len(cells) == 1:
        return graph.add("Squeeze", given, graph.tensor("axis", np.array([axis])))
    if layer.merge == "concat":
        turned = graph.add("Transpose", given, perm=[1, 0, 2] if states else [0, 2, 1, 3])
        shape = np.array([0] * (axis + 1) + [layer.output_size])
        return graph.add("Reshape", turned, graph.tensor("shape", shape))
    if layer.merge == "sum":
        axes = graph.tensor("axis", np.array([axis]))
        return graph.add("ReduceSum", given, axes, keepdims=0)
    return graph.add(_MERGES[layer.merge], given, axes=[axis], keepdims=0)


def _arrays(graph: _Graph, layer: Recurrent) -> dict[str, Floats]:
    """Return W (D, G H, I), R (D, G H, H), B (D, 2 G H) and, of peepholes, P (D, 3 H)."""
    arrays: dict[str, list[Floats]] = {"W": [], "R": [], "B": [], "P": []}
    for cell in layer.cells:
        W_xh, W_hh, *_ = weights = cell.weights
        if weights.W_hr is not None:
            raise graph.lacks("LSTM with a projection")
        kind = name_of(cell)
        if kind.upper() not in KINDS:
            raise graph.lacks(f"cell {type(cell).__name__}")
        theirs = Layout(True, {kind: KINDS[kind.upper()].gates}).theirs
        arrays["W"].append(theirs(W_xh, kind))
        arrays["R"].append(theirs(W_hh, kind))
        arrays["B"].append(np.concatenate([theirs(each, kind) for each in two_biases(weights)]))
        none = np.zeros(3 * cell.hidden_size, W_hh.dtype)
        arrays["P"].append(ordered(none if weights.w_ch is None else weights.w_ch, PEEPHOLES))
    if all(cell.weights.w_ch is None for cell in layer.cells):
        del arrays["P"]
    return {name: np.stack(each) for name, each in arrays.items()}


def _attributes(graph: _Graph, layer: Recurrent) -> dict[str, Any]:
    """Return the attributes of a layer's node.

    Alphas go in turn to those activations that have one, betas too.
    """
    settings = {name: graph.one(name, layer.cells) for name in ("clip", "reset")}
    functions = [each for cell in layer.cells for each in _functions(cell)]
    for each in functions:
        if each.name not in ONNX_CELLS:
            raise graph.lacks(f"activation {each} in a cell")
    parameters = [(1.0, 0.0) if f.name == "linear" else f.parameters for f in functions]
    attributes = {
        "activation_alpha": [given[0] for given in parameters if given],
        "activation_beta": [given[1] for given in parameters if len(given) > 1],
        "activations": [ACTIVATIONS[each.name].onnx for each in functions],
        "clip": None if isinf(settings["clip"]) else settings["clip"],
        "direction": _DIRECTIONS[layer.direction],
        "hidden_size": layer.hidden_size,
        "linear_before_reset": int(settings["reset"] == "after"),
    }
    return {name: value for name, value in attributes.items() if value}


def _functions(cell: Cell) -> list[Activation]:
    """Return the activations of gates, candidate and output, as far as a cell has them."""
    names = ("recurrent_activation", "activation", "output_activation")
    return [cell.settings[name] for name in names if name in cell.settings]


def _stateless(graph: _Graph, layer: Any, rows: str) -> str:
    """Add a layer without state; return what it gives."""
    kind = name_of(layer)
    if layer.masks:
        raise graph.lacks("masked rows")
    if kind == "embedding":
        index = graph.add("Cast", rows, to=_ELEMENTS["int64"])
        found = graph.add("Gather", graph.tensor("W", layer.W), index, axis=0)
        return graph.add("Squeeze", found, graph.tensor("axis", np.array([2])))
    if kind == "layer_normalization":
        arrays = [graph.tensor(*named) for named in layer.arrays.items()]
        return graph.add("LayerNormalization", rows, *arrays, axis=-1, epsilon=layer.epsilon)
    for name, op in _ROWS[kind]:
        array = layer.arrays.get(name)
        if array is not None and (array != _NOTHING.get(name, nan)).any():
            rows = graph.add(op, rows, graph.tensor(name, array))
    if "activation" in layer.settings:
        rows = _activation(graph, layer.settings["activation"], rows)
    return rows


def _activation(graph: _Graph, given: Activation | str, rows: str) -> str:
    name, parameters = (given, ()) if isinstance(given, str) else given
    if name == "linear":
        return rows
    if name in _FORMULAS:
        return _FORMULAS[name](graph, rows, *parameters)
    if name not in _OPERATORS:
        raise graph.lacks(f"activation {given}")
    attributes: dict[str, Any] = dict(zip(("alpha", "beta"), parameters, strict=False))
    if name in ("softmax", "log_softmax"):
        attributes["axis"] = -1
    return graph.add(_OPERATORS[name], rows, **attributes)


def _affine(graph: _Graph, a: str, alpha: float, beta: float) -> str:
    product = graph.add("Mul", a, graph.number(alpha))
    return graph.add("Add", product, graph.number(beta))


def _scaled_tanh(graph: _Graph, a: str, alpha: float, beta: float) -> str:
    tanh = graph.add("Tanh", graph.add("Mul", a, graph.number(beta)))
    return graph.add("Mul", tanh, graph.number(alpha))


def _gelu(graph: _Graph, a: str) -> str:
    erf = graph.add("Erf", graph.add("Div", a, graph.number(sqrt(2))))
    product = graph.add("Mul", a, graph.add("Add", erf, graph.number(1.0)))
    return graph.add("Mul", product, graph.number(0.5))


def _gelu_tanh(graph: _Graph, a: str) -> str:
    cube = graph.add("Mul", a, graph.add("Mul", a, a))
    inner = graph.add("Add", a, graph.add("Mul", graph.number(0.044715), cube))
    tanh = graph.add("Tanh", graph.add("Mul", graph.number(sqrt(2 / pi)), inner))
    half = graph.add("Mul", graph.number(0.5), a)
    return graph.add("Mul", half, graph.add("Add", graph.number(1.0), tanh))


# Activations of several operators, as PyTorch's exporter writes them.
_FORMULAS: dict[str, Callable[..., str]] = {
    "affine": _affine,
    "scaled_tanh": _scaled_tanh,
    "maximum": lambda graph, a, alpha: graph.add("Max", a, graph.number(alpha)),
    "minimum": lambda graph, a, alpha: graph.add("Min", a, graph.number(alpha)),
    "power": lambda graph, a, alpha: graph.add("Pow", a, graph.number(alpha)),
    "relu6": lambda graph, a: graph.add("Clip", a, graph.number(0.0), graph.number(6.0)),
    "silu": lambda graph, a: graph.add("Mul", a, graph.add("Sigmoid", a)),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "mish": lambda graph, a: graph.add("Mul", a, graph.add("Tanh", graph.add("Softplus", a))),
}


def _model(graph: _Graph, network: Network) -> bytes:
    """Return the model of a finished graph, whose last node gives the output."""
    name = "y" if network.head else "h"
    *nodes, last = graph.nodes.values()
    outputs = [*last.outputs[:-1], name]
    nodes.append(last._replace(outputs=outputs))
    steps = ("N", "T") if network.last is None else ("N",)
    content = message(
        *((1, _node(node)) for node in nodes),
        (2, "network"),
        *((5, _tensor(*named)) for named in graph.tensors.items()),
        (11, _value("x", "N", "T", network.input_size)),
        (12, _value(name, *steps, network.output_size)),
    )
    opset = message((2, _OPSET))
    return message((1, _IR_VERSION), (2, "rnncli"), (7, content), (8, opset))


def _node(node: Node) -> bytes:
    return message(
        *((1, name) for name in node.inputs),
        *((2, name) for name in node.outputs),
        (3, node.name),
        (4, node.op),
        *((5, _attribute(*named)) for named in node.attributes.items()),
    )


def _attribute(name: str, value: Any) -> bytes:
    values, more = (value, _LIST) if isinstance(value, list) else ([value], 0)
    field, kind = _FIELDS[type(values[0])]
    return message((1, name), *((field + more, each) for each in values), (20, kind + more))


def _tensor(name: str, array: NDArray[Any]) -> bytes:
    raw = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    kind = _ELEMENTS[array.dtype.name]
    return message(*((1, size) for size in array.shape), (2, kind), (8, name), (9, raw))


def _value(name: str, *axes: str | int) -> bytes:
    """Return an input or an output of float32, its axes with names or sizes."""
    sizes = (message((1 if isinstance(axis, int) else 2, axis)) for axis in axes)
    shape = message(*((1, size) for size in sizes))
    tensor = message((1, _ELEMENTS["float32"]), (2, shape))
    return message((1, name), (2, message((1, tensor))))
