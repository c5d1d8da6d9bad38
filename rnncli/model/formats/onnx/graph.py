"""From an ONNX graph to layers: recurrent nodes, and what the graph computes between them.

The graph is run over labels, which tell the row of the input that each value comes from.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice, permutations

import numpy as np

from rnncli.model.errors import InputError, listed, shown
from rnncli.model.formats.found import Draft, Found, Part
from rnncli.model.formats.onnx.messages import Model
from rnncli.model.formats.onnx.recurrent import KINDS
from rnncli.model.formats.onnx.walk import Const, Flow, Guess, Shared, Unknown, Walk, is_known
from rnncli.model.formats.onnx.whole import STATE, find_axes, make_whole
from rnncli.model.graph import Graph, Node, RefusedError
from rnncli.model.graph.labels import row_label, steps_of
from rnncli.model.graph.naming import name_steps
from rnncli.model.graph.operators import MOVERS
from rnncli.model.graph.piece import Piece, Whole
from rnncli.model.graph.rows import Operand, fill
from rnncli.model.layers import MERGES, Normalization, Stateless

_OLDEST = 7  # the first opset whose arrays are broadcast as NumPy's are
_MOST_GUESSES = 30  # at the axes of the input
_KERAS = "load the .keras file itself"
_WITH_NODES = "export it with nodes RNN, LSTM or GRU"
_UNROLLED = "export it with torch.onnx.export(..., dynamo=False)"
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
    shared, best = Shared(path, model, needed, lower, {}), None
    for guess in islice(_guesses(graph), _MOST_GUESSES):
        chain = Chain.find(shared, guess, outputs[0])
        if best is None or chain.rank < best.rank:
            best = chain
        if chain.is_sure:
            break
    if best is None:
        return Found(_without_nodes(model, []), title, expected=_EXPECTED)
    if best.target is not None and best.walk.steps == 1:  # where a turn, or a mean, does nothing
        freed = (Chain.find(shared, guess, outputs[0]) for guess in _free_steps(graph, best))
        best = min((c for c in freed if not c.walk.refused), key=lambda c: c.rank, default=best)
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
        for steps in (7, 131)[: 1 + long]:
            left_open = [pair for pair in pairs if steps == 7 or pair[0] in free]
            yield from (Guess(x, pair, steps) for pair in left_open)
        if not pairs:
            yield Guess(x)


def _free_steps(graph: Graph, chain: "Chain") -> Iterator[Guess]:
    """Return guesses at a graph that was frozen with one step, which take several."""
    x = chain.walk.guess.x
    shape = graph.inputs[x] or ()
    for T, N in sorted(permutations(range(min(len(shape), 5)), 2), key=max):
        if shape[T] == 1 and shape[N] in (1, shape[chain.walk.guess.axes[1] or 0]):
            yield Guess(x, (T, N), freed=True)


class Chain:
    """The layers that give the output of a graph; its target is None where it cannot be given."""

    def __init__(self, walk: Walk, output: str) -> None:
        walk.run()
        self.walk, self.rows, self.output = walk, walk.rows, output
        self.target: Operand | None = None
        self.whole: Whole | None = None
        self.last: str | None = None
        self.error: Part | None = None
        self.parts: list[Part] = []
        self.number = {0: 0}  # the layer that fills a register, from 1
        value = walk.values.get(output)
        why = value.why if isinstance(value, Unknown) else ""
        try:
            if isinstance(value, Flow) and any(isinstance(root, int) for root in value.roots):
                self.target = self.find_output(value)
        except RefusedError as error:
            why = error.why
        if why:
            self.error = Part(output, "output", why=why, needed=True)

    @classmethod
    def find(cls, shared: Shared, guess: Guess, output: str) -> "Chain":
        """Run the graph over labels; anew where two nodes turn out to be one layer."""
        pairs: dict[str, str] = {}
        while True:
            known = len(pairs)
            first = cls(Walk(shared, guess, pairs, ends=False), output)
            if len(pairs) == known:
                break
        if first.target is not None and first.last in (None, "state"):
            return first
        second = cls(Walk(shared, guess, pairs, ends=True), output)
        return second if second.target is not None and second.last == "state" else first

    @property
    def rank(self) -> tuple[bool, int]:
        """Order guesses, the best first."""
        return self.target is None, self.walk.doubt

    @property
    def is_sure(self) -> bool:
        """Whether no other guess can be right."""
        layers = self.walk.layers.values()
        takes_rows = any(0 in self.count_taken([each.target]) for each in layers)
        return self.walk.doubt == 0 and bool(self.target or takes_rows)

    def find_output(self, value: Flow) -> Operand:
        """Find what the graph gives, and which row of a sequence it is."""
        walk = self.walk
        if value.view is None:
            axes = find_axes(value, walk.steps, walk.sequences)
            target, self.whole = make_whole(walk, self.output, value, axes)
            same = axes[0] == walk.guess.axes[0] and value.labels.ndim > 2
            if axes[0] is not None and not same and not self.whole.grows(walk.steps):
                axes = None, axes[1]  # a row that has as many values as there are steps
                target, self.whole = make_whole(walk, self.output, value, axes)
            self.last = None if axes[0] is not None else "step"
        else:
            target = self.rows.operand(value.view)
            self.last = self.find_last(value)
        if target.register < 0:
            raise RefusedError("gives a constant")
        return target

    def find_last(self, value: Flow) -> str | None:
        """Return which row of a sequence a value is; None for all of them."""
        assert value.view is not None
        features, steps = value.view.features(), self.walk.steps
        rows = fill(value.labels)
        rows = rows[tuple(0 if k in features else slice(None) for k in range(rows.ndim))]
        t = np.unique(steps_of(rows))
        grid = row_label(t[:, None], np.arange(self.walk.sequences))
        orders = [each.reshape(-1) if rows.ndim == 1 else each for each in (grid, grid.T)]
        if not any(np.array_equal(rows.squeeze(), each.squeeze()) for each in orders):
            raise RefusedError("gives no rows of all sequences in the order of its input")
        if len(t) == steps:
            return None
        if len(t) > 1 or t[0] not in (STATE, steps - 1):
            which = "some steps" if len(t) > 1 else f"step {t[0] + 1}"
            raise RefusedError(f"gives the rows of {which}")
        return "state" if t[0] == STATE else "step"

    def found(self, outputs: Sequence[str]) -> Found:
        """Return the parts of the model, of which it gives the first output."""
        walk = self.walk
        on_way = [n for n, node in walk.nodes.items() if walk.shared.needed & {*node.outputs}]
        layers = {n: each.part for n, each in walk.layers.items() if n not in walk.pairs}
        layers |= walk.loose
        if self.target is None:
            every = {**layers, **walk.refused}
            self.parts = [every[name] for name in (walk.guess.x, *on_way) if name in every]
            if self.error and not any(part.needed for part in self.parts):
                self.parts.append(self.error)
        else:
            self.make_parts(self.target)
        names = {part.name for part in self.parts}
        aside = [part for name, part in layers.items() if name not in names]
        if not layers and not any(part.kind in KINDS for part in walk.refused.values()):
            self.parts = _without_nodes(walk.shared.model, self.parts)
        if self.target is None:
            self.parts, aside = [*self.parts, *aside], []
        aside = [part._replace(why="is not on the way to the output") for part in aside]
        notes = [note for name, note in walk.notes if name in on_way]
        others = [n for n in outputs[1:] if n and not isinstance(walk.values.get(n), Const | None)]
        if others:
            notes.append(f"gives {shown(self.output)}, and passes over {listed(others)}")
        return Found(self.parts, last=self.last, notes=notes, expected=_EXPECTED, aside=aside)

    # Layers.

    def make_parts(self, target: Operand) -> None:
        """Make the layers that give the output, the bottom one first."""
        layers = {layer.register: layer for layer in self.walk.layers.values()}
        below = [layers[register] for register in self.below(target)]
        taken = self.count_taken([target, *(each.target for each in below)])
        for layer in below:
            self.make_steps(layer.target, layer.whole, taken)
            self.add(layer.part, layer.register)
        self.make_steps(target, self.whole, taken)

    def make_steps(self, target: Operand, whole: Whole | None, taken: Mapping[int, int]) -> None:
        """Make the layers between recurrent ones, or have the one below merge its directions."""
        for named in (every := name_steps(self.rows, target, self.number)):
            sources = tuple(self.number[each] for each in named.taken)
            below = self.parts[-1].layers[-1] if self.parts else None
            if sources != (len(self.parts),):
                if isinstance(named.layer, Piece):
                    named.layer.sources = sources
                else:
                    self.route(*named.taken)
            elif isinstance(below, Draft) and taken[named.taken[0]] == 1:
                merge = _find_merge(named.layer, below)
                if merge:
                    draft = below._replace(settings={**below.settings, "merge": merge})
                    self.parts[-1] = self.parts[-1]._replace(layers=[draft])
                    self.number[named.register] = len(self.parts)
                    continue
            nodes = [self.walk.nodes.get(step.name, step) for step in named.steps.values()]
            kind = " ".join(dict.fromkeys(node.op for node in nodes)) or "Slice"
            inputs = [name for node in nodes if isinstance(node, Node) for name in node.inputs]
            part = Part(named.name, kind, self.walk.arrays(inputs), [named.layer])
            self.add(part, named.register)
        if not every and self.number[target.register] != len(self.parts):
            self.route(target.register)
        if whole is not None:
            name = whole.nodes[-1].name or whole.nodes[-1].outputs[0]
            kind = " ".join(dict.fromkeys(whole.settings["operators"].split()))
            arrays = {n: a for n, a in whole.arrays.items() if n in self.walk.graph.arrays}
            self.add(Part(name, kind, arrays, [whole]), -1)

    def add(self, part: Part, register: int) -> None:
        """Add a part of one layer, which fills a register."""
        self.parts.append(part)
        self.number[register] = len(self.parts)

    def route(self, register: int) -> None:
        """Add a layer that passes on what a layer gives that is not the one below."""
        width = self.rows.widths[register]
        piece = Piece({}, {register: width}, Operand(register), width)
        piece.sources = (self.number[register],)
        self.parts.append(Part("", "Identity", layers=[piece]))

    def below(self, target: Operand) -> list[int]:
        """Return the registers of the recurrent layers below a target."""
        targets = {layer.register: layer.target for layer in self.walk.layers.values()}
        found, waiting = set[int](), [target]
        while waiting:
            new = {*self.count_taken([waiting.pop()])} & targets.keys() - found
            found |= new
            waiting += [targets[register] for register in new]
        return sorted(found)

    def count_taken(self, targets: Collection[Operand]) -> Counter[int]:
        """Count the targets and the steps on the way to them that take each register."""
        registers = [each.register for each in targets]
        found = Counter(registers)
        for step in {n for register in registers for n in self.rows.path(register)}:
            found.update({each.register for each in self.rows.steps[step].operands})
        return found


def _find_merge(layer: Stateless, below: Draft) -> str:
    """Return how a layer merges the two directions of the one below; empty if it does not."""
    merge, x = below.settings.get("merge"), np.random.default_rng(0).normal(size=(9, 2, 1))
    H = len(below.cells[0].weights.W_hh)
    if merge == "sum" and isinstance(layer, Normalization):
        return "ave" if np.array_equal(layer(x := np.repeat(x[:, 0], H, 1)), x / 2) else ""
    one_step = isinstance(layer, Piece) and len(layer.steps) == 1 and not layer.arrays
    if merge != "concat" or not one_step or layer.output_size != H:
        return ""
    halves = np.random.default_rng(0).normal(size=(2, 9, H))
    found = layer(np.concatenate(halves, 1))
    fitting = (n for n in MERGES if n != "concat" and np.array_equal(MERGES[n](*halves), found))
    return next(fitting, "")


def _outputs(graph: Graph) -> list[str]:
    """Return the outputs that are no bare final states, or else all."""
    states: set[str] = set()
    for node in graph.nodes:
        inputs = node.inputs if node.op == "Concat" else node.inputs[:1]
        if node.op in KINDS:
            states |= {*node.outputs[1:]}
        elif node.op in MOVERS and states.issuperset(inputs):
            states |= {*node.outputs}
    made = {*graph.inputs}.union(*(node.outputs for node in graph.nodes))
    names = [name for name in graph.outputs if name and name in made]
    return [name for name in names if name not in states] or names


def _ancestors(graph: Graph, names: Sequence[str]) -> set[str]:
    """Return the values that others are computed of."""
    found = {*filter(None, names)}
    for node in reversed(graph.nodes):
        if found.intersection(node.outputs):
            found.update(filter(None, node.inputs))
    return found


def _without_nodes(model: Model, parts: list[Part]) -> list[Part]:
    """Describe a graph without recurrent nodes: it has a loop, or each step by itself."""
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
