"""The quantities of one step of a cell: `Cell.step` over numbers that remember how they were made.

They are computed by the operations of `rnncli.engine.unroll.stepwise`: each has the bits of a run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isinf
from typing import NamedTuple

import numpy as np

from rnncli.engine.unroll.strategy import Strategy
from rnncli.model.activations import SIGMOID, Activation, clipped, saturated
from rnncli.model.arrays import Floats, contiguous
from rnncli.model.cells import Operands

SIGNS, LINEAR = {"*": " ", "@": " @ ", "-": " - "}, Activation("linear")


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
class Traced:
    """An array of a step, (1, H), and how it was computed from its parts.

    The operation is one of `SIGNS`, "+", "f" for a function, or "" for an array that the step is
    given. A shown array is a quantity, any other a term of one.
    """

    values: Floats
    operation: str = ""
    parts: "Sequence[Traced]" = ()
    name: str = ""
    gate: str = ""
    function: Activation = LINEAR
    clip: float = inf
    halved: bool = False  # the step in place adds up halves, see `halve_sigmoids`
    shown: bool = False
    textbook: str = ""

    def __add__(self, other: "Traced") -> "Traced":
        """Add another array; what is added to the sum of a gate belongs to the gate."""
        values = self.values + other.values
        return Traced(values, "+", (self, other), gate=self.gate, halved=self.halved)

    def __mul__(self, other: "Traced") -> "Traced":
        """Multiply element by element; a sum becomes a quantity of its own."""
        for factor in (self, other):
            if factor.operation == "+":
                factor.shown = True
                factor.name = f"{factor.gate}_t" if factor.gate else factor.name
        return Traced(self.values * other.values, "*", (self, other))

    def __str__(self) -> str:
        """The name, or the equation of an array without one."""
        return self.name or self.equation

    @property
    def factor(self) -> str:
        """The name as it stands in a product."""
        return f"({self})" if " " in str(self) else str(self)

    @property
    def terms(self) -> "list[Traced]":
        """The terms of its sum: the array itself where it adds nothing up."""
        terms = []
        for part in self.parts if self.operation in ("+", "f") else ():
            terms += part.terms if part.operation == "+" and not part.shown else [part]
        return terms or [self]

    @property
    def equation(self) -> str:
        """The right side of its equation."""
        if self.operation in SIGNS:
            return SIGNS[self.operation].join(part.factor for part in self.parts)
        text = " + ".join(map(str, self.terms))
        if not isinf(self.clip):
            text = f"clip({text}, -{self.clip:g}, {self.clip:g})"
        linear = self.function == LINEAR
        return f"{text}{self.textbook}" if linear else f"{self.function.name}({text})"

    def collect(self, found: "list[Traced]") -> None:
        """Add the quantities that it is computed from, then itself if it is one."""
        if self not in found:
            for part in self.parts:
                part.collect(found)
            found += [self] if self.shown and self.operation else []


class Trace:
    """`Traced` arrays as a kind of number (`rnncli.model.cells.cell.Numbers`)."""

    def __init__(self, strategy: Strategy) -> None:
        self.cell, self.product_of = strategy.cell, strategy.product
        self.operand, self.operands = strategy.precision.operand, strategy.operands
        self.blocks = _find_blocks(self.cell.operands, self.operands, self.cell.hidden_size)
        if None in self.blocks:  # the step in place has other sums
            self.operands = self.cell.operands
            self.blocks = [(number, 1) for number in range(len(self.blocks))]
        self.gates: dict[str, Traced] = {}

    def explain(self, inputs: dict[str, Floats]) -> list[Quantity]:
        """Compute a step from x_t and the state before it, by name; the last quantity is h_t."""
        self.gates = {}
        x, *state = (Traced(array[None], name=name) for name, array in inputs.items())
        after = list(self.cell.step(self, self._sums(x, state[0]), *state))
        for k, name in enumerate(self.cell.state_names):
            if not after[k].operation or after[k].name not in ("", f"{name}_t"):
                after[k] = Traced(after[k].values, "+", [after[k]])
            after[k].name, after[k].shown = f"{name}_t", True
        found: list[Traced] = []
        gates = (self.gates[gate] for gate in self.cell.gate_names if gate in self.gates)
        for array in (*gates, *after[::-1]):
            array.collect(found)
        return [self._quantity(each) for each in found]

    def apply(self, f: Activation, a: Traced, clip: float = inf) -> Traced:
        """Compute ``f(a)``, the gate of its sum."""
        plain = f == LINEAR and isinf(clip)
        if plain and not a.gate:
            return a
        values = np.empty_like(a.values)
        if a.halved and f == SIGMOID and isinf(clip):  # as the step in place computes it
            half = values.dtype.type(0.5)
            values = np.tanh(a.values * half) * half + half
        else:
            clipped(f, clip)(a.values, values)
        made = Traced(values, "+" if plain else "f", [a], function=f, clip=clip, shown=True)
        if a.gate and a.gate not in self.gates:
            made.name, self.gates[a.gate] = f"{a.gate}_t", made
        return made

    def product(self, a: Traced, W: Floats, name: str) -> Traced:
        """Compute ``a @ W``; the left side becomes a quantity of its own."""
        a.shown = True
        values = self.product_of(self.operand(a.values), W)
        return Traced(values, "@", [a, Traced(W, name=name)])

    def weight(self, w: Floats, name: str) -> Traced:
        """Take a weight for each unit."""
        return Traced(w[None], name=name)

    def carry(self, c: Traced, f: Traced, added: Traced) -> Traced:
        """Compute ``f c + added``."""
        return f * c + added

    def mix(self, z: Traced, a: Traced, b: Traced) -> Traced:
        """Compute ``b + z (a - b)``."""
        made = b + z * Traced(a.values - b.values, "-", [a, b])
        made.textbook = f" = {z.factor} {a.factor} + (1 - {z.factor}) {b.factor}"
        return made

    def _sums(self, x: Traced, h: Traced) -> list[Traced]:
        """Compute the sums of a step, each with its products and its bias.

        The first sums have no product of h, such as that of the candidate of a GRU that resets
        after it. A sum that is no gate has that product instead.
        """
        cell, H, (W_xh, W_hh, b_h) = self.cell, self.cell.hidden_size, self.operands
        first = self.operands.first_with_h
        of_x = self.product_of(contiguous(self.operand(x.values)), W_xh)
        of_h = np.zeros_like(of_x)
        of_h[:, first:] = self.product_of(self.operand(h.values), W_hh)
        total = of_x + of_h + b_h
        without_h = iter(cell.sum_names[: first // H])
        sums = []
        for k, (name, (block, factor)) in enumerate(zip(cell.sum_names, self.blocks, strict=True)):
            gate = name if name in cell.gate_names else next(without_h, name)
            of_gate = f"[{gate}]" if cell.gates > 1 else ""
            own, there = slice(k * H, (k + 1) * H), slice(block * H, (block + 1) * H)
            terms = []
            if gate == name:
                W = Traced(cell.operands.W_xh[:, own], name=f"W_xh{of_gate}")
                terms.append(Traced(factor * of_x[:, there], "@", [x, W]))
            if own.start >= first:
                columns = slice(own.start - first, own.stop - first)
                W = Traced(cell.operands.W_hh[:, columns], name=f"W_hh{of_gate}")
                terms.append(Traced(factor * of_h[:, there], "@", [h, W]))
            bias = f"b_h{of_gate}" if gate == name else f"b_{gate}"
            terms.append(Traced(factor * b_h[None, there], name=bias))
            values = factor * total[:, there]
            sums.append(Traced(values, "+", terms, gate=name, halved=factor == 2))
        return sums

    def _quantity(self, array: Traced) -> Quantity:
        terms = []
        for term in array.terms:
            name, factors = str(term), ()
            if term.operation in ("*", "@") and not (term.shown and term is not array):
                left, right = (part.values for part in term.parts)
                matrix = term.operation == "@"
                factors = (self.operand(left)[0], right) if matrix else (left[0], right[0])
                name = term.equation
            terms.append(Term(name, term.values[0], *factors))
        made = Quantity(str(array), array.equation, terms, array.values[0])
        if array.operation != "f":
            return made
        return made.apply(array.function, array.parts[0].values[0], array.clip)


def _find_blocks(own: Operands, others: Operands, H: int) -> list[tuple[int, int] | None]:
    """Find the block of each sum among the operands of a step in place.

    Returns its number there, and 2 where it is halved, else 1.
    """
    blocks = []
    for W_xh, W_hh, b_h in (own, others):
        W_hh = np.pad(W_hh, ((0, 0), (len(b_h) - W_hh.shape[1], 0)))
        stacked = np.concatenate([W_xh, W_hh, b_h[None]])
        blocks.append(np.split(stacked, len(b_h) // H, axis=1))
    found = {(f * block).tobytes(): (n, f) for f in (2, 1) for n, block in enumerate(blocks[1])}
    return [found.get(block.tobytes()) for block in blocks[0]]
