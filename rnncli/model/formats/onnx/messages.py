"""ONNX's messages: what the fields of a model and of its graphs are.

Source: onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from rnncli.model.errors import InputError, shown
from rnncli.model.formats.containers.protobuf import Message, Source
from rnncli.model.formats.onnx.elements import (
    COST,
    Outside,
    Tensor,
    read_sparse,
    read_tensor,
)

# Protocol buffers are smaller.
LARGEST = 2**31
# Graphs within attributes of nodes within graphs.
_DEEPEST = 8
# Bytes of an attribute that is text.
_LONGEST = 1_000
# The field of an attribute that has its value, by the number of its type; types that are not read.
_FIELDS = {1: 2, 2: 3, 3: 4, 4: 5, 5: 6, 6: 7, 7: 8, 8: 9}
_UNREAD = {
    9: "tensors",
    10: "graphs",
    11: "sparse tensor",
    12: "sparse tensors",
    13: "type",
    14: "types",
}
# Sizes of axes, or their names; empty for one of which nothing is known.
Axes: TypeAlias = tuple[int | str, ...]


class Unread(NamedTuple):
    """An attribute of a type that is not read, and what it is called."""

    kind: str


class Node(NamedTuple):
    """A node of a graph.

    Parameters
    ----------
    op, name, domain : str
        The domain is empty for ONNX's own operators.
    inputs, outputs : sequence of str
        Empty where one is left out.
    attributes : mapping
        By name: `int`, `float`, `str`, `Tensor`, `Graph`, lists of these, or
        `Unread`.
    """

    op: str
    name: str
    domain: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Any]


class Graph(NamedTuple):
    """A graph.

    Parameters
    ----------
    nodes : sequence of Node
    initializers : mapping
        Tensors by name.
    inputs, outputs : mapping
        What it takes and gives, by name and in order: the shape of each; None
        if the file does not tell. An initializer may be among the inputs.
    """

    nodes: Sequence[Node]
    initializers: Mapping[str, Tensor]
    inputs: Mapping[str, Axes | None]
    outputs: Mapping[str, Axes | None]


class Model(NamedTuple):
    """A model.

    Parameters
    ----------
    producer, producer_version : str
        What wrote it.
    opsets : mapping
        Versions of operators by domain, which is empty for ONNX's own.
    graph : Graph
    functions : sequence of tuples of str
        Domain and name of each operator that the model defines itself.
    """

    producer: str
    producer_version: str
    opsets: Mapping[str, int]
    graph: Graph
    functions: Sequence[tuple[str, str]]


def read_model(path: str, data: memoryview, outside: Outside) -> Model:
    """Read a model, but for the values of its tensors."""
    message = Message(Source(path), data)
    if 7 not in message:
        raise message.source.damage("holds no graph")
    return Model(
        message.text(2),
        message.text(3),
        {_domain(each.text(1)): each.integer(2) for each in message.messages(8)},
        _graph(message.message(7), outside),
        [(_domain(each.text(10)), each.text(1)) for each in message.messages(25)],
    )


def _domain(text: str) -> str:
    return "" if text == "ai.onnx" else text


def _graph(message: Message, outside: Outside, depth: int = 0) -> Graph:
    source = message.source
    if depth > _DEEPEST:
        raise InputError(
            source.place, f"expected at most {_DEEPEST} graphs in each other, got more"
        )
    tensors = [read_tensor(each, outside) for each in message.messages(5)]
    tensors += [read_sparse(each, outside) for each in message.messages(15)]
    return Graph(
        [_node(each, outside, depth) for each in message.messages(1)],
        _named(source, "initializer", ((each.name, each) for each in tensors)),
        _named(source, "input", map(_shape, message.messages(11))),
        _named(source, "output", map(_shape, message.messages(12))),
    )


def _named(source: Source, what: str, pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for name, each in pairs:
        if name in named:
            raise source.damage(f"{what} {shown(name)} is there twice")
        named[name] = each
    return named


def _node(message: Message, outside: Outside, depth: int) -> Node:
    op, domain = message.text(4), _domain(message.text(7))
    if not op or not f"{domain}{op}".isprintable():
        raise message.source.damage(f"a node has the operator {shown(f'{domain} {op}'.strip())}")
    message.source.spend(COST)
    attributes = (_attribute(each, outside, depth) for each in message.messages(5))
    return Node(
        op,
        message.text(3),
        domain,
        message.texts(1),
        message.texts(2),
        _named(message.source, "attribute", attributes),
    )


def _attribute(message: Message, outside: Outside, depth: int) -> tuple[str, Any]:
    name, kind = message.text(1), message.integer(20)
    there = [number for number, field in _FIELDS.items() if field in message]
    if not kind and len(there) == 1:  # files of 2017 do not say the type
        kind = there[0]
    if 21 in message or kind in _UNREAD:
        return name, Unread(_UNREAD.get(kind, "attribute of a function"))
    if kind not in _FIELDS or set(there) - {kind}:
        raise message.source.damage(f"attribute {shown(name)} has type {kind}, values of {there}")
    readers: dict[int, Callable[[int], Any]] = {
        1: message.float32,
        2: message.integer,
        3: lambda field: _string(message.bytes(field)),
        4: lambda field: read_tensor(message.message(field), outside),
        5: lambda field: _graph(message.message(field), outside, depth + 1),
        6: message.floats,
        7: message.integers,
        8: lambda field: [_string(each) for each in message.every_bytes(field)],
    }
    return name, readers[kind](_FIELDS[kind])


def _string(data: memoryview) -> str | Unread:
    """Return text; some operators keep tables and programs in such attributes."""
    return str(data, "utf-8", "backslashreplace") if len(data) <= _LONGEST else Unread("bytes")


def _shape(message: Message) -> tuple[str, Axes | None]:
    """Return the name of what a graph takes or gives, and its shape."""
    tensor = message.message(2).message(1)
    if 2 not in tensor:
        return message.text(1), None
    axes = tensor.message(2).messages(1)
    return message.text(1), tuple(axis.integer(1) if 1 in axis else axis.text(2) for axis in axes)
