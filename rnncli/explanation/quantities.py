"""The quantities that a cell computes in a step, and a layer without state at a row.

Terms are computed by the textbook equation; a state after a step is that of the run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, isinf
from typing import NamedTuple

import numpy as np

from rnncli.engine.runner import Runner
from rnncli.engine.unroll.loops import Strategy
from rnncli.model import layers
from rnncli.model.activations import Activation, clipped, saturated
from rnncli.model.arrays import Floats, contiguous
from rnncli.model.cells import Numbers

_LINEAR = Activation("linear")


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
    """An array of a step, (1, H), and the terms that it is the sum of."""

    values: Floats
    name: str  # its equation where it has no name
    terms: list[Term]
    inputs: Sequence["_Traced"] = ()  # arrays that it is computed from
    gate: str = ""  # the gate that this is the sum of
    quantity: Quantity | None = None  # None for an array that is a term of one

    @property
    def factor(self) -> str:
        return f"({self.name})" if " " in self.name else self.name

    def __add__(self, right: "_Traced") -> "_Traced":
        name, terms = f"{self.name} + {right.name}", self.terms + right.terms
        return _Traced(self.values + right.values, name, terms, (self, right), self.gate)

    def __sub__(self, right: "_Traced") -> "_Traced":
        name, values = f"{self.name} - {right.name}", self.values - right.values
        return _Traced(values, name, [Term(name, values[0])], (self, right))

    def __mul__(self, right: "_Traced") -> "_Traced":
        a, b = (each.as_quantity() if len(each.terms) > 1 else each for each in (self, right))
        name, values = f"{a.factor} {b.factor}", a.values * b.values
        return _Traced(values, name, [Term(name, values[0], a.values[0], b.values[0])], (a, b))

    def as_quantity(self, name: str = "", values: Floats | None = None) -> "_Traced":
        """Return it as a quantity of its own, under `name`, with `values` if given."""
        name = name or (f"{self.gate}_t" if self.gate else self.name)
        values, (first, *rest) = self.values[0] if values is None else values, self.terms
        terms = self.terms if rest else [first._replace(values=values)]
        return _of_quantity(Quantity(name, self.name, terms, values), self)

    def collect(self) -> Iterable["_Traced"]:
        """Yield the quantities that it is computed from, then itself if it is one."""
        for each in self.inputs:
            yield from each.collect()
        if self.quantity:
            yield self


def _of_quantity(quantity: Quantity, source: _Traced) -> _Traced:
    name, values = quantity.name, quantity.values
    return _Traced(values[None], name, [Term(name, values)], [source], "", quantity)


class CellTrace(Numbers):
    """Computes the steps of a cell over `_Traced` numbers."""

    def __init__(self, strategy: Strategy) -> None:
        self.cell, self.multiply = strategy.cell, strategy.product
        self.operand, operands = strategy.precision.operand, strategy.cell.operands
        self.first = operands.first_with_h
        self.W_xh, W_hh, self.b_h = operands
        self.W_hh = np.pad(W_hh, ((0, 0), (self.first, 0)))
        self.gates: dict[str, _Traced] = {}
        self.ran: Sequence[Floats] = ()

    def explain(self, inputs: dict[str, Floats], ran: Sequence[Floats]) -> list[Quantity]:
        """Compute a step from x_t and the state before it, by name; the last quantity is h_t."""
        self.gates, self.ran = {}, ran
        x, *state = (_Traced(a[None], name, [Term(name, a)]) for name, a in inputs.items())
        after = list(self.cell.step(self, self._sums(x, state[0]), *state))
        for k, name in enumerate(self.cell.state_names):  # what ran may have another last bit
            known = after[k].quantity
            if known is None or known.name not in (f"{name}_t", known.equation):
                after[k] = after[k].as_quantity(f"{name}_t", ran[k])
            else:
                after[k].quantity = known._replace(name=f"{name}_t", values=ran[k])
        gates = [self.gates[gate] for gate in self.cell.gate_names if gate in self.gates]
        traced = dict.fromkeys(each for array in (*gates, *after[::-1]) for each in array.collect())
        return [each.quantity for each in traced if each.quantity]

    def apply(self, f: Activation, a: _Traced, clip: float = inf) -> _Traced:
        """Compute ``f(a)``, the gate of its sum."""
        plain = f == _LINEAR and isinf(clip)
        if plain and not a.gate:
            return a
        values = np.empty_like(a.values)
        clipped(f, clip)(a.values, values)
        equation = a.name if isinf(clip) else f"clip({a.name}, -{clip:g}, {clip:g})"
        equation = equation if f == _LINEAR else f"{f.name}({equation})"
        quantity = Quantity(f"{a.gate}_t" if a.gate else equation, equation, a.terms, values[0])
        output = _of_quantity(quantity if plain else quantity.apply(f, a.values[0], clip), a)
        self.gates[a.gate] = output
        return output

    def product(self, a: _Traced, W: Floats, name: str) -> _Traced:
        """Compute ``a @ W``; the left side becomes a quantity of its own."""
        a = a if a.quantity else a.as_quantity()
        operand, name = self.operand(a.values), f"{a.factor} @ {name}"
        values = self.multiply(operand, W)
        return _Traced(values, name, [Term(name, values[0], operand[0], W)], [a])

    def weight(self, w: Floats, name: str) -> _Traced:
        """Take a weight for each unit."""
        return _Traced(w[None], name, [Term(name, w)])

    def carry(self, c: _Traced, f: _Traced, added: _Traced) -> _Traced:
        """Compute ``c_t = f c + added``."""
        return (f * c + added).as_quantity(f"{self.cell.state_names[1]}_t", self.ran[1])

    def _sums(self, x: _Traced, h: _Traced) -> list[_Traced]:
        """Compute the sums; the product of h of a GRU's candidate may be a sum of its own."""
        cell, H, products, sums = self.cell, self.cell.hidden_size, [], []
        for a, W, name in ((x, self.W_xh, "W_xh"), (h, self.W_hh, "W_hh")):
            operand = contiguous(self.operand(a.values))
            products.append((f"{a.name} @ {name}", self.multiply(operand, W), operand[0], W))
        total = products[0][1] + products[1][1] + self.b_h
        for k, name in enumerate(cell.sum_names):
            columns, is_gate = slice(k * H, (k + 1) * H), name in cell.gate_names
            gate = name if is_gate else cell.sum_names[0]  # of a GRU, whose candidate has two sums
            label = f"[{gate}]" if cell.gates > 1 else ""
            terms = [
                Term(f"{product}{label}", values[0, columns], left, W[:, columns])
                for product, values, left, W in products[
                    not is_gate : 1 + (columns.start >= self.first)
                ]
            ]
            terms.append(Term(f"b_h{label}" if is_gate else f"b_{gate}", self.b_h[columns]))
            equation = " + ".join(term.name for term in terms)
            sums.append(_Traced(total[:, columns], equation, terms, gate=name))
        return sums


