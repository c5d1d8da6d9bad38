"""The nodes ``RNN``, ``LSTM`` and ``GRU``: which cells they are, and what they give.

Source: https://onnx.ai/onnx/operators/onnx__LSTM.html and its like.
"""

from collections.abc import Iterator, Sequence
from math import inf
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.activations import ACTIVATIONS, Activation, positive_clip
from rnncli.model.errors import shown
from rnncli.model.formats.onnx.functions import checked
from rnncli.model.formats.onnx.messages import Node
from rnncli.model.formats.onnx.values import (
    Axis,
    Call,
    Chain,
    Constant,
    RefusedError,
    Rows,
    Unknown,
    is_input,
)
from rnncli.model.formats.parts import Part
from rnncli.model.formats.spec import CellSpec, LayerSpec, Layout

_TRANSPOSED = Layout(transposed=True)
# The directions that a node has, by its attribute.
_WAYS = {
    "forward": ("forward",),
    "reverse": ("backward",),
    "bidirectional": ("forward", "backward"),
}
_TURNED = {"forward": "backward", "backward": "forward"}


class Kind(NamedTuple):
    """A recurrent operator.

    Parameters
    ----------
    cell : str
        Of `CELLS`.
    gates : tuple of int
        The place that each of our gates has in the arrays.
    functions : mapping
        By the settings of the cell, in the operator's order, its activations.
    attributes : tuple of str
        Those that it alone has.
    """

    cell: str
    gates: tuple[int, ...]
    functions: dict[str, str]
    attributes: tuple[str, ...] = ()


KINDS = {
    "RNN": Kind("rnn", (0,), {"activation": "Tanh"}),
    "LSTM": Kind(
        "lstm",
        (0, 2, 3, 1),
        {"recurrent_activation": "Sigmoid", "activation": "Tanh", "output_activation": "Tanh"},
        ("input_forget",),
    ),
    "GRU": Kind(
        "gru",
        (0, 1, 2),
        {"recurrent_activation": "Sigmoid", "activation": "Tanh"},
        ("linear_before_reset",),
    ),
}
# Inputs with the states before the first step, by their places.
_STARTS = {5: "initial_h", 6: "initial_c"}
PEEPHOLES = (0, 2, 1)  # i o f, and ours are i f o
# Attributes of all of them.
_KNOWN = {
    *("activations", "activation_alpha", "activation_beta", "clip", "direction", "hidden_size"),
    *("layout", "output_sequence"),
}
# Our names of activations, by ONNX's in small letters: programs write them in either way.
_ACTIVATIONS = {name.replace("_", ""): name for name in ACTIVATIONS if name != "linear"}
# The standard has 1 where it is left out, ONNX Runtime 0.
_UNSAID: dict[str, tuple[float | None, ...]] = {"thresholded_relu": (None,)}
# Nodes that leave the values of an initial state as they are.
_MOVING = {"Cast", "Concat", "Expand", "Gather", "Identity", "Reshape", "Slice", "Split"}
_MOVING |= {"Squeeze", "Transpose", "Unsqueeze"}


def recurrent(call: Call) -> tuple[Part, list[Rows]]:
    """Read a recurrent node."""
    kind = KINDS[call.node.op]
    unknown = call.node.attributes.keys() - _KNOWN - set(kind.attributes)
    if unknown:
        raise RefusedError(f"attribute {shown(min(unknown))} is not read")
    ways = _WAYS.get(call.text("direction", "forward"))
    if ways is None:
        raise RefusedError(f"there is no direction {shown(call.text('direction', ''))}")
    layout = call.integer("layout")
    rows = _taken(call, layout)
    if rows.backwards:
        ways = tuple(_TURNED[way] for way in ways)
    _check_lengths(call, rows)
    H = _hidden_size(call, kind, len(ways))
    N = rows.axes[1].size
    N = N if isinstance(N, int) and N > 0 else "N"
    _check_starts(call, rows, (N, len(ways), H) if layout else (len(ways), N, H))
    cells = list(_cells(call, kind, len(ways)))
    if len(ways) == 2 and ways[0] == "backward":
        raise RefusedError("takes the steps from the last to the first, in both directions")
    tensors = [
        found.stored
        for place, found in enumerate(call.inputs)
        if place not in _STARTS and isinstance(found, Constant) and found.stored
    ]
    chains = tuple(
        rows.chain.then(call.part(tensors=tensors, layers=[_layer([cell], way)]))
        for cell, way in zip(cells, ways, strict=True)
    )
    whole = call.part(
        tensors=tensors, layers=[_layer(cells, ways[0] if len(ways) == 1 else "bidirectional")]
    )
    return whole, _outputs(rows, chains, H, layout)


