"""Cells and layers in ONNX Runtime: each as the ONNX model that `rnncli.save` writes."""

import os
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell
from rnncli.model.formats.load import save_network
from rnncli.model.network import Network
from rnncli.verification.peers import Unsupported

TITLE, PRECISIONS, FILES, SETTINGS = "ONNX Runtime", ("float32",), (".onnx",), None
# Inputs of an RNN node: X, W, R, B, sequence_lens, initial_h, initial_c, P.
CELLS, FIRST_STATE, INPUTS, STATES = ("RNN", "LSTM", "GRU"), 5, 8, ("h0", "c0")


def make(layer: Any) -> Callable[..., Floats]:
    """Make a session."""
    file = BytesIO()
    try:
        save_network(file, Network(layer), ".onnx")
    except ValueError as error:  # such a file has no words for it
        kind = layer.settings.get("operators", type(layer).__name__)
        raise Unsupported(f"{kind} is not built in {TITLE} here: {error}") from error
    model = file.getvalue()
    session = _open_session(_bare(model, layer) if isinstance(layer, Cell) else model)

    def forward(x: Floats, states: Sequence[Floats] = ()) -> Floats:
        if not states:
            return np.asarray(session.run(None, {"x": np.ascontiguousarray(x)})[0])
        feeds = {name: array[None] for name, array in zip(STATES, states, strict=False)}
        x = np.ascontiguousarray(x.swapaxes(0, 1))
        return np.asarray(session.run(None, {"x": x, **feeds})[0])[:, 0].swapaxes(0, 1)

    return forward


def _bare(file: bytes, cell: Cell) -> bytes:
    """Cut a model of one cell to its node, which takes the initial states too."""
    import onnx

    model = onnx.load_from_string(file)
    (node,) = (each for each in model.graph.node if each.op_type in CELLS)
    names = STATES[: len(cell.state_names)]
    inputs = [*node.input, *[""] * (INPUTS - len(node.input))]
    inputs[0], inputs[FIRST_STATE : FIRST_STATE + len(names)] = "x", names
    node.input[:] = inputs if inputs[-1] else inputs[: FIRST_STATE + len(names)]
    node.output[:] = ["y"]
    axes_of = {"x": 3, **dict.fromkeys(names, 3), "y": 4}
    *sources, output = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * axes)
        for name, axes in axes_of.items()
    )
    weights = model.graph.initializer
    model.graph.CopyFrom(onnx.helper.make_graph([node], "cell", sources, [output], weights))
    return bytes(model.SerializeToString())


def open_file(path: str) -> Callable[..., Sequence[Floats]]:
    """Run an ONNX file; its other inputs are lengths, or initial states of 0."""
    session = _open_session(path)
    integers = {"tensor(int64)": "i8", "tensor(int32)": "i4"}

    def forward(x: Floats, N: int, T: int) -> Sequence[Floats]:
        feeds = {}
        for number, each in enumerate(session.get_inputs()):
            dtype = integers.get(each.type, "f4")
            shape = [size if isinstance(size, int) else N for size in each.shape]
            extra = np.zeros(shape) if dtype == "f4" else np.full(N, T)
            feeds[each.name] = (extra if number else x).astype(dtype)
        outputs: Sequence[Floats] = session.run(None, feeds)
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
