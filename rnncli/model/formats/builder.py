"""Nodes of a graph, for formats that have a model as calls and not as ONNX's operators."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.arrays import name_type
from rnncli.model.contents import Component, Contents
from rnncli.model.errors import shown
from rnncli.model.formats.containers.budget import Budget
from rnncli.model.graph import Graph, Node, RefusedError
from rnncli.model.graph.operators import MOVERS
from rnncli.model.graph.search import find_layers
from rnncli.model.graph.walk import Guess
from rnncli.model.layers import Recurrent, name_of

# Operators whose nodes do not get the name of their module.
_UNNAMED = {*MOVERS, "Shape", "ConstantOfShape", "Cast", "Add", "Sub", "Mul", "Div"}


class Value(NamedTuple):
    """A value of a graph: its name, its number of axes, and whether it has whole numbers."""

    name: str
    rank: int
    is_integer: bool = False


class Builder:
    """Nodes and arrays of a graph; `module` is the name of the module that adds them."""

    most_nodes = 1_250

    def __init__(self, path: str, arrays: Mapping[str, Any]) -> None:
        self.path, self.module = path, ""
        self.width = 0  # the number of features that the first weights take
        self._names = {id(array): name for name, array in arrays.items()}
        floats = [array.dtype for array in arrays.values() if array.dtype.kind == "f"]
        self._float = np.result_type("f4", *floats)
        # Weights may be copied twice.
        self._budget = Budget(path, 1, 2 * sum(array.nbytes for array in arrays.values()))
        self.nodes: list[Node] = []
        self._arrays: dict[str, Any] = {}

    def emit(
        self, op: str, *inputs: Any, rank: int | None = None, outputs: int = 1, **attributes: Any
    ) -> Any:
        """Add a node; return its output, or a list of several."""
        if len(self.nodes) == self.most_nodes:
            raise RefusedError(f"is made of over {self.most_nodes:,} operators")
        values = [self.as_value(each) for each in inputs]
        name = self.name_node(op, table=op == "Gather" and values[0].name in self._arrays)
        stem = f"{self.module or 'forward'}.{op}.{len(self.nodes)}"
        names = [f"{stem}.{k}" for k in range(outputs)]
        self.nodes.append(Node(op, name, "", [each.name for each in values], names, attributes))
        rank = max(each.rank for each in values) if rank is None else rank
        results = [Value(each, rank, all(value.is_integer for value in values)) for each in names]
        return results if outputs > 1 else results[0]

    def name_node(self, op: str, *, table: bool) -> str:
        """Return a name for a node; `table` says that it looks up rows of an array."""
        return self.module if op not in _UNNAMED or table else ""

    def as_value(self, item: Any) -> Value:
        """Return a constant, or a list of numbers, as the input of a node."""
        if isinstance(item, Value) or item is None:
            return item or Value("", 0)
        items = item if isinstance(item, list) else [item]
        if any(isinstance(each, Value) for each in items):
            items = [self.emit("Unsqueeze", each, [0], rank=1) for each in items]
            joint: Value = self.emit("Concat", *items, axis=0)
            return joint
        if not isinstance(item, np.ndarray):
            if not {*map(type, items)} <= {int, float}:
                raise ValueError("something else than numbers")
            item = np.array(item)
            item = item.astype(self._float if item.dtype.kind == "f" else np.int64)
        self.width = self.width or (item.shape[:2][-1] if id(item) in self._names else 0)
        name = self.name_array(item)
        if item.dtype.kind not in "biuf":
            raise RefusedError(f"takes {shown(name)} of type {name_type(item)}, which is not read")
        self._arrays[name] = item
        return Value(name, item.ndim, item.dtype.kind == "i")

    def name_array(self, array: Any) -> str:
        """Return the name of an array in the file, or a new one."""
        return self._names.get(id(array), f"{self.module}: {len(self._arrays)}")

    def recur(self, layer: Recurrent, arrays: Mapping[str, Any], x: Any, *states: Any) -> list[Any]:
        """Add a recurrent layer over rows (T, N, I); return its rows, and its final states.

        These are (D, N, H) for each direction, as initial states are.
        """
        self._budget.spend(0, sum(array.nbytes for array in arrays.values()))
        self.width, cell = self.width or layer.input_size, layer.cells[0]
        inputs, outputs = [x, *[None] * 4, *states], 1 + len(cell.state_names)
        known: dict[str, Any] = {"layer": layer, "arrays": arrays, "outputs": outputs}
        y, *finals = self.emit(name_of(cell).upper(), *inputs, **known)
        y = self.emit("Transpose", y, perm=[0, 2, 1, 3], rank=4)
        return [self.emit("Reshape", y, [0, 0, -1], rank=3), *finals]

    def find_layers(
        self, inputs: Mapping[str, Any], outputs: Mapping[str, Value], output: str = "",
        known: Guess | None = None, whole: Sequence[str] = (),
    ) -> Contents:  # fmt: skip
        """Find the layers of the graph; inputs have shapes, and the axes of one may be known."""
        names = {name: value.name for name, value in outputs.items()}
        graph = Graph(self.nodes, self._arrays, inputs, names, whole=whole, output=output)
        return find_layers(self.path, graph, known=known)


def refuse(why: str, recurrent: Sequence[Component] = ()) -> Contents:
    """Return the contents of a model whose calls are not read; `layer` may pick recurrent ones."""
    return Contents([*recurrent, Component("forward", "code", why=why, needed=True)])
