"""A run of a graph over labels: what each value is, and the recurrent nodes as layers."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.errors import shown
from rnncli.model.formats.found import CellDraft, Draft, Part
from rnncli.model.formats.onnx.messages import Model
from rnncli.model.formats.onnx.recurrent import KINDS, WAYS, read_cells
from rnncli.model.formats.onnx.whole import STATE, make_whole
from rnncli.model.graph import Array, Graph, Node, RefusedError, UnfitError, Unread, apply
from rnncli.model.graph.labels import Labels, labels, plain, row_label, sequences_of, steps_of
from rnncli.model.graph.operators import FAR, MOVERS
from rnncli.model.graph.piece import Whole
from rnncli.model.graph.rows import Operand, Rows, View
from rnncli.model.layers import DIRECTIONS

_MOST_COMPUTED = 2**23  # values that are computed while a graph is read, over those of the file
_COST, _COST_OF_LAYER = 800, 8_000  # values that a node is counted for
_COST_OF_LABEL = 8  # and a label, with what it is as a row
# Operators whose first input has the values, and whose others tell where these go.
_PLACING = {"ConstantOfShape", "Expand", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Tile"}
_PLACING |= {"Unsqueeze"}
# Operators that may treat the number of steps in another way where it is another.
_UNSTEADY = {"Clip", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod"}
_UNSTEADY |= {"ReduceMax", "ReduceMin"}
_OTHER_AXES = "takes other axes for steps, sequences and features than the layer below"
_OTHERS = {
    "sequence_lens": "lengths of sequences from {}: each is run as long as it is",
    "initial_h": "initial_h from {}: `h0` gives it, zeros else",
    "initial_c": "initial_c from {}: `c0` gives it, zeros else",
}
_MISTAKEN = (
    "resets before the product, which no GRU of PyTorch does: exporters of PyTorch 2.10 to 2.12 "
    "wrote so by mistake"
)


class Sized(NamedTuple):
    """An array whose shape depends on the numbers of steps and sequences."""

    array: Array
    counts: bool  # whether its values do, too


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
    """A recurrent layer, and what it takes: rows, or what a piece makes of whole sequences."""

    part: Part
    draft: Draft
    direction: str
    target: Operand
    whole: Whole | None


class Guess(NamedTuple):
    """An input that may be the rows, which of its axes are steps and sequences, and how many."""

    x: str
    axes: tuple[int | None, int | None] = (None, None)
    steps: int = 7
    sequences: int = 3
    features: int = 0  # that a row has where the file leaves it open, if known
    freed: bool = False  # whether it takes several steps, where the graph was frozen with one


class Work:
    """Values that are computed while a graph is read."""

    def __init__(self, graph: Graph) -> None:
        arrays = (each for each in graph.arrays.values() if not isinstance(each, Unread))
        self.left = float(_MOST_COMPUTED + 4 * sum(each.size for each in arrays))

    def spend(self, values: float) -> None:
        """Count values before they are computed."""
        if not values <= self.left:  # it may be NaN
            self.left = -1
            raise RefusedError("needs more values to be computed than are while a graph is read")
        self.left -= values


class Folded:
    """A graph whose constants are computed: its other nodes, and the cells of recurrent ones.

    The `branches` that nodes ``If`` take, by number, are those for the sizes of an input.
    """

    def __init__(self, path: str, model: Model, branches: Mapping[int, bool] = {}) -> None:
        self.path, self.model, self.opset = path, model, model.opsets.get("", 1)
        self.graph, self.arrays, self.nodes = model.graph, dict(model.graph.arrays), list[Node]()
        self.cells: dict[str, list[CellDraft] | RefusedError] = {}
        self.conditions: dict[str, int] = {}  # numbers of the nodes If that are left
        self.notes: list[str] = []
        self._work, self._names = Work(model.graph), set[str]()
        waiting = [*self.graph.nodes][::-1]
        while waiting:
            original = waiting.pop()
            node = self._name(original)
            self._settle(node)
            given = [self.arrays.get(each) if each else None for each in node.inputs]
            missing = any(n and a is None for n, a in zip(node.inputs, given, strict=True))
            try:
                if node.op == "If" and (id(original) in branches or not missing):
                    known = given or [None]
                    taken = np.array(branches.get(id(original))) if missing else known[0]
                    waiting += self._choose(node, taken)[::-1]
                elif missing or node.op in KINDS or self._work.left < 0:
                    self.nodes.append(node)
                    self.conditions.update({node.name: id(original)} if node.op == "If" else {})
                else:
                    made = apply(node, given, self.opset, self._work.spend)
                    self.arrays.update(zip(node.outputs, made, strict=False))
            except RefusedError:  # and refused again where it is needed
                self.nodes.append(node)
        for node in self.nodes:
            if node.op in KINDS and not node.domain:
                try:
                    self.cells[node.name] = self._read(node)
                except RefusedError as error:
                    self.cells[node.name] = error

    def _name(self, node: Node) -> Node:
        """Rename a node uniquely; an operator that the model defines is none of ONNX's."""
        name, inputs = node.name or next(filter(None, node.outputs), node.op), [*node.inputs]
        while name in self._names:
            name = f"{name} ({len(self._names)})"
        self._names.add(name)
        while inputs and not inputs[-1]:
            inputs.pop()
        own = ("", node.op) in self.model.functions
        domain = node.domain or "model-defined" * own
        return node._replace(name=name, inputs=inputs, domain=domain)

    def _settle(self, node: Node) -> None:
        """Set an input that is one number, such as a rate, to what the graph compares it with."""
        pair = node.inputs if node.op == "Equal" and len(node.inputs) == 2 else []
        for name, other in zip(pair, pair[::-1], strict=True):
            value, shape = self.arrays.get(other), self.graph.inputs.get(name)
            free = shape in ((), (1,)) and name not in self.arrays
            if free and isinstance(value, np.ndarray) and value.size == 1:
                self.arrays[name] = value.reshape([1] * len(shape or ()))
                number = value.reshape(-1)[0].item()
                self.notes.append(f"takes {shown(name)} too: {number}, which it is compared with")

    def _choose(self, node: Node, condition: Any = None) -> list[Node]:
        """Return the nodes of the branch that an ``If`` takes."""
        if not isinstance(condition, np.ndarray) or condition.size != 1:
            raise RefusedError
        branch = node.attributes.get("then_branch" if condition.any() else "else_branch")
        if not isinstance(branch, Graph):
            raise RefusedError
        self.arrays |= branch.arrays
        pairs = zip(branch.outputs, node.outputs, strict=False)
        return [*branch.nodes, *(Node("Identity", "", "", [a], [b], {}) for a, b in pairs)]

    def _read(self, node: Node) -> list[CellDraft]:
        arrays: dict[str, Any] = {}
        for place, role in ((1, "W"), (2, "R"), (3, "B"), (7, "P")):
            name = (*node.inputs, *[""] * 8)[place]
            array = arrays[role] = self.arrays.get(name)
            if isinstance(array, Unread):
                raise RefusedError(array.why)
            if array is None and (name or place < 3):
                raise RefusedError(f"input {place + 1}: expected a constant")
        size = sum(each.size for each in arrays.values() if each is not None)
        self._work.spend(_COST_OF_LAYER + size)
        return read_cells(self.path, node, arrays)

    def find_ancestors(self, names: Sequence[str]) -> set[str]:
        """Return values, and those that they are computed of."""
        found = {*filter(None, names)}
        for node in reversed(self.nodes):
            if found.intersection(node.outputs):
                found.update(filter(None, node.inputs))
        return found

    def find_floats(self, *nodes: Node) -> dict[str, Array]:
        """Return the arrays of floats that nodes take."""
        arrays = {name: self.arrays.get(name) for node in nodes for name in node.inputs}
        floats = ((n, a) for n, a in arrays.items() if isinstance(a, np.ndarray))
        return {name: array for name, array in floats if array.dtype.kind == "f"}


