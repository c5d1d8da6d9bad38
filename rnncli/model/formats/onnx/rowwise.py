"""Nodes that make something of each row alone: layers without state."""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

from numpy.typing import NDArray

from rnncli.model.formats.onnx.axes import gathered, paired, reduced
from rnncli.model.formats.onnx.elements import type_name
from rnncli.model.formats.onnx.functions import FUNCTIONS, applied, function_of
from rnncli.model.formats.onnx.values import (
    INPUT,
    Axis,
    Call,
    Constant,
    RefusedError,
    Rows,
    Size,
    is_input,
    single,
)
from rnncli.model.formats.parts import NOTHING
from rnncli.model.formats.spec import LayerSpec
from rnncli.model.formats.tensors import deviation

_LINEAR = {"activation": "linear"}
# Element types that round rows.
_HALVES = {10: "float16", 16: "bfloat16"}


def multiplied(call: Call) -> Rows:
    """Read ``MatMul`` of rows and weights."""
    rows, W = call.rows(), call.constant(1).entry
    if len(W.shape) != 2:
        raise RefusedError(f"input 2: expected shape (I, O), got {W.shape}")
    row = rows.featured(len(rows.axes) - 1)
    spec = LayerSpec(kind="dense", tensors={"W": call.tensor(1, "W")}, settings=_LINEAR)
    return call.layer(row, spec).widened(W.shape[1])


def _gemm(call: Call) -> Rows:
    rows, W = call.rows(), call.constant(1)
    if len(rows.axes) != 2 or call.integer("transA") or len(W.entry.shape) != 2:
        raise RefusedError("multiplies other axes than those of features")
    turned = bool(call.integer("transB"))
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    shape = W.entry.shape[::-1] if turned else W.entry.shape
    tensors = {"W": call.computed(1, "W", shape, _scaled(alpha, turned=turned))}
    row = rows.featured(1)
    if call.given(2) is not None:
        _aligned(row, call.constant(2))
        tensors["b"] = call.row(2, "b", shape[1], beta)
    return call.layer(row, LayerSpec((), _LINEAR, "dense", tensors)).widened(shape[1])


def _scaled(factor: float, *, turned: bool) -> Callable[[NDArray[Any]], NDArray[Any]]:
    return lambda W: W.dtype.type(factor) * (W.T if turned else W)


def _combined(call: Call) -> Rows:
    """Read ``Add``, ``Sub``, ``Mul`` and ``Div``: with constants, or of two paths."""
    one, other = call.given(0), call.given(1)
    if isinstance(one, Rows) and isinstance(other, Rows):
        return _two(call, one, other)
    place = 1 if isinstance(one, Rows) else 0
    op, rows = call.node.op, call.rows(1 - place)
    if place == 0 and op == "Div":
        raise RefusedError("divides a constant by rows")
    found = call.constant(place)
    value = single(found)
    if value == (2.0 if op == "Div" else 0.5) and op in ("Mul", "Div") and _summed(rows):
        return _averaged(rows)
    row, size = _aligned(rows, found)
    top = rows.chain.top
    if op == "Add" and top.layers and _lacks_bias(top.layers[0]):
        spec = top.layers[0]
        named = call.tensor(place, "b") if found.entry.shape == (size,) else ""
        tensors = {**spec.tensors, "b": named or call.row(place, "b", size)}
        part = top._replace(
            layers=(spec._replace(tensors=tensors),), tensors=tuple(tensors.values())
        )
        return row.through(rows.chain.changed(part))
    spec = _normalization(call, place, size)
    made = call.layer(row, spec)
    if value is None or (place == 0 and op == "Sub"):
        return made
    return applied(call, made, op, rows, value)


def _lacks_bias(spec: LayerSpec) -> bool:
    return spec.kind == "dense" and "b" not in spec.tensors


def _normalization(call: Call, place: int, size: int) -> LayerSpec:
    """Return the layer that adds, subtracts, multiplies by or divides by a row."""
    op = call.node.op
    own = {
        "Add": {"shift": 1.0},
        "Sub": {"shift": -1.0} if place else {"shift": 1.0},
        "Mul": {"factor": 1.0},
        "Div": {"scale": 1.0},
    }[op]
    tensors = {role: call.row(place, role, size, sign) for role, sign in own.items()}
    filled = {"center": 0.0, "scale": 1.0}
    if op == "Sub" and not place:
        filled["factor"] = -1.0
    for role, value in filled.items():
        if role not in tensors:
            tensors[role] = call.filled(role, size, value)
    return LayerSpec(kind="normalization", tensors=tensors)


def _two(call: Call, one: Rows, other: Rows) -> Rows:
    """Read an operation of two paths: the directions of a layer, or a function of one row."""
    merge = {"Add": "sum", "Mul": "mul"}.get(call.node.op)
    if merge and one.chains[0] is not other.chains[0] and _one_layer(one) and _one_layer(other):
        return paired(one, other, merge)
    return function_of(call, one, other)


