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
_ACTIVATIONS = {operator: name for name, operator in ONNX_OPERATORS.items()}
_NUMBERED = {"Max": "maximum", "Min": "minimum", "Pow": "power", "PRelu": "leaky_relu"}
_SELU = {"alpha": 1.6732632, "gamma": 1.0507010}
_CLIPS: dict[tuple[float | None, float | None], str] = {
    (0.0, 6.0): "relu6",
    (0.0, None): "relu",
    (0.0, 1.0): "hard_sigmoid:1.0,0.0",
}
_LONGEST = 8  # stretches of steps that are one formula

# Activations that are several operators, as `express` writes them.
_FORMULAS = {
    "Mul[Sigmoid[x];x]": "silu",
    "Mul[Tanh[Softplus[x]];x]": "mish",
    "Mul[HardSigmoid(0.16667,0.5)[x];x]": "hard_silu",
    "Mul[0.16667;Clip[Add[3;x];0;6];x]": "hard_silu",
    "Mul[Inv[Add[1;Abs[x]]];x]": "softsign",
    # Beyond 20 the two differ by less than float32 holds.
    "Where[Greater[x;20];x;Softplus[x]]": "softplus",
    "Mul[0.5;Add[1;Erf[Mul[0.70711;x]]];x]": "gelu",
    "Mul[0.5;Add[1;Tanh[Mul[0.79788;Add[Mul[0.044715;x;x;x];x]]]];x]": "gelu_tanh",
}
_LESS = "Add[Mul[-1;ReduceMean[x]];x]"
_NORMAL = f"Mul[{_LESS};Inv[Sqrt[Add[{{}};ReduceMean[Mul[{_LESS};{_LESS}]]]]]]"


class Named(NamedTuple):
    """A layer that steps are, with the name of a node, and the file's arrays.

    It fills a register; `taken` are those that it takes.
    """

    name: str
    kind: str
    arrays: Mapping[str, Array]
    layer: Stateless
    register: int
    taken: tuple[int, ...]


def name_steps(rows: Rows, target: Operand, known: Collection[int] = ()) -> list[Named]:
    """Return the layers that give an operand of known registers, the bottom one first."""
    path, found, begin = rows.path(target.register, known), list[Named](), 0
    ends = _ends(rows, path)
    while begin < len(path):
        for end in ends[begin][:_LONGEST][::-1]:  # several stretches may be one formula
            steps = {each: rows.steps[each] for each in path[begin:end]}
            named = _name(rows, steps)
            if not isinstance(named.layer, Piece) or end == ends[begin][0]:
                break
        below = found[-1] if found else None
        joined = _join(below, named, rows.steps[named.register]) if below else None
        found = [*found[:-1], joined] if joined else [*found, named]
        begin = end
    if target.columns is not None:
        register = target.register
        piece = Piece({}, {register: rows.widths[register]}, target, len(target.columns))
        found.append(Named("", "Slice", {}, piece, -1, (register,)))
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
    operands = [each for step in steps.values() for each in step.operands]
    every = {each.register for each in operands if each.register >= 0}
    taken, register = tuple(sorted(every - steps.keys())), max(steps)
    name = next((step.name for step in [*steps.values()][::-1] if step.name), "")
    arrays = {name: array for step in steps.values() for name, array in step.arrays.items()}
    kind = " ".join(dict.fromkeys(step.kind or step.op for step in steps.values()))
    layer = None
    if len(taken) == 1:
        try:
            make = _formula if len(steps) > 1 else _layer
            layer = make(steps, taken[0], rows.widths[taken[0]])
        except ValueError:  # such as a scale of 0
            layer = None
    if layer is None:
        widths = {each: rows.widths[each] for each in taken}
        layer = Piece(steps, widths, Operand(register), rows.widths[register])
    return Named(name, kind, arrays, layer, register, taken)


