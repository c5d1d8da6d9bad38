"""Layers that take whole sequences, from the nodes that compute a value of several steps."""

from contextlib import suppress
from math import prod
from typing import Any

import numpy as np

from rnncli.model.graph import Array, Node, RefusedError
from rnncli.model.graph.labels import CONSTANT, STATE, distinct, plain, sequences_of, steps_of
from rnncli.model.graph.node_layers import Axes, Operand, Root, SequenceGraph
from rnncli.model.graph.recurrent import KINDS, run_inside
from rnncli.model.graph.rows import Flow, find_row, lay_out


def cut_graph(walk: Any, name: str, value: Any, axes: Axes) -> tuple[Operand, SequenceGraph]:
    """Make a layer of the nodes that compute a value; return its input and the layer."""
    nodes, constants, roots = _trace(walk, name)
    shape, by_call = value.labels.shape, walk.guess.axes[0] is None
    if by_call:  # rows stand where the graph has sequences
        axes = axes[1], None
    columns = distinct(np.concatenate([root.columns for root in roots]))
    laid = [root._replace(columns=np.searchsorted(columns, root.columns)) for root in roots]
    width, size = len(columns), prod(n for k, n in enumerate(shape) if k not in axes)
    layer = SequenceGraph(nodes, constants, walk.graph.opset, laid, name, axes, (width, size))
    layer.takes_sequences = not by_call
    layer.shortens = not by_call and axes[0] is not None and shape[axes[0]] < walk.steps
    alone = np.zeros((2 if by_call else walk.steps, width), np.float32)
    _choose_sequences(walk, layer, alone)
    _check_counts(walk, layer, alone)
    if by_call:  # a row may depend on itself alone
        pair = np.broadcast_to(np.arange(2)[:, None], (2, width))
        result = np.moveaxis(layer.compute(pair), axes[0] or 0, 0).reshape(2, -1)
        if ((result != pair[:, :1]) & (result != CONSTANT)).any():
            raise RefusedError("makes something of several rows")
    else:
        frozen = walk.graph.inputs[walk.guess.x][walk.guess.axes[0]]
        layer.steps = min(frozen, walk.steps) if isinstance(frozen, int) else 0
    return walk.rows.join(columns), layer


def _choose_sequences(walk: Any, layer: SequenceGraph, alone: Array) -> None:
    """Run a layer as it will be: one sequence alone, or as many as its nodes were frozen for."""
    N, shape = walk.guess.axes[1], walk.graph.inputs[walk.guess.x]
    is_frozen = N is not None and isinstance(shape[N], int) and layer.axes[1] is not None
    frozen = walk.sequences if is_frozen and layer.takes_sequences else 1
    for count in dict.fromkeys((1, frozen)):
        layer.sequences = count
        with suppress(ValueError):
            layer(alone)
            if frozen == 1 or _gives_the_same(layer, frozen, alone.shape):
                return
    raise RefusedError("makes something else of each sequence")


def _differs(layer: SequenceGraph, name: str, array: Array) -> bool:
    """Return whether a constant may have other values for other sequences."""
    if array.dtype.kind != "f" or any(
        name in node.inputs[1:2] for node in layer.nodes if node.op in ("Conv", "Gemm", "MatMul")
    ):
        return False
    axes = [k for k, size in enumerate(array.shape) if size == layer.sequences]
    return any((array != array.take([0], k)).any() for k in axes)


def _gives_the_same(layer: SequenceGraph, count: int, shape: tuple[int, ...]) -> bool:
    """Return whether a layer gives the same for each of equal sequences, as it runs."""
    if layer.sequences > 1 and any(
        _differs(layer, name, array) for name, array in layer.constants.items()
    ):
        return False
    draws = np.random.default_rng(0)
    for scale in (1, 30):
        x = draws.uniform(-scale, scale, shape)
        with suppress(ValueError):  # such as numbers that no table has
            y, several = layer.compute(x), layer.evaluate(x, count)[layer.target]
            if not np.allclose(y, several, 1e-9, 1e-9, equal_nan=True):
                return False
    return True


def cut_output(walk: Any, name: str, value: Any) -> tuple[Operand, SequenceGraph]:
    """Make a layer of the nodes that compute a value of all steps, or of one row a sequence."""
    by_call, shape = walk.guess.axes[0] is None, value.labels.shape
    along, across = find_axes(value, 0 if by_call else walk.steps, walk.sequences)
    target, graph = cut_graph(walk, name, value, (along, across))
    is_frozen = along not in (None, len(shape) - 1) and graph.steps > 1
    if by_call or (len(shape) > 2 and (is_frozen or along == walk.guess.axes[0])):
        return target, graph
    # A row may have as many values as there are steps.
    longer = np.zeros((walk.steps + 2, graph.input_size), np.float32)
    with suppress(RefusedError):
        shape = graph.compute(longer).shape
    is_one_row = graph.steps and not (walk.guess.sure and value.labels.ndim == 3)
    if along is None and not is_one_row and prod(shape) != graph.output_size:
        raise RefusedError("gives another number of steps than the input has")
    if along is not None and shape[along] != len(longer):
        return cut_graph(walk, name, value, (None, across))
    return target, graph


