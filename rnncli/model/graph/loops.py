"""Nodes ``Loop`` and ``Scan`` whose body is a step of a cell, as nodes ``RNN``, ``LSTM``, ``GRU``.

TensorFlow's programs write them for layers that ONNX has no node of, such as a GRU with a mask.
Source: https://onnx.ai/onnx/operators/onnx__Loop.html, onnx__Scan.html.
"""

from collections.abc import Collection, Mapping, Sequence, Set
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.graph import Emitter, Graph, Node, RefusedError, Unknown
from rnncli.model.graph.masks import MaskedNode, add_masking
from rnncli.model.graph.operators import FAR, MOVERS, UNFIT, find_ancestors
from rnncli.model.graph.recurrent import KINDS
from rnncli.model.graph.steps import Finder, Step, make_recurrent
from rnncli.model.graph.walk import Walk

_LENGTHS = (1, 2, 5)  # of loops whose steps are counted
_COST = 4_000  # of such a step, in values
# More steps, which floats count exactly, of which the first ones and the last two are looked at.
_MANY, _COUNTED = 2**24, 1_000
_WHOLE = (6, 7)  # types of whole numbers that hold all numbers of steps
_OF_SIZES = {"Add", "Mul", "Sub", *MOVERS}
_TRIALS = 5
_ZEROED = "h, and zeros where it is masked"


class _State(NamedTuple):
    """A state: the values before and after a step in the body, the first and the last outside."""

    first: str
    before: str
    after: str
    last: str


class _Slices(NamedTuple):
    """A value outside a loop, of which each step takes a slice."""

    name: str
    axis: int = 0
    backward: bool = False


class _Loop(NamedTuple):
    """A loop: a run of its body over constants, and what goes in, out, and from step to step."""

    body: Walk
    states: list[_State]
    slices: dict[str, _Slices]  # by values of the body
    stacks: dict[str, str]  # values of the body, by those outside that stack them
    steps: str = ""  # the value outside that is the number of steps, if the slices do not tell it


class _Match(NamedTuple):
    """A cell's step in a loop; the mask, empty if there is none, where it keeps its state."""

    step: Step
    mask: str
    roles: dict[str, str]  # by values outside, the state of the cell that they are


def replace_loops(walk: Walk) -> list[Node]:
    """Return the nodes of a run with loops replaced by recurrent nodes; none if there are none."""
    nodes, masked, loops = list[Node](), list[MaskedNode](), 0
    for node in walk.nodes.values():
        made = [node]
        if node.op in _READERS and not node.domain:
            with suppress(RefusedError, *UNFIT):  # such as attributes of other types
                loop = _read(node, walk)
                matched = _find_step(loop, walk)
                made = _make_nodes(node, walk, loop, matched)
                loops += 1
                if matched.mask:
                    x = next(each.inputs[0] for each in made if each.op in KINDS)
                    names, width = [*matched.roles], matched.step.cell.hidden_size
                    masked.append(MaskedNode(x, loop.slices[matched.mask].name, names, width))
        nodes += made
    if not masked:
        return nodes if loops else []
    if len(masked) == sum(node.op in KINDS for node in nodes):  # a mask is one of all layers
        with suppress(RefusedError, *UNFIT):
            return add_masking(walk, nodes, masked)
    return []


def _read(node: Node, walk: Walk) -> _Loop:
    body = node.attributes.get("body")
    if not isinstance(body, Graph) or len(body.outputs) < 2:
        raise RefusedError("has no body")
    outputs = [name or f"{node.name}/output {k}" for k, name in enumerate(node.outputs)]
    return _READERS[node.op](node._replace(outputs=outputs), body, walk)


