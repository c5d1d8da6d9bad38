"""Nodes that are functions of a row, and functions that are several nodes.

Programs write functions that an operator set does not have yet as several
nodes. Rows therefore know as what function they came about, as text.
"""

import re
from collections.abc import Callable
from math import inf

import numpy as np

from rnncli.model.activations import ONNX_OPERATORS, Activation, activation
from rnncli.model.formats.onnx.axes import reduced
from rnncli.model.formats.onnx.values import Call, RefusedError, Rows, single
from rnncli.model.formats.spec import LayerSpec

# Activations by operator, whose attributes are their parameters.
_ACTIVATIONS = {operator: name for name, operator in ONNX_OPERATORS.items()} | {"Celu": "elu"}
_SELU = (1.6732631921768188, 1.0507010221481323)
_CLIPS: dict[tuple[float | None, float | None], str] = {
    (0.0, 6.0): "relu6",
    (0.0, None): "relu",
    (0.0, 1.0): "hard_sigmoid:1.0,0.0",
}
_X = r"(?P=x)"
_CUBE = rf"(?:power:3\.0\({_X}\)|Mul\({_X},Mul\({_X},{_X}\)\))"
# Twice the share of x that a gelu lets pass.
_SHARES = {
    "gelu": rf"Add\(Erf\((?:Div\({_X},1\.414213\d*\)|Mul\({_X},0\.707106\d*\))\),1\.0\)",
    "gelu_tanh": r"Add\(tanh\(Mul\("
    rf"Add\({_X},Mul\({_CUBE},0\.0447(?:15|1500\d*|1499\d*)\)\),0\.797884\d*\)\),1\.0\)",
}
_LESS = rf"Sub\({_X},Mean\({_X}\)\)"
_SQUARE = rf"(?:power:2\.0\({_LESS}\)|Mul\({_LESS},{_LESS}\))"
# What several operators are together, as a function of x.
_FORMULAS = {
    r"Mul\((?P<x>.+),sigmoid\((?P=x)\)\)": "silu",
    r"Mul\((?P<x>.+),tanh\(softplus\((?P=x)\)\)\)": "mish",
    r"Mul\((?P<x>.+),hard_sigmoid:0\.166666\d*,0\.5\((?P=x)\)\)": "hard_silu",
    r"Div\((?P<x>.+),Add\(Abs\((?P=x)\),1\.0\)\)": "softsign",
    # Beyond 20 the two differ by less than float32 holds.
    r"Where\(Greater\((?P<x>.+),20\.0\),(?P=x),softplus\((?P=x)\)\)": "softplus",
    r"Div\(Mul\((?P<x>.+),relu6\(Add\((?P=x),3\.0\)\)\),6\.0\)": "hard_silu",
    **{rf"Mul\(Mul\((?P<x>.+),{share}\),0\.5\)": name for name, share in _SHARES.items()},
    **{rf"Mul\((?P<x>.+),Mul\({share},0\.5\)\)": name for name, share in _SHARES.items()},
    **{rf"Mul\(Mul\((?P<x>.+),0\.5\),{share}\)": name for name, share in _SHARES.items()},
    r"Div\(Sub\((?P<x>.+),Mean\((?P=x)\)\),"
    rf"Sqrt\(Add\(Mean\({_SQUARE}\),(?P<epsilon>[-+.e\d]+)\)\)\)": "layer_normalization",
}
# The longest text that is looked at.
_LONGEST = 400


def checked(name: str, *given: float) -> Activation:
    """Return an activation; refuse parameters that it cannot have."""
    try:
        return activation(name, *given)
    except ValueError as error:
        raise RefusedError(str(error)) from error


def _activated(call: Call) -> Rows:
    """Read an activation."""
    op, name = call.node.op, _ACTIVATIONS[call.node.op]
    defaults = zip(("alpha", "beta"), activation(name).parameters, strict=False)
    given = [call.number(key, default) for key, default in defaults]
    if op == "Celu" and given != [1.0]:
        raise RefusedError(f"Celu with alpha {given[0]:g} is not read")
    return _pointwise(call, str(checked(name, *given)))


def _selu(call: Call) -> Rows:
    given = (call.number("alpha", _SELU[0]), call.number("gamma", _SELU[1]))
    if not np.allclose(given, _SELU, rtol=1e-6, atol=0):
        raise RefusedError(f"Selu with alpha {given[0]:g} and gamma {given[1]:g} is not read")
    return _pointwise(call, "selu")


def _gelu(call: Call) -> Rows:
    names = {"none": "gelu", "tanh": "gelu_tanh"}
    form = call.text("approximate", "none")
    if form not in names:
        raise RefusedError(f"Gelu approximated by {form!r:.20} is not read")
    return _pointwise(call, names[form])


def _prelu(call: Call) -> Rows:
    slope = single(call.constant(1))
    if slope is None:
        raise RefusedError("PRelu with a slope for each feature is not read")
    return _pointwise(call, str(checked("leaky_relu", slope)))


def _swish(call: Call) -> Rows:
    if call.number("alpha", 1.0) != 1.0:
        raise RefusedError("Swish with another alpha than 1 is not read")
    return _pointwise(call, "silu")


def _clipped(call: Call) -> Rows:
    low, high = (
        call.number(name, default) if call.given(place) is None else _number(call, place)
        for place, name, default in ((1, "min", -inf), (2, "max", inf))
    )
    return _limited(call, low, high)


def _extreme(call: Call) -> Rows:
    """Read ``Max`` or ``Min`` of rows and a number."""
    if len(call.inputs) != 2:
        raise RefusedError(f"{call.node.op} of {len(call.inputs)} inputs is not read")
    place = 0 if isinstance(call.given(0), Rows) else 1
    number = _number(call, 1 - place)
    ends = (number, inf) if call.node.op == "Max" else (-inf, number)
    return _limited(call, *ends, place)


