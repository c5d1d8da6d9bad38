"""The network in ONNX Runtime: ``RNN``, ``LSTM`` and ``GRU`` nodes."""

import os
from collections.abc import Sequence
from math import isinf
from typing import Any

import numpy as np

from rnncli.engine.run import States
from rnncli.model.activations import ACTIVATIONS as KNOWN
from rnncli.model.activations import ONNX_CELLS, ONNX_OPERATORS, Activation
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import GRU, LSTM, RNN
from rnncli.model.cells.gates import two_biases
from rnncli.model.layers import (
    Dense,
    Embedding,
    Layer,
    LayerNormalization,
    Normalization,
    Recurrent,
)
from rnncli.model.network import Network
from rnncli.verify.peers import (
    Kind,
    Library,
    Peer,
    PeerCell,
    PeerLayer,
    activations,
    as_states,
    converted,
    lacks,
    one_for_both,
    refuse_no_steps,
    stateless_activation,
)

LIBRARY = Library(
    "ONNX Runtime",
    "ONNX Runtime's {}",
    {
        RNN: Kind("RNN", (0,)),
        LSTM: Kind("LSTM", (0, 3, 1, 2), ("projection",)),
        GRU: Kind("GRU", (0, 1, 2)),
    },
)
# What a normalization does with its arrays, in this order.
OPERATORS = {"center": "Sub", "scale": "Div", "factor": "Mul", "shift": "Add"}
PEEPHOLES = Kind("P", (0, 2, 1))  # i o f, and ours are i f o
PRECISIONS = ("float32",)
OPSET, IR_VERSION = 20, 9  # of ONNX 1.15, the first with Gelu
CONTRIBUTED = "com.microsoft"  # what ONNX Runtime has beyond ONNX

# ONNX spells them so, and ONNX Runtime takes no other spelling.
ACTIVATIONS = {name: KNOWN[name].onnx for name in ONNX_CELLS}
# Of layers without state: operators, and their attributes where we have no parameters.
FUNCTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (operator, {}) for name, operator in ONNX_OPERATORS.items()},
    "linear": ("Identity", {}),
    "relu6": ("Clip", {}),
    "silu": ("QuickGelu", {"alpha": 1.0, "domain": CONTRIBUTED}),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
    "softmax": ("Softmax", {"axis": -1}),
    "log_softmax": ("LogSoftmax", {"axis": -1}),
}
DIRECTIONS = {"forward": "forward", "backward": "reverse", "bidirectional": "bidirectional"}
# What makes (T, N, H) of the (T, D, N, H) of an RNN node; concat is two other nodes.
MERGES = {"sum": "ReduceSum", "ave": "ReduceMean", "mul": "ReduceProd"}


def build(network: Network, *, precision: str = "float32", all_layers: bool = False) -> Peer:
    """Make an ONNX model of the network and a session that runs it, on the CPU.

    A layer is an ``RNN``, ``LSTM`` or ``GRU`` node and what brings its two
    directions together. See `rnncli.verify.peers.build`.
    """
    title = LIBRARY.title_of(network)
    layers = LIBRARY.layers(converted(title, network, precision, PRECISIONS))
    import onnxruntime

    model = _model(layers, network.head, all_layers=all_layers).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _usable_cpus()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    # Of each array of the state of a layer: its name, and where those of its cells stand.
    places = {
        f"{name}_{number}": where
        for number, ((_, cells), slices) in enumerate(
            zip(layers, network.state_slices, strict=True)
        )
        for name, where in zip(_state_names(cells), zip(*slices, strict=True), strict=True)
    }

    def run(x: Floats, h0: Floats, lengths: Integers | None = None) -> States:
        refuse_no_steps(title, x, lengths)
        N, T, _ = x.shape
        steps = np.full(N, T, np.int32) if lengths is None else lengths.astype(np.int32)
        feeds = {"lengths": steps, "x": np.ascontiguousarray(x.swapaxes(0, 1), np.float32)}
        for name, where in places.items():
            start = np.stack([h0[:, place] for place in where])  # (D, N, size)
            feeds[f"start_{name}"] = start.astype(np.float32)
        given = session.run(None, feeds)
        h_n = np.empty(h0.shape, np.float32)
        for where, final in zip(places.values(), given, strict=False):
            for place, array in zip(where, final, strict=True):
                h_n[:, place] = array
        outputs = [output.swapaxes(0, 1) for output in given[len(places) :]]  # (N, T, O)
        return as_states(network, outputs, h_n, lengths, all_layers=all_layers)

    return run


