"""The network in ONNX Runtime: ``RNN`` nodes."""

import os
from collections.abc import Sequence
from math import isinf
from typing import Any

import numpy as np

from rnncli.engine.run import States
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import RNN
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network
from rnncli.verify.peers import Peer, RNNLayer, one_for_both, refuse_no_steps, rnn_layers

LIBRARY = "ONNX Runtime's RNN"
PRECISIONS = ("float32",)
OPSET, IR_VERSION = 18, 8  # of ONNX 1.13: the reductions take their axes as RNN's neighbours do

# ONNX spells them so, and ONNX Runtime takes no other spelling.
ACTIVATIONS = {
    "tanh": "Tanh",
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "linear": "Affine",
    "affine": "Affine",
    "leaky_relu": "LeakyRelu",
    "thresholded_relu": "ThresholdedRelu",
    "scaled_tanh": "ScaledTanh",
    "hard_sigmoid": "HardSigmoid",
    "elu": "Elu",
    "softsign": "Softsign",
    "softplus": "Softplus",
}
DIRECTIONS = {"forward": "forward", "backward": "reverse", "bidirectional": "bidirectional"}
# What makes (T, N, H) of the (T, D, N, H) of an RNN node; concat is two other nodes.
MERGES = {"sum": "ReduceSum", "ave": "ReduceMean", "mul": "ReduceProd"}


def build(network: Network, *, precision: str = "float32", all_layers: bool = False) -> Peer:
    """Make an ONNX model of the network and a session that runs it, on the CPU.

    A layer is an ``RNN`` node and what brings its two directions together.
    See `rnncli.verify.peers.build`.
    """
    layers = rnn_layers(LIBRARY, network, precision, PRECISIONS)
    import onnxruntime

    model = _model(layers, all_layers=all_layers).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _usable_cpus()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    shapes = [(len(cells), layer.hidden_size) for layer, cells in layers]
    ends = np.cumsum([D * H for D, H in shapes])[:-1]

    def run(x: Floats, h0: Floats, lengths: Integers | None = None) -> States:
        refuse_no_steps(LIBRARY, x, lengths)
        N, T, _ = x.shape
        steps = np.full(N, T, np.int32) if lengths is None else lengths.astype(np.int32)
        feeds = {"lengths": steps, "x": np.ascontiguousarray(x.swapaxes(0, 1), np.float32)}
        for number, (states, (D, H)) in enumerate(zip(np.split(h0, ends, 1), shapes, strict=True)):
            start = states.reshape(N, D, H).swapaxes(0, 1)  # (D, N, H)
            feeds[f"h0_{number}"] = np.ascontiguousarray(start, np.float32)
        given = session.run(None, feeds)
        finals, outputs = given[: len(shapes)], given[len(shapes) :]
        h_n = np.concatenate([each.swapaxes(0, 1).reshape(N, -1) for each in finals], axis=1)
        outputs = tuple(output.swapaxes(0, 1) for output in outputs)  # (N, T, O)
        return States(outputs[-1], h_n, outputs if all_layers else ())

    return run


def _usable_cpus() -> int:
    """Count the processors that this process may use; 0 leaves it to ONNX Runtime.

    Left to itself it counts those of the machine, and runs a thread for each
    on the few that it has.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def _model(layers: Sequence[RNNLayer], *, all_layers: bool) -> Any:
    """Return the ModelProto: from x, lengths and h0_0, h0_1, ... to h_n_0, ... and h_0, ..."""
    from onnx import TensorProto, helper, numpy_helper

    def value(name: str, *shape: str | int, kind: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    nodes, weights = [], []
    inputs = [value("x", "T", "N", layers[0][0].input_size)]
    inputs.append(value("lengths", "N", kind=TensorProto.INT32))
    finals, outputs = [], []
    for number, (layer, cells) in enumerate(layers):
        state_shape = (len(cells), "N", layer.hidden_size)
        inputs.append(value(f"h0_{number}", *state_shape))
        finals.append(value(f"h_n_{number}", *state_shape))
        outputs.append(value(f"h_{number}", "T", "N", layer.output_size))
        nodes += _nodes(layer, cells, number)
        weights += [
            numpy_helper.from_array(array, f"{name}_{number}")
            for name, array in zip("WRB", _weights(cells), strict=True)
        ]
    given = finals + (outputs if all_layers else outputs[-1:])
    graph = helper.make_graph(nodes, "network", inputs, given, weights)
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)


def _weights(cells: Sequence[RNN]) -> tuple[Floats, Floats, Floats]:
    """Stack W (D, H, I), R (D, H, H) and B (D, 2 H), the second half of it zeros."""
    W_xh, W_hh, b_h = zip(*(cell.weights[:3] for cell in cells), strict=True)
    B = np.stack([np.concatenate([b, np.zeros_like(b)]) for b in b_h])
    return np.stack([W.T for W in W_xh]), np.stack([W.T for W in W_hh]), B


def _nodes(layer: Recurrent, cells: Sequence[RNN], number: int) -> list[Any]:
    """Make an RNN node and those from its states (T, D, N, H) to the output of the layer."""
    from onnx import helper

    below = f"h_{number - 1}" if number else "x"
    inputs = [below, f"W_{number}", f"R_{number}", f"B_{number}", "lengths", f"h0_{number}"]
    h, states, turned = f"h_{number}", f"states_{number}", f"h_{number}_turned"
    constant = f"h_{number}_constant"
    rnn = helper.make_node("RNN", inputs, [states, f"h_n_{number}"], **_attributes(layer, cells))
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


def _attributes(layer: Recurrent, cells: Sequence[RNN]) -> dict[str, Any]:
    """Return the attributes of a layer's RNN node.

    ONNX Runtime hands out alphas, and betas, in turn to those activations
    that have one, and none to the others.
    """
    clips = dict.fromkeys(cell.clip for cell in cells)
    if len(clips) > 1:
        raise one_for_both(LIBRARY, "clip", clips)
    parameters = [
        (1.0, 0.0) if cell.activation.name == "linear" else cell.activation.parameters
        for cell in cells
    ]
    attributes: dict[str, Any] = {
        "hidden_size": layer.hidden_size,
        "direction": DIRECTIONS[layer.direction],
        "activations": [ACTIVATIONS[cell.activation.name] for cell in cells],
        "activation_alpha": [given[0] for given in parameters if given],
        "activation_beta": [given[1] for given in parameters if len(given) > 1],
    }
    if not isinf(max(clips)):
        attributes["clip"] = max(clips)
    return {name: given for name, given in attributes.items() if given != []}