def _layer(cells: Sequence[CellSpec], direction: str) -> LayerSpec:
    merge = {"merge": "concat"} if len(cells) == 2 else {}
    return LayerSpec(tuple(cells), {"direction": direction} | merge)


def _taken(call: Call, layout: int) -> Rows:
    """Return the rows that the node takes: their axes are steps, sequences and features."""
    found = call.given(0)
    if isinstance(found, Unknown):
        axes = (Axis("T", -1), Axis("N", -1), Axis("F", -1))
        return Rows(found.origin, axes, (found.chain,), "F")
    rows = call.rows()
    if len(rows.axes) != 3:
        raise RefusedError(f"expected three axes, got {len(rows.axes)}")
    if rows.last:
        raise RefusedError("takes one row a sequence of the layer below")
    steps, sequences, features = rows.axes
    if layout:
        steps, sequences = sequences, steps
    if rows.feature == "F":  # there is a recurrent node below
        expected = [name for name in ("T", "N") if rows.place(name) is not None]
        known = expected == [axis.name for axis in (steps, sequences) if axis.name]
    else:
        known = bool(steps.name) and not (steps.parts or sequences.parts or features.parts)
    if not known or features.name != (rows.feature or features.name):
        raise RefusedError(
            "takes other axes for steps, sequences and features than the layer below"
        )
    if rows.backwards not in ("", steps.name):
        raise RefusedError("takes what stands in the wrong order")
    ordered = (
        Axis("T", steps.size),
        Axis("N", sequences.size),
        Axis("F", features.size),
    )
    origin = rows.origin if rows.feature == "F" else f"{rows.origin} along {steps.name}"
    return rows._replace(origin=origin, axes=ordered, feature="F")


def _outputs(rows: Rows, chains: tuple[Chain, ...], H: int, layout: int) -> list[Rows]:
    steps, sequences, _ = rows.axes
    D, features = Axis("D", len(chains)), Axis("F", H)
    every = (sequences, steps, D, features) if layout else (steps, D, sequences, features)
    final = (sequences, D, features) if layout else (D, sequences, features)
    backwards = "T" if rows.backwards else ""
    y = Rows(rows.origin, every, chains, "F", backwards=backwards)
    return [y, *(Rows(rows.origin, final, chains, "F", last) for last in ("state", "cell"))]


def _check_lengths(call: Call, rows: Rows) -> None:
    """Check `sequence_lens`: how many steps each sequence has."""
    found = call.given(4)
    if isinstance(found, Constant):
        lengths = call.work.array(found)
        if lengths.dtype == object or (lengths != rows.axes[0].size).any():
            raise RefusedError(
                "input sequence_lens is a constant: sequences have their own lengths"
            )
    elif isinstance(found, Rows) and is_input(found):
        call.notes.append(
            f"{call.name} takes lengths of sequences from {shown(found.origin)}: each sequence is "
            "run as long as it is"
        )
    elif found is not None:
        raise RefusedError("input sequence_lens is computed in the graph")


def _check_starts(call: Call, rows: Rows, shape: tuple[int | str, ...]) -> None:
    """Check the initial states: zeros of this shape, or another input of the graph than rows."""
    for place, name in _STARTS.items():
        found = call.given(place)
        if found is None:
            continue
        if isinstance(found, Constant):
            if found.entry.dtype == "object" or call.work.array(found).any():
                raise RefusedError(f"input {name} is a constant other than zeros")
            if not _fits(found, shape):
                sizes = ", ".join(map(str, shape))
                raise RefusedError(f"{name}: expected shape ({sizes}), got {found.entry.shape}")
        elif found.origin and _moved(found) and not _same_input(rows, found):
            what = "`h0`" if name == "initial_h" else "`c0`"
            call.notes.append(
                f"{call.name} takes {name} from {shown(found.origin)}: {what} gives it, zeros else"
            )
        else:
            raise RefusedError(f"input {name} is computed in the graph")


def _fits(found: Constant, shape: tuple[int | str, ...]) -> bool:
    """Return whether a constant has this shape, as far as both are known."""
    sizes = found.entry.shape
    if found.spread:  # nor need all of its axes be known
        sizes = (1,) * (len(shape) - len(sizes)) + sizes
    return len(sizes) == len(shape) and all(
        size == expected or expected == "N" or (found.spread and size == 1)
        for size, expected in zip(sizes, shape, strict=True)
    )


def _same_input(rows: Rows, found: Rows | Unknown) -> bool:
    """Return whether rows that a node takes come from the same input as another value."""
    return f"{rows.origin} ".startswith(f"{found.origin} ")


def _moved(found: Rows | Unknown) -> bool:
    """Return whether a value is an input of the graph, or a part of it."""
    chains = found.chains if isinstance(found, Rows) else (found.chain,)
    parts = (each.top for chain in chains for each in chain.downward())
    return all(part.kind in _MOVING and not part.layers for part in parts)


