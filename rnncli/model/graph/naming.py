"""Steps over rows as the layers that they are: Dense, activations, normalizations, and pieces."""

from collections.abc import Collection, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

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

_LONGEST = 8  # stretches of steps that are one formula
# Activations by operators of which they are made: the first is there, any others may be. In
# place of {} stands a number that one of them takes.
_FORMULAS = {
    "Clip": "relu6 relu hard_sigmoid:1.0,0.0 maximum:{} minimum:{}",
    "Clip Add Mul Div": "hard_silu",
    "Erf Add Mul Div": "gelu",
    "Gelu": "gelu gelu_tanh",
    "HardSigmoid Mul": "hard_silu",
    "Max": "relu maximum:{}",
    "Min": "minimum:{}",
    "PRelu": "leaky_relu:{}",
    "Pow": "power:{}",
    "Sigmoid Mul": "silu",
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
    ends = _find_ends(rows, path)
    while begin < len(path):
        own = [end for end in ends if end > begin][:_LONGEST]
        for end in own[::-1]:  # several stretches may be one formula
            named = _name(rows, {each: rows.steps[each] for each in path[begin:end]})
            if not isinstance(named.layer, Piece) or end == own[0]:
                break
        begin, below = end, found[-1] if found else named
        one, two, steps = below.layer, named.layer, {**below.steps, **named.steps}
        ops, name = [step.op for step in steps.values()], named.name or below.name
        if isinstance(one, Piece) and isinstance(two, Piece) and found:
            piece = Piece(steps, one.inputs, two.target, two.output_size)
            found[-1] = Named(name, steps, piece, named.register, below.taken)
        elif isinstance(one, Dense) and isinstance(two, Normalization) and ops == ["MatMul", "Add"]:
            dense = Dense(one.W, two.shift)
            found[-1] = Named(below.name, steps, dense, named.register, below.taken)
        else:
            found.append(named)
    if target.columns is not None:
        register = target.register
        piece = Piece({}, {register: rows.width(register)}, target, len(target.columns))
        found.append(Named("", {}, piece, -1, (register,)))
    return found


def _find_ends(rows: Rows, path: Sequence[int]) -> list[int]:
    """Return where a stretch of steps may end: later steps take no value but the last."""
    last: dict[int, int] = {}
    for n, register in enumerate(path):
        last |= {operand.register: n for operand in rows.steps[register].operands}
    furthest = max((n for each, n in last.items() if each >= 0 and each not in path), default=0)
    ends = []
    for n, register in enumerate(path, start=1):
        if furthest < n:
            ends.append(n)
        furthest = max(furthest, last.get(register, n - 1))
    return ends


def _name(rows: Rows, steps: Mapping[int, Step]) -> Named:
    """Return the layer that steps are, or the piece."""
    every = {each.register for step in steps.values() for each in step.operands}
    taken, register = tuple(sorted(every - steps.keys() - {-1})), max(steps)
    name = next((step.name for step in [*steps.values()][::-1] if step.name), "")
    widths = {each: rows.width(each) for each in taken}
    piece, layer = Piece(steps, widths, Operand(register), rows.width(register)), None
    if len(taken) == 1:
        try:
            layer = _name_step(steps[register], piece.input_size) if len(steps) == 1 else None
            layer = layer or _name_formula(piece)
        except ValueError:  # such as a scale of 0
            layer = None
    return Named(name, steps, layer or piece, register, taken)


def _name_step(step: Step, K: int) -> Stateless | None:
    """Return the layer that a step is; None if it is none that is known."""
    op, known, shape = step.op, step.attributes, step.shape
    turned = op in ("Add", "Mul") and step.operands[0].register < 0
    first, *rest = step.operands[:: -1 if turned else 1]
    if op == "Gather" and K == 1:
        return Embedding(first.values)
    if first.register < 0 or first.columns is not None or any(r.register >= 0 for r in rest):
        return None
    values = [each.values for each in rest]
    if op == "MatMul" and shape[1] == K:
        return Dense(values[0])
    if op == "BatchNormalization":
        factor, shift, center, variance = values
        root = np.sqrt(variance.astype(np.float64) + known.get("epsilon", 1e-5))
        return Normalization(center, root, shift, factor)
    softmax = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}.get(op)
    if softmax and shape[known["axis"] - 1] == K:
        return Pointwise(softmax, K)
    if op == "LayerNormalization" and prod(shape[known["axis"] - 1 :]) == K == values[0].size:
        shift = values[1].reshape(-1) if len(values) > 1 and values[1] is not None else None
        return LayerNormalization(values[0].reshape(-1), shift, known.get("epsilon", 1e-5))
    if op not in ("Add", "Sub", "Mul", "Div") or values[0].dtype.kind != "f":
        return None
    zeros, ones = np.zeros(K, np.float32), np.ones(K, np.float32)
    scaled: dict[str, tuple[Any, ...]] = {
        "Add": (zeros, ones, values[0]),
        "Sub": (zeros, ones, -values[0]),
        "Mul": (zeros, ones, None, values[0]),
        "Div": (zeros, values[0]),
    }
    return Normalization(*scaled[op])


def _name_formula(piece: Piece) -> Stateless | None:
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
