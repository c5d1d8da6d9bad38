"""Protocol buffers, and what ONNX's messages hold: tensors of each type, files beside a model.

Numbers of fields and types are those of onnx.proto; the wire's examples those of
https://protobuf.dev/programming-guides/encoding.
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_files import inspect, load, refusal
from onnx_graphs import Graph

import rnncli
from model.test_onnx_graph import same
from rnncli.model.errors import InputError
from rnncli.model.formats.containers.protobuf import Message, Source, message

FLOAT32 = 1
Fields = list[tuple[int, Any]]
MINUS_TWO = bytes.fromhex("feffffffffffffffff01")  # of 64 bits: ten bytes


def read(text: str | bytes, most: int = 10**6) -> Message:
    data = bytes.fromhex(text) if isinstance(text, str) else text
    return Message(Source("w.onnx", most), memoryview(data))


def test_whole_numbers() -> None:
    assert read("089601").integer(1) == 150
    assert message((1, 150)) == bytes.fromhex("089601")
    assert message((1, -2)) == b"\x08" + MINUS_TWO
    for value in (0, 1, 127, 128, 2**31 - 1, 2**63 - 1, -1, -2, -(2**63)):
        data = message((1, value))
        assert read(data).integer(1) == value
        assert read(message((1, data[1:] * 3))).integers(1).tolist() == [value] * 3
    run, one_by_one = "3206038e029ea705", "3003308e02309ea705"
    for text in (run, one_by_one, run + one_by_one):
        assert read(text).integers(6).tolist() == [3, 270, 86942] * (len(text) // 16)


# A file may hold so many fields in all, and so many numbers in lists.
MOST: dict[str, Callable[[], Any]] = {
    "fields": lambda: read("0800" * 11, 10),
    "in messages": lambda: [*read("0a020800" * 6, 10).messages(1)],
    "numbers": lambda: read("0a0b" + "01" * 11, 10).integers(1),
}


@pytest.mark.parametrize("take", MOST.values(), ids=MOST)
def test_too_many_fields(take: Callable[[], Any]) -> None:
    with pytest.raises(InputError, match="expected at most 10 fields"):
        take()


# Models.

OTHERS = [
    (b"\x08\x08\x12\x07pyt", "damaged: field 2: takes 7 bytes, there are 3"),
    (b"\x08\x08\x12\x00", "damaged: holds no graph"),
]


@pytest.mark.parametrize(("data", "what"), OTHERS)
def test_files_that_are_no_models(tmp_path: Path, data: bytes, what: str) -> None:
    (tmp_path / "w.onnx").write_bytes(data)
    assert what in refusal(tmp_path / "w.onnx")


def nested(depth: int) -> bytes:
    graph = message()
    for _ in range(depth):
        body = message((1, "body"), (6, graph), (20, 5))
        graph = message((1, message((4, "If"), (5, body))))
    return message((7, graph))


@pytest.mark.parametrize(("op", "shown"), [("", "''"), ("A\nB", r"'A\nB'")])
def test_operators_that_are_no_names(tmp_path: Path, op: str, shown: str) -> None:
    path = tmp_path / "w.onnx"
    path.write_bytes(message((7, message((1, message((4, op))))), (8, message((2, 17)))))
    assert refusal(path) == f"damaged: a node has the operator {shown}"


def test_graphs_in_each_other(tmp_path: Path) -> None:
    for depth, refused in ((8, False), (9, True)):
        (tmp_path / "w.onnx").write_bytes(nested(depth))
        assert ("more than 8 graphs" in refusal(tmp_path / "w.onnx")) == refused


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
    (11, "float64", [0.1, 1e30], "<f8", 10, [0.1, 1e30]),
    (12, "uint32", [0, 2**32 - 1], "<u4", 11, [0, 2**32 - 1]),
    (13, "uint64", [1, 2**64 - 1], "<u8", 11, [1, 2**64 - 1]),
    (16, "bfloat16", [1, -2.5], "", 5, [0x3F80, 0xC020]),
]


def scaled(path: Path, *fields: tuple[int, Any]) -> Path:
    """Write a model that multiplies its rows by a tensor, cast to float32."""
    graph = Graph()
    graph.tensors.append(message((8, "W"), *fields))
    numbers = graph.add("Cast", "W", to=FLOAT32)
    path.write_bytes(graph.model(graph.add("Mul", same(graph), numbers)))
    return path


@pytest.mark.parametrize("form", FORMS, ids=[form[1] for form in FORMS])
def test_tensors_of_each_type(tmp_path: Path, form: tuple[Any, ...]) -> None:
    kind, dtype, values, code, field, numbers = form
    raw = np.array(values, code).tobytes() if code else b"\x80\x3f\x20\xc0"
    one_by_one: Fields = [(field, each) for each in numbers]
    if dtype == "float64":
        one_by_one = [(field, struct.pack("<2d", *numbers))]
    for fields in ([(9, raw)], one_by_one):
        path = scaled(tmp_path / "m.onnx", (1, 2), (2, kind), *fields)
        found = rnncli.run(load(path)[0], np.ones((1, 2)))
        given = found.h if found.y is None else found.y
        assert given.tolist() == [np.array(values, "f").tolist()]


@pytest.mark.parametrize("kind", [8, 17, 22, 99, 0])
def test_types_that_are_not_read(tmp_path: Path, kind: int) -> None:
    path = scaled(tmp_path / "m.onnx", (1, 1), (2, kind), (9, b"\0"))
    assert f"values of type {kind} are not read" in refusal(path)


LYING: list[tuple[str, Fields]] = [
    ("expected 8 bytes, as shape (2,)", [(1, 2), (2, FLOAT32), (9, bytes(4))]),
    (f"{4 * 10**18:,} bytes", [(1, 10**9), (1, 10**9), (2, FLOAT32), (9, bytes(4))]),
    ("shape (2, -3)", [(1, 2), (1, -3), (2, FLOAT32)]),
    ("expected 4 bytes", [(1, 1), (2, FLOAT32), (7, 1)]),
]


@pytest.mark.parametrize(("what", "fields"), LYING)
def test_tensors_that_lie(tmp_path: Path, what: str, fields: Fields) -> None:
    assert what in refusal(scaled(tmp_path / "m.onnx", *fields))


# Files beside a model.


def outside(path: Path, **where: str) -> Path:
    """Write a model whose two numbers are in another file."""
    texts = [(13, message((1, key), (2, value))) for key, value in where.items()]
    return scaled(path, (1, 2), (2, FLOAT32), *texts, (14, 1))


def numbers(path: Path) -> list[float]:
    states = rnncli.run(load(path)[0], np.ones((1, 2)))
    return list((states.h if states.y is None else states.y)[0])


def test_values_in_an_external_file(tmp_path: Path) -> None:
    (tmp_path / "w.data").write_bytes(struct.pack("<4f", 1, 2, 3, 4))
    for more, expected in (
        ({}, [1, 2]),
        ({"offset": "4"}, [2, 3]),
        ({"offset": "8", "length": "8", "checksum": "0"}, [3, 4]),
    ):
        path = outside(tmp_path / "m.onnx", location="w.data", **more)
        assert numbers(path) == expected
        assert inspect(path)["beside"] == ["w.data"]


BESIDE: list[tuple[str, dict[str, str]]] = [
    ("../secret, which is not there", {"location": "../secret"}),
    ("/etc/hostname, which is not there", {"location": "/etc/hostname"}),
    ("'a\\x00b', which is not there", {"location": "a\x00b"}),
    ("pipe, which is not there", {"location": "pipe"}),
    ("link, which is not there", {"location": "link"}),
    ("from 12 on of w.data", {"location": "w.data", "offset": "12"}),
    ("from -8 on of w.data", {"location": "w.data", "offset": "-8"}),
]


@pytest.mark.posix("a pipe with a name")
@pytest.mark.parametrize(("what", "where"), BESIDE)
def test_external_files_that_are_refused(tmp_path: Path, what: str, where: dict[str, str]) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "w.data").write_bytes(bytes(16))
    (tmp_path / "secret").write_bytes(bytes(16))
    (folder / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    assert what in refusal(outside(folder / "m.onnx", **where))


@pytest.mark.parametrize("size", [-1, -(2**63)])
def test_a_negative_size_of_values_in_an_external_file(tmp_path: Path, size: int) -> None:
    (tmp_path / "w.data").write_bytes(bytes(16))
    texts = ((13, message((1, "location"), (2, "w.data"))), (14, 1))
    path = scaled(tmp_path / "m.onnx", (1, 2), (1, size), (2, FLOAT32), *texts)
    assert "damaged: expected -" in refusal(path)


def test_bytes_that_many_tensors_take(tmp_path: Path) -> None:
    graph = Graph()
    where: Fields = [(13, message((1, "location"), (2, "w.data"))), (14, 1)]
    for n in range(3):
        graph.tensors.append(message((8, f"W{n}"), (1, 2), (2, FLOAT32), *where))
    (tmp_path / "m.onnx").write_bytes(graph.model(same(graph)))
    (tmp_path / "w.data").write_bytes(bytes(8))
    assert "W2: damaged: takes 8 bytes" in refusal(tmp_path / "m.onnx")


@pytest.mark.posix("links for every user")
def test_links_within_a_folder(tmp_path: Path) -> None:
    """A cache of downloads: the model and its values are links to files in another folder."""
    blobs, named = tmp_path / "blobs", tmp_path / "named"
    blobs.mkdir()
    named.mkdir()
    outside(blobs / "1a", location="w.data")
    (blobs / "2b").write_bytes(struct.pack("<2f", 1, 2))
    (named / "m.onnx").symlink_to("../blobs/1a")
    (named / "w.data").symlink_to("../blobs/2b")
    (tmp_path / "link").symlink_to("named")
    assert numbers(named / "m.onnx") == numbers(tmp_path / "link" / "m.onnx") == [1, 2]
