"""Quantities that a step of a cell computes, each with its equation and its terms.

`Cell.step` runs over `Traced` numbers, which remember how they were made. They
compute by the operations of `rnncli.engine.unroll.stepwise`, so that every
number is that of a run.
"""

from collections.abc import Iterator, Sequence
from math import inf, isinf
from typing import Any, NamedTuple

import numpy as np

from rnncli.engine.unroll.strategy import Strategy
from rnncli.model.activations import SIGMOID, Activation, clipped, saturated
from rnncli.model.arrays import Floats, Truths, contiguous
from rnncli.model.cells import Cell, Operands, State


class Term(NamedTuple):
    """One of the arrays that a sum adds."""

    name: str
    values: Floats  # (H,)
    left: Floats | None = None  # of a product: what stands on its left, (K,) or (H,)
    weights: Floats | None = None  # and on its right, (K, H) or (H,)


class Single(NamedTuple):
    """One product of a sum, such as ``x_t[0] W_xh[0, i_2]``, or what it adds as it is."""

    name: str
    value: np.floating[Any]
    left: np.floating[Any] | None = None
    weight: np.floating[Any] | None = None


class Quantity(NamedTuple):
    """An array that a step computes: ``values = function(clip(sum of terms))``."""

    name: str
    equation: str
    terms: list[Term]
    values: Floats  # (H,)
    sum: Floats | None = None  # what the function takes, before the clip
    function: Activation | str | None = None  # of single values, or the name of one of the row
    clip: float = inf
    of_unit: list[Single] | None = None  # of one unit: every single term, the largest first

    @property
    def saturated(self) -> Truths | None:
        """Which units are at an end of their function, (H,); None if it has no ends."""
        f = self.function
        ends = f.ends if isinstance(f, Activation) else None
        return saturated(self.values, ends) if ends else None


def sum_of(name: str, terms: list[Term], values: Floats) -> Quantity:
    """Make a sum that no function is applied to."""
    return Quantity(name, " + ".join(term.name for term in terms), terms, values)


class Traced:
    """An array of a step, (1, H), and how it was made.

    The operation is "+", "-", "*", "@", "f" for a function, or "" for what the
    step is given. What is `shown` is a quantity, and not just a term of another.
    """

    function: Activation
    clip = inf
    halved = shown = False
    textbook: "tuple[Traced, ...]" = ()

    def __init__(
        self,
        values: Floats,
        operation: str = "",
        parts: "Sequence[Traced]" = (),
        given: str = "",
        gate: str = "",
    ) -> None:
        self.values, self.operation, self.parts = values, operation, parts
        self.given, self.gate = given, gate

    def __add__(self, other: "Traced") -> "Traced":
        """Add another array: what is added to the sum of a gate is part of that."""
        total = Traced(self.values + other.values, "+", (self, other), gate=self.gate)
        total.halved = self.halved
        return total

    def __mul__(self, other: "Traced") -> "Traced":
        """Multiply element by element; a sum becomes a quantity of its own."""
        for factor in (self, other):
            if factor.operation == "+":
                factor.shown = True
                if factor.gate:
                    factor.given = f"{factor.gate}_t"
        return Traced(self.values * other.values, "*", (self, other))

    @property
    def name(self) -> str:
        """The name, or the expression of what has none."""
        return self.given or self.expression

    @property
    def factor(self) -> str:
        """The name as it stands in a product."""
        return f"({self.name})" if " " in self.name else self.name

    @property
    def terms(self) -> "Iterator[Traced]":
        """The terms of a sum; any other array, or one that is shown, is a term itself."""
        if self.shown or self.operation != "+":
            yield self
        else:
            yield from self.addends

    @property
    def addends(self) -> "Iterator[Traced]":
        """The terms of a quantity: it itself where it adds nothing up."""
        if self.operation not in ("+", "f"):
            yield self
            return
        for part in self.parts:
            yield from part.terms

    @property
    def expression(self) -> str:
        """The equation of it."""
        if self.operation == "*":
            return " ".join(part.factor for part in self.parts)
        if self.operation == "@":
            return f"{self.parts[0].factor} @ {self.parts[1].name}"
        if self.operation == "-":
            return " - ".join(part.factor for part in self.parts)
        text = " + ".join(term.name for term in self.addends)
        if not isinf(self.clip):
            text = f"clip({text}, -{self.clip:g}, {self.clip:g})"
        linear = self.operation == "+" or self.function.name == "linear"
        return text if linear else f"{self.function.name}({text})"

    def collect(self, found: "list[Traced]") -> None:
        """Add the quantities that it is made of, then itself if it is one."""
        if self in found:
            return
        for part in self.parts:
            part.collect(found)
        if self.shown and self.operation:
            found.append(self)