class Walk:
    """A run of a graph over labels.

    With `ends`, the last step that a direction takes has the label of its final state, but for
    nodes that give a value of `lower`. The `doubt` tells how likely another guess at the axes is: 3
    where the lowest layer cannot take them so, 2 where it takes what is made of all steps, 1 of
    some, 0 where it takes rows.
    """

    def __init__(self, folded: Folded, guess: Guess, lower: set[str], *, ends: bool) -> None:
        self.folded, self.guess, self.lower, self.ends = folded, guess, lower, ends
        self.rows, self.steps, self.sequences, self.doubt = Rows(), guess.steps, 1, 0
        self.values: dict[str, Any] = dict(folded.arrays)
        self.notes: list[tuple[str, str]] = []
        self.parts: dict[str, Part] = {}  # recurrent nodes, and those that are refused
        self.layers: dict[int, Layer] = {}  # by the register that it fills
        self.branches: dict[int, bool] = {}  # that nodes If take for these sizes
        self.unfit = False  # whether the inputs of a node do not fit it
        self.work = Work(folded.graph)
        self.label_inputs()
        for node in folded.nodes:
            if node.name in folded.conditions:
                condition = self.values.get((*node.inputs, "")[0])
                if isinstance(condition, Sized):
                    self.branches[folded.conditions[node.name]] = bool(condition.array.any())
            made: Sequence[Any] = [Unknown()] * len(node.outputs)
            try:
                if self.work.left >= 0:  # else no more is computed
                    self.work.spend(_COST)
                    made = self.compute(node)
            except RefusedError as error:
                self.refuse(node, error)
            self.values.update(zip(node.outputs, made, strict=False))

    def refuse(self, node: Node, error: RefusedError) -> None:
        """Record why a node cannot be read."""
        arrays = self.folded.find_floats(node)
        self.parts[node.name] = Part(node.name, node.op, arrays, why=str(error), needed=True)
        self.unfit = self.unfit or isinstance(error, UnfitError)

    def label_inputs(self) -> None:
        """Label the inputs of the graph."""
        x, inputs = self.guess.x, self.folded.graph.inputs
        try:
            self.values[x] = self.label(inputs[x])
        except RefusedError as error:
            self.doubt, self.values[x] = 3, Unknown()
            self.refuse(Node("input", x, "", (), (), {}), error)
        for name in inputs.keys() - self.values.keys():
            shape = [s if is_known(s) else self.guess.sequences for s in inputs[name] or ()]
            none = labels(np.broadcast_to(np.int64(0), shape))  # type: ignore[arg-type]
            self.values[name] = Flow(none, None, frozenset({name}), True, "is another input")

    def label(self, shape: Sequence[int | str] | None) -> Flow:
        """Label the input that is rows."""
        guess, (T, N), whole = self.guess, self.guess.axes, list[int]()
        if shape is None or T is N is None:
            raise RefusedError("an input of which the graph does not tell the number of axes")
        cells = (each for each in self.folded.cells.values() if isinstance(each, list))
        width = guess.features or next((len(each[0].weights.W_xh) for each in cells), 1)
        for axis, size in enumerate(shape):
            known = is_known(size) and not (guess.freed and axis == T)
            free = {T: guess.steps, N: guess.sequences}.get(axis, width)
            whole.append(int(size) if known else free)
        self.steps, self.sequences = (1 if k is None else whole[k] for k in (T, N))
        self.work.spend(_COST_OF_LABEL * prod(whole))
        t, n = (0 if k is None else np.indices(whole, sparse=True)[k] for k in (T, N))
        found = labels(np.broadcast_to(row_label(t, n), whole))
        return Flow(found, self.rows.source(found), frozenset({0}), True)

    # Nodes.

    def compute(self, node: Node) -> Sequence[Any]:
        """Compute the outputs of a node."""
        given = [self.values.get(each) if each else None for each in node.inputs]
        for name, value in zip(node.inputs, given, strict=True):
            if name and value is None:
                raise RefusedError(f"takes {shown(name)}, which no node before it gives")
            if isinstance(value, Unread):
                raise RefusedError(value.why)
        if node.name in self.folded.cells:
            return self.recur(node, [*given, *[None] * 8][:8])
        unknown = [each for each in given if isinstance(each, Unknown)]
        if unknown:
            zeros = [Sized(np.zeros(()), True)]  # of any shape
            return zeros if _gives_zeros(node, given) else unknown[:1] * len(node.outputs)
        flows = [each for each in given if isinstance(each, Flow)]
        cost = _COST_OF_LABEL if flows else 1
        arrays = [as_array(each) for each in given]
        made = apply(node, arrays, self.folded.opset, lambda n: self.work.spend(cost * n))
        if flows and node.op not in ("Shape", "Size"):
            return self.follow(node, given, [labels(plain(each)) for each in made])
        counts = bool(flows) or (_counts(node, given) and node.op != "ConstantOfShape")
        if counts and node.op in _UNSTEADY:
            raise RefusedError("compares the number of steps or sequences with another")
        sized = flows or any(isinstance(each, Sized) for each in given)
        return [Sized(array, counts) for array in made] if sized else made

    def follow(self, node: Node, given: Sequence[Any], made: Sequence[Labels]) -> list[Flow]:
        """Follow values that depend on inputs through a node."""
        if not all(each.size for each in made):
            raise RefusedError("gives an array of no values")
        flows = [each for each in given if isinstance(each, Flow)]
        roots = frozenset[int | str]().union(*(each.roots for each in flows))
        moved = node.op in (*MOVERS, "Cast") and all(each.moved for each in flows)
        why = next((each.why for each in flows if each.view is None), "")
        if node.op == "Slice" and _is_bounded(node, given):
            why = why or "takes a fixed number of steps of those that there are"
        if _counts(node, given):
            why = why or "computes with the number of steps or sequences"
        views: Sequence[View | None] = [None] * len(made)
        taken = [each.view if isinstance(each, Flow) else as_array(each) for each in given]
        try:
            views = views if why else self.rows.node(node, taken, made, self.folded.opset)
        except RefusedError as error:
            why = str(error)
        return [Flow(m, view, roots, moved, why) for m, view in zip(made, views, strict=True)]

    # Recurrent nodes.

    def recur(self, node: Node, given: Sequence[Any]) -> list[Any]:
        """Read a recurrent node."""
        cells, x, known = self.folded.cells[node.name], given[0], not isinstance(given[0], Unknown)
        if isinstance(cells, RefusedError):
            raise cells
        direction = WAYS[node.attributes.get("direction", "forward")]
        layout = node.attributes.get("layout", 0)
        D, H = len(cells), len(cells[0].weights.W_hh)
        target, whole, turned = self.take(node, x, layout) if known else (Operand(-1), None, False)
        if turned:  # a direction becomes the other
            direction = {"forward": "backward", "backward": "forward"}.get(direction, direction)
            cells = cells[::-1]
        N: Any = x.labels.shape[1 - layout] if known else None
        self.check_others(node, given, (N, D, H) if layout else (D, N, H))
        before = cells[0].settings.get("reset") == "before"
        if before and self.folded.model.producer.startswith("pytorch"):
            self.notes.append((node.name, f"{node.name} {_MISTAKEN}"))
        settings = {"direction": direction, **({"merge": "concat"} if D == 2 else {})}
        weights = node._replace(inputs=[*node.inputs[1:4], *node.inputs[7:8]])
        draft = Draft(tuple(cells), settings)
        part = Part(node.name, node.op, self.folded.find_floats(weights), [draft])
        self.parts[node.name] = part
        if not known:
            return [x] * 3
        register = self.rows.register(D * H)
        self.layers[register] = Layer(part, draft, direction, target, whole)
        return self.give_states(node, register, (D, N, H), turned=turned)

    def give_states(
        self, node: Node, register: int, sizes: tuple[int, int, int], *, turned: bool
    ) -> list[Any]:
        """Return all states that a recurrent node gives, and the last ones."""
        (D, N, H), T = sizes, self.steps
        turn = -1 if turned else 1
        columns = self.rows.begins[register] + np.arange(D * H).reshape(D, 1, H)[::turn]
        t = np.arange(T)[::turn].reshape(-1, 1, 1, 1)
        if self.ends and T > 1 and not self.lower.intersection(node.outputs):
            ends = {"forward": T - 1, "backward": 0}
            ways = DIRECTIONS[self.layers[register].direction][::turn]
            t = np.where(t == [[[ends[way]]] for way in ways], STATE, t)
        made: list[Any] = []
        for steps, order in ((t, (2, 0, 1, 3)), (np.array(STATE), (1, 0, 2))):
            pair = [row_label(steps, np.arange(N)[:, None]), columns]
            pair = [np.broadcast_to(each, (*steps.shape[:1], D, N, H)) for each in pair]
            if node.attributes.get("layout", 0):
                pair = [each.transpose(order) for each in pair]
            view = View(labels(pair[0]), pair[1])
            made.append(Flow(view.labels, view, frozenset({register})))
        return [*made, Unknown("gives the cell state")]

    def doubt_axes(self, doubt: int, why: str) -> RefusedError:
        """Return the error where other axes of the input are those of steps and sequences."""
        self.doubt = max(self.doubt, doubt)
        return RefusedError(why)

    def take(self, node: Node, x: Any, layout: int) -> tuple[Operand, Whole | None, bool]:
        """Find the input of a node: rows, the piece that makes sequences, whether it is turned."""
        if not isinstance(x, Flow) or x.labels.ndim != 3:
            raise RefusedError("input 1: expected rows of three axes")
        lowest, rows = x.roots == {0}, plain(x.labels)
        rows = rows.swapaxes(0, 1) if layout else rows
        T, N, _ = rows.shape
        layered = any(isinstance(root, int) for root in x.roots)
        if not layered or (sequences_of(rows) != np.arange(N)[:, None]).any():
            raise self.doubt_axes(3 * lowest, _OTHER_AXES)
        if x.view is not None and (rows >= 0).all():
            t, order = steps_of(rows), np.arange(T)[:, None, None]
            if (t == STATE).all() and T == 1:
                raise RefusedError("takes one row a sequence of the layer below")
            turned = bool((t != order).any())
            if turned and (self.steps != T or (t != order[::-1]).any()):
                raise self.doubt_axes(3 * lowest, _OTHER_AXES)
            if self.steps == T:
                return self.rows.join_row(x.view), None, turned
        return (*self.take_whole(node.inputs[0], x, layout, lowest=lowest), False)

    def take_whole(self, name: str, x: Flow, along: int, *, lowest: bool) -> tuple[Operand, Whole]:
        """Return the rows of which whole sequences are made, and what makes them."""
        T = x.labels.shape[along]
        if self.guess.axes[0] is None and T > 1:
            raise self.doubt_axes(3, "takes several steps a call")
        if lowest and T == 1 < self.steps:
            raise self.doubt_axes(3, x.why or "takes one step of several")
        target, whole = make_whole(self, name, x, (along, 1 - along))
        if lowest:
            self.doubt_axes(2 if whole.whole and not whole.is_local(self.steps) else 1, "")
        if whole.shortens and (not lowest or self.layers or target.register):
            raise RefusedError("takes another number of steps than the layer below gives")
        self.steps = T
        return target, whole

    def check_others(self, node: Node, given: Sequence[Any], shape: Sequence[int | None]) -> None:
        """Check lengths and initial states: all steps and zeros, or another input of the graph."""
        below = {0, *getattr(given[0], "roots", ())}
        for value, (role, note) in zip(given[4:7], _OTHERS.items(), strict=True):
            if isinstance(value, Flow) and value.moved and not value.roots & below:
                origin = shown(str(next(iter(value.roots))))
                self.notes.append((node.name, f"{node.name} takes {note.format(origin)}"))
            elif isinstance(value, Flow | Unknown):
                raise RefusedError(f"input {role} is computed in the graph")
            elif value is not None:
                self.check_constant(role, value, shape)
            of_node = role == "initial_h" or (role == "initial_c" and node.op == "LSTM")
            if self.guess.axes[0] is None and of_node and not isinstance(value, Flow):
                raise self.doubt_axes(3, "starts anew at each call")

    def check_constant(self, role: str, value: Any, shape: Sequence[int | None]) -> None:
        """Check lengths, which have to be all steps, or an initial state: zeros of this shape."""
        array, counts = as_array(value), isinstance(value, Sized) and value.counts
        T, sizes = self.guess.axes[0], self.folded.graph.inputs[self.guess.x]
        if role == "sequence_lens":
            free = T is not None and sizes and not is_known(sizes[T])
            if (array != self.steps).any() or (free and not counts):
                what = "input sequence_lens is a constant: sequences have their own lengths"
                raise RefusedError(what)
            return
        if array.any() or (counts and array.ndim):
            raise RefusedError(f"input {role} is a constant other than zeros")
        same = [n in (None, size) for size, n in zip(array.shape, shape, strict=False)]
        if not counts and (array.ndim != 3 or not all(same)):
            text = str(shape).replace("None", "N")
            raise RefusedError(f"{role}: expected shape {text}, got {array.shape}")


