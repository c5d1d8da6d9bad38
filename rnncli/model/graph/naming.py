"""Steps over rows as the layers that they are: Dense, activations, normalizations, and pieces."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.activations import ACTIVATIONS, ONNX_OPERATORS, activation
from rnncli.model.graph.layers import RowGraph
from rnncli.model.graph.rows import Operand, Rows, Step
from rnncli.model.layers import (
    Dense,
    Embedding,
    LayerNormalization,
    Normalization,
    Pointwise,
    Stateless,
)

_NAMES = {operator: name for name, operator in ONNX_OPERATORS.items()}


class Named(NamedTuple):
    """A layer that steps are, with the name of a node; it fills a register, and takes others."""

    name: str
    steps: Mapping[int, Step]
    layer: Stateless
    register: int
    taken: tuple[int, ...]


def name_steps(rows: Rows, target: Operand, known: Collection[int] = ()) -> list[Named]:
    """Return the layers that give an operand of known registers, the bottom one first."""
    path, found = rows.path(target.register, known), list[Named]()
    ends = _find_ends(rows, path)
    for begin, end in pairwise([0, *ends]):
        named = _name(rows, {each: rows.steps[each] for each in path[begin:end]})
        below = found[-1] if found else named
        one, two, steps = below.layer, named.layer, {**below.steps, **named.steps}
        ops, name = [step.op for step in steps.values()], named.name or below.name
        if isinstance(one, RowGraph) and isinstance(two, RowGraph) and found:
            piece = RowGraph(steps, one.inputs, two.target, two.output_size)
            found[-1] = Named(name, steps, piece, named.register, below.taken)
        elif isinstance(one, Dense) and isinstance(two, Normalization) and ops == ["MatMul", "Add"]:
            dense = Dense(one.W, two.shift)
            found[-1] = Named(below.name, steps, dense, named.register, below.taken)
        elif isinstance(two, Embedding) and ops == ["Cast", "Gather"]:
            found[-1] = Named(name, steps, two, named.register, below.taken)
        else:
            found.append(named)
    if target.columns is not None:
        register = target.register
        piece = RowGraph({}, {register: rows.width(register)}, target, len(target.columns))
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
    piece, layer = RowGraph(steps, widths, Operand(register), rows.width(register)), None
    with suppress(ValueError):  # such as a scale of 0
        if len(taken) == len(steps) == 1:
            layer = _name_step(steps[register], piece.input_size)
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
    if op.endswith("Softmax") and shape[known["axis"] - 1] == K:
        return Pointwise("softmax" if op == "Softmax" else "log_softmax", K)
    if op == "LayerNormalization" and prod(shape[known["axis"] - 1 :]) == K == values[0].size:
        shift = values[1].reshape(-1) if len(values) > 1 and values[1] is not None else None
        return LayerNormalization(values[0].reshape(-1), shift, known.get("epsilon", 1e-5))
    if name := _NAMES.get(op, "") if not rest else "":
        defaults = zip(("alpha", "beta"), ACTIVATIONS[name].defaults, strict=False)
        numbers: list[Any] = [known.get(*each) for each in defaults]
        name = "gelu_tanh" if known.get("approximate") == "tanh" else name
        return Pointwise(activation(name, *numbers), K)
    return _name_scaling(op, known, values, K)


def _name_scaling(
    op: str, known: Mapping[str, Any], values: Sequence[Any], K: int
) -> Normalization | None:
    """Return a normalization that an operator of each feature is, if it is one."""
    zeros, ones = np.zeros(K, np.float32), np.ones(K, np.float32)
    if op == "BatchNormalization":
        factor, shift, center, variance = values
        root = np.sqrt(variance.astype(np.float64) + known.get("epsilon", 1e-5))
        return Normalization(center, root, shift, factor)
    if op not in ("Add", "Sub", "Mul", "Div") or values[0].dtype.kind != "f":
        return None
    scaled: dict[str, tuple[Any, ...]] = {
        "Add": (zeros, ones, values[0]),
        "Sub": (zeros, ones, -values[0]),
        "Mul": (zeros, ones, None, values[0]),
        "Div": (zeros, values[0]),
    }
    return Normalization(*scaled[op])
