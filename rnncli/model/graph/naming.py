"""Steps over rows as the layers that they are: Dense, activations, normalizations, and pieces."""

from collections.abc import Collection, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.activations import ACTIVATIONS, ONNX_OPERATORS, activation
from rnncli.model.graph.piece import Piece
from rnncli.model.graph.rows import Operand, Rows, Step
from rnncli.model.layers import (
    Dense,
    Embedding,
    LayerNormalization,
    Normalization,
    Pointwise,
    Stateless,
)

Array = NDArray[Any]
_LONGEST = 8  # stretches of steps that are one formula
# Activations by operators of which they are made: the first is there, any others may be. In
# place of {} stands a number that one of them takes.
_FORMULAS = {
    "Abs Add Div": "softsign",
    "Celu": "elu:{}",
    "Clip": "relu6 relu hard_sigmoid:1.0,0.0 maximum:{} minimum:{}",
    "Clip Add Mul Div": "hard_silu",
    "Erf Add Mul Div": "gelu",
    "Gelu": "gelu gelu_tanh",
    "HardSigmoid Mul": "hard_silu",
    "Max": "relu maximum:{}",
    "Min": "minimum:{}",
    "PRelu": "leaky_relu:{}",
    "Pow": "power:{}",
    "Selu": "selu",
    "Sigmoid Mul": "silu",
    "Softplus Greater Where": "softplus",
    "Softplus Tanh Mul": "mish",
    "Swish": "silu",
    "Tanh Add Mul Div Pow": "gelu_tanh",
}
_NORMAL = {"ReduceMean", "Sqrt", "Add", "Sub", "Mul", "Pow", "Div"}
_MAGNITUDES = [1e-3, 0.1, 1, 3, 10, 40, 1e3, 1e6]  # of values at which formulas are compared


class Named(NamedTuple):
    """A layer that steps are, with the name of a node; it fills a register, and takes others."""

    name: str
    steps: Mapping[int, Step]
    layer: Stateless
    register: int
    taken: tuple[int, ...]


def name_steps(rows: Rows, target: Operand, known: Collection[int] = ()) -> list[Named]:
    """Return the layers that give an operand of known registers, the bottom one first."""
    path, found, begin = rows.path(target.register, known), list[Named](), 0
    ends = _ends(rows, path)
    while begin < len(path):
        for end in ends[begin][:_LONGEST][::-1]:  # several stretches may be one formula
            named = _name(rows, {each: rows.steps[each] for each in path[begin:end]})
            if not isinstance(named.layer, Piece) or end == ends[begin][0]:
                break
        joined = _join(found[-1], named) if found else None
        found = [*found[:-1], joined] if joined else [*found, named]
        begin = end
    if target.columns is not None:
        register = target.register
        piece = Piece({}, {register: rows.widths[register]}, target, len(target.columns))
        found.append(Named("", {}, piece, -1, (register,)))
    return found


def _ends(rows: Rows, path: Sequence[int]) -> list[list[int]]:
    """Return where a stretch of steps may end that begins at a step: nothing else passes by."""
    last: dict[int, int] = {}
    for n, register in enumerate(path):
        last |= {operand.register: n for operand in rows.steps[register].operands}
    furthest = max((n for each, n in last.items() if each >= 0 and each not in path), default=0)
    cuts = []
    for n, register in enumerate(path):
        if furthest <= n:
            cuts.append(n + 1)
        furthest = max(furthest, last.get(register, n))
    return [[cut for cut in cuts if cut > n] for n in range(len(path))]


def _name(rows: Rows, steps: Mapping[int, Step]) -> Named:
    """Return the layer that steps are, or the piece."""
    every = {each.register for step in steps.values() for each in step.operands}
    taken, register = tuple(sorted(every - steps.keys() - {-1})), max(steps)
    name = next((step.name for step in [*steps.values()][::-1] if step.name), "")
    piece = Piece(
        steps, {each: rows.widths[each] for each in taken}, Operand(register), rows.widths[register]
    )
    layer = None
    if len(taken) == 1:
        try:
            if len(steps) == 1:
                layer = _layer(steps[register], *taken, piece.input_size)
            layer = layer or _formula(piece)
        except ValueError:  # such as a scale of 0
            layer = None
    return Named(name, steps, layer or piece, register, taken)


