"""Nodes of a graph as steps over rows (R, K), whatever sizes of axes it was frozen with.

A row has the K values of one label, in the order of the graph. A node that moves values becomes a
choice of columns, any other a `Step` whose operator takes such arrays.
"""

from collections.abc import Collection, Sequence
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.graph import Array, Node, RefusedError
from rnncli.model.graph.labels import CONSTANT, Labels, has_several, plain
from rnncli.model.graph.node_layers import Operand, Step
from rnncli.model.graph.operators import ELEMENTWISE, MOVERS, REDUCED, as_list

Integers = NDArray[np.signedinteger[Any]]
_OTHER_AXIS = "takes another axis for features than the layer below"


class Flow(NamedTuple):
    """A value that is computed from rows: labels, and the column of a row for each element."""

    labels: Labels
    columns: Any = None  # their numbers; None if it does not depend on each row alone
    why: str = ""  # reason for no columns
    lowest: bool = False  # whether it depends on no recurrent layer

    def feature_axes(self) -> list[int]:
        """Return the axes along which a row has several values, or one."""
        rows = plain(self.labels)
        axes = [k for k in range(rows.ndim) if (rows == rows.take([0], k)).all()]
        rows = rows[tuple(0 if k in axes else slice(None) for k in range(rows.ndim))]
        if len({*rows.reshape(-1).tolist()}) != rows.size:
            raise RefusedError("makes one axis of rows and features")
        return axes


