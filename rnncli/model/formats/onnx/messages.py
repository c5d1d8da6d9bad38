"""ONNX's messages: the nodes and the arrays of a model.

Source: onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import InputError, shown
from rnncli.model.formats.containers.protobuf import BYTES, Message, Source
from rnncli.model.formats.found import widen_bfloat16
from rnncli.model.graph import Graph, Node, Unread
from rnncli.model.graph.operators import TYPES

LARGEST = 2**31  # bytes of a protocol buffer
MOST_FIELDS = 250_000  # of a file, and numbers of its lists: they take half a second, and 50 MB
_COST = 5  # fields that a node, or an array, is counted for
_DEEPEST = 8  # graphs within attributes of nodes within graphs
_LONGEST = 1_000  # bytes of an attribute that is text
_MOST_BESIDE = 64  # files beside a model: one, but some programs write one an array
# The field for values that stand as numbers, by element type; that of others is 5.
_NUMBERS = {1: 4, 7: 7, 11: 10, 12: 11, 13: 11}
_BFLOAT16, _RAW = 16, 9


class Model(NamedTuple):
    """A model: what wrote it, versions of operators by domain, its graph, files beside it."""

    producer: str
    opsets: Mapping[str, int]
    graph: Graph
    functions: list[tuple[str, str]]  # domain and name of each operator that it defines itself
    beside: list[str]


class Reader:
    """A model that is being read: `data` are the bytes of the file at `path`."""

    def __init__(self, path: str, data: memoryview) -> None:
        self.path, self.source = path, Source(path, MOST_FIELDS)
        self.beside: dict[str, int] = {}  # bytes that may still be read, by file
        if len(data) >= LARGEST:
            what = f"expected an .onnx file of under 2 GiB, got {len(data):,} bytes"
            raise InputError(path, what)
        self.message = Message(self.source, data)

    def model(self) -> Model:
        """Read the model."""
        message = self.message
        if 7 not in message:
            raise self.source.damage("holds no graph")
        opsets = {_domain(each.text(1)): each.integer(2) for each in message.messages(8)}
        functions = [(_domain(each.text(10)), each.text(1)) for each in message.messages(25)]
        producer = f"{message.text(2)} {message.text(3)}".strip()
        return Model(producer, opsets, self._graph(message.message(7)), functions, [*self.beside])

    def _graph(self, message: Message, depth: int = 0) -> Graph:
        """Read a graph; those of attributes lie deeper."""
        if depth > _DEEPEST:
            what = f"expected at most {_DEEPEST} graphs in each other, got more"
            raise InputError(self.path, what)
        arrays = [(each.text(8), self._array(each)) for each in message.messages(5)]
        sparse = Unread("values of a sparse array are not read")
        arrays += [(each.message(1).text(8), sparse) for each in message.messages(15)]
        return Graph(
            [self._node(each, depth) for each in message.messages(1)],
            self._named("initializer", arrays),
            self._named("input", map(_shape, message.messages(11))),
            self._named("output", map(_shape, message.messages(12))),
        )

    def _named(self, what: str, pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        """Collect values by name; none may be there twice."""
        named: dict[str, Any] = {}
        for name, value in pairs:
            if name in named:
                raise self.source.damage(f"{what} {shown(name)} is there twice")
            named[name] = value
        return named

    def _node(self, message: Message, depth: int) -> Node:
        op, domain = message.text(4), _domain(message.text(7))
        if not op or not f"{domain}{op}".isprintable():
            text = shown(f"{domain} {op}".strip())
            raise self.source.damage(f"a node has the operator {text}")
        self.source.spend(_COST)
        attributes = (self._attribute(each, depth) for each in message.messages(5))
        inputs, outputs = message.texts(1), message.texts(2)
        named = self._named("attribute", attributes)
        return Node(op, message.text(3), domain, inputs, outputs, named)

    def _attribute(self, message: Message, depth: int) -> tuple[str, Any]:
        """Read an attribute; floats are the shortest decimals: 0.1, not 0.10000000149."""
        name, kind = message.text(1), message.integer(20)
        there = [number for number in range(2, 10) if number in message]
        if not kind and len(there) == 1:  # files of 2017 do not say the type
            kind = there[0] - 1
        if 21 in message or 9 <= kind <= 14:
            return name, Unread("attribute of a type that is not read")
        field = kind + 1
        if not 1 <= kind <= 8 or {*there} - {field}:
            raise self.source.damage(f"attribute {shown(name)} has type {kind}, values of {there}")
        if kind in (1, 6):
            numbers = message.floats(field)
            self.source.spend(len(numbers))
            values = [float(str(number)) for number in numbers]
            return name, values if kind == 6 else (values or [0.0])[0]
        readers: dict[int, Callable[[int], Any]] = {
            2: message.integer,
            3: lambda field: _string(message.bytes(field)),
            4: lambda field: self._array(message.message(field)),
            5: lambda field: self._graph(message.message(field), depth + 1),
            7: lambda field: message.integers(field).tolist(),
            8: lambda field: [_string(data) for data in message.every(field, BYTES)],
        }
        return name, readers[kind](field)

    def _array(self, message: Message) -> NDArray[Any] | Unread:
        """Read an array: a view of the file's bytes, where they are such; bfloat16 as float32."""
        self.source.spend(_COST)
        kind, name = message.integer(2), message.text(8)
        shape = tuple(message.integers(1).tolist())
        if min(shape, default=0) < 0:
            raise self.source.damage(f"{shown(name)} has shape {shape}")
        if kind not in TYPES:
            return Unread(f"values of type {kind} are not read")
        place, count = f"{self.path}: {shown(name)}", prod(shape)
        dtype = np.dtype("<u2" if kind == _BFLOAT16 else TYPES[kind]).newbyteorder("<")
        field, size = _NUMBERS.get(kind, 5), count * dtype.itemsize
        where = {each.text(1): each.text(2) for each in message.messages(13)}
        outside = bool(where) or message.integer(14) == 1
        there = [number for number in (4, 5, 6, 7, _RAW, 10, 11) if number in message]
        if len(there) > 1 or {*there} - (set() if outside else {_RAW, field}):
            raise InputError(place, f"damaged: values of {dtype} in fields {there}")
        data: Any = message.bytes(_RAW)
        if outside and count:
            data = self._read_beside(place, where, size)
        elif field in (4, 10) and field in message:
            data = message.floats(field, dtype.str).tobytes()
        elif field in message:
            data = _whole_numbers(place, message.integers(field), dtype)
        if len(data) != size:
            what = f"damaged: expected {size:,} bytes, as shape {shape} of {dtype} takes, got "
            raise InputError(place, f"{what}{len(data):,}")
        array: NDArray[Any] = np.frombuffer(data, dtype).reshape(shape)
        return widen_bfloat16(array) if kind == _BFLOAT16 else array

    def _read_beside(self, place: str, where: Mapping[str, str], size: int) -> NDArray[np.uint8]:
        """Read the values of an array from a file beside the model: *external data*.

        It is read only where it lies in the model's own folder, so that a model cannot show what
        another folder holds. Source: https://onnx.ai/onnx/repo-docs/ExternalData.html.
        """
        path = _find_beside(self.path, place, where.get("location", ""))
        texts = where.get("offset", "0"), where.get("length", str(size))
        if not all(re.fullmatch("[0-9]{1,18}", text) for text in texts):
            what = f"damaged: offset {shown(texts[0])}, length {shown(texts[1])}"
            raise InputError(place, what)
        (offset, length), has = map(int, texts), os.path.getsize(path)
        if length != size or offset + size > has:
            what = f"expected {size:,} bytes, is said to have {length:,} from {offset:,} on in "
            raise InputError(place, f"damaged: {what}{shown(where['location'])}, which has {has:,}")
        self.beside[path] = self.beside.get(path, 2 * has) - size
        if self.beside[path] < 0 or len(self.beside) > _MOST_BESIDE:
            what = "damaged: too many arrays, or too many files beside it"
            raise InputError(self.path, what, "write it anew with onnx.save_model")
        return np.fromfile(path, np.uint8, size, offset=offset)


