"""The quantities that a cell computes in a step, and a layer without state at a row.

They are computed by the operations of `Stepwise`: each has the bits of a run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, isinf
from typing import NamedTuple

import numpy as np

from rnncli.engine.runner import Runner
from rnncli.engine.unroll.strategy import Strategy
from rnncli.model import layers
from rnncli.model.activations import SIGMOID, Activation, clipped, saturated
from rnncli.model.arrays import Floats, contiguous
from rnncli.model.cells import Operands

_SIGNS, _LINEAR = {"*": " ", "@": " @ ", "-": " - "}, Activation("linear")


class Term(NamedTuple):
    """An array that a sum adds, (H,), and the factors of a product."""

    name: str
    values: Floats
    left: Floats | None = None  # (H,), or (K,) and rounded as an operand
    right: Floats | None = None  # (H,), or (K, H)


class Quantity(NamedTuple):
    """An array that a step computes, (H,): ``values = function(clip(sum of terms))``."""

    name: str
    equation: str
    terms: list[Term]
    values: Floats
    sum: Floats | None = None  # this and what follows only where a function is applied
    function: str | None = None
    clip: float | None = None
    saturated: list[int] | None = None  # units at an end of the function, if it has ends

    def apply(self, f: Activation | str, total: Floats, clip: float = inf) -> "Quantity":
        """Add the function of the sum that made the values."""
        ends = f.ends if isinstance(f, Activation) else None
        units = np.flatnonzero(saturated(self.values, ends)).tolist() if ends else None
        limit = None if isinf(clip) else clip
        return self._replace(sum=total, function=str(f), clip=limit, saturated=units)


@dataclass(eq=False)
class _Traced:
    """An array of a step, (1, H), and how it was computed from its parts."""

    values: Floats
    operation: str = ""  # one of `_SIGNS`, "+", or "f" for a function
    parts: Sequence["_Traced"] = ()
    name: str = ""
    gate: str = ""  # whose sum it is
    function: Activation = _LINEAR
    clip: float = inf
    halved: bool = False  # the step in place adds up halves, see `Operands.multiplied`
    shown: bool = False  # as a quantity; any other array is a term of one
    textbook: str = ""

    def __add__(self, other: "_Traced") -> "_Traced":
        values = self.values + other.values
        return _Traced(values, "+", (self, other), gate=self.gate, halved=self.halved)

    def __mul__(self, other: "_Traced") -> "_Traced":
        for factor in (self, other):
            if factor.operation == "+":
                factor.shown = True
                factor.name = f"{factor.gate}_t" if factor.gate else factor.name
        return _Traced(self.values * other.values, "*", (self, other))

    def __str__(self) -> str:
        return self.name or self.equation

    @property
    def factor(self) -> str:
        return f"({self})" if " " in str(self) else str(self)

    @property
    def terms(self) -> list["_Traced"]:
        terms = []
        for part in self.parts if self.operation in ("+", "f") else ():
            terms += part.terms if part.operation == "+" and not part.shown else [part]
        return terms or [self]

    @property
    def equation(self) -> str:
        if self.operation in _SIGNS:
            return _SIGNS[self.operation].join(part.factor for part in self.parts)
        text = " + ".join(map(str, self.terms))
        if not isinf(self.clip):
            text = f"clip({text}, -{self.clip:g}, {self.clip:g})"
        if self.function == _LINEAR:
            return f"{text}{self.textbook}"
        return f"{self.function.name}({text})"

    def collect(self) -> Iterable["_Traced"]:
        """Yield the quantities that it is computed from, then itself if it is one."""
        for part in self.parts:
            yield from part.collect()
        if self.shown and self.operation:
            yield self


class CellTrace:
    """Computes the steps of a cell over `_Traced` numbers, see `rnncli.model.cells.Numbers`."""

    def __init__(self, strategy: Strategy) -> None:
        self.cell, self.multiply = strategy.cell, strategy.product
        self.operand, self.operands = strategy.precision.operand, strategy.operands
        H = self.cell.hidden_size
        self.blocks = _find_blocks(self.cell.operands, self.operands, H)
        if not self.blocks:  # the step in place has other sums
            self.operands = self.cell.operands
            self.blocks = _find_blocks(self.operands, self.operands, H)
        self.gates: dict[str, _Traced] = {}

    def explain(self, inputs: dict[str, Floats]) -> list[Quantity]:
        """Compute a step from x_t and the state before it, by name; the last quantity is h_t."""
        self.gates = {}
        x, *state = (_Traced(array[None], name=name) for name, array in inputs.items())
        after = list(self.cell.step(self, self._sums(x, state[0]), *state))
        for k, name in enumerate(self.cell.state_names):
            if not after[k].operation or after[k].name not in ("", f"{name}_t"):
                after[k] = _Traced(after[k].values, "+", [after[k]])
            after[k].name, after[k].shown = f"{name}_t", True
        gates = (self.gates[gate] for gate in self.cell.gate_names if gate in self.gates)
        found = [each for array in (*gates, *after[::-1]) for each in array.collect()]
        return [self._quantity(each) for each in dict.fromkeys(found)]

    def apply(self, f: Activation, a: _Traced, clip: float = inf) -> _Traced:
        """Compute ``f(a)``, the gate of its sum."""
        plain = f == _LINEAR and isinf(clip)
        if plain and not a.gate:
            return a
        values = np.empty_like(a.values)
        if a.halved and f == SIGMOID and isinf(clip):  # as the step in place computes it
            half = values.dtype.type(0.5)
            values = np.tanh(a.values * half) * half + half
        else:
            clipped(f, clip)(a.values, values)
        made = _Traced(values, "+" if plain else "f", [a], function=f, clip=clip, shown=True)
        if a.gate and a.gate not in self.gates:
            made.name, self.gates[a.gate] = f"{a.gate}_t", made
        return made

    def product(self, a: _Traced, W: Floats, name: str) -> _Traced:
        """Compute ``a @ W``; the left side becomes a quantity of its own."""
        a.shown = True
        return _Traced(self.multiply(self.operand(a.values), W), "@", [a, _Traced(W, name=name)])

    def weight(self, w: Floats, name: str) -> _Traced:
        """Take a weight for each unit."""
        return _Traced(w[None], name=name)

    def carry(self, c: _Traced, f: _Traced, added: _Traced) -> _Traced:
        """Compute ``f c + added``."""
        return f * c + added

    def mix(self, z: _Traced, a: _Traced, b: _Traced) -> _Traced:
        """Compute ``b + z (a - b)``."""
        made = b + z * _Traced(a.values - b.values, "-", [a, b])
        made.textbook = f" = {z.factor} {a.factor} + (1 - {z.factor}) {b.factor}"
        return made

    def _sums(self, x: _Traced, h: _Traced) -> list[_Traced]:
        """Compute the sums; the product of h of a GRU's candidate may be a sum of its own."""
        cell, H, (W_xh, W_hh, b_h) = self.cell, self.cell.hidden_size, self.operands
        first = self.operands.first_with_h
        of_x = self.multiply(contiguous(self.operand(x.values)), W_xh)
        of_h = np.pad(self.multiply(self.operand(h.values), W_hh), ((0, 0), (first, 0)))
        total = of_x + of_h + b_h
        without_h = iter(cell.sum_names[: first // H])
        sums = []
        for k, (name, (block, scale)) in enumerate(zip(cell.sum_names, self.blocks, strict=True)):
            gate = name if name in cell.gate_names else next(without_h, name)
            label = f"[{gate}]" if cell.gates > 1 else ""
            columns, own = slice(block * H, (block + 1) * H), slice(k * H, (k + 1) * H)
            terms = []
            if gate == name:
                W = _Traced(cell.operands.W_xh[:, own], name=f"W_xh{label}")
                terms.append(_Traced(scale * of_x[:, columns], "@", [x, W]))
            if own.start >= first:
                part = slice(own.start - first, own.stop - first)
                W = _Traced(cell.operands.W_hh[:, part], name=f"W_hh{label}")
                terms.append(_Traced(scale * of_h[:, columns], "@", [h, W]))
            bias = f"b_h{label}" if gate == name else f"b_{gate}"
            terms.append(_Traced(scale * b_h[None, columns], name=bias))
            values = scale * total[:, columns]
            sums.append(_Traced(values, "+", terms, gate=name, halved=scale == 2))
        return sums

    def _quantity(self, array: _Traced) -> Quantity:
        terms = []
        for term in array.terms:
            name, left, right = str(term), None, None
            if term.operation in ("*", "@") and (term is array or not term.shown):
                name, (left, right) = term.equation, (part.values for part in term.parts)
                left = self.operand(left)[0] if term.operation == "@" else left[0]
                right = right if term.operation == "@" else right[0]
            terms.append(Term(name, term.values[0], left, right))
        made = Quantity(str(array), array.equation, terms, array.values[0])
        if array.operation != "f":
            return made
        return made.apply(array.function, array.parts[0].values[0], array.clip)


def _find_blocks(own: Operands, others: Operands, H: int) -> list[tuple[int, int]]:
    """Find the block of each sum among those of a step in place, and by what it is to be scaled."""
    blocks = []
    for W_xh, W_hh, b_h in (own, others):
        W_hh = np.pad(W_hh, ((0, 0), (len(b_h) - W_hh.shape[1], 0)))
        blocks.append(np.split(np.vstack([W_xh, W_hh, b_h]), len(b_h) // H, axis=1))
    found = {(f * block).tobytes(): (n, f) for f in (2, 1) for n, block in enumerate(blocks[1])}
    keys = [block.tobytes() for block in blocks[0]]
    return [found[key] for key in keys] if found.keys() >= {*keys} else []


def explain_row(layer: layers.Stateless, x: Floats, y: Floats, runner: Runner) -> list[Quantity]:
    """Explain how a layer without state makes y (O,) of x (1, I); the last quantity is y_t."""
    found: list[Quantity] = []
    function, shift = getattr(layer, "activation", _LINEAR), layer.arrays.get("shift")
    match layer:
        case layers.Dense():
            left, product = runner.precision.operand(x)[0], runner.multiply(x, layer.W)[0]
            terms = [Term("x_t @ W", product, left, layer.W), Term("b", layer.b)]
        case layers.Embedding():
            return [Quantity("y_t", "W[x_t]", [Term(f"W[{int(x[0, 0])}]", y)], y)]
        case layers.Normalization():
            centred, name = x[0] - layer.center, "x_t - center"
            parts = [Term("x_t", x[0]), Term("-center", -layer.center)]
            found.append(Quantity(name, name, parts, centred))
            terms = [Term(f"({name}) / scale", centred / layer.scale)]
            if layer.factor is not None:
                terms = [Term(f"factor {terms[0].name}", terms[0].values * layer.factor)]
        case layers.LayerNormalization():
            (n,) = layers.LayerNormalization(np.ones_like(layer.factor), None, layer.epsilon)(x)
            name = f"(x_t - mean(x_t)) / sqrt(var(x_t) + {layer.epsilon:g})"
            found.append(Quantity("n_t", name, [Term(name, n)], n))
            terms = [Term("factor n_t", n * layer.factor)]
        case layers.Pointwise() | layers.Masking():
            terms = [Term("x_t", x[0])]
        case _:  # its output is all that is known
            function, terms = _LINEAR, [Term(f"{type(layer).__name__}(x_t)", y)]
    terms += [] if shift is None else [Term("shift", shift)]
    equation = " + ".join(term.name for term in terms)
    total = np.sum([term.values for term in terms], axis=0)
    if function == _LINEAR:
        return [*found, Quantity("y_t", equation, terms, y)]
    name = function.name if isinstance(function, Activation) else function
    return [*found, Quantity("y_t", f"{name}({equation})", terms, y).apply(function, total)]
