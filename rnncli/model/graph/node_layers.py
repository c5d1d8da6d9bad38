"""Layers that compute nodes of a graph: rows one by one, or whole sequences."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import Multiply
from rnncli.model.errors import InputError
from rnncli.model.graph import Array, Node, RefusedError
from rnncli.model.graph.labels import CONSTANT, labels, plain
from rnncli.model.graph.operators import ELEMENTWISE, MOVERS, evaluate, find_operator
from rnncli.model.layers import Convert, Recurrent, Stateless, name_of

Axes = tuple[int | None, int | None]


class Operand(NamedTuple):
    """An input of a step: columns of a register, all for None, or else constant values."""

    register: int
    columns: Any = None
    values: Any = None

    def find(self, registers: Mapping[int, Array]) -> Any:
        """Find its array."""
        array = self.values if self.register < 0 else registers[self.register]
        return array if self.columns is None else array[:, self.columns]


class Step(NamedTuple):
    """An operator over rows, arrays (R, K); its first operand is (R, *shape) if it has a shape."""

    op: str
    name: str
    operands: tuple[Operand, ...]
    width: int
    attributes: Mapping[str, Any] = {}
    shape: tuple[int, ...] = ()

    def compute(self, R: int, arrays: list[Any], multiply: Multiply, dtype: Any) -> Array:
        """Compute R rows, floats of `dtype`, from the arrays of the operands."""
        x = arrays[0] = arrays[0].reshape(R, *self.shape) if self.shape else arrays[0]
        with np.errstate(all="ignore"):
            if self.op == "Concat":
                y = np.concatenate([np.broadcast_to(a, (R, a.shape[-1])) for a in arrays], 1)
            elif self.op == "Layer":
                y = self.attributes["layer"](np.concatenate(arrays, 1), multiply)
            elif self.op == "MatMul":
                y = multiply(np.ascontiguousarray(x), arrays[1])
            else:
                y = find_operator(self.op, dtype)(*arrays, **self.attributes)
        y = np.broadcast_to(y, (R, self.width)) if self.op in ELEMENTWISE else y
        return y.reshape(R, self.width)


def _convert(convert: Convert, name: str, values: Any) -> Any:
    """Convert an array of floats, which may hold infinities."""
    if values is None or values.dtype.kind != "f":
        return values
    if np.isfinite(values).all():
        return convert(name, values)
    return values.astype(convert(name, np.zeros(1, values.dtype)).dtype)


def _convert_layer(convert: Convert, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Convert the layer that a node or a step carries, if it does."""
    layer = attributes.get("layer")
    return {**attributes, "layer": layer.converted(convert)} if layer else attributes


class RowGraph(Stateless):
    """Steps over rows, by the register that each fills; inputs are registers with their widths."""

    def __init__(
        self, steps: Mapping[int, Step], inputs: Mapping[int, int], target: Operand, size: int
    ) -> None:
        self.steps, self.inputs, self.target = dict(steps), dict(inputs), target
        self.input_size, self.output_size = sum(inputs.values()), size
        bare = "Identity" if target.columns is None else "Slice"
        self.settings = _list_operators([*map(name_operator, self.steps.values())] or [bare])

    def __repr__(self) -> str:
        return f"rows: {self.settings['operators']}"

    @property
    def arrays(self) -> dict[str, Floats]:
        """Its constants."""
        constants = {
            f"{step.op}_{register}_{index}": operand.values
            for register, step in self.steps.items()
            for index, operand in enumerate(step.operands)
            if operand.values is not None and operand.values.dtype.kind == "f"
        }
        return constants | _list_arrays(self.steps)

    def __call__(self, x: Floats, multiply: Multiply = np.matmul) -> Floats:
        """Compute the rows."""
        rows = x.reshape(-1, self.input_size)
        inputs = np.split(rows, np.cumsum([*self.inputs.values()])[:-1], axis=1)
        registers: dict[int, Any] = dict(zip(self.inputs, inputs, strict=True))
        for register, step in self.steps.items():
            arrays = [operand.find(registers) for operand in step.operands]
            registers[register] = step.compute(len(rows), arrays, multiply, x.dtype)
        y = np.broadcast_to(self.target.find(registers), (len(rows), self.output_size))
        y = np.require(y, x.dtype, ["C", "W"])
        return y.reshape(*x.shape[:-1], self.output_size)

    def continued(self, above: "RowGraph") -> "RowGraph":
        """Return this layer and the one above it, which takes its rows, as one."""
        steps = {**self.steps, **above.steps}
        return RowGraph(steps, self.inputs, above.target, above.output_size)

    def converted(self, convert: Convert) -> "RowGraph":
        """Return the same layer with its constants converted."""
        layer = copy(self)
        layer.steps = {
            register: step._replace(
                operands=tuple(
                    each._replace(values=_convert(convert, step.name, each.values))
                    for each in step.operands
                ),
                attributes=_convert_layer(convert, step.attributes),
            )
            for register, step in self.steps.items()
        }
        return layer


class Root(NamedTuple):
    """A value that a `SequenceGraph` takes: columns of the rows, and how the graph has them."""

    name: str
    columns: Array
    shape: tuple[int, ...]  # 1 for the axes of steps and sequences
    axes: Axes
    ends: Array | None = None  # the row of each column of a final state, -1 or 0

    def arrange(self, x: Floats) -> Array:
        """Arrange the rows of a sequence, (T, I), as the graph has them."""
        if self.ends is not None:
            return np.asarray(x[self.ends, self.columns].reshape(self.shape))
        along = self.axes[0] or 0
        rest = [size for k, size in enumerate(self.shape) if k != along]
        steps = x[:, self.columns].reshape(len(x), *rest)
        return np.asarray(np.moveaxis(steps, 0, along))


