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
    every = [rows.row(walk.values[each].view) for each in roots]
    columns = [each[1] for each in every]
    first = int(every[0][0][0])
    target = Operand(first)
    if not all((registers == first).all() for registers, _, _ in every):
        target = rows.join(*(np.concatenate(each) for each in zip(*every, strict=True)))
        edges = np.cumsum([0, *map(len, columns)])
        columns = [np.arange(i, j) for i, j in pairwise(edges.tolist())]
    found = zip(roots.values(), columns, strict=True)
    laid = [root._replace(columns=column) for root, column in found]
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


def _trace(walk: Any, name: str) -> tuple[list[Node], dict[str, Array], dict[str, Root]]:
    """Return the nodes that give a value, and the constants and the rows that they take."""
    makers = {
        out: (k, node) for k, node in enumerate(walk.nodes.values()) for out in node.outputs if out
    }
    found: dict[int, Node] = {}
    constants: dict[str, Array] = {}
    roots: dict[str, Root] = {}
    waiting, seen = [name], {""}
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        value = walk.values.get(each)
        if getattr(value, "fixed", False):
            constants[each] = value.array
        elif each != name and (root := _find_root(walk, each, getattr(value, "view", None))):
            roots[each] = root
        elif each in makers and makers[each][1].op not in KINDS:
            k, node = makers[each]
            found[k] = node
            if node.op == "Cast" and node.attributes.get("to") in (1, 10, 11, 16):
                found[k] = node._replace(op="Identity", attributes={})  # a run keeps its precision
            waiting += node.inputs
        else:
            raise RefusedError("is made of an input that is not rows")
    return [found[k] for k in sorted(found)], constants, roots


def _find_root(walk: Any, name: str, view: View | None) -> Root | None:
    """Return how the graph has rows of all steps, or the final state of a layer; else None."""
    if view is None:
        return None
    rows = fill(view.labels)
    t, n = steps_of(rows), sequences_of(rows)
    along, across = _varying(t), _varying(n)
    if len(along) > 1 or len(across) > 1 or (along and along == across):
        return None
    T, N = (axes[0] if axes else None for axes in (along, across))
    shape = tuple(1 if k in (T, N) else size for k, size in enumerate(rows.shape))
    ways = {layer.register: layer.ways for layer in walk.layers.values()}
    register, column = int(view.registers.flat[0]), walk.rows.row(view)[1]
    if T is None and (t == STATE).all():
        if register not in ways or (view.registers != register).any():
            return None
        ends = np.array([-1 if way == "forward" else 0 for way in ways[register]])
        size = walk.rows.widths[register] // len(ends)
        return Root(name, column, shape, (None, N), ends[column // size])
    if {len(np.unique(t)), 1 if T is None else rows.shape[T]} != {walk.steps}:
        return None
    turned = T is not None and t.take(0, T).max() > 0
    axes = (N, None) if walk.guess.axes[0] is None else (T, N)
    return Root(name, column, shape, axes, None, -1 if turned else 1)


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
