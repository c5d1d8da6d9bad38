"""The layers of a graph: recurrent nodes, and what the graph computes between them.

`find_layers` guesses which axes of the input are steps and sequences, unless the format tells
them, and walks the graph by each guess (`walk.py`). The best walk becomes a `Chain` of layers.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count, islice, permutations, zip_longest
from math import isqrt
from typing import Any

import numpy as np

from rnncli.model.contents import Component, Contents
from rnncli.model.errors import listed, shown, verbatim
from rnncli.model.graph import Graph, RefusedError, Unknown
from rnncli.model.graph.inputs import join_inputs, name_joint
from rnncli.model.graph.labels import STATE, distinct, plain, row_label, steps_of
from rnncli.model.graph.loops import replace_loops
from rnncli.model.graph.naming import name_steps
from rnncli.model.graph.node_layers import Operand, RowGraph, SequenceGraph, name_operator
from rnncli.model.graph.operators import MOVERS
from rnncli.model.graph.recurrent import KINDS
from rnncli.model.graph.rows import Flow
from rnncli.model.graph.steps import replace_steps
from rnncli.model.graph.walk import FEW_STEPS, Fit, Guess, Layer, Walk
from rnncli.model.graph.whole_sequences import cut_output
from rnncli.model.layers import Recurrent

PASSES_OVER = "gives {}, and passes over {} (`output_name` NAME picks one)"
_MOST_GUESSES = 30  # of the axes of the input
_MOST_NUMBERS = 6  # of an array that may have sizes or indices of steps
# Convolutions and pooling may leave none of few steps: then more are tried, and some more. No such
# number is one that features often have.
_MORE, _MANY_STEPS = 37, 9_000
_EXPECTED = (
    ": expected a node RNN, LSTM or GRU, and no steps or loops of other cells"
    " (torch.onnx.export with `dynamo=False`, and Keras on TensorFlow, keep them)"
)


def find_layers(
    path: str, graph: Graph, input_size: int = 0, known: Guess | None = None
) -> Contents:
    """Find the layers of a graph; `input_size` is used if the graph leaves it open.

    `known` tells the input and its axes, where a format does.
    """
    first, best = _find_best(path, graph, input_size, known)
    inputs: Mapping[str, int] = {}
    if best and not best.target and not known:
        for joined, widths in join_inputs(graph, best.needed):
            walk, chain = _find_best(path, joined, input_size, joint=name_joint(widths))
            if chain and chain.target and not inputs:
                first, best, graph, inputs = walk, chain, joined, widths
    nodes = [Component(node.name, node.op) for node in first.nodes.values()]
    contents = best.describe(whole=known is None) if best else Contents(nodes)
    used = best.walk.components if best else {}
    alone = [each for name, each in first.components.items() if each.layers and name in used]
    alone = [each for each in alone if not used[each.name].layers]
    contents = contents._replace(alone=alone, outputs=[*graph.outputs], inputs=inputs)
    if best and best.is_open:
        contents = contents._replace(resolve=partial(find_layers, path, graph, known=known))
    return contents._replace(expected=_EXPECTED)


def _find_best(
    path: str, graph: Graph, input_size: int, known: Guess | None = None, joint: str = ""
) -> tuple[Walk, "Chain | None"]:
    """Walk a graph by each guess, of a joint input by those with steps; return the best."""
    first, best = Walk(path, graph), None
    for replace in (replace_loops, replace_steps):
        if replaced := replace(first):
            first.nodes = {str(k): node for k, node in enumerate(replaced)}
            first = Walk(path, graph, first=first)
    taken = _list_numbers(first)
    guesses = (
        guess
        for guess in _guess_axes(first)
        if not joint or (guess.x == joint and _has_steps(graph, guess))
    )
    for guess in [known] if known else islice(guesses, _MOST_GUESSES):
        if best and best.target and guess.x != best.walk.guess.x:
            break  # another input has the rows
        chain = _walk_twice(first, guess._replace(features=input_size), taken)
        best = chain if best is None or chain.rank < best.rank else best
        if chain.takes_rows and chain.walk.fit is Fit.ROWS:  # no other guess can be right
            break
    return first, best


def _walk_twice(first: Walk, guess: Guess, taken: Collection[int]) -> "Chain":
    """Walk over a number of steps that is none of these numbers, and over another one.

    A node of one number of steps alone, such as Gather of step 6, may fit the first.
    """
    few = next((T for T in FEW_STEPS if T not in taken), FEW_STEPS[-1])
    chain = make_chain(first, guess._replace(steps=few))
    steps = chain.walk.guess.steps
    if not chain.target or chain.walk.begins != steps:  # the file tells its steps
        return chain
    # They differ by a prime: a slice of each second or third step ends in another one.
    half = steps - next(_list_primes(steps // 2 + 1))
    primes = [*islice(_list_primes(steps), len(FEW_STEPS))]
    twice = steps + next((p for p in primes if steps + p not in taken), steps)
    # Many steps take long, few may be too few, and a table of positions may not have twice as many.
    order = (half, twice) if steps > FEW_STEPS[-1] else (twice, half)
    again = make_chain(first, guess._replace(steps=order[0]))
    if not isinstance(again.walk.values.get(again.output), Flow):
        last = make_chain(first, guess._replace(steps=order[1]))
        again = last if last.target else again
    if again.target and again.outline() == chain.outline():
        return chain
    if again.target:
        again.target, again.why = None, "is made by other nodes for other numbers of steps"
    return again


def _list_primes(start: int) -> Iterator[int]:
    return (p for p in count(start) if all(p % k for k in range(2, isqrt(p) + 1)))


def _list_numbers(first: Walk) -> set[int]:
    """List the sizes and the indices in the file, and one more than each index."""
    taken, numbers = set[int](), list[Any]()
    for array in first.constants.values():
        taken.update(array.shape)
        if array.dtype in (np.int32, np.int64) and array.size <= _MOST_NUMBERS:
            numbers += array.ravel().tolist()
    for node in first.nodes.values():
        for name, value in node.attributes.items():
            if name not in ("dtype", "to"):  # numbers of element types
                numbers += value if isinstance(value, list) else [value]
    for number in numbers:
        if isinstance(number, int):
            taken |= {abs(number), abs(number) + 1}
    return taken


def _has_steps(graph: Graph, guess: Guess) -> bool:
    """Return whether a guess has an axis of several steps."""
    axis, shape = guess.axes[0], graph.inputs[guess.x] or ()
    return axis in (0, 1) and guess.axes[1] != 2 and shape[axis] != 1


def _guess_axes(first: Walk) -> Iterator[Guess]:
    """Guess which input has the rows, and which of its axes are steps and sequences."""
    for x in (n for n in first.graph.inputs if isinstance(first.values[n], Unknown)):
        shape = first.graph.inputs[x] or ()
        axes = range(min(len(shape), 5))
        pairs: list[tuple[int | None, int | None]] = [
            *sorted(permutations(axes, 2), key=max),  # the first axes first
            *((axis, None) for axis in axes),
            *((None, axis) for axis in axes),  # each call is a step
        ]
        # Features are known, or a weight tells one of their numbers.
        free, alone = _find_free_axes(shape)
        counts = {pair: len(free - {*pair}) for pair in pairs}
        most = max(alone, min(counts.values(), default=0))
        pairs = sorted((pair for pair in pairs if counts[pair] <= most), key=counts.__getitem__)
        yield from (Guess(x, pair) for pair in pairs or [(None, None)])


def _find_free_axes(shape: Sequence[int | str]) -> tuple[set[int], bool]:
    """Return the axes of unknown sizes, and whether features have one: all known sizes are 1."""
    known = {axis: size for axis, size in enumerate(shape) if isinstance(size, int)}
    return {*range(len(shape))} - known.keys(), all(size == 1 for size in known.values())


def make_chain(first: Walk, guess: Guess) -> "Chain":
    """Run the graph over labels, and again if its last steps may be final states."""
    chain = Chain(first.repeat(guess))
    walk = chain.walk
    if walk.too_short and guess.steps < _MANY_STEPS and walk.begins == guess.steps:
        return make_chain(first, guess._replace(steps=_MORE * guess.steps))
    # A format that tells the axes has nodes of its own for final states.
    if not guess.sure and (chain.target is None or chain.last == "step"):
        tops = (n for n in walk.nodes.values() if n.op in KINDS and chain.needed & {*n.outputs})
        lower = walk.find_ancestors([name for node in tops for name in node.inputs[:1]])
        again = Chain(first.repeat(guess, lower))
        chain = again if again.last == "state" else chain
    if walk.branches and chain.target and not _has_one_path(first, chain):
        chain.target, chain.why = None, "runs other nodes for other numbers of rows"
    return chain


def _has_one_path(first: Walk, chain: "Chain") -> bool:
    """Return whether runs of other sizes take the same branches, or compute the same by others."""
    walk, guess = chain.walk, chain.walk.guess

    def repeat(steps: int, sequences: int) -> Walk:
        return first.repeat(guess._replace(steps=steps, sequences=sequences), walk.lower)

    def differ(run: Walk) -> bool:
        return any(walk.branches.get(n, taken) != taken for n, taken in run.branches.items())

    if differ(repeat(guess.steps + 4, 2)) or differ(repeat(1, guess.sequences)):
        return False
    alone = repeat(guess.steps, 1)
    return not differ(alone) or _has_same_layers(Chain(walk), Chain(alone))


def _has_same_layers(*chains: "Chain") -> bool:
    """Return whether chains have the same recurrent nodes, and layers that give the same rows."""
    if not all(chain.target for chain in chains):
        return False
    components = [chain.describe(whole=False).components for chain in chains]
    random = np.random.default_rng(0)
    for a, b in zip_longest(*components):
        if not (a and b and len(a.layers) == len(b.layers) == 1):
            return False
        layer, twin = a.layers[0], b.layers[0]
        if isinstance(layer, Recurrent) or isinstance(twin, Recurrent):
            if a.name != b.name or layer.settings != twin.settings:
                return False
            continue
        if (layer.sources, layer.input_size) != (twin.sources, twin.input_size):
            return False
        x = random.uniform(-0.9, 0.9, (chains[0].walk.guess.steps, layer.input_size))
        if not np.array_equal(layer(x), twin(x), equal_nan=True):
            return False
    return True


class Chain:
    """The layers that compute the output of a graph, `target`; it is None if they cannot."""

    def __init__(self, walk: Walk) -> None:
        self.walk, self.rows = walk, walk.rows
        self.outputs = self.list_outputs()
        self.output = walk.graph.outputs.get(self.outputs[0], "")  # the value of the first
        self.needed = walk.find_ancestors([self.output])
        self.target: Operand | None = None
        self.above: SequenceGraph | None = None
        self.last: str | None = None
        self.components: list[Component] = []
        self.numbers = {0: 0}  # by register, the layer that fills it, from 1
        value = walk.values.get(self.output)
        self.why = value.why if isinstance(value, Unknown) else ""
        if value is None:
            self.why = "no node gives it" if self.output else ""
        elif not isinstance(value, Flow | Unknown):
            self.why = "does not depend on the rows"
        try:
            if isinstance(value, Flow):
                self.target = self.find_output(value)
        except RefusedError as error:
            self.why = str(error)
        layers = walk.layers.values()
        self.takes_rows = bool(self.target) or any(
            0 in self.find_inputs(each.target) for each in layers
        )

    @property
    def rank(self) -> tuple[bool, Fit, bool]:
        """The rank of the guess among others, the best first."""
        return not self.takes_rows, self.walk.fit, self.target is None

    def outline(self) -> tuple[Any, ...]:
        """Return which row, layers and operators it has, the same for each number of steps."""
        layers = [
            (each.component and each.component.name, each.below is None)
            for each in self.walk.layers.values()
        ]
        steps = [step.op for step in self.rows.steps.values()]
        columns = self.target and self.target.columns
        chosen = None if columns is None else columns.tolist()
        return self.last, self.above is None, layers, steps, self.rows.begins, chosen

    def list_outputs(self) -> list[str]:
        """List the output that is asked for, or those that are more than final states, if any."""
        states: set[str] = set()
        for node in self.walk.nodes.values():
            inputs = node.inputs if node.op == "Concat" else node.inputs[:1]
            if node.op in KINDS:
                states |= {*node.outputs[1:]}
            elif node.op in MOVERS and states.issuperset(inputs):
                states |= {*node.outputs}
        outputs, values = self.walk.graph.outputs, self.walk.values
        if chosen := self.walk.graph.output:
            return [chosen]
        names = [name for name, value in outputs.items() if value and value in values]
        names = [name for name in names if outputs[name] not in states] or names
        return names or [*outputs][:1] or [""]

    @property
    def is_open(self) -> bool:
        """Whether the graph may run once the number of features is known."""
        walk = self.walk
        free, alone = _find_free_axes(walk.graph.inputs[walk.guess.x] or ())
        lost = alone and free and walk.recurrent and not self.takes_rows
        has_front = any(each.below and not each.target.register for each in walk.layers.values())
        guessed = has_front and free - {*walk.guess.axes}
        return not walk.guess.features and bool(lost or guessed)

    def find_output(self, value: Flow) -> Operand:
        """Find the output of the graph, and which row of a sequence it is."""
        walk = self.walk
        if value.columns is not None and not self.takes_number(value):
            self.last = self.find_last(value)
            with suppress(RefusedError):  # such as nodes of its own for each step
                return self.rows.join_row(value)
        target, self.above = cut_output(walk, self.output, value)
        by_call = walk.guess.axes[0] is None
        self.last = None if by_call or self.above.axes[0] is not None else "step"
        return target

    def takes_number(self, value: Flow) -> bool:
        """Return whether a value is one step of several, taken by its number."""
        t = steps_of(plain(value.labels))
        is_one = self.walk.steps > 1 and (t == t.flat[0]).all()
        return bool(is_one) and not self.needed.isdisjoint(self.walk.numbered)

    def find_last(self, value: Flow) -> str | None:
        """Return which row of a sequence a value is; None for all of them."""
        features, steps = value.feature_axes(), self.walk.steps
        rows = plain(value.labels)
        rows = rows[tuple(0 if k in features else slice(None) for k in range(rows.ndim))]
        t = distinct(steps_of(rows))
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

    def find_inputs(self, *targets: Operand) -> list[int]:
        """Return the registers that targets read, also by the steps on the way to them."""
        steps = {n for each in targets for n in self.rows.path(each.register)}
        operands = (each for n in steps for each in self.rows.steps[n].operands)
        return [each.register for each in (*targets, *operands)]

    def describe(self, *, whole: bool) -> Contents:
        """Return the components of the model, whose output is the first of the graph.

        Those of a graph without recurrent nodes that cannot be run are all nodes, for `whole`.
        """
        walk, (output, *rest) = self.walk, self.outputs
        nodes, known = walk.nodes.values(), walk.components
        on_way = [node.name for node in nodes if self.needed & {*node.outputs}]
        if self.target is not None:
            self.make_layers(self.target)
        else:
            self.components = [known[n] for n in (walk.guess.x, *on_way) if n in known]
            if whole and not any(node.op in KINDS for node in nodes):
                self.components = []  # all nodes are listed, of which none is recurrent
            elif self.why and not any(each.needed for each in self.components):
                self.components.append(Component(self.output, "output", why=self.why, needed=True))
        used = {each.name for each in self.components}
        unused = [each for name, each in known.items() if name not in used and each.layers]
        if self.target is None:  # `layer` may pick them
            self.components, unused = [*self.components, *unused], []
        why = {True: "is run with the layers above", False: "is not on the way to the output"}
        unused = [each._replace(why=why[each.name in on_way]) for each in unused]
        text = "takes {} too: {}, which it is compared with"
        notes = [text.format(shown(n), array.item()) for n, array in walk.settled.items()]
        notes += [note for name, note in walk.notes if name in on_way]
        passed = [n for n in rest if isinstance(walk.values[walk.graph.outputs[n]], Flow | Unknown)]
        if passed:
            notes.append(PASSES_OVER.format(verbatim(shown(output)), verbatim(listed(passed))))
        components = self.components or [Component(node.name, node.op) for node in nodes]
        return Contents(components, last=self.last, notes=notes, unused=unused)

    # Layers.

    def make_layers(self, target: Operand) -> None:
        """Make the layers that compute the output, the bottom one first."""
        needed, chosen = {*self.find_inputs(target)}, list[tuple[int, Layer]]()
        for register, layer in reversed(self.walk.layers.items()):
            if register in needed:
                needed.update(self.find_inputs(layer.target))
                chosen.insert(0, (register, layer))
        targets = [*(layer.target for _, layer in chosen), target]
        path = sorted({n for each in targets for n in self.rows.path(each.register)})
        carried = [n for n in path if self.rows.steps[n].op == "Layer"]
        for register, layer in chosen:
            for step in carried:  # layers stand in the order of the file
                if step < register and step not in self.numbers:
                    self.make_steps(Operand(step), None)
            self.make_steps(layer.target, layer.below)
            if layer.component:
                self.add(layer.component, register)
            self.numbers[register] = len(self.components)
        self.make_steps(target, self.above)

    def make_steps(self, target: Operand, graph: SequenceGraph | None) -> None:
        """Make the layers between recurrent ones."""
        for named in (layers := name_steps(self.rows, target, self.numbers)):
            sources = tuple(self.numbers[each] for each in named.inputs)
            if len(sources) > 1 and not self.components[self.count_front() :]:
                self.route(named.inputs[0])  # the bottom layer takes its input as it is
            if sources != (len(self.components),) and isinstance(named.layer, RowGraph):
                named.layer.sources = sources
            elif sources != (len(self.components),):
                self.route(*named.inputs)
            nodes = [self.walk.nodes[step.name] for step in named.steps.values() if step.name]
            kind = " ".join(dict.fromkeys(map(name_operator, nodes)))
            kind = kind or str(named.layer.settings["operators"])
            arrays = self.walk.find_floats(*nodes) or named.layer.arrays
            self.add(Component(named.name, kind, arrays, [named.layer]), named.register)
        if not layers and self.numbers[target.register] != len(self.components):
            self.route(target.register)
        if graph is not None:
            kind = str(graph.settings["operators"])
            arrays = {**(self.walk.find_floats(*graph.nodes) if graph.recurs else graph.arrays)}
            for node in (node for node in graph.nodes if node.op == "Recur"):
                arrays.update(self.walk.components[node.name].arrays)
            self.add(Component(graph.nodes[-1].name, kind, arrays, [graph]), -1)

    def count_front(self) -> int:
        """Count the layers up to the last one that gives fewer rows than it takes."""
        layers = [layer for each in self.components for layer in each.layers]
        fewer = (isinstance(each, SequenceGraph) and each.shortens for each in layers)
        return max((n for n, shortens in enumerate(fewer, 1) if shortens), default=0)

    def add(self, component: Component, register: int) -> None:
        """Add a component of one layer, which fills a register."""
        self.components.append(component)
        self.numbers[register] = len(self.components)

    def route(self, register: int) -> None:
        """Add a layer that passes on the output of an earlier layer than the one below."""
        width = self.rows.width(register)
        layer = RowGraph({}, {register: width}, Operand(register), width)
        layer.sources = (self.numbers[register],)
        self.components.append(Component("", "Identity", layers=[layer]))