class SequenceGraph(Stateless):
    """Nodes over several steps, or over each row alone unless it `takes_sequences`.

    They compute the target from the roots and constants. `axes` are those of the target for steps
    and sequences; without steps every row is the same. `sizes` are of a row of input and output.
    """

    takes_sequences = True
    steps = 0  # the number that the graph was frozen for; 0 for any
    sequences = 1  # the number that its nodes were frozen for: it computes as many equal ones

    def __init__(
        self, nodes: Sequence[Node], constants: Mapping[str, Array], opset: int,
        roots: Sequence[Root], target: str, axes: Axes, sizes: tuple[int, int],
    ) -> None:  # fmt: skip
        self.nodes, self.constants, self.opset = list(nodes), dict(constants), opset
        self.roots, self.target, self.axes = list(roots), target, axes
        self.input_size, self.output_size = sizes
        ops = [*map(name_operator, nodes)]
        self.settings = _list_operators([op for op in ops if op not in MOVERS] or ops)
        self.recurs = any(node.op == "Recur" for node in nodes)

    def __repr__(self) -> str:
        kind = "whole sequences" if self.takes_sequences else "rows"
        return f"{kind}: {self.settings['operators']}"

    @property
    def arrays(self) -> dict[str, Floats]:
        """Its constants."""
        constants = {n: array for n, array in self.constants.items() if array.dtype.kind == "f"}
        return constants | _list_arrays(dict(enumerate(self.nodes)))

    def __call__(self, x: Floats, multiply: Multiply = np.matmul) -> Floats:  # noqa: ARG002
        """Compute the rows (T, O) of a sequence (T, I)."""
        rows, (along, _) = x.reshape(-1, self.input_size), self.axes
        if not (T := len(rows)):
            return np.empty((*x.shape[:-1], self.output_size), x.dtype)
        try:
            if self.steps not in (0, T):
                raise RefusedError(f"the graph was exported for {self.steps}")
            if not (y := self.compute(rows)).size:
                raise RefusedError("it gives no values")
            y = y[None] if along is None else np.moveaxis(y, along, 0)
            y = y.reshape(len(y), -1)
            y = np.broadcast_to(y, (T, y.shape[1])) if along is None else y
            fits = len(y) == T or (self.shortens and 0 < len(y) < T)
            if not fits or y.shape[1] != self.output_size:
                raise RefusedError(f"expected {self.output_size} values a row, got shape {y.shape}")
        except RefusedError as error:
            what = f"cannot be computed for a sequence of {T} steps: {error}"
            raise InputError(self.nodes[0].name, what) from error
        y = np.ascontiguousarray(y, x.dtype)
        return y.reshape(*x.shape[:-1], -1) if len(y) == T else y

    def compute(self, x: Array) -> Array:
        """Compute the target from the rows of a sequence, (T, I), or its labels from theirs."""
        y = np.asarray(plain(self.evaluate(x)[self.target]))
        return y if self.sequences == 1 else y.take([0], self.axes[1])

    def evaluate(self, x: Array, sequences: int = 0) -> dict[str, Any]:
        """Compute all values, of several equal sequences if they are more than one."""
        sequences = sequences or self.sequences
        values: dict[str, Any] = dict(self.constants)
        is_labels = x.dtype.kind != "f"
        for root in self.roots:
            array = root.arrange(x)
            if sequences > 1 and root.axes[1] is not None:
                array = np.repeat(array, sequences, root.axes[1])
            values[root.name] = labels(array) if is_labels else array
        return evaluate(self.nodes, values, self.opset, None if is_labels else x.dtype)

    def is_local(self, steps: int) -> bool:
        """Return whether the last row of a sequence does not depend on the first."""
        first = np.full((steps, self.input_size), CONSTANT)
        first[0] = 0
        result, along = self.compute(first), self.axes[0]
        return along is not None and bool((result.take(-1, along) == CONSTANT).all())

    def converted(self, convert: Convert) -> "SequenceGraph":
        """Return the same layer with its constants converted, not as operands of products."""
        layer = copy(self)
        layer.constants = {
            name: _convert(convert, name, array.reshape(-1)).reshape(array.shape)
            for name, array in self.constants.items()
        }
        layer.nodes = [
            node._replace(attributes=_convert_layer(convert, node.attributes))
            for node in self.nodes
        ]
        return layer


def name_operator(operator: Node | Step) -> str:
    """Return the name of an operator, or of the layer that it carries."""
    layer = operator.attributes.get("layer")
    if isinstance(layer, Recurrent):
        return name_of(layer.cells[0]).upper()
    return type(layer).__name__ if layer else operator.op


def _list_arrays(operators: Mapping[int, Node | Step]) -> dict[str, Floats]:
    """List the arrays of the layers that operators carry."""
    arrays = dict[str, Floats]()
    for n, operator in operators.items():
        layer = operator.attributes.get("layer")
        named = {f"{n}.": layer.arrays} if layer else {}
        for way, cell in zip(layer.directions, layer.cells, strict=True) if layer else ():
            named[f"{n}.{way}."] = cell.weights.arrays
        arrays |= {stem + name: a for stem, each in named.items() for name, a in each.items()}
    return arrays


def _list_operators(names: Sequence[str]) -> dict[str, str]:
    return {"operators": " ".join(dict.fromkeys(names))}
