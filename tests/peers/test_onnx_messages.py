"""ONNX files as the library onnx reads them: models of PyTorch's exporters, and hand-made ones.

Every node, attribute, input, output and tensor is equal, tensors to the bit.
"""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import NIGHTLY
from onnx import TensorProto, helper, numpy_helper

from peers.models_onnx import Wrapped
from rnncli.model.formats.onnx.messages import Model, Reader
from rnncli.model.graph import Graph, Node

MODULES = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
CLASSIC = range(9, 21) if NIGHTLY else (9, 13, 20)
DYNAMO = {18: "lstm", 19: "gru", 20: "rnn", 21: "lstm", 22: "gru", 23: "lstm", 24: "gru"}
Proto = Any


def exported(path: Path, kind: str, opset: int, *, dynamo: bool) -> Path:
    torch.manual_seed(opset)
    both, target = opset % 3 == 0, path / "w.onnx"
    rnn = MODULES[kind](3, 16, 1 + opset % 2, bidirectional=both, batch_first=True)
    head = torch.nn.Sequential(torch.nn.Linear(32 if both else 16, 2), torch.nn.ReLU())
    module, x = Wrapped(rnn, head).eval(), torch.ones(2, 5, 3)
    torch.onnx.export(module, (x,), str(target), opset_version=opset, dynamo=dynamo, verbose=False)
    return target


def read(path: Path) -> Model:
    return Reader(str(path), memoryview(path.read_bytes())).model()


def check(path: Path) -> None:
    ours, theirs = read(path), onnx.load(str(path))
    assert ours.producer == f"{theirs.producer_name} {theirs.producer_version}".strip()
    assert ours.opset == {each.domain: each.version for each in theirs.opset_import}[""]
    check_graph(ours.graph, theirs.graph)


def check_graph(ours: Graph, theirs: Proto) -> None:
    assert len(ours.nodes) == len(theirs.node)
    for our, their in zip(ours.nodes, theirs.node, strict=True):
        check_node(our, their)
    assert list(ours.arrays) == [each.name for each in theirs.initializer]
    for array, proto in zip(ours.arrays.values(), theirs.initializer, strict=True):
        check_array(array, proto)
    for values, protos in ((ours.inputs, theirs.input), (ours.outputs, theirs.output)):
        assert list(values.items()) == [(each.name, shape(each)) for each in protos]


def check_node(ours: Node, theirs: Proto) -> None:
    assert (ours.op, ours.name, ours.domain) == (theirs.op_type, theirs.name, theirs.domain)
    assert (ours.inputs, ours.outputs) == (list(theirs.input), list(theirs.output))
    assert list(ours.attributes) == [each.name for each in theirs.attribute]
    for found, proto in zip(ours.attributes.values(), theirs.attribute, strict=True):
        check_attribute(found, proto)


def check_attribute(found: Any, proto: Proto) -> None:
    expected = helper.get_attribute_value(proto)
    if isinstance(found, Graph):
        check_graph(found, expected)
    elif isinstance(found, np.ndarray):
        check_array(found, expected)
    elif proto.type in (proto.FLOAT, proto.FLOATS):
        assert np.array_equal(np.float32(found), np.float32(expected))
    elif proto.type in (proto.STRING, proto.STRINGS):
        texts = [expected] if proto.type == proto.STRING else expected
        assert ([found] if isinstance(found, str) else found) == [each.decode() for each in texts]
    else:
        assert found == expected
        assert proto.type in (proto.INT, proto.INTS)


def check_array(array: Any, proto: Proto) -> None:
    expected = numpy_helper.to_array(proto)
    if expected.dtype.name == "bfloat16":
        expected = expected.astype(np.float32)
    assert (array.shape, array.dtype) == (expected.shape, expected.dtype)
    assert array.tobytes() == expected.tobytes()


def shape(proto: Proto) -> tuple[int | str, ...]:
    return tuple(
        each.dim_value if each.HasField("dim_value") else each.dim_param
        for each in proto.type.tensor_type.shape.dim
    )


@pytest.mark.filterwarnings("ignore")  # of what the exporter is about to lose
def test_models_of_both_exporters(tmp_path: Path) -> None:
    for kind, opset in product(MODULES, CLASSIC):
        check(exported(tmp_path, kind, opset, dynamo=False))
    for opset in DYNAMO if NIGHTLY else [24]:
        path = exported(tmp_path, DYNAMO[opset], opset, dynamo=True)
        check(path)
        files = {Path(each).name for each in read(path).external_files}
        assert files == {"w.onnx.data"}  # as it does by default, but for small tensors


def made(*nodes: Proto, tensors: tuple[Proto, ...] = (), **fields: Any) -> Proto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", None, 3])
    y = helper.make_tensor_value_info("y", TensorProto.INT64, [])
    graph = helper.make_graph(nodes, "made", [x], [y], tensors)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 3)]
    return helper.make_model(graph, opset_imports=opsets, producer_name="by hand", **fields)


def saved(path: Path, model: Proto) -> Path:
    onnx.save_model(model, str(path / "w.onnx"))
    return path / "w.onnx"


def test_attributes_of_each_type(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0)
    inner = made(helper.make_node("Inner", ["a"], ["b"], alpha=0.1)).graph
    node = helper.make_node(
        "Own",
        ["x", "", "W"],
        ["", "y"],
        "name",
        domain="com.example",
        zero=0.0,
        one=0.1,
        none=0,
        least=-(2**63),
        text="reverse",
        empty="",
        floats=numbers.normal(size=300).astype(np.float32).tolist(),
        ints=numbers.integers(-(2**63), 2**63, 300).tolist(),
        texts=["Tanh", "", "Sigmoid"],
        body=inner,
        value=numpy_helper.from_array(np.arange(6.0).reshape(2, 3), "inside"),
    )
    check(saved(tmp_path, made(node)))
