"""From an ONNX graph to the layers that it is.

A graph is nodes, not layers. Each value is followed through them: constants
are computed, sizes stay names, and rows carry the layers they went through
and what each of their axes is. What that cannot tell for certain is refused.
"""

from collections import Counter
from collections.abc import Sequence

from rnncli.model.errors import InputError, listed, shown
from rnncli.model.formats.onnx import axes, rowwise
from rnncli.model.formats.onnx.constants import fills, folded, shape_of
from rnncli.model.formats.onnx.messages import Axes, Graph, Model, Node
from rnncli.model.formats.onnx.recurrent import KINDS, recurrent
from rnncli.model.formats.onnx.values import (
    INPUT,
    Axis,
    Call,
    Chain,
    Constant,
    RefusedError,
    Rows,
    Size,
    Unknown,
    Value,
    Work,
    stored,
)
from rnncli.model.formats.parts import Model as Found
from rnncli.model.formats.parts import Part
from rnncli.model.formats.tensors import Tensors

_OPERATORS = {**axes.OPERATORS, **rowwise.OPERATORS}
_MOST_RECURRENT = 1_000
# The first whose arrays are broadcast as NumPy's are.
_OLDEST = 7
_LOOPS = ("Loop", "Scan")
_ASIDE = "is not on the way to the output"
_KERAS = "load the .keras file itself"
_WITH_NODES = "export it with nodes RNN, LSTM or GRU"
_UNROLLED = "export it with torch.onnx.export(..., dynamo=False)"
_QUANTIZED = "export the model before it is quantized"
_EXPECTED = ": expected a node RNN, LSTM or GRU"


def find(model: Model, tensors: Tensors, layer: str | None) -> Found:
    """Find the layers in a model, or the one that is named so."""
    walk = _Walk(model)
    if walk.opset < _OLDEST:
        what = f"expected operators of opset {_OLDEST} or later, got {walk.opset}"
        raise InputError(tensors.path, what, "convert it with onnx.version_converter")
    walk.run()
    parts, last = walk.network()
    if any(part.needed for part in parts):
        parts = [walk.both_directions(part) for part in parts]
    on_way = {part.name for part in parts}
    others = [part for name, part in walk.recurrent.items() if name not in on_way]
    clash = min(walk.work.derived.keys() & tensors.entries.keys(), default="")
    if clash:
        what = "is the name of a tensor, and of what is computed of one"
        raise InputError(tensors.path, f"damaged: {shown(clash)} {what}")
    tensors = tensors.with_derived(walk.work.derived)
    title = " ".join(filter(None, [model.producer, model.producer_version]))
    title = f"ONNX opset {walk.opset}{f', {title}' if title else ''}"
    if not walk.recurrent:
        parts = _without_nodes(model, parts)
    elif layer is None and not any(part.needed for part in parts):
        others = [part._replace(layers=(), needed=False, why=_ASIDE) for part in others]
    parts += others
    found = Found(tensors, parts, title, last=last, expected=_EXPECTED).picked(layer)
    names = [part.name for part in found.parts]
    notes = [note for name in names for note in walk.notes.get(name, [])]
    return found._replace(notes=notes + (walk.notes.get("", []) if layer is None else []))