def _read_loop(node: Node, body: Graph, walk: Walk) -> _Loop:
    """Read a node ``Loop``: numbers of the step, constants, and states go from step to step."""
    most, condition, *firsts = node.inputs
    number, going, *befores = body.inputs
    goes_on, *afters = body.outputs.values()
    if len(befores) != len(firsts) or len(afters) != len(node.outputs):
        raise RefusedError("has other values than its body")
    producers = {name: each for each in body.nodes for name in each.outputs}
    same, numbers, states = dict[str, str](), {number}, list[_State]()
    for state in map(_State, firsts, befores, afters, node.outputs):
        after = _strip(state.after, producers, _WHOLE)
        if _strip(state.after, producers) == state.before:
            same[state.before] = state.first
        elif _is_number(state, producers.get(after), walk, body):
            numbers.add(state.before)
        else:
            states.append(state)
    slices = dict[str, _Slices]()
    for each in body.nodes:
        source, index = (*each.inputs, "", "")[:2]
        source = same.get(source, source)
        takes = each.op == "Gather" and _strip(index, producers, _WHOLE) in numbers
        if takes and not walk.is_constant(source):
            slices[each.outputs[0]] = _Slices(source, each.attributes.get("axis", 0))
    stacks = dict(zip(node.outputs[len(befores) :], afters[len(befores) :], strict=True))
    run = _run_body(body, same, walk, slices.keys())
    steps = _find_steps(run, walk, (most, condition), (going, goes_on), numbers)
    return _Loop(run, states, slices, stacks, steps)


def _read_scan(node: Node, body: Graph, walk: Walk) -> _Loop:
    """Read a node ``Scan``."""
    known, befores, afters = node.attributes, [*body.inputs], [*body.outputs.values()]
    inputs = known.get("num_scan_inputs", 0)
    count = len(node.inputs) - inputs
    if len(befores) != len(node.inputs) or len(afters) != len(node.outputs) or count < 1:
        raise RefusedError("has other values than its body")
    if any(known.get("scan_output_axes", ())) or any(known.get("scan_output_directions", ())):
        raise RefusedError("stacks values in another way than along the first axis")
    axes = known.get("scan_input_axes") or [0] * inputs
    ways = map(bool, known.get("scan_input_directions") or [0] * inputs)
    slices = dict(zip(befores[count:], map(_Slices, node.inputs[count:], axes, ways), strict=True))
    states = [*map(_State, node.inputs[:count], befores, afters, node.outputs)]
    stacks = dict(zip(node.outputs[count:], afters[count:], strict=True))
    return _Loop(_run_body(body, {}, walk, slices.keys()), states, slices, stacks)


_READERS = {"Loop": _read_loop, "Scan": _read_scan}


def _strip(name: str, producers: Mapping[str, Node], types: Collection[int] = ()) -> str:
    """Return the value that nodes have only copied, or converted to some types."""
    while (node := producers.get(name)) and node.inputs:
        if node.op != "Identity" and not (node.op == "Cast" and node.attributes.get("to") in types):
            break
        name = node.inputs[0]
    return name


def _is_number(state: _State, node: Node | None, walk: Walk, body: Graph) -> bool:
    """Return whether a state is the number of the step: 0 at first, and 1 more at each."""
    if not node or node.op != "Add" or state.before not in node.inputs:
        return False
    arrays = {**walk.values, **body.arrays}
    names = [*(name for name in node.inputs if name != state.before), state.first]
    numbers = [arrays[name] for name in names if isinstance(arrays.get(name), np.ndarray)]
    return [array.tolist() for array in numbers if array.size == 1] in ([1, 0], [[1], [0]])


def _run_body(body: Graph, same: Mapping[str, str], walk: Walk, slices: Set[str]) -> Walk:
    """Run a body over its constants; what a step takes else is an input."""
    nodes, aliases = list[Node](), dict(same)
    for node in body.nodes:
        inputs = [aliases.get(name, name) for name in node.inputs]
        if node.op == "Mul" and (factor := _find_factor(inputs, nodes)):
            aliases[node.outputs[0]] = factor
        elif slices.isdisjoint(node.outputs):
            nodes.append(node._replace(inputs=inputs))
    made = {name for node in nodes for name in node.outputs}
    taken = dict.fromkeys(name for node in nodes for name in node.inputs if name)
    outside = taken.keys() - made - body.arrays.keys()
    arrays = {name: walk.values[name] for name in outside if walk.is_constant(name)}
    names = dict.fromkeys([*body.inputs, *slices, *(n for n in taken if n in outside)])
    free = {name: None for name in names if name not in arrays and name not in same}
    graph = Graph(nodes, {**body.arrays, **arrays}, free, body.outputs, walk.graph.opset)
    return Walk(walk.path, graph)