def _find_beside(path: str, place: str, name: str) -> str:
    """Return the path of a file beside a model."""
    if name in ("", ".", "..") or re.search(r"[/\\\0]", name):
        what = f"expected the name of a file beside the model, got {shown(name)}"
        raise InputError(place, what)
    folder, what = os.path.dirname(path), f"its values are in the file {shown(name)},"
    found = os.path.join(folder, name)
    # Caches of downloads are links into one folder, to the model as to this file.
    folders = (os.path.realpath(folder), os.path.dirname(os.path.realpath(path)))
    if not os.path.exists(found):
        raise InputError(place, f"{what} which is not there", "it has to lie beside the model")
    if os.path.dirname(os.path.realpath(found)) not in folders:
        raise InputError(place, f"{what} a link out of the model's folder", "copy it there")
    if not os.path.isfile(found):
        raise InputError(place, f"{what} which is no plain file")
    return found


def _whole_numbers(place: str, numbers: NDArray[np.int64], dtype: np.dtype[Any]) -> bytes:
    """Return the bytes of values that stand as whole numbers; those of halves as their bits."""
    values = numbers.astype(np.dtype("<u2") if dtype.kind == "f" else dtype)
    if (values.astype(np.int64) != numbers).any():
        raise InputError(place, f"damaged: a number that {dtype} does not hold")
    return values.tobytes()


def _shape(message: Message) -> tuple[str, tuple[int | str, ...] | None]:
    """Read the name of an input or output, and its shape: sizes, or names of sizes."""
    tensor = message.message(2).message(1)
    if 2 not in tensor:
        return message.text(1), None
    axes = tensor.message(2).messages(1)
    return message.text(1), tuple(axis.integer(1) if 1 in axis else axis.text(2) for axis in axes)


def _domain(text: str) -> str:
    return "" if text == "ai.onnx" else text


def _string(data: memoryview) -> str | Unread:
    """Return text; some operators keep tables and programs in such attributes."""
    if len(data) > _LONGEST:
        return Unread("attribute of many bytes")
    return str(data, "utf-8", "backslashreplace")