def explain_row(layer: layers.Stateless, x: Floats, y: Floats, runner: Runner) -> Quantity:
    """Explain how a layer without state makes y (O,) of x (1, I)."""
    function = getattr(layer, "activation", _LINEAR)
    match layer:
        case layers.Dense():
            left, product = runner.precision.operand(x)[0], runner.multiply(x, layer.W)[0]
            terms = [Term("x_t @ W", product, left, layer.W), Term("b", layer.b)]
        case layers.Normalization():
            name, values = "(x_t - center) / scale", (x[0] - layer.center) / layer.scale
            if layer.factor is not None:
                name, values = f"factor {name}", values * layer.factor
            terms = [Term(name, values)]
            terms += [] if layer.shift is None else [Term("shift", layer.shift)]
        case layers.Pointwise() | layers.Masking():
            terms = [Term("x_t", x[0])]
        case _:  # its output is all that is known
            name = layer.settings.get("operators", type(layer).__name__).replace(" ", "-")
            function, terms = _LINEAR, [Term(f"{name}(x_t)", y)]
    equation = " + ".join(term.name for term in terms)
    if function == _LINEAR:
        return Quantity("y_t", equation, terms, y)
    name = function.name if isinstance(function, Activation) else function
    total = np.sum([term.values for term in terms], axis=0)
    return Quantity("y_t", f"{name}({equation})", terms, y).apply(function, total)