class Trace:
    """`Traced` arrays as a kind of number, by the operations of a strategy."""

    def __init__(self, strategy: Strategy) -> None:
        self.cell, self.strategy, self.operands = strategy.cell, strategy, strategy.operands
        self.places = _places(self.cell, self.operands)
        if len(self.places) < len(self.cell.sum_names):  # a step in place whose sums are others
            self.operands = self.cell.operands
            self.places = _places(self.cell, self.operands)
        self.gates: dict[str, Traced] = {}

    def quantities(self, x: Floats, state: State, before: str = "t-1") -> list[Quantity]:
        """Compute a step of one row; the last quantity is h_t."""
        names, self.gates = self.cell.state_names, {}
        given = [
            Traced(array, given=f"{name}_{{{before}}}")
            for name, array in zip(names, state, strict=True)
        ]
        after = list(self.cell.step(self, self._sums(Traced(x, given="x_t"), given[0]), *given))
        for k, name in enumerate(names):
            if not after[k].operation or after[k].given not in ("", f"{name}_t"):
                after[k] = Traced(after[k].values, "+", [after[k]])
            after[k].given, after[k].shown = f"{name}_t", True
        found: list[Traced] = []
        for gate in self.cell.gate_names:
            if gate in self.gates:
                self.gates[gate].collect(found)
        for array in after[::-1]:
            array.collect(found)
        return [self._quantity(each) for each in found]

    def apply(self, f: Activation, a: Traced, clip: float = inf) -> Traced:
        """Compute ``f(a)``, the gate of its sum."""
        plain = f.name == "linear" and isinf(clip)
        if plain and not a.gate:
            return a
        values = np.empty_like(a.values)
        if a.halved and f == SIGMOID and isinf(clip):
            np.tanh(a.values * values.dtype.type(0.5), values)
            values *= values.dtype.type(0.5)
            values += values.dtype.type(0.5)
        else:
            clipped(f, clip)(a.values, values)
        made = Traced(values, "+" if plain else "f", [a])
        made.function, made.clip, made.shown = f, clip, True
        if a.gate and a.gate not in self.gates:
            made.given, self.gates[a.gate] = f"{a.gate}_t", made
        return made

    def product(self, a: Traced, W: Floats, name: str) -> Traced:
        """Compute ``a @ W``; what is multiplied becomes a quantity of its own."""
        a.shown = True
        values = self.strategy.product(self.strategy.precision.operand(a.values), W)
        return Traced(values, "@", [a, Traced(W, given=name)])

    def weight(self, w: Floats, name: str) -> Traced:
        """Take a weight for each unit."""
        return Traced(w[None], given=name)

    def carry(self, c: Traced, f: Traced, added: Traced) -> Traced:
        """Compute ``f c + added``."""
        return f * c + added

    def mix(self, z: Traced, a: Traced, b: Traced) -> Traced:
        """Compute ``b + z (a - b)``."""
        made = b + z * Traced(a.values - b.values, "-", [a, b])
        made.textbook = z, a, b
        return made

    def _sums(self, x: Traced, h: Traced) -> list[Traced]:
        """Compute the sums of a step, each with its products and its bias.

        The first sums are without h, such as that of the candidate of a GRU
        that resets after the product. A sum beside those of the gates has what
        these lack.
        """
        cell, H, (W_xh, W_hh, b_h) = self.cell, self.cell.hidden_size, self.operands
        names, first = cell.sum_names, self.operands.first_with_h
        product, operand = self.strategy.product, self.strategy.precision.operand
        of_x = product(contiguous(operand(x.values)), W_xh)
        of_h, W_h = (
            np.pad(array, ((0, 0), (first, 0)))
            for array in (product(operand(h.values), W_hh), cell.operands.W_hh)
        )
        total = of_x.copy()
        total[:, first:] += of_h[:, first:]
        total += b_h
        lacking = iter(names[: first // H])
        sums = []
        for k, (gate, (place, factor)) in enumerate(zip(names, self.places, strict=True)):
            of_gate = gate in cell.gate_names
            owner = gate if of_gate else next(lacking, gate)
            block = f"[{owner}]" if cell.gates > 1 else ""
            columns, own = (slice(n * H, (n + 1) * H) for n in (place, k))
            terms = []
            if of_gate:
                W = Traced(cell.operands.W_xh[:, own], given=f"W_xh{block}")
                terms.append(Traced(factor * of_x[:, columns], "@", [x, W]))
            if own.start >= first:
                W = Traced(W_h[:, own], given=f"W_hh{block}")
                terms.append(Traced(factor * of_h[:, columns], "@", [h, W]))
            bias = f"b_h{block}" if of_gate else f"b_{owner}"
            terms.append(Traced(factor * b_h[None, columns], given=bias))
            sums.append(Traced(factor * total[:, columns], "+", terms, gate=gate))
            sums[-1].halved = factor == 2
        return sums

    def _quantity(self, array: Traced) -> Quantity:
        terms, equation = [self._term(term, array) for term in array.addends], array.expression
        if array.textbook:
            z, a, b = (part.factor for part in array.textbook)
            equation = f"{equation} = {z} {a} + (1 - {z}) {b}"
        made = Quantity(array.name, equation, terms, array.values[0])
        if array.operation != "f":
            return made
        total = array.parts[0].values[0]
        return made._replace(sum=total, function=array.function, clip=array.clip)

    def _term(self, term: Traced, whole: Traced) -> Term:
        values = term.values[0]
        if (term.shown and term is not whole) or term.operation not in ("*", "@"):
            return Term(term.name, values)
        left, right = (part.values for part in term.parts)
        if term.operation == "*":
            return Term(term.expression, values, left[0], right[0])
        return Term(term.expression, values, self.strategy.precision.operand(left)[0], right)


def _places(cell: Cell, operands: Operands) -> list[tuple[int, int]]:
    """Find each block of the operands of a cell among those of its step in place.

    Return where it stands, and by what it is multiplied to be the same: 2
    where it is halved.
    """
    own, others = (_blocks(each, cell.hidden_size) for each in (cell.operands, operands))
    found = {
        (factor * block).tobytes(): (place, factor)
        for factor in (2, 1)
        for place, block in enumerate(others)
    }
    return [found[block.tobytes()] for block in own if block.tobytes() in found]


def _blocks(operands: Operands, H: int) -> list[Floats]:
    """Cut operands into those of each sum, ``[W_xh; W_hh; b_h]``."""
    W_xh, W_hh, b_h = operands
    W_hh = np.pad(W_hh, ((0, 0), (operands.first_with_h, 0)))
    return np.split(np.concatenate([W_xh, W_hh, b_h[None]]), len(b_h) // H, axis=1)
