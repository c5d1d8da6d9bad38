"""ONNX's messages, their tensors, and the files beside a model, from bytes written out here.

The numbers of fields and types are those of onnx.proto. ``tests/peers`` has
the same against the library onnx.
"""

import os
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncli.model.errors import InputError
from rnncli.model.formats.containers.protobuf import Message, Source, message
from rnncli.model.formats.onnx import elements
from rnncli.model.formats.onnx.beside import path_beside, read_beside
from rnncli.model.formats.onnx.elements import Tensor
from rnncli.model.formats.onnx.messages import Graph, Model, Node, Unread, read_model

NODE, INITIALIZER, INPUT, OUTPUT, SPARSE = 1, 5, 11, 12, 15  # of a graph
FLOAT, INT, STRING, TENSOR, GRAPH, FLOATS, INTS, STRINGS = range(1, 9)  # types of attributes
FLOAT32, INT64 = 1, 7  # types of elements
Field = tuple[int, Any]


def no_other(place: str, where: Mapping[str, str], size: int) -> bytes:
    raise AssertionError((place, where, size))


def model(*graph: Field) -> Model:
    content = message((1, 8), (7, message(*graph)), (8, message((2, 17))))
    return read_model("w.onnx", memoryview(content), no_other)


def node(*attributes: bytes) -> Node:
    content = message((4, "Op"), (2, "y"), *((5, each) for each in attributes))
    return model((NODE, content)).graph.nodes[0]


def tensor(*fields: Field, outside: elements.Outside = no_other) -> Tensor:
    content = memoryview(message((8, "W"), *fields))
    return elements.read_tensor(Message(Source("w.onnx"), content), outside)


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(InputError, match=r"\A.+\Z") as caught:
        call()
    return str(caught.value)


def test_a_model() -> None:
    def value(name: str, *axes: Field) -> bytes:
        shape = message(*((1, message(axis)) for axis in axes))
        return message((1, name), (2, message((1, message((1, FLOAT32), (2, shape))))))

    graph = message(
        (NODE, message((1, "x"), (1, ""), (1, "W"), (2, "y"), (3, "n"), (4, "Op"), (7, "ai.onnx"))),
        (NODE, message((4, "Op"), (7, "com.example"))),
        (2, "main"),
        (INITIALIZER, message((1, 2), (2, FLOAT32), (8, "W"), (9, struct.pack("<2f", 1, 2)))),
        (INPUT, value("x", (2, "N"), (1, 5), (3, "what it is"))),
        (INPUT, message((1, "untold"))),
        (OUTPUT, message((1, "parts"), (2, message((4, message()))))),
    )
    content = message(
        *((1, 8), (2, "pytorch"), (3, "2.13.0"), (7, graph)),
        *((8, message((1, "ai.onnx"), (2, 17))), (8, message((1, "com.example"), (2, 1)))),
        (25, message((1, "Own"), (10, "com.example"))),
    )
    found = read_model("w.onnx", memoryview(content), no_other)
    W = found.graph.initializers["W"]
    assert found == Model(
        "pytorch",
        "2.13.0",
        {"": 17, "com.example": 1},
        Graph(
            [
                Node("Op", "n", "", ["x", "", "W"], ["y"], {}),
                Node("Op", "", "com.example", [], [], {}),
            ],
            {"W": W},
            {"x": ("N", 5, ""), "untold": None},
            {"parts": None},
        ),
        [("com.example", "Own")],
    )
    assert W.entry == ((2,), "float32")
    assert W.array().tolist() == [1, 2]


ATTRIBUTES: dict[str, tuple[tuple[Field, ...], Any]] = {
    "float": (((2, 0.1), (20, FLOAT)), 0.1),
    "int": (((3, -3), (20, INT)), -3),
    "text": (((4, "reverse"), (20, STRING)), "reverse"),
    "floats": (((7, 0.1), (7, 2.0), (20, FLOATS)), [0.1, 2.0]),
    "ints": (((8, 1), (8, -1), (20, INTS)), [1, -1]),
    "texts": (((9, "Tanh"), (9, "Relu"), (20, STRINGS)), ["Tanh", "Relu"]),
    "int left out": (((20, INT),), 0),
    "ints left out": (((20, INTS),), []),
    "type left out": (((8, 1), (8, 2)), [1, 2]),
    "bytes": (((4, b"a\xff"), (20, STRING)), "a\\xff"),
    "many bytes": (((4, bytes(1001)), (20, STRING)), Unread("bytes")),
    "tensors": (((10, message()), (20, 9)), Unread("tensors")),
    "graphs": (((11, message()), (20, 10)), Unread("graphs")),
    "sparse tensor": (((22, message()), (20, 11)), Unread("sparse tensor")),
    "of a function": (((21, "alpha"), (20, FLOAT)), Unread("attribute of a function")),
}


