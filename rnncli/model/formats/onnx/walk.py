"""A run of a graph over labels: what each value is, and the recurrent nodes as layers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import shown
from rnncli.model.formats.found import CellDraft, Draft, Part
from rnncli.model.formats.onnx.messages import Model
from rnncli.model.formats.onnx.recurrent import KINDS, WAYS, attribute, read_cells
from rnncli.model.graph import Graph, Limit, Node, RefusedError, Unread, UnreadError, apply
from rnncli.model.graph.labels import Labels, labels, plain, row_label, sequences_of, steps_of
from rnncli.model.graph.operators import INPUTS, MOVERS
from rnncli.model.graph.piece import Whole
from rnncli.model.graph.rows import Operand, Rows, View
from rnncli.model.graph.whole import STATE, Pieces

Array = NDArray[Any]

_MOST_RECURRENT = 1_000
_MOST_NODES = 10_000
_MOST_COMPUTED = 2**21  # values that are computed while a graph is read, over those of the file
_TURNED = {"forward": "backward", "backward": "forward"}
# Operators whose first input has the values, and whose others tell where these go.
_PLACING = {"ConstantOfShape", "Expand", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Tile"}
_PLACING |= {"Unsqueeze"}
_QUANTIZED = "export the model before it is quantized"
_OTHER_AXES = "takes other axes for steps, sequences and features than the layer below"
_TOO_MANY = "needs more values to be computed than are while a graph is read"
_STARTS = {5: "initial_h", 6: "initial_c"}


class Const(NamedTuple):
    """An array that does not depend on the input.

    It is `sized` if its values depend on the numbers of steps and sequences, and not `fixed` if
    its values or its shape do.
    """

    array: Array
    sized: bool = False
    fixed: bool = True
    stored: Mapping[str, Array] = {}  # the file's arrays that it was computed of


class Flow(NamedTuple):
    """A value that depends on inputs: its labels, and what it is as rows, or why it is not."""

    labels: Labels
    view: View | None
    roots: frozenset[int | str]  # registers of rows, and names of other inputs
    moved: bool = False  # whether it is an input, or a part of it
    why: str = ""


class Unknown(NamedTuple):
    """An output of a node that was refused, or cannot be that of the model."""

    name: str
    why: str = ""


class Layer(NamedTuple):
    """A recurrent layer: its part, its register, and what it takes.

    The target is None where that is not known; `whole` makes of it what the layer takes.
    """

    part: Part
    register: int
    ways: tuple[str, ...]
    target: Operand | None
    whole: Whole | None = None

    @property
    def draft(self) -> Draft:
        """The layer itself."""
        draft = self.part.layers[0]
        assert isinstance(draft, Draft)
        return draft


class Guess(NamedTuple):
    """An input that may be the rows, and which of its axes are steps and sequences.

    There are so many of these, where the graph leaves it open; for `fewer` also where it does not.
    """

    x: str
    axes: tuple[int | None, int | None] = (None, None)
    steps: int = 7
    fewer: bool = False
    sequences: int = 3


class Shared(NamedTuple):
    """Shared by all runs of a graph: constants, the cells of nodes, and values that it needs.

    A guess at the axes of the input is given up where the lowest recurrent node does not take its
    rows (3), or what is made of a few neighbouring rows (2), or of rows at all (1).
    """

    folded: dict[int, tuple[Node, list[Const]]]
    cells: dict[int, list[CellDraft]]
    needed: set[str]
    lower: set[str]  # those below recurrent nodes
    strict: int = 0


class AxesError(RefusedError):
    """Other axes of the input are those of steps and sequences."""


class JoinError(Exception):
    """Two nodes are the directions of one layer."""

    def __init__(self, pair: tuple[str, str]) -> None:
        super().__init__()
        self.pair = pair


class Walk:
    """A run of a graph over labels.

    `pairs` are nodes that are the other direction of a node before them. With `ends`, the last
    step that a direction takes has the label of its final state.
    """

    def __init__(
        self,
        path: str,
        model: Model,
        guess: Guess,
        shared: Shared,
        pairs: Mapping[str, str],
        *,
        ends: bool,
    ) -> None:
        self.path, self.model, self.graph, self.guess = path, model, model.graph, guess
        self.shared, self.pairs, self.ends = shared, pairs, ends
        self.opset = model.opsets.get("", 1)
        self.rows, self.steps, self.sequences = Rows(), guess.steps, 1
        arrays = self.graph.arrays
        stored = sum(each.size for each in arrays.values() if not isinstance(each, Unread))
        self.limit = Limit(_MOST_COMPUTED + 4 * stored)
        self.values: dict[str, Any] = {
            name: array if isinstance(array, Unread) else Const(array, stored={name: array})
            for name, array in arrays.items()
        }
        self.nodes: dict[str, Node] = {}  # by names of which no two have one
        self.notes: list[tuple[str, str]] = []
        self.refused: dict[str, Part] = {}
        self.layers: dict[str, Layer] = {}
        self.unread = False  # whether a node on the way to the output is of none that are read

    def run(self) -> None:
        """Follow the values through all nodes."""
        self.start()
        counts = Counter(node.name for node in self.graph.nodes)
        waiting = [*self.graph.nodes][::-1]
        while waiting:
            node = waiting.pop()
            name = node.name if counts[node.name] == 1 else ""
            name = name or next(filter(None, node.outputs), node.op)
            while name in self.nodes:
                name = f"{name} ({len(self.nodes)})"
            self.nodes[name] = node = self.modernize(name, node)
            try:
                if len(self.nodes) > _MOST_NODES:
                    raise RefusedError(f"comes after more than {_MOST_NODES:,} others")
                if node.op == "If" and (branch := self.branch(node)):
                    waiting += branch
                    continue
                found = self.node(name, node)
            except RefusedError as error:
                if isinstance(error, AxesError) and self.shared.strict:
                    raise
                found = self.refuse(name, node, error)
            self.values.update(zip(node.outputs, found, strict=False))

    def start(self) -> None:
        """Label the inputs of the graph."""
        guess, sizes = self.guess, dict[Any, int]()
        shape, (T, N) = self.graph.inputs[guess.x], guess.axes
        whole = []
        for axis, size in enumerate(shape or ()):
            free = {T: guess.steps, N: guess.sequences}.get(axis, self.features())
            kept = is_known(size) and not (guess.fewer and axis in (T, N))
            whole.append(int(size) if kept else free)
            sizes[size] = whole[-1]
        if shape is None or T is N is None:
            what = "an input of which the graph does not tell the number of axes"
            node = Node("input", guess.x, "", (), (guess.x,), {})
            self.values[guess.x] = self.refuse(guess.x, node, RefusedError(what))[0]
        else:
            self.steps, self.sequences = (1 if k is None else whole[k] for k in (T, N))
            self.spend(prod(whole), AxesError)
            number = [
                np.arange(n).reshape(-1, *[1] * (len(whole) - 1 - k)) for k, n in enumerate(whole)
            ]
            label = row_label(*(0 if k is None else number[k] for k in (T, N)))
            found = labels(np.broadcast_to(label, whole))
            self.values[guess.x] = Flow(found, self.rows.source(found), frozenset({0}), True)
        for name, other in self.graph.inputs.items():
            if name not in self.values:
                whole = [
                    int(size) if is_known(size) else sizes.get(size, guess.sequences)
                    for size in other or ()
                ]
                none = labels(np.broadcast_to(np.zeros(1, np.int64), whole))
                self.values[name] = Flow(none, None, frozenset({name}), True, "is another input")

    def features(self) -> int:
        """Return how many features a recurrent node takes, as far as a constant tells."""
        for node in self.graph.nodes:
            W = self.graph.arrays.get(node.inputs[1]) if len(node.inputs) > 1 else None
            if node.op in KINDS and isinstance(W, np.ndarray) and W.ndim == 3:
                return int(W.shape[2])
        return 1

    def spend(self, values: int, error: type[RefusedError] = RefusedError) -> None:
        """Count values that are computed."""
        self.limit.left -= values
        if self.limit.left < 0:
            raise error(_TOO_MANY)

    def refuse(self, name: str, node: Node, error: RefusedError) -> list[Unknown]:
        """Record why a node cannot be read."""
        arrays = self.stored(self.values.get(each) for each in node.inputs)
        self.refused[name] = Part(name, node.op, arrays, (), error.why, error.hint, True)
        needed = self.shared.needed.intersection(node.outputs)
        self.unread |= isinstance(error, UnreadError) and bool(needed)
        return [Unknown(name)] * max(1, len(node.outputs))

    def stored(self, values: Any) -> dict[str, Array]:
        """Return the file's arrays of floats that constants were computed of."""
        every = [each.stored.items() for each in values if isinstance(each, Const)]
        return {
            n: array
            for each in every
            for n, array in each
            if array.dtype.kind == "f" and array.ndim
        }

    def modernize(self, name: str, node: Node) -> Node:
        """Return a node whose attributes are inputs where later opsets have them so."""
        names = INPUTS.get(node.op, ())
        if node.attributes.keys().isdisjoint(names):
            return node
        attributes, inputs = dict(node.attributes), [*node.inputs[:1]]
        for each in names:
            value = attributes.pop(each, None)
            inputs.append("" if value is None else f"{name}: {each}")
            kind = np.float32 if isinstance(value, float) else np.int64
            self.values[inputs[-1]] = Const(np.array([] if value is None else value, kind))
        return node._replace(inputs=inputs, attributes=attributes)

    def branch(self, node: Node) -> list[Node]:
        """Return the nodes of the branch that an ``If`` takes on a constant, the last one first."""
        condition = self.values.get(node.inputs[0]) if node.inputs else None
        if not isinstance(condition, Const) or condition.array.size != 1 or condition.sized:
            return []
        graph = node.attributes.get("then_branch" if condition.array.any() else "else_branch")
        if not isinstance(graph, Graph):
            return []
        for name, array in graph.arrays.items():
            known = array if isinstance(array, Unread) else Const(array, stored={name: array})
            self.values[name] = known
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
        if any(isinstance(each, Unknown) for each in given):
            return self.after_unknown(node, given)
        if node.op in ("Shape", "Size") and isinstance(given[0], Flow):
            (sizes,) = apply(node, [given[0].labels], self.opset)
            return [Const(sizes, True, False)]
        if id(node) in self.shared.folded:
            return self.shared.folded[id(node)][1]
        arrays = [_array(each) for each in given]
        self.limit.spend(node, arrays)
        made = apply(node, arrays, self.opset)
        if any(isinstance(each, Flow) for each in given):
            return self.flow(name, node, given, [labels(plain(each)) for each in made])
        return self.fold(node, [each for each in given if each], made)

    def check(self, node: Node, given: Sequence[Any]) -> None:
        """Check that an operator is one of ONNX's own, and what it takes is there."""
        op, domain = node.op, f"{node.domain} " if node.domain else ""
        if op.startswith(("QL", "Quantize", "DynamicQuantize")) or op.endswith("Integer"):
            raise UnreadError(f"operator {domain}{op} is quantized, and not read", _QUANTIZED)
        if node.domain:
            raise UnreadError(f"operator {domain}{op} is not read")
        if ("", op) in self.model.functions:
            raise UnreadError(f"operator {op} is defined by the model, and is not read")
        if any(isinstance(each, Graph) for each in node.attributes.values()):
            raise UnreadError(f"operator {op} has a graph of its own, and is not read")
        for name, each in zip(node.inputs, given, strict=True):
            if name and each is None:
                raise UnreadError(f"takes {shown(name)}, which no node before it gives")
            if isinstance(each, Unread):
                raise UnreadError(each.why)

    def after_unknown(self, node: Node, given: Sequence[Any]) -> list[Any]:
        """Compute the outputs of a node for an unknown value: a filled shape is one value."""
        value, first = node.attributes.get("value", np.zeros(1, np.float32)), given[0]
        if node.op == "Expand" and isinstance(first, Const):
            value = first.array
        elif node.op != "ConstantOfShape":
            value = np.arange(2)
        if not value.size or (value != value.reshape(-1)[0]).any():
            unknown = [each for each in given if isinstance(each, Unknown)]
            return [unknown[-1]] * len(node.outputs)
        return [Const(value.reshape(-1)[0].reshape(()), True, False)]

    def fold(self, node: Node, given: Sequence[Const], made: Sequence[Array]) -> list[Const]:
        """Compute the outputs of a node for constants."""
        content = given[:1] if node.op in _PLACING else given
        sized = node.op != "ConstantOfShape" and any(each.sized for each in content)
        fixed = all(each.fixed for each in given)
        stored = self.stored(given)
        value = node.attributes.get("value")
        if node.op == "Constant" and isinstance(value, np.ndarray) and node.outputs:
            stored = {node.outputs[0]: value}
        found = [Const(array, sized, fixed, stored) for array in made]
        if fixed:
            self.shared.folded[id(node)] = node, found  # the node keeps its id
        return found

    def flow(
        self, name: str, node: Node, given: Sequence[Any], made: Sequence[Labels]
    ) -> list[Flow]:
        """Compute the outputs of a node for values that depend on inputs."""
        flows = [each for each in given if isinstance(each, Flow)]
        roots = frozenset[int | str]().union(*(each.roots for each in flows))
        moved = node.op in (*MOVERS, "Cast") and all(each.moved for each in flows)
        why = next((each.why for each in flows if each.view is None), "")
        content = given[:1] if node.op in _PLACING else given
        if any(isinstance(each, Const) and each.sized for each in content):
            why = why or "computes with the number of steps or sequences"
        views: Sequence[View | None] = [None] * len(made)
        if not why:
            taken = [each.view if isinstance(each, Flow) else _array(each) for each in given]
            try:
                named = node._replace(name=name)
                views = self.rows.node(named, taken, made, self.opset, self.stored(given))
            except RefusedError as error:
                why = error.why
        if node.op == "Cast" and node.attributes.get("to") in (10, 16):
            kind = {10: "float16", 16: "bfloat16"}[node.attributes["to"]]
            self.notes.append((name, f"{name} rounds to {kind}, which is not done here"))
        return [Flow(m, view, roots, moved, why) for m, view in zip(made, views, strict=True)]

    # Recurrent nodes.

    def recurrent(self, name: str, node: Node, given: Sequence[Any]) -> list[Any]:
        """Read a recurrent node."""
        if len(self.layers) >= _MOST_RECURRENT:
            raise RefusedError(f"comes after {_MOST_RECURRENT:,} others of its kind")
        cells = self.cells(name, node, given)
        ways, layout = WAYS[attribute(node, "direction", "forward")], attribute(node, "layout", 0)
        target, whole, roots, N = None, None, frozenset[Any](), None
        T, step = self.steps, 1
        if not isinstance(given[0], Unknown):
            target, whole, step = self.taken(name, node, given[0], layout)
            roots, N, T = given[0].roots, given[0].labels.shape[1 - layout], self.steps
        if step < 0:
            ways = tuple(_TURNED[way] for way in ways)
        if ways[0] == "backward" and len(ways) == 2:
            raise RefusedError("takes the steps from the last to the first, in both directions")
        self.check_lengths(name, given[4], T)
        D, H = len(cells), len(cells[0].weights.W_hh)
        self.check_starts(name, given, (N, D, H) if layout else (D, N, H), roots)
        states = given[5:7] if node.op == "LSTM" else given[5:6]
        if self.guess.axes[0] is None and not all(isinstance(each, Flow) for each in states):
            raise AxesError("starts anew at each call")
        settings = {"direction": ways[0]}
        if D == 2:
            settings = {"direction": "bidirectional", "merge": "concat"}
        arrays = self.stored([*given[1:4], given[7]])
        part = Part(name, node.op, arrays, [Draft(tuple(cells), settings)])
        layer = Layer(part, len(self.rows.widths), ways, target, whole)
        reset = attribute(node, "linear_before_reset", 0)
        if self.model.producer.startswith("pytorch") and node.op == "GRU" and not reset:
            what = "resets before the product, which no GRU of PyTorch does: exporters of PyTorch"
            self.notes.append((name, f"{name} {what} 2.10 to 2.12 wrote so by mistake"))
        begin = self.join(name, layer, H)
        sizes = T, N or self.guess.sequences, H
        found = self.outputs(self.layers[name], node, sizes, ways, step, begin)
        return [*found, Unknown(name, "gives the cell state")]

    def cells(self, name: str, node: Node, given: Sequence[Any]) -> list[CellDraft]:
        """Read the cells of a node."""
        arrays: dict[str, Array | None] = {}
        for place, role in ((1, "W"), (2, "R"), (3, "B"), (7, "P")):
            each = given[place]
            if not isinstance(each, Const | None) or (each is None and place < 3):
                got = "nothing" if each is None else "what depends on the input"
                raise RefusedError(f"input {place + 1}: expected a constant, got {got}")
            arrays[role] = None if each is None else each.array
        if id(node) not in self.shared.cells:
            self.shared.cells[id(node)] = read_cells(self.path, node._replace(name=name), arrays)
        self.spend(sum(each.size for each in arrays.values() if each is not None))
        return self.shared.cells[id(node)]

    def taken(
        self, name: str, node: Node, x: Any, layout: int
    ) -> tuple[Operand, Whole | None, int]:
        """Find the input of a node: its rows, the piece that makes sequences, and the order."""
        if not isinstance(x, Flow):
            raise RefusedError("input 1: expected rows, got a constant")
        if x.labels.ndim != 3:
            raise RefusedError(f"expected three axes, got {x.labels.ndim}")
        if layout:
            turn = Node("Transpose", "", "", (), (), {"perm": [1, 0, 2]})
            (x,) = self.flow(name, turn, [x], [labels(plain(x.labels).transpose(1, 0, 2))])
        (T, N, _), rows, lowest = x.labels.shape, plain(x.labels), x.roots == {0}
        error = AxesError if lowest else RefusedError
        layered = any(isinstance(root, int) for root in x.roots)
        if not layered or (sequences_of(rows) != np.arange(N)[:, None]).any():
            raise error(_OTHER_AXES)
        if x.view is None or (rows < 0).any():
            target, whole = self.taken_whole(node.inputs[0], x, (1, 0) if layout else (0, 1))
            self.steps = T
            return target, whole, 1
        t, order = steps_of(rows), np.arange(T)[:, None, None]
        if (t == STATE).all() and T == 1:
            raise RefusedError("takes one row a sequence of the layer below")
        forward = bool((t == order).all())
        if not forward and (t != order[::-1]).any():
            raise error(_OTHER_AXES)
        return self.rows.operand(x.view), None, 1 if forward else -1

    def taken_whole(self, name: str, x: Flow, axes: tuple[int, int]) -> tuple[Operand, Whole]:
        """Return the rows of which whole sequences are made, and what makes them."""
        lowest, strict = x.roots == {0}, self.shared.strict
        if lowest and (strict > 2 or x.labels.shape[axes[0]] == 1 < self.steps):
            raise AxesError(x.why or "takes one step of several")
        target, whole = Pieces(self).make(name, x, axes)
        if lowest and strict > 1 and whole.whole and not whole.is_local(self.steps):
            raise AxesError(x.why)
        if whole.shortens and (not lowest or self.layers or target.register):
            raise RefusedError("takes another number of steps than the layer below gives")
        return target, whole

    def outputs(
        self,
        layer: Layer,
        node: Node,
        sizes: tuple[int, int, int],
        ways: tuple[str, ...],
        step: int,
        begin: int,
    ) -> list[Flow]:
        """Return all states that a node gives, and the last ones."""
        (T, N, H), D = sizes, len(ways)
        t = np.arange(T)[::step].reshape(-1, 1, 1, 1)
        if self.ends and T > 1 and not self.shared.lower.intersection(node.outputs):
            last = [[[T - 1 if way == "forward" else 0]] for way in ways]
            t = np.where(t == last, STATE, t)
        n = np.arange(N)[:, None]
        every = np.broadcast_to(row_label(t, n), (T, D, N, H))
        final = np.broadcast_to(row_label(STATE, n), (D, N, H))
        columns = np.arange(begin, begin + D * H).reshape(D, 1, H)
        found = []
        for label in (every, final):
            column = np.broadcast_to(columns, label.shape)
            if attribute(node, "layout", 0):
                order = (2, 0, 1, 3) if label.ndim == 4 else (1, 0, 2)
                label, column = label.transpose(order), column.transpose(order)
            view = View(labels(label), np.full(label.shape, layer.register), column)
            found.append(Flow(view.labels, view, frozenset({layer.register})))
        return found

    def join(self, name: str, layer: Layer, H: int) -> int:
        """Add a layer, or a direction to a layer; return the first of its columns."""
        other = self.pairs.get(name)
        if other is not None and other in self.layers:
            below = self.layers[other]
            pair = sorted([below, layer], key=lambda each: each.ways, reverse=True)
            cells = tuple(cell for each in pair for cell in each.draft.cells)
            draft = Draft(cells, {"direction": "bidirectional", "merge": "concat"})
            arrays = {**below.part.arrays, **layer.part.arrays}
            part = below.part._replace(arrays=arrays, layers=[draft])
            ways = ("forward", "backward")
            self.layers[name] = self.layers[other] = below._replace(part=part, ways=ways)
            return H * (layer.ways[0] == "backward")
        paired = name in self.pairs.values()
        if not paired and len(layer.ways) == 1 and layer.target is not None:
            self.find_pair(name, layer)
        self.layers[name] = layer
        self.rows.widths.append(H * (2 if paired else len(layer.ways)))
        return H * (paired and layer.ways[0] == "backward")

    def find_pair(self, name: str, layer: Layer) -> None:
        """Raise where another node is the other direction of the same layer."""
        for other, below in self.layers.items():
            if other in (*self.pairs, *self.pairs.values()) or below.target is None:
                continue
            same = below.part.kind == layer.part.kind and below.ways == (_TURNED[layer.ways[0]],)
            if not same or not below.target.is_same(layer.target):
                continue
            shapes = {each.draft.cells[0].weights.W_hh.shape for each in (below, layer)}
            both = all(
                self.shared.needed.intersection(self.nodes[each].outputs) for each in (name, other)
            )
            if len(shapes) == 1 and both:
                raise JoinError((other, name))

    def check_lengths(self, name: str, given: Any, T: int) -> None:
        """Check `sequence_lens`: how many steps each sequence has."""
        if isinstance(given, Const):
            if (given.array != T).any():
                what = "input sequence_lens is a constant: sequences have their own lengths"
                raise RefusedError(what)
        elif isinstance(given, Flow) and given.moved and 0 not in given.roots:
            origin = shown(str(next(iter(given.roots))))
            what = (
                f"takes lengths of sequences from {origin}: each sequence is run as long as it is"
            )
            self.notes.append((name, f"{name} {what}"))
        elif given is not None:
            raise RefusedError("input sequence_lens is computed in the graph")

    def check_starts(
        self, name: str, given: Sequence[Any], shape: tuple[int | None, ...], roots: Any
    ) -> None:
        """Check the initial states: zeros of this shape, or another input of the graph."""
        for place, role in _STARTS.items():
            found = given[place]
            if isinstance(found, Const):
                if found.array.any():
                    raise RefusedError(f"input {role} is a constant other than zeros")
                sizes = found.array.shape
                wanted = [
                    s if e is None else e for s, e in zip((*sizes, 0, 0, 0), shape, strict=False)
                ]
                if [*sizes] != wanted and (sizes or not found.sized):
                    text = ", ".join("N" if size is None else str(size) for size in shape)
                    raise RefusedError(f"{role}: expected shape ({text}), got {sizes}")
            elif isinstance(found, Flow) and found.moved and found.roots.isdisjoint({0, *roots}):
                what = "`h0`" if role == "initial_h" else "`c0`"
                origin = shown(str(next(iter(found.roots))))
                note = f"{name} takes {role} from {origin}: {what} gives it, zeros else"
                self.notes.append((name, note))
            elif found is not None:
                raise RefusedError(f"input {role} is computed in the graph")


def is_known(size: Any) -> bool:
    """Return whether a size of an axis is known."""
    return isinstance(size, int) and size > 0


def _array(value: Any) -> Any:
    return value.labels if isinstance(value, Flow) else None if value is None else value.array
