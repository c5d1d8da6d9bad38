"""The quantities that a cell computes in a step, and a layer without state at a row.

Terms are computed by the textbook equation; a state after a step is that of the run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, isinf
from typing import NamedTuple

import numpy as np

from rnncli.engine.runner import Runner
from rnncli.engine.unroll.strategy import Strategy
from rnncli.model import layers
from rnncli.model.activations import Activation, clipped, saturated
from rnncli.model.arrays import Floats, contiguous
from rnncli.model.cells import Numbers

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
    shown: bool = False  # as a quantity; any other array is a term of one

    def __add__(self, other: "_Traced") -> "_Traced":
        return _Traced(self.values + other.values, "+", (self, other), gate=self.gate)

    def __sub__(self, other: "_Traced") -> "_Traced":
        return _Traced(self.values - other.values, "-", (self, other))

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
        return text if self.function == _LINEAR else f"{self.function.name}({text})"

    def collect(self) -> Iterable["_Traced"]:
        """Yield the quantities that it is computed from, then itself if it is one."""
        for part in self.parts:
            yield from part.collect()
        if self.shown and self.operation:
            yield self


class CellTrace(Numbers):
    """Computes the steps of a cell over `_Traced` numbers."""

    def __init__(self, strategy: Strategy) -> None:
        self.cell, self.multiply = strategy.cell, strategy.product
        self.operand, operands = strategy.precision.operand, strategy.cell.operands
        self.first = operands.first_with_h
        self.W_xh, W_hh, self.b_h = operands
        self.W_hh = np.pad(W_hh, ((0, 0), (self.first, 0)))
        self.gates: dict[str, _Traced] = {}

    def explain(self, inputs: dict[str, Floats], ran: Sequence[Floats]) -> list[Quantity]:
        """Compute a step from x_t and the state before it, by name; the last quantity is h_t.

        The state after it is the one that was run, which may have another last bit.
        """
        self.gates = {}
        x, *state = (_Traced(array[None], name=name) for name, array in inputs.items())
        after = list(self.cell.step(self, self._sums(x, state[0]), *state))
        for k, name in enumerate(self.cell.state_names):
            if not after[k].operation or after[k].name not in ("", f"{name}_t"):
                after[k] = _Traced(after[k].values, "+", [after[k]])
            after[k].name, after[k].shown, after[k].values = f"{name}_t", True, ran[k][None]
        gates = (self.gates[gate] for gate in self.cell.gate_names if gate in self.gates)
        found = [each for array in (*gates, *after[::-1]) for each in array.collect()]
        return [self._quantity(each) for each in dict.fromkeys(found)]

    def apply(self, f: Activation, a: _Traced, clip: float = inf) -> _Traced:
        """Compute ``f(a)``, the gate of its sum."""
        plain = f == _LINEAR and isinf(clip)
        if plain and not a.gate:
            return a
        values = np.empty_like(a.values)
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

    def _sums(self, x: _Traced, h: _Traced) -> list[_Traced]:
        """Compute the sums; the product of h of a GRU's candidate may be a sum of its own."""
        cell, H = self.cell, self.cell.hidden_size
        of_x = self.multiply(contiguous(self.operand(x.values)), self.W_xh)
        of_h = self.multiply(self.operand(h.values), self.W_hh)
        total = of_x + of_h + self.b_h
        products, sums = ((x, of_x, self.W_xh, "W_xh"), (h, of_h, self.W_hh, "W_hh")), []
        without_h = iter(cell.sum_names[: self.first // H])
        for k, name in enumerate(cell.sum_names):
            own, is_gate = slice(k * H, (k + 1) * H), name in cell.gate_names
            gate = name if is_gate else next(without_h, name)
            label = f"[{gate}]" if cell.gates > 1 else ""
            terms = [
                _Traced(product[:, own], "@", [a, _Traced(W[:, own], name=f"{of}{label}")])
                for a, product, W, of in products[0 if is_gate else 1 :]
                if a is x or own.start >= self.first
            ]
            bias = f"b_h{label}" if is_gate else f"b_{gate}"
            terms.append(_Traced(self.b_h[None, own], name=bias))
            sums.append(_Traced(total[:, own], "+", terms, gate=name))
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


def explain_row(layer: layers.Stateless, x: Floats, y: Floats, runner: Runner) -> Quantity:
    """Explain how a layer without state makes y (O,) of x (1, I)."""
    function, shift = getattr(layer, "activation", _LINEAR), layer.arrays.get("shift")
    match layer:
        case layers.Dense():
            left, product = runner.precision.operand(x)[0], runner.multiply(x, layer.W)[0]
            terms = [Term("x_t @ W", product, left, layer.W), Term("b", layer.b)]
        case layers.Embedding():
            return Quantity("y_t", "W[x_t]", [Term(f"W[{int(x[0, 0])}]", y)], y)
        case layers.Normalization():
            name, values = "(x_t - center) / scale", (x[0] - layer.center) / layer.scale
            if layer.factor is not None:
                name, values = f"factor {name}", values * layer.factor
            terms = [Term(name, values)]
        case layers.Pointwise() | layers.Masking():
            terms = [Term("x_t", x[0])]
        case _:  # its output is all that is known
            name = layer.settings.get("operators", type(layer).__name__).replace(" ", "-")
            function, shift, terms = _LINEAR, None, [Term(f"{name}(x_t)", y)]
    terms += [] if shift is None else [Term("shift", shift)]
    equation = " + ".join(term.name for term in terms)
    if function == _LINEAR:
        return Quantity("y_t", equation, terms, y)
    name = function.name if isinstance(function, Activation) else function
    total = np.sum([term.values for term in terms], axis=0)
    return Quantity("y_t", f"{name}({equation})", terms, y).apply(function, total)