@pytest.mark.parametrize(("fields", "value"), ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_attributes(fields: tuple[Field, ...], value: Any) -> None:
    found = node(message((1, "a"), *fields)).attributes["a"]
    assert found == value
    assert type(found) is type(value)


def nested(depth: int) -> bytes:
    graph = message()
    for _ in range(depth):
        body = message((1, "body"), (6, graph), (20, GRAPH))
        graph = message((NODE, message((4, "If"), (5, body))))
    return message((7, graph))


def test_graphs_in_each_other() -> None:
    read_model("w.onnx", memoryview(nested(8)), no_other)
    what = "w.onnx: expected at most 8 graphs in each other, got more"
    assert refusal(lambda: read_model("w.onnx", memoryview(nested(9)), no_other)) == what


W = message((8, "W"))
DAMAGED: list[tuple[str, Callable[[], Any]]] = [
    ("holds no graph", lambda: read_model("w.onnx", memoryview(b"\x08\x08"), no_other)),
    ("a node has the operator ''", lambda: model((NODE, message((3, "n"))))),
    ("a node has the operator 'A\\nB'", lambda: model((NODE, message((4, "A\nB"))))),
    ("initializer W is there twice", lambda: model((INITIALIZER, W), (INITIALIZER, W))),
    (
        "attribute a is there twice",
        lambda: node(message((1, "a"), (3, 1)), message((1, "a"), (3, 2))),
    ),
    ("attribute a has type 2, values of", lambda: node(message((1, "a"), (2, 0.5), (20, INT)))),
    ("attribute a has type 0, values of []", lambda: node(message((1, "a")))),
    ("W has shape (2, -3)", lambda: tensor((1, 2), (1, -3), (2, FLOAT32))),
]


@pytest.mark.parametrize(("what", "call"), DAMAGED)
def test_damaged_messages(what: str, call: Callable[[], Any]) -> None:
    assert refusal(call).startswith(f"w.onnx: damaged: {what}")


# Element type, its name, values, their bytes, and the field for numbers with what stands there.
FORMS: list[tuple[int, str, list[float], str, int, list[Any]]] = [
    (1, "float32", [0.5, -2], "<f4", 4, [0.5, -2.0]),
    (2, "uint8", [0, 255], "u1", 5, [0, 255]),
    (3, "int8", [-128, 127], "i1", 5, [-128, 127]),
    (4, "uint16", [0, 65535], "<u2", 5, [0, 65535]),
    (5, "int16", [-32768, 1], "<i2", 5, [-32768, 1]),
    (6, "int32", [-(2**31), 7], "<i4", 5, [-(2**31), 7]),
    (7, "int64", [-(2**63), 2**63 - 1], "<i8", 7, [-(2**63), 2**63 - 1]),
    (9, "bool", [1, 0], "?", 5, [1, 0]),
    (10, "float16", [1.5, -0.25], "<f2", 5, [0x3E00, 0xB400]),
    (11, "float64", [0.1, 1e300], "<f8", 10, [0.1, 1e300]),
    (12, "uint32", [0, 2**32 - 1], "<u4", 11, [0, 2**32 - 1]),
    (13, "uint64", [1, 2**64 - 1], "<u8", 11, [1, 2**64 - 1]),
]
IDS = [name for _, name, *_ in FORMS]


@pytest.mark.parametrize(("kind", "dtype", "values", "code", "field", "numbers"), FORMS, ids=IDS)
def test_values(
    kind: int, dtype: str, values: list[float], code: str, field: int, numbers: list[Any]
) -> None:
    expected = np.array(values, code).reshape(2, 1)
    shape: list[Field] = [(1, 2), (1, 1), (2, kind)]
    if dtype == "float64":
        apart = [(field, struct.pack("<2d", *numbers))]
    else:
        apart = [(field, number) for number in numbers]
    for fields in ([(9, expected.tobytes())], apart):
        found = tensor(*shape, *fields)
        assert found.entry == ((2, 1), dtype)
        array = found.array()
        assert array.dtype == expected.dtype
        assert np.array_equal(array, expected)
        assert array.flags.writeable


def test_bfloat16() -> None:
    """The upper half of float32: 1.0 is 0x3F80, -2.5 is 0xC020."""
    for fields in ([(9, b"\x80\x3f\x20\xc0")], [(5, 0x3F80), (5, 0xC020)]):
        found = tensor((1, 2), (2, 16), *fields)
        assert found.entry.dtype == "bfloat16"
        assert found.array().tolist() == [1, -2.5]
        assert found.array().dtype == np.float32


UNREAD = {8: "string", 17: "float8e4m3fn", 22: "int4", 99: "type 99", 0: "no type"}


@pytest.mark.parametrize(("kind", "dtype"), UNREAD.items())
def test_types_that_are_not_read(kind: int, dtype: str) -> None:
    found = tensor((1, 1), (2, kind), (9, b"\0"))
    assert found.entry.dtype == dtype
    assert refusal(found.array) == f"w.onnx: W: values of {dtype} are not read"


def test_sparse_initializers() -> None:
    values = message((1, 1), (2, FLOAT32), (8, "W"), (9, bytes(4)))
    indices = message((1, 1), (2, INT64), (9, bytes(8)))
    sparse = message((1, values), (2, indices), (3, 5), (3, 7))
    found = model((SPARSE, sparse)).graph.initializers["W"]
    assert found.entry == ((5, 7), "sparse float32")
    assert refusal(found.array) == "w.onnx: W: values of sparse float32 are not read"


LYING: list[tuple[str, list[Field]]] = [
    ("expected 8 bytes, as shape (2,) of", [(1, 2), (2, FLOAT32), (9, bytes(4))]),
    (
        f"expected {4 * 10**18:,} bytes, as shape (1000000000, 1000000000) of float32 takes, got 4",
        [(1, 10**9), (1, 10**9), (2, FLOAT32), (9, bytes(4))],
    ),
    ("values of float32 in fields [9, 4]", [(1, 1), (2, FLOAT32), (4, 1.0), (9, bytes(4))]),
    ("values of float32 in fields [7]", [(1, 1), (2, FLOAT32), (7, 1)]),
    ("a number that uint8 does not hold", [(1, 1), (2, 2), (5, 256)]),
    ("a number that bool does not hold", [(1, 1), (2, 9), (5, 2)]),
]


@pytest.mark.parametrize(("what", "fields"), LYING)
def test_tensors_that_lie(what: str, fields: list[Field]) -> None:
    assert refusal(tensor(*fields).array).startswith(f"w.onnx: W: damaged: {what}")


def where(**pairs: str) -> list[Field]:
    """What a tensor of two float32 says of another file."""
    texts = [(13, message((1, key), (2, value))) for key, value in pairs.items()]
    return [(1, 2), (2, FLOAT32), *texts, (14, 1)]


def outside(path: Path, **pairs: str) -> Tensor:
    return tensor(*where(**pairs), outside=partial(read_beside, str(path / "w.onnx")))


def test_values_in_a_file_beside(tmp_path: Path) -> None:
    (tmp_path / "w.data").write_bytes(struct.pack("<4f", 1, 2, 3, 4))
    at = partial(outside, tmp_path, location="w.data")
    assert at().array().tolist() == [1, 2]
    assert at(offset="4").array().tolist() == [2, 3]
    assert at(offset="8", length="8").array().tolist() == [3, 4]
    assert at(offset="8", checksum="0").array().tolist() == [3, 4]


BESIDE: list[tuple[str, dict[str, str]]] = [
    ("name of a file beside the model, got ../w.data", {"location": "../w.data"}),
    ("name of a file beside the model, got", {"location": "/etc/hostname"}),
    ("name of a file beside the model, got .", {"location": "."}),
    ("name of a file beside the model, got 'a\\x00b'", {"location": "a\x00b"}),
    ("its values are in the file none.data, which is", {"location": "none.data"}),
    ("its values are in pipe, which is no plain file", {"location": "pipe"}),
    ("its values are in the file link, a link out", {"location": "link"}),
    ("expected 8 bytes from 12 on in w.data, which", {"location": "w.data", "offset": "12"}),
    ("damaged: offset -8, length 8", {"location": "w.data", "offset": "-8"}),
    (f"damaged: offset {'9' * 19}, length 8", {"location": "w.data", "offset": "9" * 19}),
]


@pytest.mark.parametrize(("what", "pairs"), BESIDE)
def test_files_beside_that_are_refused(tmp_path: Path, what: str, pairs: dict[str, str]) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "w.data").write_bytes(bytes(16))
    (tmp_path / "secret").write_bytes(bytes(16))
    (folder / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    assert what in refusal(outside(folder, **pairs).array)


def test_links_within_a_folder(tmp_path: Path) -> None:
    """A cache of downloads: the model and its data are links to files beside each other."""
    blobs, named = tmp_path / "blobs", tmp_path / "named"
    blobs.mkdir()
    named.mkdir()
    (blobs / "1a").write_bytes(b"")
    (blobs / "2b").write_bytes(struct.pack("<2f", 1, 2))
    (named / "w.onnx").symlink_to("../blobs/1a")
    (named / "w.data").symlink_to("../blobs/2b")
    (named / "v.data").symlink_to("w.data")
    (named / "u.data").write_bytes((blobs / "2b").read_bytes())
    for name in ("w.data", "v.data", "u.data"):
        assert path_beside(str(named / "w.onnx"), "w.onnx: W", {"location": name})
        assert outside(named, location=name).array().tolist() == [1, 2]


def test_the_folder_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "w.data").write_bytes(struct.pack("<2f", 1, 2))
    (tmp_path / "link").symlink_to("real")
    assert outside(tmp_path / "link", location="w.data").array().tolist() == [1, 2]


def test_a_tensor_with_values_here_and_outside() -> None:
    both = tensor(*where(location="w.data"), (9, bytes(8)))
    assert refusal(both.array) == "w.onnx: W: damaged: values of float32 in fields [9]"
