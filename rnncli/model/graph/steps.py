"""Steps of cells in other operators, alone or repeated, as nodes ``RNN``, ``LSTM`` and ``GRU``.

PyTorch exports `nn.LSTMCell` and its like as products, sums and activations. What feeds the gates
is affine: its values at zeros and at each unit give the weights. They are taken only if a step of
the cell with these weights gives what the nodes give, for random numbers in float64.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from heapq import heappop, heappush
from itertools import permutations, product
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.activations import SIGMOID, TANH, parse
from rnncli.model.cells import CELLS, Weights
from rnncli.model.cells.cell import Cell, take_step
from rnncli.model.graph import Array, Emitter, Graph, Node, RefusedError, Unknown
from rnncli.model.graph.operators import MOVERS, evaluate
from rnncli.model.graph.recurrent import KINDS
from rnncli.model.layers import Recurrent, name_of

_BETWEEN = {"Add", "Identity", "Mul", "Relu", "Sigmoid", "Slice", "Split", "Sub", "Tanh"}
_PRODUCTS = ("Gemm", "MatMul")
_MOST_NODES = 40  # of a step
_MOST_VALUES = 2**28  # of all steps, which take a second or two
_TRIALS, _TOLERANCE = 5, 1e-9
_USUAL = {"activation": TANH, "recurrent_activation": SIGMOID}


class Step(NamedTuple):
    """A step: names of x and the states before, if they are not zeros, and after."""

    cell: Cell
    x: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    rank: int  # the number of axes of h
    nodes: list[str]  # the values that its nodes give


class _Region(NamedTuple):
    """The nodes that compute some values, and the values and widths that they start from."""

    nodes: list[Node]
    leaves: dict[str, int]  # 0 for a width that no product tells


def replace_steps(walk: Any) -> list[Node]:
    """Return the nodes of a run with steps replaced by recurrent nodes; none if there are none."""
    finder = Finder(walk)
    attributes = [value for node in finder.nodes for value in node.attributes.values()]
    if any(node.op in KINDS for node in finder.nodes) or any(
        isinstance(value, Graph) for value in attributes
    ):
        return []
    # A gate of an LSTM may look like a cell of its own.
    for find in (finder.find_lstm, finder.find_gru, finder.find_rnn):
        for node in finder.nodes:
            if finder.used.isdisjoint(node.outputs):
                with suppress(RefusedError):
                    finder.add(find(node))
    chains = [chain for chain in finder.chains if len(chain) > 1 or finder.gives_state(chain[0])]
    replaced = [node for chain in chains for node in _make_nodes(chain, walk)]
    made = {name for node in replaced for name in node.outputs}
    rest = [node for node in finder.nodes if made.isdisjoint(node.outputs)]
    return _sort([*rest, *replaced], walk.graph.outputs.values()) if replaced else []


class Finder:
    """The steps of a graph as far as they are known, in chains of the same cell.

    Where `states` names the states before a step, no other value is one.
    """

    def __init__(self, walk: Any, states: Collection[str] = ()) -> None:
        self.walk, self.nodes, self.states = walk, [*walk.nodes.values()], states
        self.index = {name: k for k, node in enumerate(self.nodes) for name in node.outputs}
        self.floats: dict[str, Array] = {}  # constants, converted
        self.left = _MOST_VALUES
        self.chains: list[list[Step]] = []
        self.known: dict[str, list[Step]] = {}  # chains, by states after their steps
        self.used: set[str] = set()  # values within steps

    def add(self, step: Step | None) -> None:
        """Add a step to the chain whose last states it takes, or to a new one."""
        if not step:
            return
        chain = self.known.get((*step.before, "")[0], [])
        if not chain:
            self.chains.append(chain)
        chain.append(step)
        self.known |= dict.fromkeys(step.after, chain)
        self.used.update(step.nodes)

    def producer(self, name: str) -> Node:
        """Return the node that gives a value, or one without an operator."""
        k = self.index.get(name)
        return Node("", "", "", [""] * 2, [], {}) if k is None else self.nodes[k]

    def is_zero(self, name: str) -> bool:
        """Return whether a value is made of zeros, as many as a size tells."""
        while (node := self.producer(name)).op in MOVERS and node.op != "Concat":
            name = (*node.inputs, "")[0]
        if node.op == "ConstantOfShape":
            return not np.any(node.attributes.get("value", 0))
        return self.walk.is_constant(name) and not np.any(self.walk.values[name])

    def gives_state(self, step: Step) -> bool:
        """Return whether the state after a step is for the next call, if an input has that before.

        One activation of a sum, which may be no cell, needs another output besides.
        """
        if any(self.is_zero(name) for name in step.before):
            return False
        outputs = {*self.walk.graph.outputs.values()}
        for node in self.nodes[::-1]:
            if node.op in MOVERS and outputs.intersection(node.outputs):
                outputs |= {*node.inputs}
        return outputs.issuperset(step.after) and (
            name_of(step.cell) != "rnn" or len(self.walk.graph.outputs) > 1
        )

    def find_lstm(self, node: Node) -> Step | None:
        """Find a step whose h a node gives: ``o tanh(f c + i g)``."""
        for o, end in permutations(node.inputs) if node.op == "Mul" else ():
            tanh = self.producer(end)
            total = self.producer((*tanh.inputs, "")[0])
            products = [self.producer(name) for name in total.inputs]
            if (tanh.op, total.op, *(p.op for p in products)) != ("Tanh", "Add", "Mul", "Mul"):
                continue
            for old, new in permutations(products):
                orders = product(permutations(old.inputs), permutations(new.inputs))
                for (f, c), (i, g) in orders:
                    gates = [self.producer(name) for name in (i, f, g, o)]
                    if [gate.op for gate in gates] == ["Sigmoid", "Sigmoid", "Tanh", "Sigmoid"]:
                        after = (node.outputs[0], total.outputs[0])
                        return self._match("lstm", gates, self.explore(after, [c]), after, (c,))
        return None

    def find_gru(self, node: Node) -> Step | None:
        """Find a step whose h a node gives: ``z h + (1 - z) n``."""
        below = {self.producer(name).op for name in node.inputs}
        if node.op != "Add" or below.isdisjoint({"Mul", "Tanh"}):
            return None
        region = self.explore(node.outputs[:1])
        if resets := [name for name in region.leaves if self.producer(name).op == "Mul"]:
            region = self.explore(node.outputs[:1], resets=resets)
        sigmoids = [node for node in region.nodes if node.op == "Sigmoid"]
        tanhs = [node for node in region.nodes if node.op == "Tanh"]
        if len(sigmoids) != 2 or len(tanhs) != 1:
            return None
        for z, r in permutations(sigmoids):
            if step := self._match("gru", [z, r, *tanhs], region, (node.outputs[0],)):
                return step
        return None

    def find_rnn(self, node: Node) -> Step | None:
        """Find a step whose h a node gives: an activation of a sum."""
        if node.op not in ("Tanh", "Relu"):
            return None
        region = self.explore(node.outputs[:1])
        if [each.op for each in region.nodes if each.op not in ("Add", *_PRODUCTS)] != [node.op]:
            return None
        return self._match("rnn", [node], region, (node.outputs[0],))

    def explore(
        self, outputs: Iterable[str], states: Sequence[str] = (), resets: Collection[str] = ()
    ) -> _Region:
        """Return the nodes that compute values, down to products with constants.

        A product of `resets`, values ``r h`` of a GRU that resets before, is one of h.
        """
        queue: list[tuple[int, str]] = []
        leaves, nodes, seen = dict.fromkeys(states, 0), dict[int, Node](), set[str]()

        def push(names: Iterable[str]) -> None:
            for name in names:
                if name and name not in seen and not self.walk.is_constant(name):
                    seen.add(name)
                    heappush(queue, (-self.index.get(name, -1), name))

        push(outputs)
        while queue:  # the last node first: a value that a product takes is then known as such
            k, name = heappop(queue)
            node = self.producer(name)
            constant = all(self.walk.is_constant(each) for each in node.inputs[1:])
            if name in leaves:
                continue
            if node.op in _PRODUCTS and constant and not node.attributes.get("transA"):
                weight = self.walk.values[node.inputs[1]]
                if weight.ndim != 2:
                    raise RefusedError
                turned = bool(node.attributes.get("transB"))
                if node.inputs[0] in resets:
                    push(node.inputs[:1])
                else:
                    leaves[node.inputs[0]] = weight.shape[turned]
            elif node.op in _BETWEEN and name not in self.known:
                push(node.inputs)
            else:
                leaves.setdefault(name, 0)
                continue
            nodes[-k] = node
            if len(nodes) > _MOST_NODES:
                raise RefusedError
        return _Region([nodes[k] for k in sorted(nodes)], leaves)

    def _match(
        self, kind: str, gates: Sequence[Node], region: _Region, after: tuple[str, ...],
        c: tuple[str, ...] = (),
    ) -> Step | None:  # fmt: skip
        """Return the step if nodes compute one of this kind; `gates` are in our order."""
        free = [name for name, width in region.leaves.items() if width or name not in c]
        for x, h in permutations(free) if len(free) == 2 else ():
            if not (H := region.leaves[h]) or (self.states and h not in self.states):
                continue
            names, sizes = (x, h, *c), [region.leaves[x] or len(gates) * H, *[H] * (1 + len(c))]
            with suppress(RefusedError, ValueError):  # such as shapes that do not fit
                chain = self.known.get(h)
                cell = chain[0].cell if chain else self._read_cell(kind, gates, region, x, sizes)
                variables = dict(zip(names, sizes, strict=True))
                rank = self._compare(cell, region, variables, names, after)
                if rank == 2 and self.producer(h).op == "Unsqueeze":  # zeros, of a layer and all
                    rank = 3
                before = (h, *c)
                starts = self.states or self._has_start(cell, x, before, same_width=sizes[0] == H)
                if rank and starts:
                    nodes = [name for node in region.nodes for name in node.outputs]
                    return Step(cell, x, before, after, rank, nodes)
        return None

    def _evaluate(self, region: _Region, variables: Mapping[str, Array]) -> dict[str, Any]:
        """Compute the nodes of a region in float64, but for those that give variables."""
        nodes = [node for node in region.nodes if variables.keys().isdisjoint(node.outputs)]
        values = dict[str, Any](variables)
        weights = {name for node in nodes if node.op in _PRODUCTS for name in node.inputs[1:2]}
        for name in {name for node in nodes for name in node.inputs} - values.keys():
            array = self.walk.values.get(name)
            if name not in self.floats and isinstance(array, np.ndarray):
                wide = array.astype(np.float64) if array.dtype.kind == "f" else array
                if name not in weights and wide.ndim > 1 and (wide == wide[..., :1, :]).all():
                    wide = wide[..., :1, :]  # the same for all sequences
                self.floats[name] = wide
            if name in self.floats:
                values[name] = self.floats[name]
        self.left -= sum(array.size for array in values.values())
        if self.left < 0:
            raise RefusedError
        return evaluate(nodes, values, self.walk.graph.opset)

    def _multiply_units(self, node: Node, rows: int, units: slice) -> Array:
        """Return the product of a node: in the rows of units a row of its weights each."""
        W, *b = (self.walk.values[name].astype(np.float64) for name in node.inputs[1:])
        W = (W.T if node.attributes.get("transB") else W) * node.attributes.get("alpha", 1)
        self.walk.left_for_weights -= rows * W.shape[1]
        if self.walk.left_for_weights < 0:
            raise RefusedError
        y = np.zeros((rows, W.shape[1]))
        y[units] = W
        return y + b[0] * node.attributes.get("beta", 1) if b else y

    def _read_cell(
        self, kind: str, gates: Sequence[Node], region: _Region, x: str,
        sizes: Sequence[int],
    ) -> Cell:  # fmt: skip
        """Read the weights: the sums of the gates at zeros, and at each unit of x and h."""
        (I, H), rows = sizes[:2], 1 + sizes[0] + sizes[1]
        variables: dict[str, Array] = {name: np.zeros((rows, H)) for name in region.leaves}
        variables[x] = np.zeros((rows, 1)) if region.leaves[x] else np.eye(rows, I, -1)
        for node in region.nodes:
            if node.op in _PRODUCTS:
                units = slice(1, 1 + I) if node.inputs[0] == x else slice(1 + I, rows)
                variables[node.outputs[0]] = self._multiply_units(node, rows, units)

        def read(**forced: float) -> list[Array]:
            """Compute the sums of the gates."""
            replaced = {name: np.full((rows, H), value) for name, value in forced.items()}
            values = self._evaluate(region, variables | replaced)
            return [values[gate.inputs[0]].reshape(rows, H) for gate in gates]

        settings: dict[str, Any] = dict(_USUAL) if kind != "rnn" else {}
        products = [node.inputs[0] for node in region.nodes if node.op in _PRODUCTS]
        sums, b_n = read(), None
        if kind == "gru" and not region.leaves.keys() >= {*products}:
            settings["reset"] = "before"
        elif kind == "gru":  # r multiplies what h adds to the candidate
            without, whole = (read(**{gates[1].outputs[0]: r})[-1] for r in (0, 1))
            b_n = whole[0] - without[0]
            sums[-1] = np.concatenate([without[: 1 + I], whole[1 + I :] - b_n])
            settings["reset"] = "after"
        elif kind == "rnn":
            settings["activation"] = parse(gates[0].op.lower())
        table = np.concatenate(sums, 1)
        b_h, W = table[0], table[1:] - table[0]
        return CELLS[kind](Weights(W[:I], W[I:], b_h, b_n=b_n), **settings)

    def _compare(
        self, cell: Cell, region: _Region, sizes: Mapping[str, int], names: Sequence[str],
        after: Sequence[str],
    ) -> int:  # fmt: skip
        """Return the number of axes of h after a step; 0 if it is not as the cell computes it."""
        draws, zeros = np.random.default_rng(0), np.zeros((_TRIALS, cell.hidden_size))
        variables = {name: draws.uniform(-1, 1, (_TRIALS, n)) for name, n in sizes.items()}
        values = self._evaluate(region, variables)
        x, *state = (variables.get(name, zeros) for name in names)
        for name, array in zip(after, take_step(cell, x, state), strict=True):
            if values[name].size != array.size:
                return 0
            if not np.allclose(values[name].reshape(array.shape), array, 0, _TOLERANCE):
                return 0
        return int(values[after[0]].ndim)

    def _has_start(self, cell: Cell, x: str, before: tuple[str, ...], *, same_width: bool) -> bool:
        """Return whether values are states: of the step before, of inputs, or of zeros."""
        if chain := self.known.get(before[0]):
            return chain[-1].after == before
        values = [self.walk.values.get(name) for name in before]
        sources = {getattr(value, "input", "") for value in values}
        if all(self.is_zero(name) for name in before) or not any(
            isinstance(value, Unknown) and not value.input for value in values
        ):
            origin = getattr(self.walk.values.get(x), "input", "")
            return not origin or not (origin in sources or (any(sources) and same_width))
        # The first step may be without products of zeros.
        region = self.explore(before)
        if len(region.leaves) != 1:
            return False
        ((first, width),) = region.leaves.items()
        sizes = {first: width or len(cell.weights.W_xh)}
        if rank := self._compare(cell, region, sizes, (first, *[""] * len(before)), before):
            nodes = [name for node in region.nodes for name in node.outputs]
            self.add(Step(cell, first, (), before, rank, nodes))
        return bool(rank)


def _make_nodes(chain: Sequence[Step], walk: Any) -> list[Node]:
    """Make a recurrent node of the steps of a chain, and nodes that stack x and split h."""
    stem, T = chain[-1].after[0], len(chain)
    made = Emitter(stem)
    rows = [made.emit("Unsqueeze", [step.x], axes=[0]) for step in chain]
    states = [made.emit("Unsqueeze", [name], axes=[0]) for name in chain[0].before]
    name = next(node.name for node in walk.nodes.values() if stem in node.outputs)
    x = made.emit("Concat", rows, axis=0)
    recurrent = make_recurrent(chain[0].cell, walk, name, stem, [x, *states])
    made.nodes.append(recurrent)
    steps = [f"{stem}/{t}" for t in range(T)]
    made.emit("Split", recurrent.outputs[:1], steps, axis=0)
    rank = 0
    for each, step in zip(steps, chain, strict=True):
        rank = max(rank, step.rank)
        made.emit("Squeeze", [each], step.after[:1], axes=[0, 1][: 4 - rank])
    for name in chain[-1].after[1:]:
        made.emit("Squeeze", recurrent.outputs[2:], [name], axes=[0, 1][: 3 - rank])
    return made.nodes


def make_recurrent(cell: Cell, walk: Any, name: str, stem: str, inputs: Sequence[str]) -> Node:
    """Make the recurrent node of a cell, which takes x and states.

    Its weights have the type that those of the graph have.
    """
    floats = walk.find_floats(*walk.nodes.values()).values()
    dtype = np.result_type(np.float32, *(array.dtype for array in floats))
    weights = cell.weights.converted(lambda _, array: np.ascontiguousarray(array, dtype))
    known = {"layer": Recurrent(cell.replaced(weights)), "arrays": weights.arrays}
    inputs = [inputs[0], *[""] * 4, *inputs[1:]]
    outputs = [f"{stem}/{role}" for role in ("Y", "Y_h", "Y_c")]
    return Node(name_of(cell).upper(), name, "", inputs, outputs, known)


def _sort(nodes: Sequence[Node], outputs: Iterable[str]) -> list[Node]:
    """Sort the nodes that outputs need, each after those that it takes; none if it takes itself."""
    producers = {name: k for k, node in enumerate(nodes) for name in node.outputs if name}
    waiting = [producers[name] for name in outputs if name in producers]
    opened, done = set[int](), dict[int, Node]()
    while waiting:
        k = waiting[-1]
        if k in opened or k in done:
            done.setdefault(waiting.pop(), nodes[k])
            continue
        opened.add(k)
        below = {producers[name] for name in nodes[k].inputs if name in producers} - done.keys()
        if below & opened:
            return []
        waiting += below
    return [*done.values()]