def _find_factor(inputs: Sequence[str], nodes: Sequence[Node]) -> str:
    """Return the one of two factors beside ones of its shape, which dropout leaves of a mask."""
    producers = {node.outputs[0]: node for node in nodes if node.outputs}
    for name, factor in (inputs, inputs[::-1]) if len(inputs) == 2 else ():
        ones = producers.get(factor)
        if ones and ones.op == "ConstantOfShape" and np.all(ones.attributes.get("value", 0) == 1):
            shape = producers.get((*ones.inputs, "")[0])
            if shape and shape.op == "Shape" and shape.inputs == [name] and not shape.attributes:
                return name
    return ""


def _find_steps(
    body: Walk, walk: Walk, outside: Sequence[str], inside: Sequence[str], numbers: Collection[str]
) -> str:
    """Find the value outside a loop that is the number of its steps, by counting them.

    `outside` are the most steps and whether there is a first one, `inside` whether there is this
    step and a next one; all but the last may be empty or unused.
    """
    (most, condition), (going, goes_on) = outside, inside
    producers = {name: node for node in walk.nodes.values() for name in node.outputs}
    taken = body.find_ancestors([goes_on]).intersection(body.graph.inputs)
    free = [each for each in (*(taken - {*numbers, going}), most) if each]
    sources = {_strip(each, producers, _WHOLE) for each in free}
    sources = {each for each in sources if not walk.is_constant(each)} or {most}
    steps = sources.pop()
    if sources or not steps or not _is_size(steps, walk):
        raise RefusedError("the number of its steps is not known")
    for T in [int(walk.values[steps].max())] if walk.is_constant(steps) else _LENGTHS:
        known = {steps: np.array(T)}
        known |= zip(free, walk.compute(free, known), strict=True)
        goes = walk.compute([condition], known)[0] if condition else np.array(True)
        t, end = 0, min(known[most].max() if most else T + 1, T + 1)
        while goes.all() and t < end:
            step = dict.fromkeys(numbers, np.array(t))
            walk.spend(_COST)
            (goes,) = body.compute([goes_on], {**known, **step, going: goes})
            t += 1
        if t != T:
            raise RefusedError("runs another number of steps than its rows have")
    if not walk.is_constant(steps):  # nor may it end after a number that the file tells
        known = {steps: np.array(_MANY)}
        known |= zip(free, walk.compute(free, known), strict=True)
        many = dict.fromkeys(numbers, np.array([*range(_COUNTED), _MANY - 2, _MANY - 1]))
        (goes,) = body.compute([goes_on], {**known, **many, going: np.array(True)})
        *before, last = np.broadcast_to(goes, _COUNTED + 2)
        end = known[most].max() if most else _MANY + 1
        if not all(before) or end < _MANY or (last and end > _MANY):
            raise RefusedError("runs another number of steps than its rows have")
    return steps


def _is_size(name: str, walk: Walk) -> bool:
    """Return whether a value is a size of a value, or computed from such sizes step for step."""
    nodes = [node for node in walk.nodes.values() if node.op != "Shape"]
    names = find_ancestors(nodes, [name])
    return all(
        node.op in _OF_SIZES or (node.op == "Cast" and node.attributes.get("to") in _WHOLE)
        for node in nodes
        if names.intersection(node.outputs) and not walk.is_constant(node.outputs[0])
    )


def _find_step(loop: _Loop, walk: Walk) -> _Match:
    """Find the step of a cell that a body computes."""
    states = {state.before for state in loop.states}
    finder = Finder(loop.body, states)
    for find in (finder.find_lstm, finder.find_gru, finder.find_rnn):
        for node in finder.nodes:
            with suppress(RefusedError):
                step = find(node)
                if step and step.x in loop.slices and states.issuperset(step.before):
                    return _find_roles(loop, step, walk)
    raise RefusedError("its body is no step of an RNN, LSTM or GRU")


