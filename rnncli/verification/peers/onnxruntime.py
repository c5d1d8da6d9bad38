"""The network in ONNX Runtime: each layer as the ONNX model that `rnncli.save` writes."""

import os
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np

from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import InputError
from rnncli.model.formats import save_network
from rnncli.model.layers import Layer
from rnncli.model.network import Network
from rnncli.verification.peers import Unsupported

TITLE, PRECISIONS, LACKS = "ONNX Runtime", ("float32",), ("masks", "projection")
FIRST_LENGTHS = 4  # inputs of an RNN node: X, W, R, B, sequence_lens, initial_h, initial_c, P


def make(layer: Layer) -> Callable[..., tuple[Floats, Sequence[Floats]]]:
    """Write a layer as a model, which takes lengths and states too, and make its session."""
    import onnx

    file = BytesIO()
    try:
        save_network(file, Network(layer), ".onnx")
    except InputError as error:
        raise Unsupported(error.what) from error
    model = onnx.load_from_string(file.getvalue())
    graph = model.graph
    names = [f"start_{name}" for cell in layer.cells[:1] for name in cell.state_names]
    for node in graph.node:
        if node.op_type in ("RNN", "LSTM", "GRU"):
            inputs = [*node.input, *[""] * (8 - len(node.input))]
            inputs[FIRST_LENGTHS] = "lengths"
            inputs[FIRST_LENGTHS + 1 : FIRST_LENGTHS + 1 + len(names)] = names
            node.input[:] = inputs if inputs[-1] else inputs[: FIRST_LENGTHS + 1 + len(names)]
            node.output[:] = [node.output[0], *(f"end_{name}" for name in names)]
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto
    if names:
        graph.input.append(value("lengths", kind.INT32, ["N"]))
        graph.input.extend(value(name, kind.FLOAT, ["D", "N", "H"]) for name in names)
        graph.output.extend(value(f"end_{name}", kind.FLOAT, ["D", "N", "H"]) for name in names)
        _drop_transposes(graph)
    session = _session(model.SerializeToString())

    def forward(
        x: Floats, start: Sequence[Floats], lengths: Integers | None, _mask: object
    ) -> tuple[Floats, Sequence[Floats]]:
        rows = x.swapaxes(0, 1) if names else x
        feeds = {"x": np.ascontiguousarray(rows), **dict(zip(names, start, strict=True))}
        if names:
            ends = np.full(len(x), x.shape[1]) if lengths is None else lengths
            feeds["lengths"] = ends.astype(np.int32)
        output, *finals = session.run(None, feeds)
        return output.swapaxes(0, 1) if names else output, finals

    return forward


def _drop_transposes(graph: Any) -> None:
    """Have a recurrent layer take and give (T, N, values), as its node does: no time goes there."""
    first, *nodes, last = graph.node
    for node in nodes:
        node.input[:] = ["x" if name == first.output[0] else name for name in node.input]
        node.output[:] = [last.output[0] if name == last.input[0] else name for name in node.output]
    graph.node.remove(first)
    graph.node.remove(last)
    for each in (graph.input[0], graph.output[0]):
        n, t, *_ = each.type.tensor_type.shape.dim
        n.dim_param, t.dim_param = t.dim_param, n.dim_param


def open_file(path: str) -> Callable[..., Sequence[Floats]] | None:
    """Run an ONNX file; its other inputs are lengths, or initial states of 0."""
    if not path.lower().endswith(".onnx"):
        return None
    session = _session(path)
    inputs = {each.name: each for each in session.get_inputs()}
    types = {
        name: np.dtype({"tensor(int64)": "i8", "tensor(int32)": "i4"}.get(each.type, "f4"))
        for name, each in inputs.items()
    }

    def forward(x: Floats, lengths: Integers) -> Sequence[Floats]:
        feeds: dict[str, Any] = dict.fromkeys(inputs, lengths)
        for name in [name for name in inputs if types[name].kind == "f"]:
            shape = [size if isinstance(size, int) else len(lengths) for size in inputs[name].shape]
            feeds[name] = np.zeros(shape)
        feeds[next(iter(inputs))] = x
        outputs: Sequence[Floats] = session.run(
            None, {name: array.astype(types[name]) for name, array in feeds.items()}
        )
        return outputs

    return forward


def _session(model: bytes | str) -> Any:
    """Open a model; ONNX Runtime by itself runs a thread for each processor of the machine."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if hasattr(os, "sched_getaffinity"):
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