def _join(below: Named, named: Named, step: Step) -> Named | None:
    """Bring a product and its bias together, or two pieces; None where they stay two."""
    one, two = below.layer, named.layer
    arrays = {**below.arrays, **named.arrays}
    kind = " ".join(dict.fromkeys([*below.kind.split(), *named.kind.split()]))
    if isinstance(one, Piece) and isinstance(two, Piece):
        steps = {**one.steps, **two.steps}
        piece = Piece(steps, one.inputs, two.target, two.output_size)
        name = named.name or below.name
        return Named(name, kind, arrays, piece, named.register, below.taken)
    plain = isinstance(one, Dense) and below.kind in ("MatMul", "Gemm")
    if not plain or step.op != "Add" or not isinstance(two, Normalization):
        return None
    dense = Dense(one.arrays["W"], two.shift)
    return below._replace(kind=kind, arrays=arrays, layer=dense, register=named.register)


def _layer(steps: Mapping[int, Step], x: int, K: int) -> Stateless | None:
    """Return the layer that a step is; None if it is none that is known."""
    (step,) = steps.values()
    first, *rest = step.operands
    others, given = [each.values for each in rest], step.attributes
    if step.op in ("Add", "Mul", "Sub", "Div"):
        return _scaled(step, x, K)
    if step.op == "Gather" and K == 1:
        return Embedding(first.values)
    if not first.is_all_of(x) or any(each.register >= 0 for each in rest):
        return None
    if step.op == "MatMul":
        return Dense(others[0]) if step.shape[1] == K else None
    if step.op == "BatchNormalization":
        factor, shift, center, variance = others
        root = np.sqrt(variance + variance.dtype.type(given.get("epsilon", 1e-5)))
        return Normalization(center, root, shift, factor)
    if step.op in ("Softmax", "LogSoftmax"):
        name = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}[step.op]
        return Pointwise(name, K) if step.shape[given["axis"] - 1] == K else None
    if step.op == "LayerNormalization":
        rows: list[Any] = [None if each is None else each.reshape(-1) for each in others]
        factor, shift = (*rows, None)[:2]
        whole = prod(step.shape[given["axis"] :]) == K == factor.size
        return LayerNormalization(factor, shift, given.get("epsilon", 1e-5)) if whole else None
    name = _activation(step, others)
    return Pointwise(name, K) if name else None


def _scaled(step: Step, x: int, K: int) -> Stateless | None:
    """Return the layer that adds, subtracts, multiplies by or divides by a row."""
    one, other = step.operands
    turned = one.register < 0
    row, operand = (one, other) if turned else (other, one)
    if row.register >= 0 or not operand.is_all_of(x) or row.values.dtype.kind != "f":
        return None
    values, zeros, ones = row.values, np.zeros(K, np.float32), np.ones(K, np.float32)
    if turned and step.op in ("Sub", "Div"):
        return None if step.op == "Div" else Normalization(zeros, ones, values, -ones)
    if step.op == "Div":
        return Normalization(zeros, values)
    if step.op == "Mul":
        return Normalization(zeros, ones, None, values)
    return Normalization(zeros, ones, values if step.op == "Add" else -values)


def _activation(step: Step, others: Sequence[Any]) -> str:
    """Return the activation that a step is; empty if it is none that is known."""
    op, given = step.op, dict(step.attributes)
    numbers = [None if each is None else _number(each) for each in others]
    if any(each is not None and n is None for each, n in zip(others, numbers, strict=True)):
        return ""
    if op in ("Clip", "Max", "Min") and len(numbers) < 3:
        low, high = (*numbers, None, None)[:2]
        return _limit(*{"Max": (low, None), "Min": (None, low)}.get(op, (low, high)))
    if op in _NUMBERED and numbers[0] is not None:
        return str(activation(_NUMBERED[op], numbers[0]))
    if op == "Gelu":
        return {"none": "gelu", "tanh": "gelu_tanh"}[given.get("approximate", "none")]
    if op == "Selu":
        return "selu" if all(abs(given.get(k, v) - v) < 2e-6 for k, v in _SELU.items()) else ""
    if op in ("Swish", "Celu"):
        return {"Swish": "silu", "Celu": "elu:1.0"}[op] if given.get("alpha", 1.0) == 1.0 else ""
    if op not in _ACTIVATIONS or others:
        return ""
    name = _ACTIVATIONS[op]
    defaults = zip(("alpha", "beta"), ACTIVATIONS[name].defaults, strict=False)
    parameters: list[Any] = [given.get(key, default) for key, default in defaults]
    return str(activation(name, *parameters))