def _state_names(cells: Sequence[PeerCell]) -> tuple[str, ...]:
    """Return the names of the arrays of a layer's state: none without cells."""
    return cells[0].state_names if cells else ()


def _usable_cpus() -> int:
    """Count the processors that this process may use; 0 leaves it to ONNX Runtime.

    Left to itself it counts those of the machine, and runs a thread for each
    on the few that it has.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def _model(layers: Sequence[PeerLayer], head: int, *, all_layers: bool) -> Any:
    """Return the ModelProto: from x, lengths, start_h_0, start_c_0, ... to end_h_0, ..., out_0."""
    from onnx import TensorProto, helper, numpy_helper

    def value(name: str, *shape: str | int, kind: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    nodes, weights = [], []
    inputs = [value("x", "T", "N", layers[0][0].input_size)]
    inputs.append(value("lengths", "N", kind=TensorProto.INT32))
    finals, outputs = [], []
    for number, (layer, cells) in enumerate(layers):
        outputs.append(value(f"out_{number}", "T", "N", layer.output_size))
        if isinstance(layer, Recurrent):
            arrays = _weights(cells)
            nodes += _nodes(layer, cells, number, peepholes="P" in arrays)
            for name, size in zip(cells[0].state_names, cells[0].state_sizes, strict=True):
                shape = (len(cells), "N", size)
                inputs.append(value(f"start_{name}_{number}", *shape))
                finals.append(value(f"end_{name}_{number}", *shape))
        else:
            arrays = dict(layer.arrays)
            nodes += _stateless(layer, number, arrays)
        weights += [
            numpy_helper.from_array(array, f"{name}_{number}") for name, array in arrays.items()
        ]
    given = finals + (outputs if all_layers else outputs[-1 - head :])
    graph = helper.make_graph(nodes, "network", inputs, given, weights)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIBUTED, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def _stateless(layer: Layer, number: int, arrays: dict[str, Any]) -> list[Any]:
    """Make the nodes of a layer without state, each of which takes what the last one gives.

    Adds to the arrays of the layer what else they take.
    """
    from onnx import TensorProto, helper

    # Operator, arrays that it takes, attributes.
    steps: list[tuple[str, tuple[str, ...], dict[str, Any]]] = []
    if isinstance(layer, Embedding):
        arrays["axis"] = np.array([2])
        steps = [
            ("Cast", (), {"to": TensorProto.INT64}),
            ("Gather", ("W",), {}),
            ("Squeeze", ("axis",), {}),
        ]
    elif isinstance(layer, Normalization):
        steps = [(OPERATORS[name], (name,), {}) for name in OPERATORS if name in layer.arrays]
    elif isinstance(layer, LayerNormalization):
        steps = [("LayerNormalization", tuple(layer.arrays), {"epsilon": layer.epsilon})]
    elif isinstance(layer, Dense):
        steps = [("MatMul", ("W",), {}), ("Add", ("b",), {})]
    if activation := stateless_activation(layer):
        operator, attributes, numbers = _function(activation)
        named = {f"number_{k}": np.array(value, np.float32) for k, value in enumerate(numbers)}
        arrays |= named
        steps.append((operator, tuple(named), attributes))
    nodes, source = [], f"out_{number - 1}" if number else "x"
    for place, (operator, taken, attributes) in enumerate(steps, start=1):
        inputs = [source, *(f"{name}_{number}" for name in taken)]
        source = f"out_{number}" if place == len(steps) else f"step_{number}_{place}"
        ordered = inputs[::-1] if operator == "Gather" else inputs
        nodes.append(helper.make_node(operator, ordered, [source], **attributes))
    return nodes


def _function(activation: Activation) -> tuple[str, dict[str, Any], Sequence[float]]:
    """Return the operator of a function of a layer without state, its attributes and inputs."""
    if activation.name not in FUNCTIONS:
        raise lacks(LIBRARY.name, "activation", activation, FUNCTIONS)
    operator, attributes = FUNCTIONS[activation.name]
    if operator in ("Max", "Min", "Pow"):
        return operator, attributes, activation.parameters
    parameters = dict(zip(("alpha", "beta"), activation.parameters, strict=False))
    return operator, attributes | parameters, (0, 6) if operator == "Clip" else ()


def _weights(cells: Sequence[PeerCell]) -> dict[str, Floats]:
    """Stack W (D, G H, I), R (D, G H, H), B (D, 2 G H), and P (D, 3 H) if there are peepholes."""
    arrays: dict[str, list[Floats]] = {"W": [], "R": [], "B": []}
    for cell in cells:
        kind, (W_xh, W_hh) = LIBRARY.kinds[type(cell)], cell.weights[:2]
        arrays["W"].append(kind.ordered(W_xh).T)
        arrays["R"].append(kind.ordered(W_hh).T)
        arrays["B"].append(
            np.concatenate([kind.ordered(bias) for bias in two_biases(cell.weights)])
        )
    peepholes = [cell.weights.w_ch for cell in cells]
    if any(w_ch is not None for w_ch in peepholes):
        none = np.zeros(3 * cells[0].hidden_size, cells[0].weights.b_h.dtype)
        arrays["P"] = [PEEPHOLES.ordered(none if w_ch is None else w_ch) for w_ch in peepholes]
    return {name: np.stack(each) for name, each in arrays.items()}


def _nodes(
    layer: Recurrent, cells: Sequence[PeerCell], number: int, *, peepholes: bool
) -> list[Any]:
    """Make the node of the cells and those from its states (T, D, N, H) to the layer's output."""
    from onnx import helper

    below = f"out_{number - 1}" if number else "x"
    names = [f"{name}_{number}" for name in cells[0].state_names]
    inputs = [below, f"W_{number}", f"R_{number}", f"B_{number}", "lengths"]
    inputs += [f"start_{name}" for name in names] + [f"P_{number}"] * peepholes
    h, states, turned = f"out_{number}", f"states_{number}", f"turned_{number}"
    constant = f"constant_{number}"
    ends = [f"end_{name}" for name in names]
    operator = LIBRARY.kinds[type(cells[0])].name
    rnn = helper.make_node(operator, inputs, [states, *ends], **_attributes(layer, cells))
    if layer.direction == "bidirectional" and layer.merge == "concat":
        return [
            rnn,
            helper.make_node("Constant", [], [constant], value_ints=[0, 0, -1]),
            helper.make_node("Transpose", [states], [turned], perm=[0, 2, 1, 3]),  # (T, N, D, H)
            helper.make_node("Reshape", [turned, constant], [h]),  # (T, N, D H)
        ]
    axis = helper.make_node("Constant", [], [constant], value_ints=[1])
    if layer.direction == "bidirectional":
        merge = helper.make_node(MERGES[layer.merge], [states, constant], [h], keepdims=0)
        return [rnn, axis, merge]
    return [rnn, axis, helper.make_node("Squeeze", [states, constant], [h])]


