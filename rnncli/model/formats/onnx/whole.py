"""Values that are made of several steps, as pieces that take whole sequences."""

from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.formats.onnx.recurrent import KINDS
from rnncli.model.graph import Node, RefusedError
from rnncli.model.graph.labels import plain, sequences_of, steps_of
from rnncli.model.graph.piece import Axes, Root, Whole
from rnncli.model.graph.rows import Operand, View, fill

Array = NDArray[Any]

STATE = 2**30  # the step of a final state


def make_whole(walk: Any, name: str, value: Any, axes: Axes) -> tuple[Operand, Whole]:
    """Make the piece that gives a value of a run over labels; return what it takes, and it."""
    nodes, constants, roots = _trace(walk, name)
    by_call, rows = walk.guess.axes[0] is None, walk.rows
    if by_call:  # rows stand where the graph has sequences
        axes = axes[1], None
    if not roots:
        raise RefusedError("is made of an input that is not rows")
    every = [rows.row(view) for view in roots.values()]
    columns = [each[1] for each in every]
    first = int(every[0][0][0])
    target = Operand(first)
    if not all((registers == first).all() for registers, _, _ in every):
        target = rows.join(*(np.concatenate(each) for each in zip(*every, strict=True)))
        edges = np.cumsum([0, *map(len, columns)])
        columns = [np.arange(i, j) for i, j in pairwise(edges.tolist())]
    laid = [_root(walk, *each, column) for each, column in zip(roots.items(), columns, strict=True)]
    shape, along = value.labels.shape, axes[0]
    size = prod(n for k, n in enumerate(shape) if k not in axes)
    width = rows.widths[target.register] if target.columns is None else len(target.columns)
    piece = Whole(nodes, constants, walk.opset, laid, name, axes, (width, size))
    piece.shortens = not by_call and along is not None and shape[along] < walk.steps
    piece.whole = not by_call
    try:  # as it will run: one sequence alone
        piece(np.zeros((2 if by_call else walk.steps, width), np.float32))
    except ValueError as error:
        raise RefusedError("makes something else of each sequence") from error
    frozen = (walk.graph.inputs[walk.guess.x] or (0,))[walk.guess.axes[0] or 0]
    piece.steps = frozen if isinstance(frozen, int) and frozen > 0 and not by_call else 0
    return target, piece


def _trace(walk: Any, name: str) -> tuple[list[Node], dict[str, Array], dict[str, View]]:
    """Return the nodes that give a value, and the constants and the rows that they take."""
    makers = {
        out: (k, node) for k, node in enumerate(walk.nodes.values()) for out in node.outputs if out
    }
    found: dict[int, Node] = {}
    constants: dict[str, Array] = {}
    roots: dict[str, View] = {}
    waiting, seen = [name], {""}
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        value = walk.values.get(each)
        if getattr(value, "fixed", False):
            constants[each] = value.array
        elif each != name and _can_begin(walk, getattr(value, "view", None)):
            roots[each] = value.view
        elif each in makers and makers[each][1].op not in KINDS:
            k, node = makers[each]
            found[k] = node
            if node.op == "Cast" and node.attributes.get("to") in (1, 10, 11, 16):
                found[k] = node._replace(op="Identity", attributes={})  # a run keeps its precision
            waiting += node.inputs
        else:
            raise RefusedError("is made of an input that is not rows")
    return [found[k] for k in sorted(found)], constants, roots


def _can_begin(walk: Any, view: View | None) -> bool:
    """Return whether a value is rows of all steps, or the final state of a layer."""
    if view is None:
        return False
    try:
        view.features()
    except RefusedError:
        return False
    t = np.unique(steps_of(fill(view.labels)))
    if len(t) == 1 and t[0] == STATE:
        registers = {*view.registers.reshape(-1).tolist()}
        return len(registers) == 1 and any(
            layer.register in registers for layer in walk.layers.values()
        )
    return bool(len(t) == walk.steps)


def _root(walk: Any, name: str, view: View, columns: Any) -> Root:
    """Return how the graph has a value that a piece begins with."""
    rows = fill(view.labels)
    t, n = steps_of(rows), sequences_of(rows)
    along, across = _varying(t), _varying(n)
    if len(along) > 1 or len(across) > 1 or (along and along == across):
        raise RefusedError("takes steps and sequences in one axis")
    axes = (along[0] if along else None, across[0] if across else None)
    shape = tuple(1 if k in axes else size for k, size in enumerate(rows.shape))
    if not along and (t == STATE).all():
        registers, column, _ = walk.rows.row(view)
        ways = {layer.register: layer.ways for layer in walk.layers.values()}[int(registers[0])]
        ends = np.array([-1 if way == "forward" else 0 for way in ways])
        H = walk.rows.widths[registers[0]] // len(ends)
        return Root(name, columns, shape, (None, axes[1]), ends[column // H])
    if walk.guess.axes[0] is None:
        axes = axes[1], None
    turned = bool(along) and t.take(0, along[0]).max() > 0
    return Root(name, columns, shape, axes, None, -1 if turned else 1)


def find_axes(value: Any, steps: int, sequences: int) -> Axes:
    """Return the axes of steps and of sequences of an output that is made of whole sequences."""
    n = sequences_of(plain(value.labels))
    across = _varying(n)
    along = [k for k, size in enumerate(n.shape) if size == steps and k not in across]
    odd = len(across) > 1 or len(along) > 1 or (n > sequences).any()
    if odd or (not across and sequences > 1):
        raise RefusedError(value.why)
    one = next((k for k, size in enumerate(n.shape) if size == 1), None)
    return along[0] if along else None, across[0] if across else one


def _varying(values: Array) -> list[int]:
    return [k for k in range(values.ndim) if (values != values.take([0], k)).any()]
