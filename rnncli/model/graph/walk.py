"""A run of a graph over labels: what each value is, and the recurrent nodes as layers.

A value is a constant, an array; a `Sized` array; a `Flow`, which is computed from rows; or it is
`Unknown`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import copy
from enum import IntEnum
from math import prod
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.contents import Component, read_floats
from rnncli.model.errors import shown
from rnncli.model.graph import Array, Graph, Node, RefusedError, TooShortError, Unknown
from rnncli.model.graph.labels import (
    CONSTANT,
    SEVERAL,
    STATE,
    Labels,
    labels,
    plain,
    row_label,
    sequences_of,
    steps_of,
)
from rnncli.model.graph.node_layers import Operand, SequenceGraph
from rnncli.model.graph.operators import (
    ELEMENTWISE,
    FAR,
    MOVERS,
    apply,
    evaluate,
    find_ancestors,
)
from rnncli.model.graph.recurrent import KINDS, read_layer, run_inside
from rnncli.model.graph.rows import Flow, RowProgram
from rnncli.model.graph.whole_sequences import cut_graph, cut_output
from rnncli.model.layers import Recurrent

# Values that a run may compute: a number, and four more for each value of the file. For each value
# of an input whose sizes the file declares there are more, up to a number: a run takes them too.
_MOST_COMPUTED, _FOR_A_VALUE, _FOR_AN_INPUT, _MOST_FOR_AN_INPUT = 2**23, 4, 2**12, 2**26
# Costs of a node, a recurrent layer and a label, in values.
_COST, _COST_OF_LAYER, _COST_OF_LABEL = 800, 8_000, 8
# Operators whose first input has the values; the rest are sizes or indices.
_PLACING = {"ConstantOfShape", "Expand", "Pad", "Reshape", "Resize", "ReverseSequence", "Slice"}
_PLACING |= {"Split", "Squeeze", "Tile", "Unsqueeze"}
# Operators that may do something else with a larger number of steps, such as Min(T, 7).
_UNSTEADY = {"Clip", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod"}
_UNSTEADY |= {"ReduceMax", "ReduceMin"}
# Element types that the floats of a run are rounded to.
_ROUNDED = {10: "float16", 16: "bfloat16"}
_TOO_MANY = "needs more values to be computed than reading a graph allows"
_OTHER_AXES = "takes other axes for steps, sequences and features than the layer below"
_OPTIONAL_INPUTS = {
    "sequence_lens": "lengths of sequences from {}: each is run as long as it is",
    "initial_h": "initial_h from {}: `h0` gives it, zeros else",
    "initial_c": "initial_c from {}: `c0` gives it, zeros else",
}


class Sized(NamedTuple):
    """An array whose shape depends on the numbers of steps and sequences."""

    array: Array
    counts: bool  # whether its values do, too


class Layer(NamedTuple):
    """A recurrent layer, if any, above a layer of whole sequences, if any, and the rows below."""

    component: Component | None
    target: Operand
    below: SequenceGraph | None


# Numbers of steps of the input at first: one that the file does not have.
FEW_STEPS = (7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)


class Guess(NamedTuple):
    """The input that may be the rows, its axes of steps and sequences, and how many it has."""

    x: str
    axes: tuple[int | None, int | None] = (None, None)
    steps: int = FEW_STEPS[0]
    sequences: int = 3
    features: int = 0  # of a row, where the file leaves them open; 0 if they are not known
    sure: bool = False  # whether the format tells the axes: those of values are as the input's


class Fit(IntEnum):
    """How a guess fits the lowest layer, the best first."""

    ROWS = 0  # it takes rows
    SOME_STEPS = 1  # it takes values of some steps
    ALL_STEPS = 2  # it takes values of all steps
    WRONG_AXES = 3  # it cannot take these axes


class WrongAxesError(RefusedError):
    """A node that cannot take the axes of the input as the guess has them."""


class Walk:
    """A run of a graph over labels, or without a guess over its constants alone.

    `first` is the run without a guess, which has computed the constants and read the layers. With
    `lower`, the last step of each direction has the label of its final state, except in nodes that
    give a value of `lower`.
    """

    def __init__(
        self, path: str, graph: Graph, guess: Guess | None = None, first: "Walk | None" = None,
        lower: Collection[str] | None = None,
    ) -> None:  # fmt: skip
        self.path, self.graph, self.lower = path, graph, lower
        self.guess, self.rows, self.steps, self.sequences = guess or Guess(""), RowProgram(), 1, 1
        self.begins = 1  # the number of steps of the input
        self.fit = Fit.ROWS
        self.too_short = False  # whether a node takes more steps
        self.nodes: dict[str, Node] = {}  # by unique names
        self.notes: list[tuple[str, str]] = []  # with the names of their nodes
        self.components: dict[str, Component] = {}  # recurrent nodes, and those that are refused
        self.layers: dict[int, Layer] = {}  # by the register that it fills
        self.branches: dict[str, bool] = {}  # of nodes If that depend on sizes
        self.numbered: set[str] = set()  # steps above layers that are taken by their numbers
        self.counting: set[str] = set()  # nodes where rows meet numbers of steps or sequences
        # By the id of a node, which is stored too so that no other node gets the id.
        self._computed: dict[int, tuple[Node, list[Any]]] = first._computed if first else {}
        self.recurrent: dict[int, tuple[Node, Recurrent]] = first.recurrent if first else {}
        self.settled: dict[str, Array] = first.settled if first else {}
        self.values: dict[str, Any] = dict(self.graph.arrays)
        self._budget = float(_MOST_COMPUTED + _FOR_A_VALUE * _count_values(self.graph))
        # For weights of recurrent nodes, which `layer` takes alone.
        self.left_for_weights: float = first.left_for_weights if first else self._budget
        if first:
            self.values |= {n: a for n, a in first.values.items() if isinstance(a, np.ndarray)}
        self._label_inputs()
        self._run([*(first.nodes.values() if first else self.graph.nodes)])

    def repeat(self, guess: Guess, lower: Collection[str] | None = None) -> "Walk":
        """Run the graph again, by a guess."""
        return Walk(self.path, self.graph, guess, self, lower)

    def _run(self, waiting: list[Node]) -> None:
        """Run nodes, and those of the branches that they take."""
        waiting.reverse()
        while waiting:
            node = waiting.pop()
            name = node.name or next(filter(None, node.outputs), node.op)
            while name in self.nodes:
                name = f"{name} ({len(self.nodes)})"
            node = node if name == node.name else node._replace(name=name)
            outputs: Sequence[Any] = [Unknown()] * len(node.outputs)
            try:
                inputs = self._find_inputs(node)
                if node.op in KINDS and not node.domain:
                    outputs = self._read_layer(node, inputs)
                elif self._budget >= _COST:  # once it is spent, no other node is computed
                    self.spend(_COST)
                    if branch := self._choose_branch(node):
                        waiting += branch[::-1]
                        continue
                    outputs = self._compute(node, inputs)
            except RefusedError as error:
                self.fit = Fit.WRONG_AXES if isinstance(error, WrongAxesError) else self.fit
                self.too_short |= isinstance(error, TooShortError) and (
                    self.guess.sure or _slides_along_steps(inputs[0])
                )
                self._refuse(node.name, node.op, error, self.find_floats(node))
            self.nodes[node.name] = node
            self.values.update(zip(node.outputs, outputs, strict=False))

    def _refuse(self, name: str, kind: str, error: Exception, arrays: Any = ()) -> None:
        self.components[name] = Component(name, kind, dict(arrays), why=str(error), needed=True)

    def spend(self, values: float) -> None:
        """Count values before they are computed."""
        if not values <= self._budget:  # it may be NaN
            raise RefusedError(_TOO_MANY)
        self._budget -= values

    def find_floats(self, *nodes: Node) -> dict[str, Array]:
        """Return the constants of floats that nodes take."""
        arrays = {name: self.values.get(name) for node in nodes for name in node.inputs}
        known = ((name, a) for name, a in arrays.items() if isinstance(a, np.ndarray))
        return {name: array for name, array in known if array.dtype.kind == "f"}

    def find_ancestors(self, names: Iterable[str]) -> set[str]:
        """Return values, and all values that they are computed from."""
        return find_ancestors([*self.nodes.values()], names)

    def is_constant(self, name: str) -> bool:
        """Return whether a value is an array in the file, or computed from such arrays alone."""
        return isinstance(self.values.get(name), np.ndarray)

    @property
    def constants(self) -> dict[str, Array]:
        """The values that are constant."""
        return {name: a for name, a in self.values.items() if isinstance(a, np.ndarray)}

    def compute(
        self, names: Sequence[str], known: Mapping[str, Any], nodes: Sequence[Node] = ()
    ) -> list[Any]:
        """Compute values from constants and known ones alone, by the nodes of the run or others."""
        values, needed, path = {**self.constants, **known}, {*names}, list[Node]()
        for node in reversed(nodes or [*self.nodes.values()]):
            if needed.intersection(node.outputs) - values.keys():
                needed.update(filter(None, node.inputs))
                path.append(node)
        if needed - values.keys() - {name for node in path for name in node.outputs}:
            raise RefusedError("depends on other values too")
        evaluate(path[::-1], values, self.graph.opset, spend=self.spend)
        return [values[name] for name in names]

    # Inputs.

    def _label_inputs(self) -> None:
        x, inputs = self.guess.x, self.graph.inputs
        for name in inputs.keys() - self.values.keys():
            why = f"is computed from {shown(name)}, another input than the rows"
            self.values[name] = Unknown(why, name)
        try:
            if x:
                self.values[x] = self._label_rows(inputs[x])
        except RefusedError as error:
            self.fit, self.values[x] = Fit.WRONG_AXES, Unknown()
            self._refuse(x, "input", error)

    def _label_rows(self, shape: Sequence[int | str] | None) -> Flow:
        """Label the input that is rows."""
        guess, (T, N), sizes = self.guess, self.guess.axes, list[int]()
        if shape is None or T is N is None:
            raise RefusedError("the number of axes is not known")
        widths = (layer.input_size for _, layer in self.recurrent.values())
        width = guess.features or next(widths, 1)
        for axis, size in enumerate(shape):  # a frozen step becomes several, which have an order
            free = {T: guess.steps, N: guess.sequences}.get(axis, width)
            frozen = isinstance(size, int) and not (axis == T and size == 1)
            sizes.append(int(size) if frozen else free)
        self.steps, self.sequences = (1 if k is None else sizes[k] for k in (T, N))
        self.begins = self.steps
        self._budget += min(_FOR_AN_INPUT * prod(sizes), _MOST_FOR_AN_INPUT)
        self.spend(_COST_OF_LABEL * prod(sizes))
        t, n = (0 if k is None else np.indices(sizes, sparse=True)[k] for k in (T, N))
        values = labels(np.broadcast_to(row_label(t, n), sizes))
        return Flow(values, self.rows.add_source(values), lowest=True)

    # Nodes.

    def _choose_branch(self, node: Node) -> list[Node]:
        """Return the nodes of the branch that an ``If`` takes, if it is known."""
        condition = self.values.get((*node.inputs, "")[0])
        array = as_array(condition) if isinstance(condition, np.ndarray | Sized) else None
        if node.op != "If" or array is None or array.size != 1:
            return []
        if isinstance(condition, Sized):
            self.branches[node.name] = bool(array.any())
        branch = node.attributes.get("then_branch" if array.any() else "else_branch")
        if not isinstance(branch, Graph):
            return []
        self.values |= branch.arrays
        pairs = zip(branch.outputs.values(), node.outputs, strict=False)
        return [*branch.nodes, *(Node("Identity", "", "", [a], [b], {}) for a, b in pairs)]

    def _settle(self, node: Node) -> None:
        """Set an input of one number, such as a rate, to the constant it is compared with."""
        for name, operand in (node.inputs, node.inputs[::-1]):
            value, rate = self.values.get(operand), self.values.get(name)
            source = rate.input if isinstance(rate, Unknown) else ""
            shape = self.graph.inputs.get(source)
            if shape in ((), (1,)) and isinstance(value, np.ndarray) and value.size == 1:
                self.values[name] = value
                self.values[source] = self.settled[source] = value.reshape([1] * len(shape or ()))

    def _find_inputs(self, node: Node) -> list[Any]:
        """Return the values of a node's inputs."""
        if node.op == "Equal" and len(node.inputs) == 2:
            self._settle(node)
        values = [self.values.get(each) if each else None for each in node.inputs]
        for name, value in zip(node.inputs, values, strict=True):
            if name and value is None:
                raise RefusedError(f"takes {shown(name)}, which no node before it gives")
        return values

    def _compute(self, node: Node, inputs: list[Any]) -> Sequence[Any]:
        """Compute the outputs of a node."""
        if id(node) in self._computed:
            return self._computed[id(node)][1]
        flows = any(isinstance(each, Flow) for each in inputs)
        if unknown := [each for each in inputs if isinstance(each, Unknown)]:
            if node.op == "Shape" and (sizes := self._find_sizes(node)):
                return sizes
            moved = node.op in (*MOVERS, "Cast") and not flows and all(e.input for e in unknown)
            return [unknown[0] if moved else Unknown(unknown[0].why)] * len(node.outputs)
        if node.op in ("Layer", "Rows"):
            inputs = [*map(self._cut_rows, node.inputs, inputs)]
        cost = _COST_OF_LABEL if flows else 1
        arrays = [as_array(each) for each in inputs]
        outputs = apply(node, arrays, self.graph.opset, lambda n: self.spend(cost * n))
        if flows and node.op not in ("Shape", "Size"):
            return self._follow(node, inputs, [labels(plain(each)) for each in outputs])
        counts = flows or (_has_counts(node, inputs) and node.op != "ConstantOfShape")
        if counts and node.op in _UNSTEADY:
            raise RefusedError("compares the number of steps or sequences with another")
        if flows or any(isinstance(each, Sized) for each in inputs):
            return [Sized(array, counts) for array in outputs]
        self._computed[id(node)] = node, outputs
        return outputs

    def _cut_rows(self, name: str, value: Any) -> Any:
        """Return a value of whole sequences as the rows of a layer, if it has such rows."""
        if not isinstance(value, Flow) or self.guess.axes[0] is None:
            return value
        shape = value.labels.shape
        fewer = self.guess.sure and len(shape) == 3 and shape[1] not in (1, self.steps)
        if value.columns is not None and not fewer:
            return value
        of_rows = all(not each.component for each in self.layers.values())
        try:
            if self.guess.sure and len(shape) == 3:
                # One step may be all that windows leave of few.
                self.too_short |= shape[1] == 1 and self.guess.steps in FEW_STEPS
                axes = (1 if shape[1] > 1 else None, 0)  # a format that tells axes has N first
                target, graph = cut_graph(self, name, value, axes)
            else:
                target, graph = cut_output(self, name, value)
        except RefusedError:
            return value
        along, across = graph.axes
        if across is None or (graph.shortens and not (value.lowest and of_rows)):
            return value
        self.steps = shape[along] if graph.shortens and along is not None else self.steps
        register = self.rows.add_register(graph.output_size)
        self.layers[register] = Layer(None, target, graph)
        t, n = (0 if k is None else np.indices(shape, sparse=True)[k] for k in (along, across))
        rows = row_label(self.steps - 1 if along is None else t, n)
        rest = [1 if k in (along, across) else size for k, size in enumerate(shape)]
        columns = self.rows.begins[register] + np.arange(graph.output_size).reshape(rest)
        flow = Flow(
            labels(np.broadcast_to(rows, shape)), np.broadcast_to(columns, shape), "", value.lowest
        )
        self.values[name] = flow
        return flow

    def _find_sizes(self, node: Node) -> list[Any]:
        """Find the declared sizes of another input; an open one is the number of sequences."""
        sizes, known = self.graph.inputs.get(node.inputs[0]), node.attributes
        if sizes is None:
            return []
        sizes = sizes[known.get("start", 0) : known.get("end")]
        if all(isinstance(size, int) for size in sizes):
            return [np.array(sizes, np.int64)]
        numbers = [size if isinstance(size, int) else self.sequences for size in sizes]
        return [Sized(np.array(numbers, np.int64), counts=True)] if self.guess.x else []

    def _follow(self, node: Node, inputs: Sequence[Any], outputs: Sequence[Labels]) -> list[Flow]:
        """Follow values that are computed from rows through a node."""
        if not all(each.size for each in outputs):
            raise TooShortError("gives no values")
        flows = [each for each in inputs if isinstance(each, Flow)]
        lowest = all(each.lowest for each in flows)
        why = next((each.why for each in flows if each.columns is None), "")
        if node.op == "Slice" and _is_bounded(node, inputs, steps_of):
            why = why or "takes a fixed number of the steps"
        if node.op == "Gather" and not lowest and _takes_number(node, *inputs):
            self.numbered.update(node.outputs)
        N, shape = self.guess.axes[1], self.graph.inputs[self.guess.x]
        is_open = N is not None and shape and not isinstance(shape[N], int)
        if node.op == "Slice" and is_open and _is_bounded(node, inputs, sequences_of):
            raise RefusedError("takes a fixed number of the sequences")
        if _has_counts(node, inputs) or (node.op == "Slice" and _starts_at_quotient(inputs)):
            why = why or "computes with the number of steps or sequences"
            self.counting.add(node.name)
        if self._repeats_rows(node, inputs, outputs[0].size / max(x.labels.size for x in flows)):
            why = why or "repeats a row by the number of steps or sequences"
        if node.op == "Cast" and node.attributes.get("to") in _ROUNDED:
            what = _ROUNDED[node.attributes["to"]]
            note = f"{node.name} rounds to {what}; nodes above it have the precision of the run"
            self.notes.append((node.name, note))
        columns: Sequence[Any] = [None] * len(outputs)
        operands = [each if isinstance(each, Flow) else as_array(each) for each in inputs]
        try:
            columns = columns if why else self.rows.trace(node, operands, outputs)
        except RefusedError as error:
            why = str(error)
        return [Flow(y, k, why, lowest) for y, k in zip(outputs, columns, strict=False)]

    def _repeats_rows(self, node: Node, inputs: Sequence[Any], times: float) -> bool:
        """Return whether a node gives more values than its rows for more steps or sequences."""
        if times <= 1:
            return False
        if any(isinstance(each, Sized) for each in inputs):
            return True
        T, shape = self.guess.axes[0], self.graph.inputs[self.guess.x] or ()
        frozen = T is not None and isinstance(shape[T], int) and self.steps > 1
        broadcasts = node.op in ("Expand", "Tile", *ELEMENTWISE)
        return frozen and broadcasts and times % self.steps == 0

    # Recurrent nodes.

    def _find_layer(self, node: Node, inputs: Sequence[Any]) -> Recurrent:
        """Return the layer of a recurrent node, which carries it, or has its arrays as inputs."""
        if layer := node.attributes.get("layer"):
            self.recurrent[id(node)] = node, layer
        if id(node) not in self.recurrent:
            arrays: dict[str, Any] = dict(zip("WRBP", (*inputs[1:4], inputs[7]), strict=True))
            known = [each for each in arrays.values() if isinstance(each, np.ndarray)]
            unknown = [each for each in arrays.values() if not isinstance(each, np.ndarray | None)]
            if arrays["W"] is None or arrays["R"] is None or unknown:
                raise RefusedError("expected weights that are constants")
            self.left_for_weights -= _COST_OF_LAYER + sum(each.size for each in known)
            if self.left_for_weights < 0:
                raise RefusedError(_TOO_MANY)
            self.recurrent[id(node)] = node, read_layer(self.path, node, arrays)
        return self.recurrent[id(node)][1]

    def _read_layer(self, node: Node, inputs: list[Any]) -> list[Any]:
        """Read a recurrent node as a layer; return its outputs."""
        inputs = [*inputs, *[None] * 8][:8]
        layer, x, turned = self._find_layer(node, inputs), inputs[0], False
        if any(isinstance(each, Flow) for each in inputs[5:7]):
            return self._run_inside(node, layer, inputs)
        if not isinstance(x, Unknown):
            target, below, turned = self._take(node, x)
        layer = layer.reversed() if turned else copy(layer)
        if self.guess.x and self.guess.axes[0] is None and layer.direction != "forward":
            raise WrongAxesError("goes backward at each call")
        layer.starts = self._find_starts(node, inputs, layer, turned=turned)
        component = Component(node.name, node.op, self._find_weights(node), [layer])
        self.components[node.name] = component
        if isinstance(x, Unknown):
            return [x] * 3
        register = self.rows.add_register(layer.output_size)
        self.layers[register] = Layer(component, target, below)
        return self._label_outputs(node, layer, register, x.labels.shape, turned=turned)

    def _run_inside(self, node: Node, layer: Recurrent, inputs: Sequence[Any]) -> list[Any]:
        """Follow a layer whose initial states are computed: it is run within whole sequences."""
        if self.guess.axes[0] is None or inputs[4] is not None:
            raise RefusedError("its initial state is computed in the graph")
        self.components[node.name] = Component(node.name, node.op, self._find_weights(node))
        return [*self._compute(run_inside(node, layer), [inputs[0], *inputs[5:7]])]

    def _find_weights(self, node: Node) -> Mapping[str, Array]:
        """Return the arrays of a recurrent node."""
        weights = node._replace(inputs=[*node.inputs[1:4], *node.inputs[7:8]])
        return node.attributes.get("arrays") or self.find_floats(weights)

    def _label_outputs(
        self, node: Node, above: Recurrent, register: int, below: Sequence[int], *, turned: bool
    ) -> list[Any]:
        """Label the outputs of a layer that fills a register; `below` is the shape of its input."""
        layout, turn, T = node.attributes.get("layout", 0), -1 if turned else 1, self.steps
        ways = above.directions[::turn] if above.merge == "concat" else ("",)
        D, N, H = len(ways), below[1 - layout], above.output_size // len(ways)
        columns = self.rows.begins[register] + np.arange(D * H).reshape(D, 1, H)[::turn]
        t = np.arange(T)[::turn].reshape(-1, 1, 1, 1)
        if self.lower is not None and T > 1 and not {*self.lower}.intersection(node.outputs):
            ends = {"forward": T - 1, "backward": 0}
            t = np.where(t == [[[ends.get(way, T)]] for way in ways], STATE, t)

        def give(t: Any, shape: tuple[int, ...], order: tuple[int, ...]) -> Flow:
            pair = [row_label(t, np.arange(N)[:, None]), columns]
            pair = [np.broadcast_to(each, shape) for each in pair]
            pair = [each.transpose(order) for each in pair] if layout else pair
            return Flow(labels(pair[0]), pair[1])

        all_steps, last = give(t, (T, D, N, H), (2, 0, 1, 3)), give(STATE, (D, N, H), (1, 0, 2))
        several = row_label(SEVERAL, np.arange(N)[:, None])
        cells = np.broadcast_to(several, (D, N, above.cells[0].hidden_size))
        cells = labels(cells.swapaxes(0, 1) if layout else cells)
        return [all_steps, last, Flow(cells, None, "gives the cell state")]

    def _take(self, node: Node, x: Any) -> tuple[Operand, SequenceGraph | None, bool]:
        """Return the rows below a node, the layer in between, and whether they are reversed."""
        layout = node.attributes.get("layout", 0)
        if not isinstance(x, Flow) or x.labels.ndim != 3:
            raise RefusedError("input 1: expected rows of three axes")
        rows = plain(x.labels)
        rows = rows.swapaxes(0, 1) if layout else rows
        t, order = steps_of(rows), np.arange(len(rows))[:, None, None]
        known = x.columns is not None
        turned = known and bool((t != order).any())
        mixed = turned and (self.steps != len(rows) or bool((t != order[::-1]).any()))
        wrong = (sequences_of(rows) != np.arange(rows.shape[1])[:, None]) & (rows != CONSTANT)
        if wrong.any() or (mixed and x.lowest):
            raise (WrongAxesError if x.lowest else RefusedError)(_OTHER_AXES)
        if known and self.steps == len(rows) and not mixed:
            return self.rows.join_row(x), None, turned
        return (*self._take_sequences(node.inputs[0], x, layout), False)

    def _take_sequences(self, name: str, x: Flow, along: int) -> tuple[Operand, SequenceGraph]:
        """Return the rows below a layer of whole sequences, and that layer."""
        T = x.labels.shape[along]
        if self.guess.axes[0] is None and T > 1:
            raise WrongAxesError("takes several steps a call")
        if x.lowest and T == 1 < self.steps:
            self.too_short |= x.columns is None  # windows may leave one
            raise WrongAxesError(x.why or "takes one step of several")
        if self.steps < T:
            raise RefusedError("takes more steps than the input has")
        target, below = cut_graph(self, name, x, (along, 1 - along))
        if x.lowest:
            local = not below.takes_sequences or below.is_local(self.steps)
            self.fit = max(self.fit, Fit.SOME_STEPS if local else Fit.ALL_STEPS)
        of_rows = all(not each.component for each in self.layers.values())
        if below.shortens and not (x.lowest and of_rows):
            raise RefusedError("takes another number of steps than the layer below gives")
        self.steps = T
        return target, below

    def _find_starts(
        self, node: Node, inputs: Sequence[Any], layer: Recurrent, *, turned: bool
    ) -> list[list[Any]]:
        """Check lengths and states; return the states of each cell, none for zeros."""
        T, sizes = self.guess.axes[0], self.graph.inputs.get(self.guess.x)
        units = dict(zip(("initial_h", "initial_c"), layer.cells[0].state_sizes, strict=False))
        D = len(layer.cells)
        known: dict[str, Any] = {}
        for value, (role, note) in zip(inputs[4:7], _OPTIONAL_INPUTS.items(), strict=True):
            origin = getattr(value, "input", "")
            if origin or (isinstance(value, Unknown) and isinstance(inputs[0], Unknown)):
                origin = shown(origin or "the graph")
                self.notes.append((node.name, f"{node.name} takes {note.format(origin)}"))
            elif isinstance(value, Flow | Unknown):
                raise RefusedError(f"input {role} is computed in the graph")
            elif value is not None:
                array, counts = as_array(value), isinstance(value, Sized) and value.counts
                if role == "sequence_lens":
                    free = T is not None and sizes and not isinstance(sizes[T], int) and not counts
                    if free or not (array == self.steps).all():
                        raise RefusedError(f"input {role} is a constant other than all steps")
                elif counts or array.shape[-1:] not in ((), (units.get(role),)):
                    raise RefusedError(f"input {role} is not a state of {units.get(role, 0)} units")
                elif array.any():
                    known[role] = self._read_start(role, node, array, D)
            if T is None and self.guess.x and role in units and not origin:
                raise WrongAxesError("starts anew at each call")
        if not known:
            return []
        text = f"{node.name} starts from states in the file: `h0` replaces them"
        self.notes.append((node.name, text))
        zeros = {role: np.zeros((D, size)) for role, size in units.items()}
        cells = [list(pair) for pair in zip(*(zeros | known).values(), strict=True)]
        return cells[::-1] if turned else cells

    def _read_start(self, role: str, node: Node, array: Any, directions: int) -> Any:
        """Read constant states, which have to be the same for all sequences: (D, units)."""
        array = array.swapaxes(0, 1) if array.ndim == 3 and node.attributes.get("layout") else array
        if array.ndim != 3 or len(array) != directions or (array != array[:, :1]).any():
            raise RefusedError(f"input {role} differs between sequences")
        return read_floats(self.path, f"{node.name}: {role}", array[:, 0])


