"""ONNX files as the library onnx reads them: models of PyTorch's exporters, and hand-made ones.

Every node, attribute, input, output and tensor is equal, tensors to the bit.
"""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from rnncli.model.formats.onnx.beside import read_beside
from rnncli.model.formats.onnx.elements import Tensor, type_name
from rnncli.model.formats.onnx.messages import Graph, Model, Node, read_model

MODULES = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
CLASSIC = (9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20)
DYNAMO = {18: "lstm", 19: "gru", 20: "rnn", 21: "lstm", 22: "gru", 23: "lstm", 24: "gru"}
READ = [
    *("FLOAT", "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64", "BOOL", "FLOAT16", "DOUBLE"),
    *("UINT32", "UINT64", "BFLOAT16"),
]
Proto = Any


class Head(torch.nn.Module):  # type: ignore[misc] # a class that mypy does not see
    def __init__(self, module: Any, layers: int, *, both: bool) -> None:
        super().__init__()
        self.rnn = module(3, 16, layers, bidirectional=both, batch_first=True)
        self.head = torch.nn.Linear(32 if both else 16, 2)

    def forward(self, x: Any) -> Any:
        return torch.relu(self.head(self.rnn(x)[0]))


def exported(path: Path, kind: str, opset: int, *, dynamo: bool) -> str:
    torch.manual_seed(opset)
    module = Head(MODULES[kind], 1 + opset % 2, both=opset % 3 == 0).eval()
    target = str(path / "w.onnx")
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the exporter is about to lose
            torch.onnx.export(
                module, (torch.ones(2, 5, 3),), target, opset_version=opset, dynamo=dynamo
            )
    finally:
        logging.disable(logging.NOTSET)
    return target


def read(path: str | Path) -> Model:
    data = memoryview(Path(path).read_bytes())
    return read_model(
        str(path), data, lambda place, where, size: read_beside(str(path), place, where, size)
    )


def check(path: str | Path) -> None:
    ours, theirs = read(path), onnx.load(str(path))
    assert ours.producer == theirs.producer_name
    assert ours.producer_version == theirs.producer_version
    assert ours.opsets == {each.domain: each.version for each in theirs.opset_import}
    assert list(ours.functions) == [(each.domain, each.name) for each in theirs.functions]
    check_graph(ours.graph, theirs.graph)


def check_graph(ours: Graph, theirs: Proto) -> None:
    assert len(ours.nodes) == len(theirs.node)
    for our, their in zip(ours.nodes, theirs.node, strict=True):
        check_node(our, their)
    assert list(ours.initializers) == [each.name for each in theirs.initializer]
    for tensor, proto in zip(ours.initializers.values(), theirs.initializer, strict=True):
        check_tensor(tensor, proto)
    for values, protos in ((ours.inputs, theirs.input), (ours.outputs, theirs.output)):
        assert list(values.items()) == [(each.name, shape(each)) for each in protos]


def check_node(ours: Node, theirs: Proto) -> None:
    assert ours.op == theirs.op_type
    assert ours.name == theirs.name
    assert ours.domain == theirs.domain
    assert ours.inputs == list(theirs.input)
    assert ours.outputs == list(theirs.output)
    assert list(ours.attributes) == [each.name for each in theirs.attribute]
    for found, proto in zip(ours.attributes.values(), theirs.attribute, strict=True):
        check_attribute(found, proto)


def check_attribute(found: Any, proto: Proto) -> None:
    expected = helper.get_attribute_value(proto)
    if isinstance(found, Graph):
        check_graph(found, expected)
    elif isinstance(found, Tensor):
        check_tensor(found, expected)
    elif proto.type in (proto.FLOAT, proto.FLOATS):
        assert np.array_equal(np.float32(found), np.float32(expected))
    elif proto.type in (proto.STRING, proto.STRINGS):
        texts = [expected] if proto.type == proto.STRING else expected
        assert ([found] if isinstance(found, str) else found) == [each.decode() for each in texts]
    else:
        assert found == expected
        assert proto.type in (proto.INT, proto.INTS)