def _limited(call: Call, low: float, high: float, place: int = 0) -> Rows:
    """Limit rows; programs write a number beyond 3e38 for no limit."""
    ends = (None if low < -3e38 else low, None if high > 3e38 else high)
    names = [
        str(checked(name, end))
        for name, end in zip(("maximum", "minimum"), ends, strict=True)
        if end is not None
    ]
    return _pointwise(call, *([_CLIPS[ends]] if ends in _CLIPS else names), place=place)


def _power(call: Call) -> Rows:
    return _pointwise(call, str(checked("power", _number(call, 1))))


def _softmax(call: Call) -> Rows:
    rows = call.rows()
    axis = rows.at(call.integer("axis", -1 if call.opset >= 13 else 1))
    row = rows.featured(axis)
    if call.opset < 13 and any(each.size != 1 for each in rows.axes[axis + 1 :]):
        raise RefusedError("takes several axes for features")
    name = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}[call.node.op]
    return call.layer(row, LayerSpec(kind="activation", settings={"activation": name}))


def _pointwise(call: Call, *names: str, place: int = 0) -> Rows:
    """Read one activation or several, one after the other."""
    rows = call.rows(place)
    specs = [LayerSpec(kind="activation", settings={"activation": name}) for name in names]
    return applied(call, call.layer(rows, *specs), ",".join(names), rows) if names else rows


def applied(call: Call, made: Rows, name: str, rows: Rows, value: float | None = None) -> Rows:
    """Return rows with the text that they are a function, by its name, of other rows."""
    arguments = [call.work.formulas.text(rows)] + ([] if value is None else [repr(value)])
    text = f"{name}({','.join(arguments)})"
    return known_function(call, made, text, read=made.chain is not rows.chain)


def function_of(call: Call, *every: Rows) -> Rows:
    """Return rows that are a function of several others, all of them of the same rows below."""
    first = every[0]
    for other in every[1:]:
        if _taken(other) != _taken(first):
            raise RefusedError("brings two paths together")
    texts = [call.work.formulas.text(rows) for rows in every]
    if call.node.op in ("Add", "Mul"):
        texts.sort(key=lambda text: (len(text), text))
    return known_function(call, first, f"{call.node.op}({','.join(texts)})", read=False)


def _taken(rows: Rows) -> tuple[object, ...]:
    """Return which rows these are, whatever they went through."""
    return rows.names, rows.origin, rows.last, rows.backwards


def known_function(call: Call, made: Rows, text: str, *, read: bool) -> Rows:
    """Return rows as the one layer that several nodes are together, if `_FORMULAS` has them.

    Else they may still become one; till then they can be run only if the last node is read alone.
    """
    for pattern, name in _FORMULAS.items():
        found = re.fullmatch(pattern, text)
        below = call.work.formulas.chains.get(found["x"]) if found else None
        if found and below is not None:
            rows = made.through(below)
            if name == "layer_normalization":
                return _layer_normalization(call, rows, float(found["epsilon"]))
            return call.layer(rows, LayerSpec(kind="activation", settings={"activation": name}))
    if not read:
        part = call.part(why=f"{call.node.op} is not read here", needed=True)
        made = made.through(made.chain.then(part))
    return made._replace(text=text if len(text) <= _LONGEST else "")


def _layer_normalization(call: Call, rows: Rows, epsilon: float) -> Rows:
    tensors = {"factor": call.filled("factor", rows.size, 1.0)}
    return call.layer(rows, LayerSpec((), {"epsilon": epsilon}, "layer_normalization", tensors))


def _part_of_function(call: Call) -> Rows:
    """Read an operator that is known only as part of a function."""
    rows = call.rows()
    return applied(call, rows, call.node.op, rows)


def _greater(call: Call) -> Rows:
    """Read ``Greater`` than a number, which is known only as part of a function."""
    return applied(call, call.rows(), "Greater", call.rows(), _number(call, 1))


def _chosen(call: Call) -> Rows:
    return function_of(call, *(call.rows(place) for place in range(3)))


def _mean(call: Call) -> Rows:
    """Read ``ReduceMean``: of directions, or as part of a function."""
    merged = reduced(call, "ave")
    if merged is not None:
        return merged
    rows, axes = call.rows(), call.whole(1, "axes") or []
    if [rows.at(axis) for axis in axes] != [len(rows.axes) - 1] or not call.integer("keepdims", 1):
        raise RefusedError("averages steps")
    row = rows.featured(len(rows.axes) - 1)
    return known_function(call, row, f"Mean({call.work.formulas.text(row)})", read=False)


def _number(call: Call, place: int) -> float:
    """Return the number that an input is; one of more axes than the rows adds axes to them."""
    found = call.constant(place)
    value = single(found)
    axes = max(len(each.axes) for each in call.inputs if isinstance(each, Rows))
    if value is None or len(found.entry.shape) > axes:
        raise RefusedError(f"input {place + 1}: expected one number")
    return value


# read(call): what a node gives.
FUNCTIONS: dict[str, Callable[[Call], Rows]] = {
    **dict.fromkeys(_ACTIVATIONS, _activated),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(("Abs", "Erf", "Sqrt"), _part_of_function),
    **dict.fromkeys(("Max", "Min"), _extreme),
    "Clip": _clipped,
    "Gelu": _gelu,
    "Greater": _greater,
    "PRelu": _prelu,
    "Pow": _power,
    "ReduceMean": _mean,
    "Selu": _selu,
    "Swish": _swish,
    "Where": _chosen,
}