def _join(below: Named, named: Named) -> Named | None:
    """Bring a product and its bias together, or two pieces; None where they stay two."""
    one, two = below.layer, named.layer
    steps = {**below.steps, **named.steps}
    if isinstance(one, Piece) and isinstance(two, Piece):
        piece = Piece(steps, one.inputs, two.target, two.output_size)
        return Named(named.name or below.name, steps, piece, named.register, below.taken)
    ops = [step.op for step in steps.values()]
    if not isinstance(one, Dense) or not isinstance(two, Normalization) or ops != ["MatMul", "Add"]:
        return None
    dense = Dense(one.W, two.shift)
    return below._replace(steps=steps, layer=dense, register=named.register)


def _layer(step: Step, x: int, K: int) -> Stateless | None:
    """Return the layer that a step is; None if it is none that is known."""
    (first, *rest), given, op = step.operands, step.attributes, step.op
    others = [each.values for each in rest]
    if op in ("Add", "Mul", "Sub", "Div"):
        return _scaled(step, x, K)
    if op == "Gather" and K == 1:
        return Embedding(first.values)
    if not first.is_all_of(x) or any(each.register >= 0 for each in rest):
        return None
    if op == "MatMul":
        return Dense(others[0]) if step.shape[1] == K else None
    if op == "BatchNormalization":
        factor, shift, center, variance = others
        root = np.sqrt(variance.astype(np.float64) + given.get("epsilon", 1e-5))
        return Normalization(center, root, shift, factor)
    if op in ("Softmax", "LogSoftmax"):
        name = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}[op]
        return Pointwise(name, K) if step.shape[given["axis"] - 1] == K else None
    if op == "LayerNormalization" and prod(step.shape[given["axis"] :]) == K == others[0].size:
        rows: list[Any] = [None if each is None else each.reshape(-1) for each in others]
        shift = rows[1] if len(rows) > 1 else None
        return LayerNormalization(rows[0], shift, given.get("epsilon", 1e-5))
    return None


def _scaled(step: Step, x: int, K: int) -> Stateless | None:
    """Return the layer that adds, subtracts, multiplies by or divides by a row."""
    turned = step.operands[0].register < 0
    operand, row = step.operands[::-1] if turned else step.operands
    if row.register >= 0 or not operand.is_all_of(x) or row.values.dtype.kind != "f":
        return None
    op, values = step.op + " turned" * turned, row.values
    zeros, ones = np.zeros(K, np.float32), np.ones(K, np.float32)
    known: dict[str, tuple[Any, ...]] = {
        **dict.fromkeys(("Add", "Add turned"), (zeros, ones, values)),
        **dict.fromkeys(("Mul", "Mul turned"), (zeros, ones, None, values)),
        "Sub": (zeros, ones, -values),
        "Sub turned": (zeros, ones, values, -ones),
        "Div": (zeros, values),
    }
    return Normalization(*known[op]) if op in known else None


def _formula(piece: Piece) -> Stateless | None:
    """Return the layer that steps are together: it has their operators, numbers and values."""
    K, steps = piece.input_size, [*piece.steps.values()]
    ops = {step.op for step in steps}
    constants = [each.values for step in steps for each in step.operands if each.values is not None]
    constants += [v for step in steps for v in step.attributes.values() if isinstance(v, float)]
    if piece.output_size != K or any(np.unique(each).size != 1 for each in constants):
        return None
    numbers = [float(np.ravel(each)[0]) for each in constants]
    texts = [
        text.format(number)
        for known, names in _FORMULAS.items()
        if known.split()[0] in ops and ops <= {*known.split()}
        for text in names.split()
        for number in (numbers if "{}" in text else [0.0])
        if abs(number) < 3e38  # programs write more for no limit
    ]
    for name, operator in ONNX_OPERATORS.items():
        if ops == {operator} and len(steps) == len(steps[0].operands) == 1:
            defaults = zip(("alpha", "beta"), ACTIVATIONS[name].defaults, strict=False)
            parameters: list[Any] = [steps[0].attributes.get(*each) for each in defaults]
            texts.append(str(activation(name, *parameters)))
    layers: list[Stateless] = [Pointwise(text, K) for text in texts]
    if {"ReduceMean", "Sqrt"} <= ops <= _NORMAL:
        ones = np.ones(K, np.float32)
        layers += [LayerNormalization(ones, None, each) for each in numbers if 0 <= each < 1]
    if not layers:
        return None
    random = np.random.default_rng(0)
    x = random.normal(size=(max(len(_MAGNITUDES), 512 // K), K))
    x *= np.resize(_MAGNITUDES, (len(x), 1))
    x = np.concatenate([x, *(np.full((1, K), sign * n) for n in numbers for sign in (2, -2))])
    with np.errstate(all="ignore"):
        y = piece(x)
        same = (each for each in layers if np.allclose(each(x), y, 3e-7, 3e-7, equal_nan=True))
        return next(same, None)
