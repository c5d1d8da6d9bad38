"""A run of a graph over labels: what each value is, and the recurrent nodes as layers."""

import re
from collections import Counter
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import shown
from rnncli.model.formats.found import CellDraft, Draft, Part
from rnncli.model.formats.onnx.messages import Model
from rnncli.model.formats.onnx.recurrent import KINDS, WAYS, attribute, read_cells
from rnncli.model.formats.onnx.whole import STATE, make_whole
from rnncli.model.graph import Graph, Node, RefusedError, Unread, apply
from rnncli.model.graph.labels import Labels, labels, plain, row_label, sequences_of, steps_of
from rnncli.model.graph.operators import FAR, MOVERS
from rnncli.model.graph.piece import Whole
from rnncli.model.graph.rows import Operand, Rows, View

Array = NDArray[Any]

_MOST_COMPUTED = 2**23  # values that are computed while a graph is read, over those of the file
_COST, _COST_OF_LAYER = 800, 8_000  # values that a node is counted for
_COST_OF_LABEL = 8  # and a label, with what it is as a row
_TURNED = {"forward": "backward", "backward": "forward"}
# Operators whose first input has the values, and whose others tell where these go.
_PLACING = {"ConstantOfShape", "Expand", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Tile"}
_PLACING |= {"Unsqueeze"}
# Operators that may treat the number of steps in another way where it is another.
_UNSTEADY = {"Clip", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod"}
_UNSTEADY |= {"ReduceMax", "ReduceMin"}
_QUANTIZED = "export the model before it is quantized"
_OTHER_AXES = "takes other axes for steps, sequences and features than the layer below"
_TOO_MANY = "needs more values to be computed than are while a graph is read"
_OTHERS = (
    ("sequence_lens", "lengths of sequences from {}: each is run as long as it is"),
    ("initial_h", "initial_h from {}: `h0` gives it, zeros else"),
    ("initial_c", "initial_c from {}: `c0` gives it, zeros else"),
)
_MISTAKEN = (
    "resets before the product, which no GRU of PyTorch does: exporters of PyTorch 2.10 to 2.12 "
    "wrote so by mistake"
)


class Const(NamedTuple):
    """An array that does not depend on the input.

    It is `sized` if its values depend on the numbers of steps and sequences, and not `fixed` if
    its values or its shape do.
    """

    array: Array
    sized: bool = False
    fixed: bool = True


class Flow(NamedTuple):
    """A value that depends on inputs: its labels, and what it is as rows, or why it is not."""

    labels: Labels
    view: View | None
    roots: frozenset[int | str]  # registers of rows, and names of other inputs
    moved: bool = False  # whether it is an input, or a part of it
    why: str = ""


class Unknown(NamedTuple):
    """An output of a node that was refused, or cannot be that of the model."""

    why: str = ""


class Layer(NamedTuple):
    """A recurrent layer: its part, its register, its directions, and what it takes.

    `whole` makes of the target what it takes, where that is not the rows themselves.
    """

    part: Part
    draft: Draft
    register: int
    ways: tuple[str, ...]
    target: Operand
    whole: Whole | None = None


class Guess(NamedTuple):
    """An input that may be the rows, which of its axes are steps and sequences, and how many.

    One that is `freed` takes several steps, where the graph was frozen with one.
    """

    x: str
    axes: tuple[int | None, int | None] = (None, None)
    steps: int = 7
    sequences: int = 3
    freed: bool = False


class Shared(NamedTuple):
    """Shared by all runs of a graph: what was read of its nodes, and names of values.

    `needed` are those that the output is computed of, `lower` those below recurrent nodes.
    """

    path: str
    model: Model
    needed: set[str]
    lower: set[str]
    read: dict[int, tuple[Node, Any]]


class Walk:
    """A run of a graph over labels.

    `pairs` are nodes that are the other direction of a node before them; those that are found are
    added, for another run. With `ends`, the last step that a direction takes has the label of its
    final state.

    Its `doubt` tells how likely another guess at the axes is: 3 where the lowest layer cannot take
    them so, 2 where it takes what is made of all steps, 1 of some, 0 where it takes rows.
    """

    def __init__(self, shared: Shared, guess: Guess, pairs: dict[str, str], *, ends: bool) -> None:
        self.shared, self.guess, self.pairs, self.ends = shared, guess, pairs, ends
        self.graph, self.opset = shared.model.graph, shared.model.opsets.get("", 1)
        self.rows, self.steps, self.sequences, self.doubt = Rows(), guess.steps, 1, 0
        arrays = self.graph.arrays
        stored = sum(each.size for each in arrays.values() if not isinstance(each, Unread))
        self.left = float(_MOST_COMPUTED + 4 * stored)
        self.values: dict[str, Any] = {}
        self.makers: dict[str, Node] = {}
        self.nodes: dict[str, Node] = {}  # by names of which no two have one
        self.notes: list[tuple[str, str]] = []
        self.refused: dict[str, Part] = {}
        self.layers: dict[str, Layer] = {}
        self.loose: dict[str, Part] = {}  # layers that take what is not known

    def run(self) -> None:
        """Follow the values through all nodes."""
        self.store(self.graph)
        self.start()
        counts = Counter(node.name for node in self.graph.nodes)
        waiting = [*self.graph.nodes][::-1]
        while waiting:
            node = waiting.pop()
            name = node.name if counts[node.name] == 1 else ""
            name = name or next(filter(None, node.outputs), node.op)
            while name in self.nodes:
                name = f"{name} ({len(self.nodes)})"
            self.nodes[name] = node
            self.makers.update(dict.fromkeys(filter(None, node.outputs), node))
            if self.left < 0:  # no more is computed
                self.values.update(dict.fromkeys(node.outputs, Unknown()))
                continue
            try:
                self.spend(_COST_OF_LAYER if node.op in KINDS else _COST)
                if node.op == "If" and (branch := self.branch(node)):
                    waiting += branch
                    continue
                found = self.node(name, node)
            except RefusedError as error:
                found = self.refuse(name, node, error)
            self.values.update(zip(node.outputs, found, strict=False))

    def store(self, graph: Graph) -> None:
        """Add the arrays of a graph to the values."""
        for name, array in graph.arrays.items():
            self.values[name] = array if isinstance(array, Unread) else Const(array)

    def start(self) -> None:
        """Label the inputs of the graph."""
        x, sizes, inputs = self.guess.x, dict[Any, int](), self.graph.inputs
        try:
            self.values[x] = self.label(inputs[x], sizes)
        except RefusedError as error:
            self.doubt = 3
            self.values[x] = self.refuse(x, Node("input", x, "", (), (x,), {}), error)[0]
        for name, shape in inputs.items():
            if name not in self.values:
                whole = [
                    int(size) if is_known(size) else sizes.get(size, self.guess.sequences)
                    for size in shape or ()
                ]
                none = labels(np.broadcast_to(np.zeros(1, np.int64), whole))
                self.values[name] = Flow(none, None, frozenset({name}), True, "is another input")

    def label(self, shape: Sequence[int | str] | None, sizes: dict[Any, int]) -> Flow:
        """Label the input that is rows; add the sizes that its axes have."""
        guess, (T, N), whole = self.guess, self.guess.axes, list[int]()
        if shape is None or T is N is None:
            raise RefusedError("an input of which the graph does not tell the number of axes")
        for axis, size in enumerate(shape):
            free = {T: guess.steps, N: guess.sequences}.get(axis, self.features())
            known = is_known(size) and not (guess.freed and axis == T)
            whole.append(int(size) if known else free)
            sizes[size] = whole[-1]
        self.steps, self.sequences = (1 if k is None else whole[k] for k in (T, N))
        self.spend(_COST_OF_LABEL * prod(whole))
        t, n = (0 if k is None else np.indices(whole, sparse=True)[k] for k in (T, N))
        found = labels(np.broadcast_to(row_label(t, n), whole))
        return Flow(found, self.rows.source(found), frozenset({0}), True)

    def features(self) -> int:
        """Return how many features a recurrent node takes, as far as a constant tells."""
        for node in self.graph.nodes:
            W = self.graph.arrays.get(node.inputs[1]) if len(node.inputs) > 1 else None
            if node.op in KINDS and isinstance(W, np.ndarray) and W.ndim == 3:
                return max(1, int(W.shape[2]))
        return 1

    def spend(self, values: float) -> None:
        """Count values that are computed."""
        if not values <= self.left:  # it may be NaN
            self.left = -1
            raise RefusedError(_TOO_MANY)
        self.left -= values

    def refuse(self, name: str, node: Node, error: RefusedError) -> list[Unknown]:
        """Record why a node cannot be read."""
        arrays = self.arrays(node.inputs)
        self.refused[name] = Part(name, node.op, arrays, (), error.why, error.hint, True)
        return [Unknown()] * max(1, len(node.outputs))

    def arrays(self, names: Sequence[str]) -> dict[str, Array]:
        """Return the file's arrays of floats that constants are computed of."""
        found: dict[str, Array] = {}
        waiting, seen = [*names][::-1], set[str]()
        while waiting:
            name = waiting.pop()
            value, maker = self.values.get(name), self.makers.get(name)
            if not isinstance(value, Const) or name in seen:
                continue
            seen.add(name)
            if maker and maker.inputs:
                waiting += maker.inputs[::-1]
            elif value.array.dtype.kind == "f" and value.array.ndim:
                found[name] = value.array
        return found

    def branch(self, node: Node) -> list[Node]:
        """Return the nodes of the branch that an ``If`` takes on a constant, the last one first."""
        condition = self.values.get(node.inputs[0]) if node.inputs else None
        if not isinstance(condition, Const) or condition.array.size != 1 or condition.sized:
            return []
        graph = node.attributes.get("then_branch" if condition.array.any() else "else_branch")
        if not isinstance(graph, Graph):
            return []
        self.store(graph)
        pairs = zip(graph.outputs, node.outputs, strict=False)
        outputs = [Node("Identity", "", "", (one,), (other,), {}) for one, other in pairs]
        return [*graph.nodes, *outputs][::-1]

    # Nodes.

    def node(self, name: str, node: Node) -> Sequence[Any]:
        """Compute the outputs of a node."""
        given = [self.values.get(each) if each else None for each in node.inputs]
        self.check(node, given)
        while given and given[-1] is None:
            given.pop()
        if node.op in KINDS:
            return self.recurrent(name, node, [*given, *[None] * 8][:8])
        unknown = [each for each in given if isinstance(each, Unknown)]
        if unknown:
            zero = node.op == "ConstantOfShape" and not np.any(node.attributes.get("value", 0))
            zero |= node.op == "Expand" and isinstance(given[0], Const) and not given[0].array.any()
            return [Const(np.zeros(()), True, False) if zero else unknown[-1]] * len(node.outputs)
        if node.op in ("Shape", "Size") and isinstance(given[0], Flow):
            return [Const(apply(node, [given[0].labels], self.opset)[0], True, False)]
        if id(node) in self.shared.read:
            return self.shared.read[id(node)][1]  # type: ignore[no-any-return]
        arrays = [_array(each) for each in given]
        if any(isinstance(each, Flow) for each in given):
            made = apply(node, arrays, self.opset, lambda n: self.spend(_COST_OF_LABEL * n))
            return self.flow(node._replace(name=name), given, [labels(plain(e)) for e in made])
        return self.constants(node, [each for each in given if each], arrays)

    def constants(self, node: Node, constants: Sequence[Const], arrays: Sequence[Any]) -> list[Any]:
        """Compute the outputs of a node for constants."""
        made = apply(node, arrays, self.opset, self.spend)
        content = constants[:1] if node.op in _PLACING else constants
        sized = node.op != "ConstantOfShape" and any(each.sized for each in content)
        if sized and node.op in _UNSTEADY:
            raise RefusedError("compares the number of steps or sequences with another")
        fixed = all(each.fixed for each in constants)
        found = [Const(array, sized, fixed) for array in made]
        if fixed:
            self.shared.read[id(node)] = node, found  # the node keeps its id
        return found

    def check(self, node: Node, given: Sequence[Any]) -> None:
        """Check that an operator is one of ONNX's own, and what it takes is there."""
        op, text = node.op, f"operator {f'{node.domain} {node.op}'.strip()}"
        if re.match("QL|Quant|Dequant|DynamicQuant|.*Integer$", op):
            raise RefusedError(f"{text} is quantized, and not read", _QUANTIZED)
        if node.domain:
            raise RefusedError(f"{text} is not read")
        if ("", op) in self.shared.model.functions:
            raise RefusedError(f"{text} is defined by the model, and is not read")
        if any(isinstance(each, Graph) for each in node.attributes.values()):
            raise RefusedError(f"{text} has a graph of its own, and is not read")
        for name, each in zip(node.inputs, given, strict=True):
            if name and each is None:
                raise RefusedError(f"takes {shown(name)}, which no node before it gives")
            if isinstance(each, Unread):
                raise RefusedError(each.why)

    def flow(self, node: Node, given: Sequence[Any], made: Sequence[Labels]) -> list[Flow]:
        """Compute the outputs of a node for values that depend on inputs."""
        if not all(each.size for each in made):
            raise RefusedError("gives an array of no values")
        flows = [each for each in given if isinstance(each, Flow)]
        roots = frozenset[int | str]().union(*(each.roots for each in flows))
        moved = node.op in (*MOVERS, "Cast") and all(each.moved for each in flows)
        why = next((each.why for each in flows if each.view is None), "")
        content = given[:1] if node.op in _PLACING else given
        if node.op == "Slice" and _is_bounded(node, given):
            why = why or "takes a fixed number of steps of those that there are"
        if any(isinstance(each, Const) and each.sized for each in content):
            why = why or "computes with the number of steps or sequences"
        views: Sequence[View | None] = [None] * len(made)
        if not why:
            taken = [each.view if isinstance(each, Flow) else _array(each) for each in given]
            try:
                views = self.rows.node(node, taken, made, self.opset)
            except RefusedError as error:
                why = error.why
        if node.op == "Cast" and node.attributes.get("to") in (10, 16):
            kind = {10: "float16", 16: "bfloat16"}[node.attributes["to"]]
            text = f"{node.name} rounds to {kind}, which is not done here"
            self.notes.append((node.name, text))
        return [Flow(m, view, roots, moved, why) for m, view in zip(made, views, strict=True)]

    # Recurrent nodes.

    def recurrent(self, name: str, node: Node, given: Sequence[Any]) -> list[Any]:
        """Read a recurrent node."""
        cells, x = self.cells(name, node, given), given[0]
        ways, layout = WAYS[attribute(node, "direction", "forward")], attribute(node, "layout", 0)
        D, H, known = len(cells), len(cells[0].weights.W_hh), not isinstance(x, Unknown)
        target, whole, step = self.take(node, x, layout) if known else (Operand(-1), None, 1)
        N: Any = x.labels.shape[1 - layout] if known else None
        if step < 0:
            ways = tuple(_TURNED[way] for way in ways)
        if ways[0] == "backward" and len(ways) == 2:
            raise RefusedError("takes the steps from the last to the first, in both directions")
        roots = x.roots if known else set()
        self.check_others(name, given, (N, D, H) if layout else (D, N, H), roots)
        states = given[5:7] if node.op == "LSTM" else given[5:6]
        if self.guess.axes[0] is None and not all(isinstance(each, Flow) for each in states):
            raise self.doubt_axes(3, "starts anew at each call")
        before = node.op == "GRU" and not attribute(node, "linear_before_reset", 0)
        if before and self.shared.model.producer.startswith("pytorch"):
            self.notes.append((name, f"{name} {_MISTAKEN}"))
        settings = {"direction": ways[0]}
        if D == 2:
            settings = {"direction": "bidirectional", "merge": "concat"}
        draft = Draft(tuple(cells), settings)
        part = Part(name, node.op, self.arrays([*node.inputs[1:4], *node.inputs[7:8]]), [draft])
        if not known:
            self.loose[name] = part
            return [x] * 3
        begin = self.join(name, Layer(part, draft, len(self.rows.widths), ways, target, whole), H)
        columns = begin + np.arange(D * H, dtype=np.int32).reshape(D, 1, H)
        return self.outputs(self.layers[name].register, columns, node, N, ways, step)

    def doubt_axes(self, doubt: int, why: str) -> RefusedError:
        """Return the error where other axes of the input are those of steps and sequences."""
        self.doubt = max(self.doubt, doubt)
        return RefusedError(why)

    def cells(self, name: str, node: Node, given: Sequence[Any]) -> list[CellDraft]:
        """Read the cells of a node."""
        arrays: dict[str, Array | None] = {}
        for place, role in ((1, "W"), (2, "R"), (3, "B"), (7, "P")):
            each = given[place]
            known = isinstance(each, Const) and not each.sized
            if not known and (each is not None or place < 3):
                got = "nothing" if each is None else "what depends on the input"
                raise RefusedError(f"input {place + 1}: expected a constant, got {got}")
            arrays[role] = None if each is None else each.array
        if id(node) not in self.shared.read:
            found = read_cells(self.shared.path, node._replace(name=name), arrays)
            self.shared.read[id(node)] = node, found
        self.spend(sum(each.size for each in arrays.values() if each is not None))
        return self.shared.read[id(node)][1]  # type: ignore[no-any-return]

    def take(self, node: Node, x: Any, layout: int) -> tuple[Operand, Whole | None, int]:
        """Find the input of a node: its rows, the piece that makes sequences, and the order."""
        if not isinstance(x, Flow):
            raise RefusedError("input 1: expected rows, got a constant")
        if x.labels.ndim != 3:
            raise RefusedError(f"expected three axes, got {x.labels.ndim}")
        rows, lowest = plain(x.labels), x.roots == {0}
        rows = rows.swapaxes(0, 1) if layout else rows
        T, N, _ = rows.shape
        layered = any(isinstance(root, int) for root in x.roots)
        if not layered or (sequences_of(rows) != np.arange(N)[:, None]).any():
            raise self.doubt_axes(3 * lowest, _OTHER_AXES)
        if x.view is None or (rows < 0).any():
            return (*self.take_whole(node.inputs[0], x, layout, lowest=lowest), 1)
        t, order = steps_of(rows), np.arange(T)[:, None, None]
        if (t == STATE).all() and T == 1:
            raise RefusedError("takes one row a sequence of the layer below")
        forward = bool((t == order).all())
        if forward and self.steps > T:
            return (*self.take_whole(node.inputs[0], x, layout, lowest=lowest), 1)
        if not forward and (t != order[::-1]).any():
            raise self.doubt_axes(3 * lowest, _OTHER_AXES)
        return self.rows.operand(x.view), None, 1 if forward else -1

    def take_whole(self, name: str, x: Flow, along: int, *, lowest: bool) -> tuple[Operand, Whole]:
        """Return the rows of which whole sequences are made, and what makes them."""
        T = x.labels.shape[along]
        if lowest and T == 1 < self.steps:
            raise self.doubt_axes(3, x.why or "takes one step of several")
        target, whole = make_whole(self, name, x, (along, 1 - along))
        if lowest:
            self.doubt_axes(2 if whole.whole and not whole.is_local(self.steps) else 1, "")
        if whole.shortens and (not lowest or self.layers or target.register):
            raise RefusedError("takes another number of steps than the layer below gives")
        self.steps = T
        return target, whole

    def outputs(
        self, register: int, columns: Array, node: Node, N: int, ways: tuple[str, ...], step: int
    ) -> list[Any]:  # fmt: skip
        """Return all states that a node gives, and the last ones."""
        (D, _, H), T = columns.shape, self.steps
        t = np.arange(T)[::step].reshape(-1, 1, 1, 1)
        if self.ends and T > 1 and not self.shared.lower.intersection(node.outputs):
            last = [[[T - 1 if way == "forward" else 0]] for way in ways]
            t = np.where(t == last, STATE, t)
        n = np.arange(N)[:, None]
        every = np.broadcast_to(row_label(t, n), (T, D, N, H))
        final = np.broadcast_to(row_label(STATE, n), (D, N, H))
        found: list[Any] = []
        for label in (every, final):
            column = np.broadcast_to(columns, label.shape)
            if attribute(node, "layout", 0):
                order = (2, 0, 1, 3) if label.ndim == 4 else (1, 0, 2)
                label, column = label.transpose(order), column.transpose(order)
            view = self.rows.view(labels(label), register, column)
            found.append(Flow(view.labels, view, frozenset({register})))
        return [*found, Unknown("gives the cell state")]

    def join(self, name: str, layer: Layer, H: int) -> int:
        """Add a layer, or a direction to a layer; return the first of its columns."""
        other, backward = self.pairs.get(name, ""), layer.ways[0] == "backward"
        if other in self.layers:
            below = self.layers[other]
            one, two = (below, layer) if backward else (layer, below)
            settings = {"direction": "bidirectional", "merge": "concat"}
            draft = Draft((*one.draft.cells, *two.draft.cells), settings)
            arrays = {**below.part.arrays, **layer.part.arrays}
            part = below.part._replace(arrays=arrays, layers=[draft])
            ways = ("forward", "backward")
            self.layers[name] = self.layers[other] = below._replace(
                part=part, draft=draft, ways=ways
            )
            return H * backward
        paired = name in self.pairs.values()
        if not paired and len(layer.ways) == 1:
            self.find_pair(name, layer)
        self.layers[name] = layer
        self.rows.widths.append(H * (2 if paired else len(layer.ways)))
        return H * (paired and backward)

    def find_pair(self, name: str, layer: Layer) -> None:
        """Find a node that is the other direction of the same layer."""
        for other, below in self.layers.items():
            if other in (*self.pairs, *self.pairs.values()):
                continue
            same = below.part.kind == layer.part.kind and below.ways == (_TURNED[layer.ways[0]],)
            sizes = {len(each.draft.cells[0].weights.W_hh) for each in (below, layer)}
            needed = (self.shared.needed & {*self.nodes[each].outputs} for each in (name, other))
            if same and len(sizes) == 1 and layer.target.is_same(below.target) and all(needed):
                self.pairs[name] = other
                return

    def check_others(
        self, name: str, given: Sequence[Any], shape: tuple[int | None, ...], roots: Any
    ) -> None:
        """Check lengths and initial states: what is given anyway, or another input of the graph."""
        for value, (role, note) in zip(given[4:7], _OTHERS, strict=True):
            if isinstance(value, Const):
                self.check_constant(role, value, shape)
            elif value is not None:
                moved = isinstance(value, Flow) and value.moved
                if not moved or not value.roots.isdisjoint({0, *roots}):
                    raise RefusedError(f"input {role} is computed in the graph")
                origin = shown(str(next(iter(value.roots))))
                self.notes.append((name, f"{name} takes {note.format(origin)}"))

    def check_constant(self, role: str, value: Const, wanted: tuple[int | None, ...]) -> None:
        """Check lengths, which have to be all steps, or an initial state: zeros of this shape."""
        array, sizes = value.array, value.array.shape
        if role == "sequence_lens":
            T, shape = self.guess.axes[0], self.graph.inputs[self.guess.x]
            free = T is not None and shape and not is_known(shape[T])
            if (array != self.steps).any() or (free and not value.sized):
                what = "input sequence_lens is a constant: sequences have their own lengths"
                raise RefusedError(what)
            return
        if array.any() or (value.sized and sizes):
            raise RefusedError(f"input {role} is a constant other than zeros")
        fits = array.ndim == 3 and all(e in (None, s) for s, e in zip(sizes, wanted, strict=True))
        if not fits and (sizes or not value.sized):
            text = str(wanted).replace("None", "N")
            raise RefusedError(f"{role}: expected shape {text}, got {sizes}")


def is_known(size: Any) -> bool:
    """Return whether a size of an axis is known."""
    return isinstance(size, int) and size > 0


def _array(value: Any) -> Any:
    return value.labels if isinstance(value, Flow) else None if value is None else value.array


def _is_bounded(node: Node, given: Sequence[Any]) -> bool:
    """Return whether a Slice takes the first or the last steps, however many these are."""
    rows, *bounds = (plain(_array(each)) for each in given)
    bounds = bounds or [node.attributes.get(each) for each in ("starts", "ends", "axes")]
    axes = range(rows.ndim) if len(bounds) < 3 or bounds[2] is None else np.ravel(bounds[2])
    for axis, *ends in zip(axes, *map(np.ravel, bounds[:2]), strict=False):
        if any(rows.shape[axis] <= abs(int(end)) < FAR for end in ends):
            t = steps_of(rows)
            if (t != t.take([0], axis)).any():
                return True
    return False