def _find_roles(loop: _Loop, step: Step, walk: Walk) -> _Match:
    """Find the states that values of a body are, and the mask at whose rows they stay."""
    mask, *more = {*loop.slices} - {step.x} or {""}
    first = {state.before: state.first for state in loop.states}
    again = {*first} - {*step.before}  # what a step gave, which a masked one may give again
    is_zero = Finder(walk).is_zero
    turned = mask and loop.slices[mask] != _Slices(loop.slices[mask].name)
    if more or turned or (again and not all(map(is_zero, first.values()))):
        raise RefusedError("its body takes other values than a step of a cell")
    draws, shape = np.random.default_rng(0), (_TRIALS, step.cell.hidden_size)
    old = [draws.uniform(-1, 1, shape) for _ in step.before]
    new = [draws.uniform(-1, 1, shape) for _ in step.after]
    runs = draws.integers(2, size=(_TRIALS, 1)) > 0 if mask else np.ones((_TRIALS, 1), bool)
    known: dict[str, Any] = {
        name: np.zeros(shape) for name in loop.body.graph.inputs if is_zero(name)
    }
    known |= {**dict.fromkeys(again, old[0]), mask: runs}
    known |= zip((*step.before, *step.after), (*old, *new), strict=True)
    expected = dict(zip(step.before, np.where(runs, new, old), strict=True))
    expected[_ZEROED] = np.where(runs, new[0], 0)
    values = {state.last: state.after for state in loop.states} | loop.stacks
    h = step.before[0]

    def find_role(value: str) -> str:
        with suppress(RefusedError):
            (array,) = loop.body.compute([value], known)
            same = (role for role, each in expected.items() if np.array_equal(each, array))
            return next(same, "")
        return ""

    for state in loop.states:
        if state.before in again and find_role(state.after) != h:
            del known[state.before]  # it is not h
    roles = {name: find_role(value) for name, value in values.items()}
    for state in loop.states:
        if roles[state.last] not in ((h, _ZEROED) if state.before in again else (state.before,)):
            raise RefusedError("its body gives other states than a cell")
    return _Match(step, mask, roles)


def _make_nodes(node: Node, walk: Walk, loop: _Loop, matched: _Match) -> list[Node]:
    """Make the recurrent node of a loop, and nodes that bring its inputs and outputs in shape."""
    stem, (step, mask, roles) = next(filter(None, node.outputs)), matched
    made = Emitter(stem)
    x = _emit_rows(made, walk, loop.slices[step.x], loop.steps)
    first = {state.before: state.first for state in loop.states}
    states = [made.emit("Unsqueeze", [first[name]], axes=[0]) for name in step.before]
    recurrent = make_recurrent(step.cell, walk, node.name, stem, [x, *states])
    made.nodes.append(recurrent)
    Y, *last = recurrent.outputs
    for name, role in roles.items():
        if name in loop.stacks and role == step.before[0]:
            made.emit("Squeeze", [Y], [name], axes=[1])
        elif name in loop.stacks and role == _ZEROED:
            runs = made.emit("Cast", [loop.slices[mask].name], to=1)
            made.emit("Mul", [made.emit("Squeeze", [Y], axes=[1]), runs], [name])
        elif name not in loop.stacks and role in step.before:
            made.emit("Squeeze", [last[step.before.index(role)]], [name], axes=[0])
        else:
            why = Unknown("is computed in a loop, of other values than states")
            made.emit("Identity", [Y], [name], why=why)
    return made.nodes


def _emit_rows(made: Emitter, walk: Walk, slices: _Slices, steps: str) -> str:
    """Add nodes that give the rows of the steps of a loop, (T, N, I)."""

    def emit_array(*numbers: int) -> str:
        return made.emit("Constant", [], value=np.array(numbers, np.int64))

    x, axis, backward = slices
    if axis not in (0, 1):
        raise RefusedError("takes other axes than steps and sequences")
    if walk.is_constant(steps):
        T = int(walk.values[steps].max())
        if not any(T in (shape or ()) for shape in walk.graph.inputs.values()):
            raise RefusedError("takes a fixed number of the steps")
    if steps:  # the number of steps has to be the size of the axis
        same = emit_array(0)
        size = made.emit("Cast", [made.emit("Reshape", [steps, emit_array(-1)])], to=7)
        sizes = [same, size, same] if axis else [size, same, same]
        x = made.emit("Reshape", [x, made.emit("Concat", sizes, axis=0)])
    if axis:
        x = made.emit("Transpose", [x], perm=[1, 0, 2])
    if backward:
        x = made.emit("Slice", [x, *map(emit_array, (-1, -FAR - 1, 0, -1))])
    return x
