"""Nodes of a graph as steps over rows: what they make of each row alone.

A value whose labels are those of rows is laid out as an array (R, K): a row for each label, and the
K values of a row in the order in which the graph has them. A node that moves values becomes a
choice of columns; any other becomes a `Step` whose operator takes such arrays. So no step knows
how many rows there are, whatever sizes of axes the graph was frozen with.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.graph import Node, RefusedError
from rnncli.model.graph.labels import CONSTANT, Labels, join_along, labels, plain
from rnncli.model.graph.operators import ELEMENTWISE, MOVERS, OLDER, OPERATORS, REDUCED, as_list

Array = NDArray[Any]
Integers = NDArray[np.signedinteger[Any]]


class Operand(NamedTuple):
    """An input of a step: columns of a register, all for None, or else constant values."""

    register: int
    columns: Any = None
    values: Any = None

    def is_all_of(self, register: int) -> bool:
        """Return whether it is a register, all columns of it."""
        return self.register == register and self.columns is None

    def is_same(self, other: "Operand") -> bool:
        """Return whether another operand takes the same columns."""
        return self.register == other.register and np.array_equal(self.columns, other.columns)


class Step(NamedTuple):
    """An operator over rows, arrays (R, K); its first operand is (R, *shape) if it has a shape."""

    op: str
    name: str
    operands: tuple[Operand, ...]
    width: int
    attributes: Mapping[str, Any] = {}
    shape: tuple[int, ...] = ()


class View(NamedTuple):
    """A value of the graph as rows: labels, registers and columns of all its places.

    The register of a constant among them is -1, and `values` has it.
    """

    labels: Labels
    registers: Integers
    columns: Integers
    values: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of its axes."""
        return tuple(self.labels.shape)

    def features(self) -> list[int]:
        """Return the axes along which a row has several values, or one."""
        filled = fill(self.labels)
        axes = [k for k in range(filled.ndim) if (filled == filled.take([0], k)).all()]
        rows = filled[tuple(0 if k in axes else slice(None) for k in range(filled.ndim))]
        if len({*rows.reshape(-1).tolist()}) != rows.size:
            raise RefusedError("makes one axis of rows and features")
        return axes