def _hidden_size(call: Call, kind: Kind, directions: int) -> int:
    """Return H of the weights, whose shapes must fit each other."""
    R = call.constant(2).entry.shape
    if len(R) != 3 or not R[2]:
        raise RefusedError(f"R: expected shape (D, {len(kind.gates)} H, H), got {R}")
    H, G = R[2], len(kind.gates)
    if "hidden_size" in call.node.attributes and call.integer("hidden_size") != H:
        raise RefusedError(f"hidden_size is {call.integer('hidden_size')}, R is {R}")
    I = (*call.constant(1).entry.shape, 0, 0, 0)[2]
    expected: dict[int, tuple[str, tuple[int, ...]]] = {
        1: ("W", (directions, G * H, I)),
        2: ("R", (directions, G * H, H)),
        3: ("B", (directions, 2 * G * H)),
        7: ("P", (directions, 3 * H)),
    }
    for place, (name, shape) in expected.items():
        if call.given(place) is None and place > 2:
            continue
        got = call.constant(place).entry.shape
        if got != shape:
            raise RefusedError(f"{name}: expected shape {shape}, got {got}")
    return H


def _cells(call: Call, kind: Kind, directions: int) -> Iterator[CellSpec]:
    """Return the cell of each direction."""
    functions = _functions(call, kind, directions)
    shared = _shared(call, kind)
    for d in range(directions):
        tensors = {
            "W_xh": _slice(call, 1, "W", d, kind.gates),
            "W_hh": _slice(call, 2, "R", d, kind.gates),
        }
        if call.given(3) is not None:
            tensors["b_x"] = _slice(call, 3, "Wb", d, kind.gates, half=0)
            tensors["b_r"] = _slice(call, 3, "Rb", d, kind.gates, half=1)
        if call.given(7) is not None:
            tensors["w_ch"] = _slice(call, 7, "P", d, PEEPHOLES)
        settings = dict(zip(kind.functions, functions[d], strict=True))
        yield CellSpec(tensors, kind.cell, settings | shared, _TRANSPOSED)


def _shared(call: Call, kind: Kind) -> dict[str, Any]:
    """Return the settings that the cells of both directions have."""
    clip = call.number("clip", inf)
    try:
        shared: dict[str, Any] = {"clip": positive_clip(clip)}
    except ValueError as error:
        raise RefusedError(str(error)) from error
    if call.integer("input_forget"):
        raise RefusedError("input_forget (a forget gate of 1 - i) is not run here")
    if kind.cell == "gru":
        shared["reset"] = "after" if call.integer("linear_before_reset") else "before"
    return shared


def _slice(
    call: Call, place: int, role: str, d: int, gates: tuple[int, ...], half: int | None = None
) -> str:
    """Name what a direction has of a tensor, its gates in our order."""
    shape = call.constant(place).entry.shape[1:]
    if half is not None:
        shape = (shape[0] // 2,)

    def compute(array: NDArray[Any]) -> NDArray[Any]:
        own = array[d] if half is None else np.split(array[d], 2)[half]
        blocks = np.split(own, len(gates))
        return np.concatenate([blocks[gate] for gate in gates])

    return call.computed(place, f"{role}[{d}]", shape, compute)


def _functions(call: Call, kind: Kind, directions: int) -> list[list[Activation]]:
    """Return the activations of each direction: alpha and beta go to those that take them."""
    defaults = list(kind.functions.values())
    names = _listed(call.node, "activations", str) or defaults * directions
    if len(names) != len(defaults) * directions:
        raise RefusedError(f"expected {len(defaults) * directions} activations, got {len(names)}")
    alphas = iter(_listed(call.node, "activation_alpha", float))
    betas = iter(_listed(call.node, "activation_beta", float))
    found = []
    for name in names:
        own = _ACTIVATIONS.get(name.lower())
        if own is None:
            raise RefusedError(f"there is no activation {shown(name)}")
        takes = _UNSAID.get(own, ACTIVATIONS[own].defaults)
        parameters = zip((alphas, betas), takes, strict=False)
        numbers = [next(values, default) for values, default in parameters]
        given = [number for number in numbers if number is not None]
        if len(given) < len(takes):
            raise RefusedError(f"activation {name} without alpha or beta: programs differ in them")
        found.append(checked(own, *given))
    G = len(defaults)
    return [found[d * G : (d + 1) * G] for d in range(directions)]


def _listed(node: Node, name: str, kind: type) -> list[Any]:
    values = node.attributes.get(name, [])
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        raise RefusedError(f"attribute {name}: expected a list of {kind.__name__}")
    return values
