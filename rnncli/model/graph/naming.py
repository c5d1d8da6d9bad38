"""Steps over rows as layers: Dense, activations, normalizations, or else a `RowGraph`."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from copy import copy
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.activations import ACTIVATIONS, ONNX_OPERATORS, activation
from rnncli.model.graph.node_layers import Operand, RowGraph, Step
from rnncli.model.graph.rows import RowProgram
from rnncli.model.layers import (
    Dense,
    Embedding,
    LayerNormalization,
    Normalization,
    Pointwise,
    Stateless,
)

_NAMES = {operator: name for name, operator in ONNX_OPERATORS.items()}


class NamedLayer(NamedTuple):
    """Steps as a layer, with the name of a node; it fills a register from those of `inputs`."""

    name: str
    steps: Mapping[int, Step]
    layer: Stateless
    register: int
    inputs: tuple[int, ...]


def name_steps(rows: RowProgram, target: Operand, known: Collection[int] = ()) -> list[NamedLayer]:
    """Return the layers from known registers to an operand, the bottom one first."""
    path, layers = rows.path(target.register, known), list[NamedLayer]()
    carries = any(rows.steps[each].op == "Layer" for each in path)
    ends = range(1, len(path) + 1) if carries else _find_ends(rows, path)
    for begin, end in pairwise([0, *ends]):
        named = _name(rows, {each: rows.steps[each] for each in path[begin:end]}, len(known) < 2)
        if layers and not carries and (folded := _fold(layers[-1], named)):
            layers[-1] = folded
        else:
            layers.append(named)
    if target.columns is not None:
        register = target.register
        layer = RowGraph({}, {register: rows.width(register)}, target, len(target.columns))
        layers.append(NamedLayer("", {}, layer, -1, (register,)))
    return layers


# Neighbours that are one layer: the classes of both, their operators where only these are, and what
# makes it.
_FOLDS: Sequence[tuple[type, type, Sequence[str], Callable[[Any, Any], Stateless]]] = (
    (Dense, Normalization, ["MatMul", "Add"], lambda a, b: Dense(a.W, b.shift)),
    (RowGraph, Embedding, ["Cast", "Gather"], lambda _, b: b),
    (RowGraph, RowGraph, [], lambda a, b: a.continued(b)),
)


def _fold(below: NamedLayer, above: NamedLayer) -> NamedLayer | None:
    """Return two neighbours as one layer, if a row of the table fits."""
    a, b, steps = below.layer, above.layer, {**below.steps, **above.steps}
    operators = [step.op for step in steps.values()]
    for lower, upper, only, make in _FOLDS:
        if isinstance(a, lower) and isinstance(b, upper) and only in ([], operators):
            name = below.name if lower is Dense else above.name or below.name
            return NamedLayer(name, steps, make(a, b), above.register, below.inputs)
    return None


def _find_ends(rows: RowProgram, path: Sequence[int]) -> list[int]:
    """Return where a layer may end: the steps after it read its last value alone."""
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


def _name(rows: RowProgram, steps: Mapping[int, Step], lowest: bool) -> NamedLayer:
    """Return steps as a layer that has a name, or else as a `RowGraph`.

    An embedding is one of the lowest layers alone.
    """
    registers = {each.register for step in steps.values() for each in step.operands}
    inputs, register = tuple(sorted(registers - steps.keys() - {-1})), max(steps)
    name = next((step.name for step in [*steps.values()][::-1] if step.name), "")
    top = steps[register]
    if len(steps) == 1 and top.op == "Layer" and all(x.columns is None for x in top.operands):
        below, carried = tuple(each.register for each in top.operands), top.attributes["layer"]
        if carried.masks or not isinstance(carried, Embedding) or (lowest and below == (0,)):
            return NamedLayer(name, steps, copy(carried), register, below)
    widths = {each: rows.width(each) for each in inputs}
    graph, layer = RowGraph(steps, widths, Operand(register), rows.width(register)), None
    with suppress(ValueError):  # such as a scale of 0
        if len(inputs) == len(steps) == 1:
            layer = _name_step(steps[register], graph.input_size)
            looks_up = isinstance(layer, Embedding) and not (lowest and inputs == (0,))
            layer = None if looks_up else layer
    return NamedLayer(name, steps, layer or graph, register, inputs)


def _name_step(step: Step, K: int) -> Stateless | None:
    """Return a step as a layer; None if it is none that has a name."""
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
    """Return an operator of each feature as a normalization, if it is one."""
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