class RowProgram:
    """Steps over rows; a register has the rows of a source or the output of a step."""

    def __init__(self) -> None:
        self.begins: list[int] = [0]  # of each register: columns are numbered through all
        self.steps: dict[int, Step] = {}  # by the register that it fills
        self._joins: dict[bytes, int] = {}  # registers of columns from several registers

    def width(self, register: int) -> int:
        """Return the number of columns of a register."""
        return self.begins[register + 1] - self.begins[register]

    def add_register(self, width: int) -> int:
        """Add a register; return its number."""
        self.begins.append(self.begins[-1] + width)
        return len(self.begins) - 2

    def registers(self, columns: Integers) -> Integers:
        """Return the registers of columns."""
        return np.searchsorted(self.begins, columns, "right") - 1

    def add_source(self, values: Labels) -> Integers:
        """Add a register of rows that have these labels; return their columns."""
        layout = lay_out(values)
        columns = np.empty(values.size, np.int64)
        columns[layout] = np.arange(layout.shape[1]) + self.begins[-1]
        self.add_register(layout.shape[1])
        return columns.reshape(values.shape)

    def add(
        self, node: Node, operands: Sequence[Operand], output: Labels, shape: tuple[int, ...] = ()
    ) -> Integers:
        """Add the operator of a node as a step; return the columns of its output."""
        width = lay_out(output).shape[1]
        step = Step(node.op, node.name, (*operands,), width, node.attributes, shape)
        self.steps[len(self.begins) - 1] = step
        return self.add_source(output)

    def join_row(self, value: Flow) -> Operand:
        """Return a row of a value as one operand."""
        return self.join(find_row(value.columns, lay_out(value.labels)))

    def join(self, columns: Integers) -> Operand:
        """Return columns as one operand; a step joins those of several registers."""
        registers = self.registers(columns)
        first = int(registers[0])
        if (registers == first).all():
            columns = columns - self.begins[first]
            is_all = np.array_equal(columns, np.arange(self.width(first)))
            return Operand(first, None if is_all else columns)
        key = columns.tobytes()
        if key not in self._joins:
            edges = [0, *(np.flatnonzero(np.diff(registers)) + 1).tolist(), len(registers)]
            operands = tuple(self.join(columns[i:j]) for i, j in pairwise(edges))
            self._joins[key] = self.add_register(len(columns))
            self.steps[self._joins[key]] = Step("Concat", "", operands, len(columns))
        return Operand(self._joins[key])

    def path(self, register: int, known: Collection[int] = ()) -> list[int]:
        """Return the registers that steps fill on the way to one, in order, without known ones."""
        needed, path = {register}, list[int]()
        for each in range(register, -1, -1):  # a step takes registers before its own
            if each in needed and each in self.steps and each not in known:
                needed.update(operand.register for operand in self.steps[each].operands)
                path.insert(0, each)
        return path

    def trace(self, node: Node, inputs: Sequence[Any], outputs: Sequence[Labels]) -> list[Integers]:
        """Compute the outputs of a node as rows, and return their columns."""
        op, rows = node.op, [isinstance(each, Flow) for each in inputs]
        if op == "Gather" and rows[1]:
            return [self._add_lookup(node, inputs, outputs[0])]
        if op == "Layer":
            return [self._add_layer(node, inputs, outputs[0])]
        if op == "Recur":
            raise RefusedError("starts from states that the graph computes")
        if op in MOVERS:
            return self._move(node, inputs, len(outputs))
        if op in ELEMENTWISE:
            return [self._add_elementwise(node, inputs, outputs[0])]
        if not rows[0] or any(rows[1:]):
            raise RefusedError("multiplies other axes than those of features")
        if op == "BatchNormalization":
            shaped = (each.reshape(-1, *[1] * (outputs[0].ndim - 2)) for each in inputs[1:])
            return [self._add_elementwise(node, [inputs[0], *shaped], outputs[0])]
        add = self._add_product if op in ("Gemm", "MatMul") else self._add_along_axes
        return [add(node, inputs, outputs[0])]

    def _move(self, node: Node, inputs: Sequence[Any], count: int) -> list[Integers]:
        """Follow values that a node moves: its operator runs over their columns."""
        if node.op == "Concat" and not all(isinstance(each, Flow) for each in inputs):
            raise RefusedError("joins rows and constants")
        columns = [each.columns if isinstance(each, Flow) else each for each in inputs]
        counted = {"outputs": count} if node.op == "Split" else {}
        moved = MOVERS[node.op](*columns, **node.attributes, **counted)
        return moved if isinstance(moved, list) else [moved]

    def _add_elementwise(self, node: Node, inputs: Sequence[Any], output: Labels) -> Integers:
        """Add an elementwise operator."""
        layout, operands = lay_out(output), []
        for value in inputs:
            array = value.columns if isinstance(value, Flow) else value
            if array is not None:
                array = find_row(np.broadcast_to(array, output.shape), layout)
            is_rows = isinstance(value, Flow)
            operands.append(self.join(array) if is_rows else Operand(-1, None, array))
        return self.add(node, operands, output)

    def _add_layer(self, node: Node, inputs: Sequence[Any], output: Labels) -> Integers:
        """Add a layer, whose features stand along the last axis of the inputs."""
        for x in inputs:
            size = x.labels.shape[-1]
            if x.labels.ndim - 1 not in x.feature_axes() or lay_out(x.labels).shape[1] != size:
                raise RefusedError(_OTHER_AXIS)
        return self.add(node, [self.join_row(x) for x in inputs], output)

    def _add_lookup(self, node: Node, inputs: Sequence[Any], output: Labels) -> Integers:
        """Add an operator that takes rows of a table."""
        x = inputs[0]
        if isinstance(x, Flow) or x.ndim != 2 or node.attributes.get("axis", 0):
            raise RefusedError("looks up rows in something other than a table")
        return self.add(node, [Operand(-1, None, x), self.join_row(inputs[1])], output)

    def _add_along_axes(self, node: Node, inputs: Sequence[Any], output: Labels) -> Integers:
        """Add an operator along axes, which have to be axes of features."""
        op, (x, *rest), attributes = node.op, inputs, dict(node.attributes)
        shape, axes, axis = x.labels.shape, x.feature_axes(), attributes.get("axis", -1)
        n, along = len(shape), [axis]
        if op in REDUCED:
            along, rest = [*(as_list(attributes.get("axes", *rest[:1])) or range(n))], []
        elif op == "LayerNormalization":
            along = [*range(axis % n, n)]
        elif op not in ("Softmax", "LogSoftmax"):
            raise RefusedError(f"operator {op} is not read for each row alone")
        if not {each % n for each in along} <= {*axes}:
            raise RefusedError(_OTHER_AXIS)
        positions = [axes.index(each % n) + 1 for each in along]
        attributes |= {"axes": positions} if op in REDUCED else {"axis": positions[0]}
        operands = [self.join_row(x), *(Operand(-1, None, each) for each in rest)]
        features = tuple(shape[k] for k in axes)
        return self.add(node._replace(attributes=attributes), operands, output, features)

    def _add_product(self, node: Node, inputs: Sequence[Any], output: Labels) -> Integers:
        """Add a product of rows and weights, and a bias."""
        (x, W, bias, *_), attributes = (*inputs, None), node.attributes
        W, axes = W.reshape(W.shape[-2:]) if prod(W.shape[:-2]) == 1 else W, x.feature_axes()
        if x.labels.ndim - 1 not in axes or W.ndim != 2 or attributes.get("transA"):
            raise RefusedError(_OTHER_AXIS)
        W = W.dtype.type(attributes.get("alpha", 1.0)) * (W.T if attributes.get("transB") else W)
        shape = (prod(x.labels.shape[k] for k in axes) // len(W), len(W))
        product = node._replace(op="MatMul", attributes={})
        y = self.add(product, [self.join_row(x), Operand(-1, None, W)], output, shape)
        if bias is None:
            return y
        bias = bias * bias.dtype.type(attributes.get("beta", 1.0))
        return self._add_elementwise(product._replace(op="Add"), [Flow(output, y), bias], output)


def lay_out(values: Labels) -> Integers:
    """Return the position of each of a row's K values in the flat array, (R, K)."""
    if values.layout is None:
        flat = plain(values).reshape(-1)
        order = np.argsort(flat, kind="stable")
        edges = np.flatnonzero(np.diff(flat[order])) + 1
        K = int(edges[0]) if len(edges) else len(flat)
        sizes = np.diff([0, *edges, len(flat)])
        if has_several(flat) or (flat == CONSTANT).any() or (sizes != K).any():
            raise RefusedError("makes something of several rows")
        values.layout = order.reshape(-1, K)
    return values.layout


def find_row(array: Array, positions: Integers) -> Any:
    """Return the values at the positions of a row, (R, K), which are the same for all rows."""
    values = array.reshape(-1)[positions]
    if (values != values[:1]).any():
        raise RefusedError("differs from step to step, or between sequences")
    return values[0]