def _check_counts(walk: Any, layer: SequenceGraph, alone: Array) -> None:
    """Check that the numbers that rows meet do not depend on how many sequences there are."""
    counting = (node for node in layer.nodes if node.name in walk.counting)
    names = [n for node in counting for n in node.inputs if hasattr(walk.values.get(n), "counts")]
    if not names:
        return
    ours = layer.evaluate(alone)
    for sequences in (2, 17):  # a few, and more than a quotient may hide
        whole = layer.takes_sequences
        rows = alone if whole else np.repeat(alone, sequences, 0)
        try:
            more = layer.evaluate(rows, sequences if whole else 1)
        except RefusedError:  # the graph was exported for one
            continue
        if not all(np.array_equal(distinct(ours[n]), distinct(more[n])) for n in names):
            raise RefusedError("computes with the number of sequences")


def _trace(walk: Any, name: str) -> tuple[list[Node], dict[str, Array], list[Root]]:
    """Return the nodes that compute a value, and the constants and the rows that they take."""
    nodes, constants, roots, wanted = list[Node](), dict[str, Array](), dict[str, Root](), {name}
    for node in reversed(walk.nodes.values()):
        if wanted.isdisjoint(node.outputs):
            continue
        if node.op in KINDS:  # of which more is wanted than the rows and final states that it gives
            if id(node) not in walk.recurrent:
                break
            node = run_inside(node, walk.recurrent[id(node)][1])
        wanted.difference_update(node.outputs)
        nodes.insert(0, node)
        for each in filter(None, node.inputs):
            value = walk.values.get(each)
            if isinstance(value, np.ndarray):
                constants[each] = value
            elif root := roots.get(each) or _find_root(walk, each, value):
                roots[each] = root
            else:
                wanted.add(each)
    if wanted or not roots:
        raise RefusedError("is made of an input that is not rows")
    return nodes, constants, [*roots.values()]


def _find_root(walk: Any, name: str, value: Any) -> Root | None:
    """Return a value as a root, if it has the rows of all steps or the final state of a layer."""
    if not isinstance(value, Flow) or value.columns is None:
        return None
    rows = plain(value.labels)
    t, n = steps_of(rows), sequences_of(rows)
    along, across = _find_varying(t), _find_varying(n)
    if len(along) > 1 or len(across) > 1 or (along and along == across):
        return None
    T, N = (axes[0] if axes else None for axes in (along, across))
    shape = tuple(1 if k in (T, N) else size for k, size in enumerate(rows.shape))
    columns = find_row(value.columns, lay_out(value.labels))
    by_call = walk.guess.axes[0] is None
    if T is None and (t == STATE).all() and not by_call:
        registers = walk.rows.registers(columns)
        layer = walk.layers.get(int(registers[0]))
        repeated = len(distinct(columns)) < len(columns)  # the nodes that do so are run
        if not layer or repeated or (registers != registers[0]).any():
            return None
        ways = layer.component.layers[0].directions
        offsets = columns - walk.rows.begins[registers[0]]
        ends = np.array([-1 if way == "forward" else 0 for way in ways])
        size = walk.rows.width(int(registers[0])) // len(ends)
        return Root(name, columns, shape, (None, N), ends[offsets // size])
    steps = t[tuple(slice(None) if k == T else 0 for k in range(t.ndim))].reshape(-1)
    if len(steps) != walk.steps or (np.diff(steps) < 1).any():  # some steps, or in another order
        return None
    axes = (T, N)
    if by_call:  # rows stand where the graph has sequences
        one = next((k for k, size in enumerate(rows.shape) if size == 1), None)
        axes = one if N is None else N, None
    return Root(name, columns, shape, axes)


def find_axes(value: Any, steps: int, sequences: int) -> Axes:
    """Return the axes of steps and of sequences of an output of whole sequences."""
    n = sequences_of(plain(value.labels))
    across = _find_varying(n)
    along = [k for k, size in enumerate(n.shape) if size == steps and k not in across]
    odd = len(across) > 1 or len(along) > 1 or (n > sequences).any()
    if odd or (not across and sequences > 1):
        raise RefusedError(value.why)
    for axis in across:
        order = np.moveaxis(n, axis, 0).reshape(n.shape[axis], -1).max(1)
        if not np.array_equal(order, np.arange(sequences)):
            raise RefusedError("gives no values of all sequences in the order of its input")
    one = next((k for k, size in enumerate(n.shape) if size == 1), None)
    return along[0] if along else None, across[0] if across else one


def _find_varying(values: Array) -> list[int]:
    return [k for k in range(values.ndim) if (values != values.take([0], k)).any()]