def _count_values(graph: Graph) -> int:
    """Count the values in a graph, also those of constant nodes and of branches."""
    attributes = [value for node in graph.nodes for value in node.attributes.values()]
    arrays = [
        each for each in (*graph.arrays.values(), *attributes) if isinstance(each, np.ndarray)
    ]
    branches = [each for each in attributes if isinstance(each, Graph)]
    return sum(each.size for each in arrays) + sum(map(_count_values, branches))


def as_array(value: Any) -> Any:
    """Return the array that a value is, or its labels."""
    if isinstance(value, Flow):
        return value.labels
    return value.array if isinstance(value, Sized) else value


def _has_counts(node: Node, inputs: Sequence[Any]) -> bool:
    """Return whether a node takes values that depend on the number of steps or sequences."""
    x = as_array(inputs[0]) if inputs and not isinstance(inputs[0], Flow) else None
    # A row of a table has other values, and one of zeros the same.
    picks = node.op in ("Slice", "Split") and x is not None and (x != x.reshape(-1)[:1]).any()
    content = inputs[:1] if node.op in _PLACING and not picks else inputs
    return any(isinstance(each, Sized) and each.counts for each in content)


def _slides_along_steps(x: Any) -> bool:
    """Return whether windows of a value, (N, C, ...), take several steps."""
    rows = plain(as_array(x))
    t, n = steps_of(rows), sequences_of(rows)
    mixed = (t == SEVERAL) & (n != SEVERAL)  # several steps as one
    return bool(mixed.any()) or any((t != t.take([0], k)).any() for k in range(2, t.ndim))


