"""Values that are made of several steps, as pieces that take whole sequences."""

from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.graph import Node, RefusedError
from rnncli.model.graph.labels import plain, sequences_of, steps_of
from rnncli.model.graph.piece import Root, Whole
from rnncli.model.graph.rows import Operand, View, fill

Array = NDArray[Any]
Axes = tuple[int | None, int | None]

# The step of a final state.
STATE = 2**30


class Pieces:
    """Makes pieces of the values that a run over labels has found."""

    def __init__(self, walk: Any) -> None:
        self.walk, self.rows = walk, walk.rows
        self.ways = {layer.register: layer.ways for layer in walk.layers.values()}

    def make(self, name: str, value: Any, axes: Axes) -> tuple[Operand, Whole]:
        """Make the piece that gives a value; return its input from the layers below, and it."""
        nodes, constants, roots = self.trace(name)
        by_call = self.walk.guess.axes[0] is None
        if by_call:  # rows stand where the graph has sequences
            axes = axes[1], None
        if not roots:
            raise RefusedError("is made of an input that is not rows")
        target, columns = self.gather([each.view for each in roots.values()])
        laid = [
            self.root(each, value.view, column)
            for (each, value), column in zip(roots.items(), columns, strict=True)
        ]
        shape = value.labels.shape
        along, _ = axes
        size = prod(n for k, n in enumerate(shape) if k not in axes)
        width = len(target.columns) if target.columns is not None else 0
        width = width or self.rows.widths[target.register]
        shortens = not by_call and along is not None and shape[along] < self.walk.steps
        piece = Whole(
            nodes, constants, self.walk.opset, laid, name, axes, (width, size), shortens=shortens
        )
        piece.whole = not by_call
        try:  # as it will run: one sequence alone
            piece(np.zeros((2 if by_call else self.walk.steps, width), np.float32))
        except ValueError as error:
            raise RefusedError("makes something else of each sequence") from error
        guess = self.walk.guess
        frozen = (self.walk.graph.inputs[guess.x] or (0,))[guess.axes[0] or 0]
        piece.steps = frozen if isinstance(frozen, int) and frozen > 0 and not by_call else 0
        return target, piece

    def trace(self, name: str) -> tuple[list[Node], dict[str, Array], dict[str, Any]]:
        """Return the nodes that give a value, and the constants and the rows that they take."""
        values, nodes = self.walk.values, self.walk.nodes.values()
        makers = {out: (k, node) for k, node in enumerate(nodes) for out in node.outputs if out}
        found: dict[int, Node] = {}
        constants: dict[str, Array] = {}
        roots: dict[str, Any] = {}
        waiting, seen = [name], {""}
        while waiting:
            each = waiting.pop()
            if each in seen:
                continue
            seen.add(each)
            value = values.get(each)
            if getattr(value, "fixed", False):
                constants[each] = value.array
            elif each != name and self.can_begin(getattr(value, "view", None)):
                roots[each] = value
            elif each in makers and makers[each][1].op not in ("RNN", "LSTM", "GRU"):
                k, node = makers[each]
                found[k] = _without_rounding(node)
                waiting += node.inputs
            else:
                raise RefusedError("is made of an input that is not rows")
        return [found[k] for k in sorted(found)], constants, roots

    def can_begin(self, view: View | None) -> bool:
        """Return whether a value is rows of all steps, or the final state of a layer."""
        if view is None:
            return False
        try:
            view.features()
        except RefusedError:
            return False
        t = np.unique(steps_of(fill(view.labels)))
        if len(t) == 1 and t[0] == STATE:
            registers = np.unique(view.registers)
            return len(registers) == 1 and int(registers[0]) in self.ways
        return bool(len(t) == self.walk.steps)

    def gather(self, views: list[View]) -> tuple[Operand, list[Any]]:
        """Return an operand of all columns of several values, and which of it each has."""
        every = [self.rows.row(view) for view in views]
        first = int(every[0][0][0])
        if all((registers == first).all() for registers, _, _ in every):
            return Operand(first), [columns for _, columns, _ in every]
        registers, columns, values = (np.concatenate(each) for each in zip(*every, strict=True))
        edges = np.cumsum([0, *(len(each[0]) for each in every)]).tolist()
        return self.rows.join(registers, columns, values), [
            np.arange(i, j) for i, j in pairwise(edges)
        ]

    def root(self, name: str, view: View, columns: Any) -> Root:
        """Return how the graph has a value that a piece begins with."""
        rows = fill(view.labels)
        t, n = steps_of(rows), sequences_of(rows)
        along, across = _varying(t), _varying(n)
        if len(along) > 1 or len(across) > 1 or (along and along == across):
            raise RefusedError("takes steps and sequences in one axis")
        axes = (along[0] if along else None, across[0] if across else None)
        shape = tuple(1 if k in axes else size for k, size in enumerate(rows.shape))
        if not along and (t == STATE).all():
            registers, column, _ = self.rows.row(view)
            ends = np.array([-1 if way == "forward" else 0 for way in self.ways[registers[0]]])
            H = self.rows.widths[registers[0]] // len(ends)
            return Root(name, columns, shape, (None, axes[1]), ends[column // H])
        if self.walk.guess.axes[0] is None:
            axes = axes[1], None
        turned = bool(along) and t.take(0, along[0]).max() > 0
        return Root(name, columns, shape, axes, None, -1 if turned else 1)


def places(value: Any, steps: int, sequences: int) -> Axes:
    """Return the axes of steps and of sequences of an output that is made of whole sequences."""
    n = sequences_of(plain(value.labels))
    across = _varying(n)
    if len(across) > 1 or (n > sequences).any() or (not across and sequences > 1):
        raise RefusedError(value.why)
    along = [k for k, size in enumerate(n.shape) if size == steps and k not in across]
    if len(along) > 1:
        raise RefusedError(value.why)
    one = next((k for k, size in enumerate(n.shape) if size == 1), None)
    return along[0] if along else None, across[0] if across else one


def _varying(values: Array) -> list[int]:
    return [k for k in range(values.ndim) if (values != values.take([0], k)).any()]


def _without_rounding(node: Node) -> Node:
    """Return a node that keeps the precision of a run, where it casts to floats."""
    if node.op == "Cast" and node.attributes.get("to") in (1, 10, 11, 16):
        return node._replace(op="Identity", attributes={})
    return node