def _attributes(layer: Recurrent, cells: Sequence[PeerCell]) -> dict[str, Any]:
    """Return the attributes of a layer's node.

    ONNX Runtime hands out alphas, and betas, in turn to those activations
    that have one, and none to the others.
    """
    title = LIBRARY.title(*cells)
    functions = [activation for cell in cells for activation in activations(cell)]
    for function in functions:
        if function.name not in ACTIVATIONS:
            raise lacks(title, "activation", function, ACTIVATIONS)
    parameters = [
        (1.0, 0.0) if function.name == "linear" else function.parameters for function in functions
    ]
    attributes: dict[str, Any] = {
        "hidden_size": layer.hidden_size,
        "direction": DIRECTIONS[layer.direction],
        "activations": [ACTIVATIONS[function.name] for function in functions],
        "activation_alpha": [given[0] for given in parameters if given],
        "activation_beta": [given[1] for given in parameters if len(given) > 1],
    }
    clip = one_for_both(title, "clip", [cell.clip for cell in cells])
    if not isinf(clip):
        attributes["clip"] = clip
    if "reset" in cells[0].settings:
        reset = one_for_both(title, "reset", [cell.settings["reset"] for cell in cells])
        attributes["linear_before_reset"] = int(reset == "after")
    return {name: given for name, given in attributes.items() if given != []}
