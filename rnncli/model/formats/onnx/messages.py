"""ONNX's messages: the nodes and the arrays of a model.

Source: onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

import os
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from rnncli.model.arrays import widen_bfloat16
from rnncli.model.errors import InputError, shown
from rnncli.model.formats.containers.protobuf import BYTES, Message, Source
from rnncli.model.graph import Array, Graph, Node, Unknown
from rnncli.model.graph.operators import TYPES

MOST_FIELDS = 250_000  # of a file, and numbers of its lists: they take half a second, and 50 MB
_COST = 5  # fields that a node, or an array, is counted for
_DEEPEST = 8  # graphs within attributes of nodes within graphs
# The field for values that stand as numbers, by element type; that of others is 5.
_NUMBERS = {1: 4, 7: 7, 11: 10, 12: 11, 13: 11}
_BFLOAT16, _RAW = 16, 9
_WHOLE = [number for number, name in TYPES.items() if name[0] in "iu"]


class Reader:
    """A model that is being read: `data` are the bytes of the file at `path`."""

    def __init__(self, path: str, data: memoryview) -> None:
        self.path, self.source = path, Source(path, MOST_FIELDS)
        self.bytes_left: dict[str, int] = {}  # bytes that may still be read, by file
        self.message = Message(self.source, data)
        self.producer = f"{self.message.text(2)} {self.message.text(3)}".strip()

    def read(self) -> Graph:
        """Read the graph of the model."""
        if 7 not in self.message:
            raise self.source.damage("holds no graph")
        opsets = {_domain(each.text(1)): each.integer(2) for each in self.message.messages(8)}
        return self._graph(self.message.message(7))._replace(opset=opsets.get("", 1))

    def _graph(self, message: Message, depth: int = 0) -> Graph:
        """Read a graph; those of attributes lie deeper."""
        if depth > _DEEPEST:
            raise self.source.damage(f"more than {_DEEPEST} graphs in each other")
        inputs = [*message.messages(11)]
        return Graph(
            [self._node(each, depth) for each in message.messages(1)],
            {each.text(8): self._array(each) for each in message.messages(5)},
            dict(map(_read_shape, inputs)),
            {each.text(1): each.text(1) for each in message.messages(12)},
            whole=[e.text(1) for e in inputs if e.message(2).message(1).integer(1) in _WHOLE],
        )

    def _node(self, message: Message, depth: int) -> Node:
        op, domain = message.text(4), _domain(message.text(7))
        if not op or not f"{domain}{op}".isprintable():
            raise self.source.damage(f"a node has the operator {shown(f'{domain} {op}'.strip())}")
        self.source.spend(_COST)
        attributes = {
            each.text(1): self._attribute(each, each.integer(20), depth)
            for each in message.messages(5)
        }
        return Node(op, message.text(3), domain, message.texts(1), message.texts(2), attributes)

    def _attribute(self, message: Message, kind: int, depth: int) -> Any:
        """Read an attribute; floats are the shortest decimals: 0.1, not 0.10000000149."""
        readers: dict[int, Callable[[int], Any]] = {
            1: lambda field: (self._floats(message, field) or [0.0])[0],
            2: message.integer,
            3: lambda field: _decode(message.bytes(field)),
            4: lambda field: self._array(message.message(field)),
            5: lambda field: self._graph(message.message(field), depth + 1),
            6: lambda field: self._floats(message, field),
            7: lambda field: message.integers(field).tolist(),
            8: lambda field: [_decode(data) for data in message.values(field, BYTES)],
        }
        if kind not in readers or any(n in message for n in range(2, 10) if n != kind + 1):
            return Unknown("attribute of a type that is not read")
        return readers[kind](kind + 1)

    def _floats(self, message: Message, field: int) -> list[float]:
        numbers = message.floats(field)
        self.source.spend(len(numbers))
        return [float(str(number)) for number in numbers]

    def _array(self, message: Message) -> Array | Unknown:
        """Read an array: a view of the file's bytes, if they stand there; bfloat16 as float32."""
        self.source.spend(_COST)
        kind, where = message.integer(2), f"{self.path}: {shown(message.text(8))}"
        if kind not in TYPES:
            return Unknown(f"values of type {kind} are not read")
        shape, field = tuple(message.integers(1).tolist()), _NUMBERS.get(kind, 5)
        dtype = np.dtype("<u2" if kind == _BFLOAT16 else TYPES[kind]).newbyteorder("<")
        size = prod(shape) * dtype.itemsize
        external = {each.text(1): each.text(2) for each in message.messages(13)}
        data: Any = message.bytes(_RAW)
        if external and min(shape, default=0) >= 0 < size:
            data = self._read_external(where, external, size)
        elif field in (4, 10) and field in message:
            data = message.floats(field, dtype.str).tobytes()
        elif field in message:  # halves as their bits
            numbers = message.integers(field)
            data = numbers.astype("<u2" if dtype.kind == "f" else dtype).tobytes()
        if min(shape, default=0) < 0 or len(data) != size:
            what = f"damaged: expected {size:,} bytes, as shape {shape} of {dtype} takes, got "
            raise InputError(where, f"{what}{len(data):,}")
        array: Array = np.frombuffer(data, dtype).reshape(shape)
        return widen_bfloat16(array) if kind == _BFLOAT16 else array

    def _read_external(self, where: str, external: Mapping[str, str], size: int) -> Array:
        """Read the values of an array from another file in the folder: *external data*.

        It is read only where it lies in the model's own folder, so that a model cannot show what
        another folder holds. Source: https://onnx.ai/onnx/repo-docs/ExternalData.html.
        """
        name, offset = external.get("location", ""), external.get("offset", "0")
        folder = os.path.dirname(self.path)
        path = os.path.join(folder, name)
        # Caches of downloads are links into one folder, to the model as to this file.
        folders = {os.path.realpath(folder), os.path.dirname(os.path.realpath(self.path))}
        if not os.path.isfile(path) or os.path.dirname(os.path.realpath(path)) not in folders:
            what = f"its values are in the file {shown(name)}, which is not there"
            raise InputError(where, what, "it has to lie beside the model")
        has = os.path.getsize(path)
        left = self.bytes_left[path] = self.bytes_left.get(path, 2 * has) - size
        begin = int(offset) if offset.isdecimal() and len(offset) < 19 else has
        if begin + size > has or left < 0:
            what = f"damaged: takes {size:,} bytes from {shown(offset)} on of {shown(name)}"
            raise InputError(where, f"{what}, of {has:,}")
        return np.fromfile(path, np.uint8, size, offset=begin)


def _read_shape(message: Message) -> tuple[str, tuple[int | str, ...] | None]:
    """Read the name of an input, and its shape: sizes, or names of unknown sizes."""
    tensor = message.message(2).message(1)
    if 2 not in tensor:
        return message.text(1), None
    axes = tensor.message(2).messages(1)
    return message.text(1), tuple(max(0, axis.integer(1)) or axis.text(2) for axis in axes)


def _domain(text: str) -> str:
    return "" if text == "ai.onnx" else text


def _decode(data: memoryview) -> str:
    return str(data, "utf-8", "backslashreplace")