def _limit(low: float | None, high: float | None) -> str:
    """Return the activation that limits values; programs write over 3e38 for no limit."""
    low = None if low is None or low < -3e38 else low
    high = None if high is None or high > 3e38 else high
    if (low, high) in _CLIPS:
        return _CLIPS[low, high]
    if (low is None) == (high is None):
        return ""
    return f"minimum:{high!r}" if low is None else f"maximum:{low!r}"


def _formula(steps: Mapping[int, Step], x: int, K: int) -> Stateless | None:
    """Return the layer that several steps are together."""
    numbers: list[float] = []
    text = express(steps, x, numbers)
    if text in _FORMULAS:
        return Pointwise(_FORMULAS[text], K)
    for number in numbers:
        if text == _NORMAL.format(f"{number:.5g}"):
            return LayerNormalization(np.ones(K, np.float32), None, number)
    return None


def express(steps: Mapping[int, Step], x: int, numbers: list[float]) -> str:
    """Write steps as a formula of a register; empty if they are no function of a value.

    Sums and products stand in one order, with numbers of five digits.
    """
    texts, found = {x: "x"}, ""
    for register, step in steps.items():
        parts, op, given = [], step.op, step.attributes
        for operand in step.operands:
            number = None if operand.values is None else _number(operand.values)
            if number is not None:
                numbers.append(number)
                parts.append(f"{number:.5g}")
            elif operand.register >= 0 or operand.values is not None:
                parts.append(texts.get(operand.register, "") if operand.columns is None else "")
        if "" in parts or len("".join(parts)) > 400 or len(step.shape) > 1:
            return ""
        if op == "HardSigmoid":
            op += f"({given.get('alpha', 0.2):.5g},{given.get('beta', 0.5):.5g})"
        found = texts[register] = _write(op, parts)
    return found


def _write(op: str, parts: list[str]) -> str:
    if op == "Pow" and parts[1] in ("2", "3"):
        return _gather("Mul", [parts[0]] * int(parts[1]))
    if op == "Sub":
        return _gather("Add", [parts[0], _gather("Mul", ["-1", parts[1]])])
    if op == "Div":
        number = _value(parts[1])
        inverse = f"Inv[{parts[1]}]" if not number else f"{1 / number:.5g}"
        return _gather("Mul", [parts[0], inverse])
    return _gather(op, parts) if op in ("Add", "Mul") else f"{op}[{';'.join(parts)}]"


def _gather(op: str, texts: Sequence[str]) -> str:
    """Write a sum or a product: its number first, then the others in order."""
    parts = [part for text in texts for part in _split(op, text)]
    numbers = [number for number in map(_value, parts) if number is not None]
    others = sorted(part for part in parts if _value(part) is None)
    total = prod(numbers) if op == "Mul" else sum(numbers)
    if total != (op == "Mul"):
        others = [f"{total:.5g}", *others]
    return others[0] if len(others) == 1 else f"{op}[{';'.join(others)}]"


def _split(op: str, text: str) -> list[str]:
    """Split a sum or a product at the top level."""
    if not text.startswith(f"{op}["):
        return [text]
    parts, depth, begin = [], 0, len(op) + 1
    for place, mark in enumerate(text):
        depth += (mark == "[") - (mark == "]")
        if (mark == ";" and depth == 1) or (mark == "]" and depth == 0):
            parts.append(text[begin:place])
            begin = place + 1
    return parts


def _value(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _number(values: Any) -> float | None:
    """Return the number that all values are."""
    flat = np.reshape(values, -1)
    return float(flat[0]) if flat.size and (flat == flat[0]).all() else None