class Rows:
    """The steps over rows of a graph; a register holds what a source or a step gives."""

    def __init__(self) -> None:
        self.widths: list[int] = []
        self.steps: dict[int, Step] = {}  # by the register that it fills

    def source(self, values: Labels) -> View:
        """Add a register of rows that come from elsewhere."""
        where = lay_out(values)
        columns = np.empty(values.size, np.int32)
        columns[where] = np.arange(where.shape[1])
        self.widths.append(where.shape[1])
        return self.view(values, len(self.widths) - 1, columns.reshape(values.shape))

    def view(self, values: Labels, register: int, columns: Integers) -> View:
        """Return a view of columns of one register."""
        registers = np.broadcast_to(np.int32(register), values.shape)
        zeros = np.broadcast_to(np.float32(0), values.shape)
        return View(values, registers, columns, zeros)

    def add(self, step: Step, values: Labels) -> View:
        """Add a step that gives a value of these labels."""
        if lay_out(values).shape[1] != step.width:
            raise RefusedError("makes something of several rows")
        self.steps[len(self.widths)] = step
        return self.source(values)

    def operand(self, value: Any, where: Integers | None = None) -> Operand:
        """Return a value as an operand, whose row has these places of it."""
        if isinstance(value, View):
            return self.join(*self.row(value, where))
        return Operand(-1, None, _alike(value.reshape(-1)[where]))

    def row(self, view: View, where: Integers | None = None) -> tuple[Integers, Integers, Array]:
        """Return the registers, columns and constants of a row's values."""
        where = lay_out(view.labels) if where is None else where
        registers, columns, values = (_alike(each.reshape(-1)[where]) for each in view[1:])
        return registers, columns, values

    def join(self, registers: Integers, columns: Integers, values: Array) -> Operand:
        """Return columns of registers as one operand; several are brought together."""
        first = int(registers[0])
        if (registers == first).all():
            if first < 0:
                return Operand(-1, None, values)
            every = np.array_equal(columns, np.arange(self.widths[first]))
            return Operand(first, None if every else columns)
        edges = [0, *(np.flatnonzero(np.diff(registers)) + 1).tolist(), len(registers)]
        operands = tuple(
            self.join(registers[i:j], columns[i:j], values[i:j]) for i, j in pairwise(edges)
        )
        self.widths.append(len(registers))
        self.steps[len(self.widths) - 1] = Step("Concat", "", operands, len(registers))
        return Operand(len(self.widths) - 1)

    def path(self, register: int, known: Collection[int] = ()) -> list[int]:
        """Return the registers that steps fill on the way to one, in order; some are known."""
        found, waiting = set(), [register]
        while waiting:
            register = waiting.pop()
            if register in self.steps and register not in found and register not in known:
                found.add(register)
                waiting += [each.register for each in self.steps[register].operands]
        return sorted(found)

    def node(
        self, node: Node, given: Sequence[Any], made: Sequence[Labels], opset: int
    ) -> list[View]:
        """Compute the outputs of a node as rows; `given` are arrays, or views of rows."""
        op = node.op
        if op in MOVERS and not (op == "Gather" and isinstance(given[1], View)):
            return self._move(node, given, made)
        if op not in {*ELEMENTWISE, "BatchNormalization"}:
            special = {"Gather": self._look_up, "Gemm": self._multiply, "MatMul": self._multiply}
            return [special.get(op, self._along)(node, given, made[0], opset)]
        if op == "BatchNormalization":
            shape = (-1,) + (1,) * (len(given[0].shape) - 2)
            given = [given[0], *(each.reshape(shape) for each in given[1:])]
        where, operands = lay_out(made[0]), []
        for each in given:
            operand = Operand(-1)
            if each is not None:
                operand = self.operand(_spread(each, made[0].shape), where)
            if operand.register >= 0 and self.widths[operand.register] == 1:
                operand = Operand(operand.register)
            operands.append(operand)
        step = Step(op, node.name, (*operands,), where.shape[1], node.attributes)
        return [self.add(step, made[0])]

    def _move(self, node: Node, given: Sequence[Any], made: Sequence[Labels]) -> list[View]:
        """Follow values that a node moves: its operator runs over their numbers."""
        data = [_as_view(each) for each in (given if node.op == "Concat" else given[:1])]
        begins = np.cumsum([0, *(prod(each.shape) for each in data)])
        ids = [
            np.arange(begin, begin + prod(each.shape), dtype=np.int32).reshape(each.shape)
            for begin, each in zip(begins, data, strict=False)
        ]
        outputs = {"outputs": len(made)} if node.op == "Split" else {}
        moved = MOVERS[node.op](*ids, *given[len(data) :], **node.attributes, **outputs)
        flat = [
            np.concatenate([each.reshape(-1) for each in every])
            for every in zip(*(view[1:] for view in data), strict=True)
        ]
        every = moved if isinstance(moved, list) else [moved]
        return [
            View(label, flat[0][places], flat[1][places], flat[2][places])
            for label, places in zip(made, every, strict=False)
        ]

    def _look_up(self, node: Node, given: Sequence[Any], made: Labels, _: int) -> View:
        """Read an operator that takes rows of a table."""
        x = given[0]
        if isinstance(x, View) or x.ndim != 2 or node.attributes.get("axis", 0):
            raise RefusedError("looks up in what is no table of rows")
        operands = (Operand(-1, None, x), self.operand(given[1]))
        return self.add(Step(node.op, node.name, operands, lay_out(made).shape[1]), made)

    def _along(self, node: Node, given: Sequence[Any], made: Labels, opset: int) -> View:
        """Read an operator along axes, which have to be axes of features."""
        op, (x, *rest), attributes = node.op, given, dict(node.attributes)
        n, axis = len(x.shape), attributes.get("axis", -1)
        along: Sequence[int] = [axis]
        if op in OLDER and opset < OLDER[op][0]:
            first = attributes.get("axis", 1) % n
            along = [k for k in range(first, n) if x.shape[k] != 1] or [n - 1]
        elif op == "LayerNormalization":
            along = range(axis % n, n)
        elif op in REDUCED:
            along = as_list(attributes.get("axes", rest[0] if rest else None)) or range(n)
            rest = []
        elif op not in OLDER:
            raise RefusedError(f"operator {op} is not read for each row alone")
        axes = x.features()
        shape = tuple(x.shape[k] for k in axes)
        fits = all(-n <= k < n and k % n in axes for k in along)
        fits &= len(along) == 1 or op not in OLDER
        if not fits or any(isinstance(each, View) for each in rest):
            raise RefusedError("takes another axis for features than the layer below")
        places = [axes.index(k % n) + 1 for k in along]
        if op in REDUCED:
            attributes["axes"] = places
        else:
            attributes["axis"] = places[0] - (len(shape) + 1) * (op == "LayerNormalization")
        operands = (self.operand(x), *(Operand(-1, None, each) for each in rest))
        width = lay_out(made).shape[1]
        return self.add(Step(op, node.name, operands, width, attributes, shape), made)

    def _multiply(self, node: Node, given: Sequence[Any], made: Labels, opset: int) -> View:
        """Read a product of rows and weights."""
        (x, W), bias = given[:2], given[2] if len(given) > 2 else None
        views = [isinstance(each, View) for each in (x, W, bias)]
        if views != [True, False, False] or node.attributes.get("transA"):
            raise RefusedError("multiplies other axes than those of features")
        if W.ndim != 2 and W.ndim > 1 and prod(W.shape[:-2]) == 1:
            W = W.reshape(W.shape[-2:])
        axes = x.features()
        if len(x.shape) - 1 not in axes or W.ndim != 2:
            raise RefusedError("takes another axis for features than the layer below")
        alpha, beta = (W.dtype.type(node.attributes.get(k, 1.0)) for k in ("alpha", "beta"))
        W = alpha * (W.T if node.attributes.get("transB") else W)
        shape = (prod(x.shape[k] for k in axes) // len(W), len(W))
        operands = (self.operand(x), Operand(-1, None, W))
        width = shape[0] * W.shape[1]
        view = self.add(Step("MatMul", node.name, operands, width, {}, shape), made)
        add = node._replace(op="Add", attributes={})
        return view if bias is None else self.node(add, [view, bias * beta], [made], opset)[0]


def fill(values: Labels) -> Integers:
    """Return labels in which a constant among the values of a row has that of the row."""
    filled: Integers = plain(values)
    for axis in reversed(range(filled.ndim)):
        if not (filled == CONSTANT).any():
            break
        own = np.broadcast_to(join_along(filled, (axis,), keepdims=True), filled.shape)
        filled = np.where((filled == CONSTANT) & (own >= 0), own, filled)
    return filled


def lay_out(values: Labels) -> Integers:
    """Return the place of each of a row's K values in the flat array, (R, K)."""
    if values.layout is None:
        flat = fill(values).reshape(-1)
        order = np.argsort(flat, kind="stable")
        edges = np.flatnonzero(np.diff(flat[order])) + 1
        K = int(edges[0]) if len(edges) else len(flat)
        if flat.min(initial=0) < 0 or not np.array_equal(edges, np.arange(K, len(flat), K)):
            raise RefusedError("makes something of several rows")
        values.layout = order.reshape(-1, K)
    return values.layout


def _alike(values: Array) -> Any:
    """Return a row of values, (R, K), which all are alike."""
    same = values == values[:1]
    if values.dtype.kind == "f":
        same |= np.isnan(values) & np.isnan(values[:1])
    if not same.all():
        raise RefusedError("does something else at each step, or in each sequence")
    return values[0]


def _as_view(value: Any) -> View:
    if isinstance(value, View):
        return value
    none = np.full(value.shape, -1, np.int32)
    return View(labels(none), none, none, value)


def _spread(value: Any, shape: tuple[int, ...]) -> Any:
    """Broadcast a view, or an array."""
    if not isinstance(value, View):
        return np.broadcast_to(value, shape)
    return View(*(np.broadcast_to(each, shape) for each in value))  # type: ignore[arg-type]


def run(
    steps: Mapping[int, Step], registers: dict[int, Any], multiply: Callable[..., Array]
) -> dict[int, Any]:
    """Run steps over rows, (R, K); add what they give to the registers."""
    R = len(next(iter(registers.values())))
    for register, step in steps.items():
        arrays = []
        for source, columns, values in step.operands:
            array = values if source < 0 else registers[source]
            arrays.append(array if columns is None else array[:, columns])
        if step.shape:
            arrays[0] = arrays[0].reshape(R, *step.shape)
        with np.errstate(all="ignore"):
            registers[register] = _compute(step, arrays, R, multiply)
    return registers


def _compute(step: Step, arrays: list[Any], R: int, multiply: Callable[..., Array]) -> Array:
    if step.op == "Concat":
        return np.concatenate([np.broadcast_to(a, (R, a.shape[-1])) for a in arrays], axis=1)
    if step.op == "MatMul":
        return multiply(np.ascontiguousarray(arrays[0]), arrays[1]).reshape(R, step.width)
    made = arrays[0]
    if step.op != "Cast" or made.dtype.kind != "f" or step.attributes["to"] not in (1, 10, 11, 16):
        made = OPERATORS[step.op](*arrays, **step.attributes)  # else a run keeps its precision
    whole = step.op in ELEMENTWISE
    return np.broadcast_to(made, (R, step.width)) if whole else made.reshape(R, step.width)