def is_known(size: Any) -> bool:
    """Return whether a size of an axis is known."""
    return isinstance(size, int) and size > 0


def as_array(value: Any) -> Any:
    """Return the array that a value is, or its labels."""
    if isinstance(value, Flow):
        return value.labels
    return value.array if isinstance(value, Sized) else value


def _counts(node: Node, given: Sequence[Any]) -> bool:
    """Return whether the values that a node takes depend on the number of steps or sequences."""
    content = given[:1] if node.op in _PLACING else given
    return any(isinstance(each, Sized) and each.counts for each in content)


def _gives_zeros(node: Node, given: Sequence[Any]) -> bool:
    """Return whether a node gives zeros of a shape, whatever that is."""
    filled = node.attributes.get("value", 0) if node.op == "ConstantOfShape" else 1
    filled = given[0] if node.op == "Expand" else filled
    return isinstance(filled, int | np.ndarray) and not np.any(filled)


def _is_bounded(node: Node, given: Sequence[Any]) -> bool:
    """Return whether a Slice takes the first or the last steps, however many these are."""
    rows, *bounds = (plain(as_array(each)) for each in given)
    bounds = bounds or [node.attributes.get(each) for each in ("starts", "ends", "axes")]
    axes = range(rows.ndim) if len(bounds) < 3 or bounds[2] is None else np.ravel(bounds[2])
    t = steps_of(rows)
    return any(
        rows.shape[axis] <= abs(int(end)) < FAR and (t != t.take([0], axis)).any()
        for axis, *ends in zip(axes, *map(np.ravel, bounds[:2]), strict=False)
        for end in ends
    )