class _Walk:
    """A walk through the nodes of a graph."""

    def __init__(self, model: Model) -> None:
        self.graph, self.opset = model.graph, model.opsets.get("", 1)
        self.torch = model.producer == "pytorch"
        self.functions = set(model.functions)
        self.work = Work({name for node in self.graph.nodes for name in node.inputs})
        self.notes: dict[str, list[str]] = {}
        # Recurrent nodes by name, each for itself.
        self.recurrent: dict[str, Part] = {}
        self.values: dict[str, Value] = {
            name: stored(tensor) for name, tensor in self.graph.initializers.items()
        }
        for name, shape in self.graph.inputs.items():
            self.values.setdefault(name, _given(name, shape))

    def run(self) -> None:
        """Follow the values through all nodes."""
        names = Counter(node.name for node in self.graph.nodes)
        for number, node in enumerate(self.graph.nodes):
            name = node.name if names[node.name] == 1 else ""
            name = name or _name(node._replace(name=""))
            while name in self.notes:
                name = f"{name} ({number})"
            inputs = [self.values.get(each) if each else None for each in node.inputs]
            call = Call(name, node, inputs, self.opset, [], self.work)
            try:
                outputs = self._outputs(call)
            except RefusedError as refused:
                outputs = self._refused(call, refused)
            self.notes[name] = call.notes
            self.values |= dict(zip(node.outputs, outputs, strict=False))

    def _outputs(self, call: Call) -> Sequence[Value]:
        """Return what a node gives."""
        op = call.node.op
        self._check_known(call.node)
        if op in KINDS:
            return self._recurrent(call)
        unknown = [each for each in call.inputs if isinstance(each, Unknown)]
        if unknown and fills(call):
            return folded(call)
        if unknown:
            return [max(unknown, key=lambda each: each.chain.length)] * len(call.node.outputs)
        if op == "Shape":
            return [shape_of(call)]
        if all(isinstance(each, Constant | None) for each in call.inputs):
            return folded(call)
        if op not in _OPERATORS:
            raise RefusedError(f"operator {op} is not read")
        made = _OPERATORS[op](call)
        return made if isinstance(made, list) else [made]

    def _check_known(self, node: Node) -> None:
        """Check that an operator is one of ONNX's own, and what it takes is there."""
        if "quant" in node.op.lower() or node.op.startswith("QL") or node.op.endswith("Integer"):
            domain = f"{node.domain} " if node.domain else ""
            raise RefusedError(f"operator {domain}{node.op} is quantized, and not read", _QUANTIZED)
        if node.domain:
            raise RefusedError(f"operator {node.domain} {node.op} is not read")
        if ("", node.op) in self.functions:
            raise RefusedError(f"operator {node.op} is defined by the model, and is not read")
        if any(isinstance(each, Graph) for each in node.attributes.values()):
            raise RefusedError(f"operator {node.op} has a graph of its own, and is not read")
        missing = next((name for name in node.inputs if name and name not in self.values), None)
        if missing:
            raise RefusedError(f"takes {shown(missing)}, which no node before it gives")

    def _recurrent(self, call: Call) -> list[Rows]:
        if len(self.recurrent) >= _MOST_RECURRENT:
            raise RefusedError(f"comes after {_MOST_RECURRENT:,} others of its kind")
        part, outputs = recurrent(call)
        self.recurrent[call.name] = part
        if self.torch and call.node.op == "GRU" and not call.integer("linear_before_reset"):
            call.notes.append(
                f"{call.name} resets before the product, which no GRU of PyTorch does: exporters "
                "of PyTorch 2.10 to 2.12 wrote so by mistake"
            )
        return outputs

    def _refused(self, call: Call, refused: RefusedError) -> list[Value]:
        """Return what a node gives that cannot be read."""
        part = call.part(tensors=call.weights(), why=refused.why, hint=refused.hint, needed=True)
        if call.node.op in KINDS and len(self.recurrent) < _MOST_RECURRENT:
            self.recurrent[call.name] = part
        below = [
            (each.origin, each.chain if isinstance(each, Unknown) else each.chains[-1])
            for each in call.inputs
            if isinstance(each, Unknown | Rows)
        ]
        origin, chain = max(below, key=lambda each: each[1].length, default=("", INPUT))
        chain = Chain(part, chain)
        return [Unknown(origin, chain)] * max(1, len(call.node.outputs))

    def both_directions(self, part: Part) -> Part:
        """Return the whole of a node whose directions were not brought together."""
        whole = self.recurrent.get(part.name, part)
        return max(part, whole, key=lambda each: sum(len(layer.cells) for layer in each.layers))

    def network(self) -> tuple[list[Part], str | None]:
        """Return the parts on the way to the graph's output, and which row it gives."""
        outputs = {name: self.values.get(name) for name in self.graph.outputs}
        found = {name: each for name, each in outputs.items() if isinstance(each, Rows | Unknown)}
        own = {name: each for name, each in found.items() if not _is_state(each)} or found
        if not own:
            return [], None
        name, value = next(iter(own.items()))
        if len(own) > 1:
            others = listed(each for each in own if each != name)
            self.notes[""] = [f"gives {shown(name)}, and passes over {others}"]
        if isinstance(value, Unknown):
            return value.chain.parts(), None
        try:
            rows, last = _finished(value)
            return rows.chain.parts(), last
        except RefusedError as refused:
            part = Part(name, "output", why=refused.why, hint=refused.hint, needed=True)
            return [*value.chains[-1].parts(), part], None


def _name(node: Node) -> str:
    """Return the name of a node, or else of what it gives."""
    return next(filter(None, [node.name, *node.outputs]), node.op)


def _given(name: str, shape: Axes | None) -> Value:
    """Return an input of the graph."""
    if shape is None:
        why = "an input of which the graph does not tell the number of axes"
        return Unknown(name, INPUT.then(Part(name, "input", why=why, needed=True)))
    sizes = [
        size if isinstance(size, int) and size > 0 else Size((f"{name}:{k}",))
        for k, size in enumerate(shape)
    ]
    return Rows(name, tuple(Axis(f"{name}:{k}", size) for k, size in enumerate(sizes)))


def _is_state(value: Rows | Unknown) -> bool:
    """Return whether a value is final states as a recurrent node gives them."""
    return (
        isinstance(value, Rows)
        and value.last in ("state", "cell")
        and all(chain.top.recurrent for chain in value.chains)
    )


def _finished(rows: Rows) -> tuple[Rows, str | None]:
    """Return rows as the graph gives them, and which row it is of a sequence."""
    if len(rows.chains) > 1:
        place = rows.place("D") or 0
        each = [rows._replace(chains=(chain,), axes=()) for chain in rows.chains]
        if len(each) > 2:
            raise RefusedError(f"gives the states of several layers, along axis {place}")
        rows = axes.paired(each[0], each[1], "concat")
    if rows.backwards:
        raise RefusedError("gives its rows from the last step to the first")
    if rows.last == "cell":
        raise RefusedError("gives the cell state")
    recurrent = (chain for chain in rows.chain.downward() if chain.top.recurrent)
    below = rows.through(next(recurrent, rows.chain))
    last = axes.settled(below)
    if last == "first":
        raise RefusedError("gives the row of the first step")
    return rows, last or None


def _without_nodes(model: Model, parts: list[Part]) -> list[Part]:
    """Say what a graph has in place of recurrent nodes: a loop, or each step by itself."""
    nodes = model.graph.nodes
    loop = next((node for node in nodes if node.op in _LOOPS), None)
    if loop:
        why = f"runs its steps in a {loop.op}, which does not tell what its cell is"
        hint = _KERAS if model.producer == "tf2onnx" else _WITH_NODES
        return [Part(_name(loop), loop.op, why=why, hint=hint, needed=True)]
    products = [node for node in nodes if node.op in ("MatMul", "Gemm") and len(node.inputs) > 1]
    times = Counter(node.inputs[1] for node in products)
    for node in products:
        if times[node.inputs[1]] > 1 and any(part.needed for part in parts):
            why = "is a step of a recurrent layer, each of which has nodes of its own"
            hint = _UNROLLED if model.producer == "pytorch" else _WITH_NODES
            return [Part(_name(node), node.op, why=why, hint=hint, needed=True)]
    return parts
