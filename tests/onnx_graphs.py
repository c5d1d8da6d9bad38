"""ONNX graphs written node by node, without the library onnx."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnncli.model.formats.containers.protobuf import message

Axes = tuple[int | str, ...]

# By type, the field of an attribute for a value, and the number of the type; five more each
# for a list.
_FIELDS = {float: (2, 1), int: (3, 2), str: (4, 3)}
_ELEMENTS = {
    "float32": 1,
    "int8": 3,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
    "float64": 11,
}


class Graph:
    """A graph that takes x, (T, N, 2); its weights are drawn from a seed."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.RandomState(seed)
        self.nodes: list[bytes] = []
        self.tensors: list[bytes] = []

    def array(self, values: Any) -> str:
        """Add a tensor; return its name."""
        name = f"tensor_{len(self.tensors)}"
        self.tensors.append(_tensor(np.asarray(values), name))
        return name

    def draw(self, *shape: int) -> str:
        """Add a tensor of weights."""
        return self.array(self.random.normal(scale=0.5, size=shape).astype(np.float32))

    def add(
        self, op: str, *inputs: str, domain: str = "", named: str | None = None, **attributes: Any
    ) -> str:
        """Add a node, named after its first output; return that name. It has three outputs."""
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(
            message(
                *((1, each) for each in inputs),
                *((2, f"{name}{end}") for end in ("", ".1", ".2")),
                (3, name if named is None else named),
                (4, op),
                *((5, _attribute(*each)) for each in attributes.items()),
                (7, domain),
            )
        )
        return name

    def recurrent(self, op: str = "LSTM", rows: str = "x", *rest: str, **attributes: Any) -> str:
        """Add a recurrent node of three units that takes two features, or has others' sizes."""
        D = 2 if attributes.get("direction") == "bidirectional" else 1
        width = {"RNN": 3, "GRU": 9, "LSTM": 12}[op]
        size = attributes.pop("size", 2)
        weights = (self.draw(D, width, size), self.draw(D, width, 3))
        return self.add(op, rows, *weights, *rest, **attributes)

    def rows(self, op: str = "LSTM", rows: str = "x", **attributes: Any) -> str:
        """Add a recurrent node of one direction; return its rows, (T, N, 3)."""
        return self.add("Squeeze", self.recurrent(op, rows, **attributes), self.array([1]))

    def model(
        self,
        *outputs: str,
        inputs: Mapping[str, Axes | None] | None = None,
        opset: int = 17,
        producer: str = "",
        integers: Sequence[str] = (),
        more: Sequence[tuple[int, bytes]] = (),
    ) -> bytes:
        """Return the bytes of a model; its graph may have more fields."""
        given = {"x": ("T", "N", 2)} if inputs is None else inputs
        graph = message(
            *((1, node) for node in self.nodes),
            *((5, tensor) for tensor in self.tensors),
            *((11, _value(*each, 7 if each[0] in integers else 1)) for each in given.items()),
            *((12, _value(name, None)) for name in outputs),
            *more,
        )
        return message((1, 8), (2, producer), (7, graph), (8, message((2, opset))))


def _tensor(array: Any, name: str = "") -> bytes:
    axes, kind = ((1, size) for size in array.shape), _ELEMENTS[array.dtype.name]
    return message(*axes, (2, kind), (8, name), (9, array.tobytes()))


def _attribute(name: str, value: Any) -> bytes:
    if isinstance(value, bytes):  # a graph
        return message((1, name), (6, value), (20, 5))
    if isinstance(value, np.ndarray):
        return message((1, name), (5, _tensor(value)), (20, 4))
    values, more = (value, 5) if isinstance(value, list) else ([value], 0)
    field, kind = _FIELDS[type(values[0])]
    return message((1, name), *((field + more, each) for each in values), (20, kind + more))


def _value(name: str, axes: Axes | None, kind: int = 1) -> bytes:
    if axes is None:
        return message((1, name), (2, message((1, message((1, kind))))))
    sizes = (message((1 if isinstance(axis, int) else 2, axis)) for axis in axes)
    shape = message(*((1, size) for size in sizes))
    return message((1, name), (2, message((1, message((1, kind), (2, shape))))))
