"""From an ONNX graph to layers: recurrent nodes, and what the graph computes between them.

The graph is run over labels, which tell the row of the input that each value comes from.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice, permutations
from math import prod

import numpy as np

from rnncli.model.errors import InputError, listed, shown
from rnncli.model.formats.found import Draft, Found, Part
from rnncli.model.formats.onnx.messages import Model
from rnncli.model.formats.onnx.recurrent import KINDS
from rnncli.model.formats.onnx.walk import (
    AxesError,
    Const,
    Flow,
    Guess,
    JoinError,
    Shared,
    Unknown,
    Walk,
    is_known,
)
from rnncli.model.graph import Graph, Node, RefusedError
from rnncli.model.graph.labels import sequences_of, steps_of
from rnncli.model.graph.naming import Named, name_steps
from rnncli.model.graph.operators import MOVERS
from rnncli.model.graph.piece import Piece, Whole
from rnncli.model.graph.rows import Integers, Operand, fill
from rnncli.model.graph.whole import STATE, Pieces, places
from rnncli.model.layers import Normalization, Stateless

_OLDEST = 7  # the first opset whose arrays are broadcast as NumPy's are
_MOST_GUESSES = 30  # at the axes of the input
_LARGE = 2**14  # values of an input of known sizes: fewer steps and sequences are tried first
_ASIDE = "is not on the way to the output"
_KERAS = "load the .keras file itself"
_WITH_NODES = "export it with nodes RNN, LSTM or GRU"
_UNROLLED = "export it with torch.onnx.export(..., dynamo=False)"
_REDUCTIONS = {"ReduceSum": "sum", "ReduceMean": "ave", "ReduceProd": "mul"}
_EXPECTED = ": expected a node RNN, LSTM or GRU"


def find(path: str, model: Model) -> Found:
    """Find the layers in a model."""
    opset, graph = model.opsets.get("", 1), model.graph
    if opset < _OLDEST:
        what = f"expected operators of opset {_OLDEST} or later, got {opset}"
        raise InputError(path, what, "convert it with onnx.version_converter")
    title = f"ONNX opset {opset}{f', {model.producer}' if model.producer else ''}"
    outputs = [*_outputs(graph), ""]
    needed = _ancestors(graph, outputs[:1])
    recurrent = [node for node in graph.nodes if node.op in KINDS and node.inputs]
    above = [node for node in recurrent if needed.intersection(node.outputs)]
    lower = _ancestors(graph, [node.inputs[0] for node in above])
    shared, best = Shared({}, {}, needed, lower), None
    for strict in (3, 2, 1, 0):
        given_up = False
        for guess in islice(_guesses(graph), _MOST_GUESSES):
            try:
                found = _try(path, model, guess, shared._replace(strict=strict), outputs[0])
            except AxesError:
                given_up = True
                continue
            best = best or found
            sure = strict == 3 and (found.takes_rows() or found.walk.unread)
            if found.target is not None or sure:
                return found.found(outputs)._replace(title=title, beside=model.beside)
        if not given_up:
            break
    if best is None:
        return Found(_without_nodes(model, []), title, expected=_EXPECTED)
    return best.found(outputs)._replace(title=title, beside=model.beside)


def _guesses(graph: Graph) -> Iterator[Guess]:
    """Return which input may be the rows, and which of its axes steps and sequences."""
    long = any(node.op in ("Conv", "MaxPool", "AveragePool") for node in graph.nodes)
    for x in (name for name in graph.inputs if name not in graph.arrays):
        shape = graph.inputs[x] or ()
        axes = range(min(len(shape), 5))
        pairs: list[tuple[int | None, int | None]] = [
            *sorted(permutations(axes, 2), key=max),  # the first axes first
            *((axis, None) for axis in axes),
            *((None, axis) for axis in axes),  # each call is a step
        ]
        free = {axis for axis, size in enumerate(shape) if not is_known(size)}
        left = min((len(free - {*pair}) for pair in pairs), default=0)
        pairs = [pair for pair in pairs if len(free - {*pair}) == left]  # features are known
        large = prod(size for size in shape if isinstance(size, int)) > _LARGE
        for steps in (7, 131)[: 1 + long]:
            for fewer in (True, False)[not large :]:
                left_open = [p for p in pairs if steps == 7 or fewer or p[0] in free]
                yield from (
                    Guess(x, pair, steps, fewer)
                    for pair in left_open or [(None, None)][len(pairs) :]
                )


def _try(path: str, model: Model, guess: Guess, shared: Shared, output: str) -> "Chain":
    """Run the graph over labels; anew where two nodes turn out to be one layer."""
    pairs: dict[str, str] = {}
    while True:
        try:
            first = Chain(Walk(path, model, guess, shared, pairs, ends=False), output)
            if first.target is not None and first.last in (None, "state"):
                return first
            second = Chain(Walk(path, model, guess, shared, pairs, ends=True), output)
            return second if second.target is not None and second.last == "state" else first
        except JoinError as joined:
            pairs[joined.pair[1]] = joined.pair[0]


class Chain:
    """The layers that give the output of a graph.

    Its target is None where the output cannot be given.
    """

    def __init__(self, walk: Walk, output: str) -> None:
        walk.run()
        self.walk, self.rows, self.output = walk, walk.rows, output
        self.target: Operand | None = None
        self.whole: Whole | None = None
        self.last: str | None = None
        self.error: Part | None = None
        self.parts: list[Part] = []
        self.count = 0
        self.number = {0: 0}  # the layer that fills a register, from 1
        value = walk.values.get(output)
        why = value.why if isinstance(value, Unknown) else ""
        try:
            if isinstance(value, Flow) and any(isinstance(root, int) for root in value.roots):
                self.find_output(value)
        except RefusedError as error:
            why = error.why
        if why:
            self.error = Part(output, "output", why=why, needed=True)

    def takes_rows(self) -> bool:
        """Return whether a recurrent layer takes rows of the input: its axes are known then."""
        layers = self.walk.layers.values()
        return any(each.target and 0 in self.count_taken([each.target]) for each in layers)

    def find_output(self, value: Flow) -> None:
        """Find what the graph gives, and which row of a sequence it is."""
        walk = self.walk
        if value.view is None:
            axes = places(value, walk.steps, walk.sequences)
            target, self.whole = Pieces(walk).make(self.output, value, axes)
            if axes[0] is not None and not self.whole.grows(walk.steps):
                same = axes[0] == walk.guess.axes[0] and value.labels.ndim > 2
                if not same:  # a row that has as many values as there are steps
                    axes = None, axes[1]
                    target, self.whole = Pieces(walk).make(self.output, value, axes)
            self.last = None if axes[0] is not None else "step"
        else:
            target = self.rows.operand(value.view)
            self.last = self.find_last(value)
        if target.register < 0:
            raise RefusedError("gives a constant")
        self.below(target)
        self.target = target

    def find_last(self, value: Flow) -> str | None:
        """Return which row of a sequence a value is; None for all of them."""
        assert value.view is not None
        features, rows = value.view.features(), fill(value.labels)
        t, n = steps_of(rows), sequences_of(rows)
        axes = [k for k in range(rows.ndim) if k not in features]
        both = [k for k in axes if all((each != each.take([0], k)).any() for each in (t, n))]
        if both and len(axes) > 1:
            raise RefusedError("takes other axes for steps, sequences and features")
        where = self.rows.lay_out(value.labels)[:, 0]
        t, n = t.reshape(-1)[where], n.reshape(-1)[where]
        steps = np.unique(t)
        if len(t) < len(steps) * self.walk.sequences:
            raise RefusedError("takes some of the sequences")
        if _turned(where, np.where(t == STATE, self.walk.steps - 1, t), n):
            raise RefusedError("gives its rows from the last step to the first")
        if _turned(where, n, t):
            raise RefusedError("gives the sequences turned round")
        if len(steps) > 1 or self.walk.steps == 1:
            if len(steps) < self.walk.steps:
                raise RefusedError("takes some places of an axis")
            return None
        names = {STATE: "state", self.walk.steps - 1: "step"}
        if steps[0] not in names:
            which = "the first step" if steps[0] == 0 else f"step {steps[0] + 1}"
            raise RefusedError(f"gives the row of {which}")
        return names[int(steps[0])]

    def found(self, outputs: Sequence[str]) -> Found:
        """Return the parts of the model, of which it gives the first output."""
        walk = self.walk
        on_way = [n for n, node in walk.nodes.items() if walk.shared.needed & {*node.outputs}]
        if self.target is None:
            self.list_parts(on_way)
        else:
            self.make_parts(self.target)
        names = {part.name for part in self.parts}
        layers = [(n, each.part) for n, each in walk.layers.items() if n not in walk.pairs]
        aside = [part for name, part in layers if name not in names]
        runs = self.target is not None
        if not walk.layers and not any(part.kind in KINDS for part in walk.refused.values()):
            self.parts = _without_nodes(walk.model, self.parts)
        if runs:
            aside = [part._replace(why=_ASIDE) for part in aside]
        else:
            self.parts, aside = [*self.parts, *aside], []
        notes = [note for name, note in walk.notes if name in on_way]
        others = [n for n in outputs[1:] if n and not isinstance(walk.values.get(n), Const | None)]
        if others:
            notes.append(f"gives {shown(self.output)}, and passes over {listed(others)}")
        return Found(self.parts, last=self.last, notes=notes, expected=_EXPECTED, aside=aside)

    def list_parts(self, on_way: Sequence[str]) -> None:
        """List the recurrent nodes on the way to the output, and those that were refused."""
        walk = self.walk
        for name in (walk.guess.x, *on_way):
            if name in walk.layers and name not in walk.pairs:
                self.parts.append(walk.layers[name].part)
            elif name in walk.refused:
                self.parts.append(walk.refused[name])
        if self.error is not None and not any(part.needed for part in self.parts):
            self.parts.append(self.error)

    # Layers.

    def make_parts(self, target: Operand) -> None:
        """Make the layers that give the output, the bottom one first."""
        layers = {layer.register: layer for layer in self.walk.layers.values()}
        below = [layers[register] for register in self.below(target)]
        self.taken = self.count_taken([target, *(each.target for each in below)])
        for layer in below:
            assert layer.target is not None
            self.make_steps(layer.target, layer.whole)
            self.add(layer.part, layer.register)
        self.make_steps(target, self.whole)

    def make_steps(self, target: Operand, whole: Whole | None) -> None:
        """Make the layers between recurrent ones."""
        every = name_steps(self.rows, target, self.number)
        for named in every:
            self.add_named(named)
        if not every and self.number[target.register] != self.count:
            self.route(target.register)
        if whole is not None:
            names = [node.name or node.outputs[0] for node in whole.nodes]
            kind = " ".join(dict.fromkeys(n.op for n in whole.nodes if n.op not in MOVERS))
            arrays = {n: a for n, a in whole.arrays.items() if n in self.walk.graph.arrays}
            self.add(Part(names[-1], kind, arrays, [whole]), -1)

    def add(self, part: Part, register: int) -> None:
        """Add a part of one layer, which fills a register."""
        self.parts.append(part)
        self.count += 1
        self.number[register] = self.count

    def route(self, register: int) -> None:
        """Add a layer that passes on what a layer gives that is not the one below."""
        width = self.rows.widths[register]
        piece = Piece({}, {register: width}, Operand(register), width)
        piece.sources = (self.number[register],)
        self.parts.append(Part("", "Identity", layers=[piece]))
        self.count += 1

    def add_named(self, named: Named) -> None:
        """Add a layer above others, or have the recurrent layer below merge its directions."""
        layer, taken = named.layer, tuple(self.number[each] for each in named.taken)
        below = self.parts[-1].layers[-1] if self.parts else None
        if taken == (self.count,) and isinstance(below, Draft) and self.taken[named.taken[0]] == 1:
            merge = _find_merge(layer, below)
            if merge:
                settings = {**below.settings, "merge": merge}
                self.parts[-1] = self.parts[-1]._replace(layers=[below._replace(settings=settings)])
                self.number[named.register] = self.count
                return
        if taken != (self.count,):
            if isinstance(layer, Piece):
                layer.sources = taken
            else:
                self.route(*named.taken)
        self.add(Part(named.name, named.kind, named.arrays, [layer]), named.register)

    def below(self, target: Operand) -> list[int]:
        """Return the registers of the recurrent layers below a target."""
        targets = {layer.register: layer.target for layer in self.walk.layers.values()}
        found: set[int] = set()
        waiting: list[Operand | None] = [target]
        while waiting:
            each = waiting.pop()
            if each is None:
                raise RefusedError("comes after what cannot be read")
            new = {*self.count_taken([each])} & targets.keys() - found
            found |= new
            waiting += [targets[register] for register in new]
        return sorted(found)

    def count_taken(self, targets: Sequence[Operand | None]) -> Counter[int]:
        """Count the targets and the steps on the way to them that take each register."""
        registers = [each.register for each in targets if each]
        found = Counter(registers)
        for step in {n for register in registers for n in self.rows.path(register)}:
            found.update({each.register for each in self.rows.steps[step].operands})
        return found


def _find_merge(layer: Stateless, below: Draft) -> str:
    """Return how a layer merges the two directions of the one below; empty if it does not."""
    merge = below.settings.get("merge")
    if merge == "sum" and isinstance(layer, Normalization):
        factor = 1 if layer.factor is None else layer.factor
        halved = layer.shift is None and (factor / layer.scale == 0.5).all()
        return "ave" if halved and not layer.center.any() else ""
    if merge != "concat" or not isinstance(layer, Piece) or len(layer.steps) != 1:
        return ""
    (step,), H = layer.steps.values(), len(below.cells[0].weights.W_hh)
    if step.op in _REDUCTIONS and step.shape == (2, H) and step.attributes.get("axes") == [1]:
        return "" if step.operands[0].columns is not None else _REDUCTIONS[step.op]
    halves = {tuple(o.columns.tolist()) for o in step.operands if o.columns is not None}
    if step.op in ("Add", "Mul") and halves == {(*range(H),), (*range(H, 2 * H),)}:
        return {"Add": "sum", "Mul": "mul"}[step.op]
    return ""


def _turned(places: Integers, values: Integers, key: Integers) -> bool:
    """Return whether places with one key do not rise with their values."""
    order = np.lexsort((values, key))
    return bool((np.diff(places[order])[np.diff(key[order]) == 0] < 0).any())


def _outputs(graph: Graph) -> list[str]:
    """Return the outputs that are no bare final states, or else all."""
    makers = {name: node for node in graph.nodes for name in node.outputs if name}

    def is_state(name: str, depth: int = 0) -> bool:
        node = makers.get(name)
        if node is None or depth > 50:
            return False
        if node.op in KINDS:
            return name in node.outputs[1:]
        inputs = node.inputs if node.op == "Concat" else node.inputs[:1]
        return node.op in MOVERS and all(is_state(each, depth + 1) for each in inputs)

    names = [name for name in graph.outputs if name in makers or name in graph.inputs]
    return [name for name in names if not is_state(name)] or names


def _ancestors(graph: Graph, names: Sequence[str]) -> set[str]:
    """Return the values that others are computed of."""
    found = {*filter(None, names)}
    for node in reversed(graph.nodes):
        if found.intersection(node.outputs):
            found.update(filter(None, node.inputs))
    return found


def _without_nodes(model: Model, parts: list[Part]) -> list[Part]:
    """Say what a graph has in place of recurrent nodes: a loop, or each step by itself."""
    nodes = model.graph.nodes
    loop = next((node for node in nodes if node.op in ("Loop", "Scan")), None)
    if loop:
        why = f"runs its steps in a {loop.op}, which does not tell what its cell is"
        hint = _KERAS if model.producer.startswith("tf2onnx") else _WITH_NODES
        return [Part(_name(loop), loop.op, why=why, hint=hint, needed=True)]
    products = [node for node in nodes if node.op in ("MatMul", "Gemm") and len(node.inputs) > 1]
    times = Counter(node.inputs[1] for node in products)
    node = next((node for node in products if times[node.inputs[1]] > 1), None)
    if node:
        why = "is a step of a recurrent layer, each of which has nodes of its own"
        hint = _UNROLLED if model.producer.startswith("pytorch") else _WITH_NODES
        return [Part(_name(node), node.op, why=why, hint=hint, needed=True)]
    return parts or [Part(_name(node), node.op) for node in nodes]


def _name(node: Node) -> str:
    return node.name or next(filter(None, node.outputs), node.op)