def _starts_at_quotient(inputs: Sequence[Any]) -> bool:
    """Return whether a bound of a Slice is computed, and is 0 or 1 for few steps, as T // 40 is."""
    sizes = [each for each in inputs[1:] if isinstance(each, Sized) and each.counts]
    return any((abs(each.array) <= 1).any() for each in sizes)


def _takes_number(node: Node, x: Any, index: Any) -> bool:
    """Return whether a Gather takes a step by a number from 1 up."""
    if not isinstance(x, Flow) or not isinstance(index, np.ndarray):
        return False
    t = steps_of(plain(x.labels))
    return bool((index > 0).any() and np.diff(t, axis=node.attributes.get("axis", 0)).any())


def _is_bounded(node: Node, inputs: Sequence[Any], find: Callable[[Any], Any]) -> bool:
    """Return whether a Slice takes a fixed number of the steps or sequences that `find` returns."""
    rows, *bounds = (plain(as_array(each)) for each in inputs)
    numbers = find(rows)
    bounds = bounds or [node.attributes.get(each) for each in ("starts", "ends", "axes")]
    axes = range(rows.ndim) if len(bounds) < 3 or bounds[2] is None else np.ravel(bounds[2])
    t = np.where(numbers == STATE, np.nan, numbers)  # a direction ends at either
    return any(
        rows.shape[axis] <= abs(int(end)) < FAR and (abs(np.diff(t, axis=axis)) > 0).any()
        for axis, *ends in zip(axes, *map(np.ravel, bounds[:2]), strict=False)
        for end in ends
    )
