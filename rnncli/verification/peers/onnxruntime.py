"""The network in ONNX Runtime: each layer as the ONNX model that `rnncli.save` writes."""

import os
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError
from rnncli.model.formats import save_network
from rnncli.model.layers import Layer, name_of
from rnncli.model.network import Network
from rnncli.verification.peers import Unsupported

TITLE, PRECISIONS, SETTINGS = "ONNX Runtime", ("float32",), None
# Inputs of an RNN node: X, W, R, B, sequence_lens, initial_h, initial_c, P.
FIRST_STATE, INPUTS, STATES = 5, 8, ("h0", "c0")


def make(layers: Sequence[Layer]) -> Callable[..., Sequence[Floats]]:
    """Make a session for each layer."""
    made = [_open_session(_model(layer)) for layer in layers]

    def forward(x: Floats, states: Sequence[Sequence[Floats]]) -> Sequence[Floats]:
        outputs = []
        for layer, session, start in zip(layers, made, states, strict=True):
            # A recurrent layer takes and gives (T, N, values), as its node does.
            rows = x.swapaxes(0, 1) if layer.cells else x
            feeds = {"x": np.ascontiguousarray(rows), **dict(zip(STATES, start, strict=False))}
            (x,) = session.run(None, feeds)
            x = x.swapaxes(0, 1) if layer.cells else x
            outputs.append(x)
        return outputs

    return forward


def _model(layer: Layer) -> bytes:
    """Write a layer as a model; a recurrent one takes its initial states, and no transposes."""
    import onnx

    if not (layer.cells or name_of(layer)):
        raise Unsupported(f"{type(layer).__name__} is not built in {TITLE} here")
    file = BytesIO()
    try:
        save_network(file, Network(layer), ".onnx")
    except InputError as error:
        raise Unsupported(error.what) from error
    if not layer.cells:
        return file.getvalue()
    model = onnx.load_from_string(file.getvalue())
    graph, value = model.graph, onnx.helper.make_tensor_value_info
    first, *nodes, last = graph.node
    for node in nodes:
        node.input[:] = ["x" if name == first.output[0] else name for name in node.input]
        node.output[:] = [last.output[0] if name == last.input[0] else name for name in node.output]
    names = STATES[: len(layer.cells[0].state_names)]
    inputs = [*nodes[0].input, *[""] * (INPUTS - len(nodes[0].input))]
    inputs[FIRST_STATE : FIRST_STATE + len(names)] = names
    nodes[0].input[:] = inputs if inputs[-1] else inputs[: FIRST_STATE + len(names)]
    graph.node.remove(first)
    graph.node.remove(last)
    graph.input.extend(value(name, onnx.TensorProto.FLOAT, ["D", "N", "H"]) for name in names)
    for each in (graph.input[0], graph.output[0]):
        n, t, *_ = each.type.tensor_type.shape.dim
        n.dim_param, t.dim_param = t.dim_param, n.dim_param
    return bytes(model.SerializeToString())


def open_file(path: str) -> Callable[..., Sequence[Floats]] | None:
    """Run an ONNX file; its other inputs are lengths, or initial states of 0."""
    if not path.lower().endswith(".onnx"):
        return None
    session = _open_session(path)
    inputs = {each.name: each for each in session.get_inputs()}
    types = {
        name: np.dtype({"tensor(int64)": "i8", "tensor(int32)": "i4"}.get(each.type, "f4"))
        for name, each in inputs.items()
    }

    def forward(x: Floats, N: int) -> Sequence[Floats]:
        feeds: dict[str, Any] = dict.fromkeys(inputs, np.full(N, x.size // x.shape[-1] // N))
        for name in [name for name in inputs if types[name].kind == "f"]:
            shape = [size if isinstance(size, int) else N for size in inputs[name].shape]
            feeds[name] = np.zeros(shape)
        feeds[next(iter(inputs))] = x
        outputs: Sequence[Floats] = session.run(
            None, {name: array.astype(types[name]) for name, array in feeds.items()}
        )
        return outputs

    return forward


def _open_session(model: bytes | str) -> Any:
    """Open a model; ONNX Runtime by itself runs a thread for each processor of the machine."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if hasattr(os, "sched_getaffinity"):
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