def check_tensor(tensor: Tensor, proto: Proto) -> None:
    expected = numpy_helper.to_array(proto)
    assert tensor.name == proto.name
    assert tensor.entry.shape == expected.shape
    assert tensor.entry.dtype == expected.dtype.name
    array = tensor.array()
    if expected.dtype.name == "bfloat16":
        expected = expected.astype(np.float32)
    assert array.dtype == expected.dtype
    assert array.tobytes() == expected.tobytes()


def shape(proto: Proto) -> tuple[int | str, ...]:
    return tuple(
        each.dim_value if each.HasField("dim_value") else each.dim_param
        for each in proto.type.tensor_type.shape.dim
    )


@pytest.mark.parametrize("opset", CLASSIC)
@pytest.mark.parametrize("kind", MODULES)
def test_models_of_the_classic_exporter(tmp_path: Path, kind: str, opset: int) -> None:
    check(exported(tmp_path, kind, opset, dynamo=False))


@pytest.mark.parametrize(("opset", "kind"), DYNAMO.items())
def test_models_of_the_dynamo_exporter(tmp_path: Path, kind: str, opset: int) -> None:
    path = exported(tmp_path, kind, opset, dynamo=True)
    check(path)
    found = read(path)
    beside = {each.where["location"] for each in found.graph.initializers.values() if each.where}
    assert beside == {"w.onnx.data"}  # as it does by default, but for small tensors


def made(*nodes: Proto, tensors: tuple[Proto, ...] = (), **fields: Any) -> Proto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", None, 3])
    y = helper.make_tensor_value_info("y", TensorProto.INT64, [])
    graph = helper.make_graph(nodes, "made", [x], [y], tensors)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 3)]
    return helper.make_model(graph, opset_imports=opsets, producer_name="by hand", **fields)


def saved(path: Path, model: Proto, **options: Any) -> Path:
    onnx.save_model(model, str(path / "w.onnx"), **options)
    return path / "w.onnx"


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 3, 2)], ids=str)
@pytest.mark.parametrize("dtype", READ)
def test_tensors_of_each_type(
    tmp_path: Path, dtype: str, shape: tuple[int, ...], *, raw: bool
) -> None:
    kind = getattr(TensorProto, dtype)
    numbers = np.random.default_rng(0).normal(0, 2**9, shape)
    with np.errstate(invalid="ignore"):  # a negative number as an unsigned one
        array = numbers.astype(helper.tensor_dtype_to_np_dtype(kind))
    values = array.tobytes() if raw else array.reshape(-1).tolist()
    tensor = helper.make_tensor("W", kind, shape, values, raw=raw)
    constant = helper.make_node("Constant", [], ["y"], value=tensor)
    path = saved(tmp_path, made(constant, tensors=(tensor,)))
    check(path)


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


def test_the_types_have_the_names_of_the_library() -> None:
    theirs = {"float": "float32", "double": "float64", "undefined": "no type"}
    for name, number in TensorProto.DataType.items():
        assert type_name(number) == theirs.get(name.lower(), name.lower())


@pytest.mark.parametrize("together", [False, True])
def test_weights_in_files_beside(tmp_path: Path, *, together: bool) -> None:
    random = np.random.default_rng(0)
    tensors = tuple(
        numpy_helper.from_array(random.normal(size=size).astype(np.float32), f"W{size}")
        for size in (5, 300, 1000)
    )
    options: dict[str, Any] = {"save_as_external_data": True, "size_threshold": 0}
    options |= {"all_tensors_to_one_file": together, "location": "w.data" if together else None}
    path = saved(tmp_path, made(helper.make_node("Own", ["x"], ["y"]), tensors=tensors), **options)
    files = {each.name for each in tmp_path.iterdir()} - {"w.onnx"}
    assert files == ({"w.data"} if together else {"W5", "W300", "W1000"})
    check(path)


def test_functions_of_a_model(tmp_path: Path) -> None:
    inner = helper.make_node("Elu", ["a"], ["b"])
    inner.attribute.add(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="k")
    opset = helper.make_opsetid("", 18)
    own = helper.make_function("com.example", "Own", ["a"], ["b"], [inner], [opset], ["k"])
    node = helper.make_node("Own", ["x"], ["y"], domain="com.example", k=0.5)
    check(saved(tmp_path, made(node, functions=[own])))