def _one_layer(rows: Rows) -> bool:
    """Return whether rows come from one direction of a layer, and none stands above it."""
    layers = rows.chain.top.layers
    return bool(layers) and len(layers[0].cells) == 1


def _summed(rows: Rows) -> bool:
    layers = rows.chain.top.layers
    return bool(layers) and layers[0].settings.get("merge") == "sum"


def _averaged(rows: Rows) -> Rows:
    top = rows.chain.top
    settings = {**top.layers[0].settings, "merge": "ave"}
    part = top._replace(layers=(top.layers[0]._replace(settings=settings),))
    return rows.through(rows.chain.changed(part))


def _reduced_directions(call: Call) -> Rows:
    merged = reduced(call, {"ReduceSum": "sum", "ReduceProd": "mul"}[call.node.op])
    if merged is None:
        raise RefusedError(f"operator {call.node.op} is not read")
    return merged


def _batch_normalization(call: Call) -> Rows:
    rows = call.rows()
    if call.integer("training_mode") or call.integer("spatial", 1) != 1:
        raise RefusedError("BatchNormalization that is being trained is not read")
    row = rows.featured(1)
    factor, shift, center = (call.tensor(place, f"input {place + 1}") for place in (1, 2, 3))
    root = partial(deviation, call.number("epsilon", 1e-5))
    scale = call.computed(4, "scale", call.constant(4).entry.shape, root)
    tensors = {"center": center, "scale": scale, "shift": shift, "factor": factor}
    return call.layer(row, LayerSpec(kind="normalization", tensors=tensors))


def _normalized_layer(call: Call) -> Rows:
    rows = call.rows()
    if rows.at(call.integer("axis", -1)) != len(rows.axes) - 1:
        raise RefusedError("normalizes several axes")
    row = rows.featured(len(rows.axes) - 1)
    tensors = {}
    for place, role in ((1, "factor"), (2, "shift")):
        if call.given(place) is not None or place == 1:
            _, size = _aligned(row, call.constant(place))
            tensors[role] = call.row(place, role, size)
    settings = {"epsilon": call.number("epsilon", 1e-5)}
    return call.layer(row, LayerSpec((), settings, "layer_normalization", tensors))


def _gather(call: Call) -> Rows:
    """Read ``Gather``: an embedding, or one place of an axis."""
    if isinstance(call.given(0), Rows):
        return gathered(call)
    table, rows = call.constant(0).entry, call.rows(1)
    if len(table.shape) != 2 or call.integer("axis"):
        raise RefusedError("looks up in what is no table of rows")
    if not is_input(rows) or rows.feature:
        raise RefusedError("looks up what is computed in the graph")
    spec = LayerSpec(kind="embedding", tensors={"W": call.tensor(0, "W")})
    axes = (*rows.axes, Axis("E", table.shape[1]))
    return call.layer(rows._replace(axes=axes, chains=(INPUT,), feature="E"), spec)


def _cast(call: Call) -> Rows:
    rows = call.rows()
    to = call.integer("to")
    if to in (1, 11):
        return rows
    if to in _HALVES:
        part = call.part(why="rounds, which is not done here")
        call.notes.append(f"{call.name} rounds to {_HALVES[to]}, which is not done here")
    else:
        part = call.part(why=f"casts rows to {type_name(to)}", needed=True)
    return rows.through(rows.chain.then(part))


def _dropout(call: Call) -> Rows:
    rows = call.rows()
    if call.given(2) is not None and single(call.constant(2)) != 0:
        raise RefusedError("Dropout that is being trained is not read")
    part = call.part(why=NOTHING)
    return rows.through(rows.chain.then(part))


def _aligned(rows: Rows, found: Constant) -> tuple[Rows, int]:
    """Check that a constant has a value for each feature, or one for all."""
    shape = found.entry.shape
    if len(shape) > len(rows.axes) or found.spread:
        raise RefusedError(f"has a constant of shape {shape}")
    wide = [len(rows.axes) - len(shape) + k for k, size in enumerate(shape) if size != 1]
    if len(wide) > 1:
        raise RefusedError(f"has a constant of shape {shape}")
    place = wide[0] if wide else rows.place(rows.feature)
    if place is None and not rows.feature:
        place = len(rows.axes) - 1
    row = rows if place is None else rows.featured(place)
    known = place is None or not isinstance(row.axes[place].size, Size)
    return row, row.size if known or not wide else prod(shape)


# read(call): what a node gives.
OPERATORS: dict[str, Callable[[Call], Rows]] = {
    **FUNCTIONS,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _combined),
    **dict.fromkeys(("ReduceSum", "ReduceProd"), _reduced_directions),
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Dropout": _dropout,
    "Gather": _gather,
    "Gemm": _gemm,
    "Identity": Call.rows,
    "LayerNormalization": _normalized_layer,
    "MatMul": multiplied,
}
