"""Numbers with bounds for their rounding errors.

Every operation adds a bound for its own rounding to those of its operands (Higham (2002), "Accuracy
and Stability of Numerical Algorithms", section 3.3).
"""

from math import inf
from typing import Self

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.model.activations import Activation, clipped
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import Cell, Numbers


class Bounded:
    """Values in float64, and bounds `off` for the error of a correct program in a `precision`.

    The bounds, if a and b are off by da and db::

        a +- b    da + db + eps |a +- b|
        a b       |a| db + |b| da + da db + eps |a b|
        f(a)      max |f(a +- da) - f(a)| + 8 eps max(1, |f(a)|)
        exp(a)    max |exp(a +- da) - exp(a)| + 8 eps exp(a)

    The bound of f(a) allows for errors of a few eps: ONNX Runtime 1.32 is off by 2.7 eps in tanh,
    and by 1.4 eps in the sigmoid.
    """

    def __init__(self, value: Floats, off: Floats, precision: str) -> None:
        self.value, self.off, self.precision = value, off, precision

    @property
    def eps(self) -> float:
        """Distance from 1 to the next number."""
        return float(np.finfo(PRECISIONS[self.precision].dtype).eps)

    def of(self, value: Floats, off: Floats) -> Self:
        """Return other values in the same precision."""
        return type(self)(value, off, self.precision)

    def __getitem__(self, rows: "slice | Integers") -> Self:
        return self.of(self.value[rows], self.off[rows])

    def __add__(self, addend: Self) -> Self:
        value = self.value + addend.value
        return self.of(value, self.off + addend.off + self.eps * np.abs(value))

    def __sub__(self, subtrahend: Self) -> Self:
        return self + self.of(-subtrahend.value, subtrahend.off)

    def __mul__(self, factor: Self) -> Self:
        value, a, b = self.value * factor.value, np.abs(self.value), np.abs(factor.value)
        off = a * factor.off + b * self.off + self.off * factor.off
        return self.of(value, off + self.eps * np.abs(value))

    def activate(self, f: Activation, clip: float = inf) -> Self:
        """Compute ``f(a)`` for values limited to ±`clip`."""
        inputs = (self.value, self.value - self.off, self.value + self.off)
        value, *sides = (self.function(f, a, clip) for a in inputs)
        off = np.max([np.abs(side - value) for side in sides], axis=0)
        least = 0 if f.name == "exponential" else 1
        return self.of(value, off + 8 * self.eps * np.maximum(least, np.abs(value)))

    def multiply(self, W: Floats, start: Floats | float, terms: int) -> Self:
        """Compute ``start + a @ W``, within a sum of so many terms, added in any order."""
        size, operand, moved = np.abs(W).astype(np.float64), self.operand(self.value), self.off
        if PRECISIONS[self.precision].rounds:
            ends = (self.operand(self.value + side * self.off) for side in (-1, 1))
            moved = np.max([np.abs(end - operand) for end in ends], axis=0) * 2
        off = (terms + 4) * self.eps * (np.abs(operand) @ size + np.abs(start))
        if moved.any():
            off += moved @ size
        return self.of(operand @ self.operand(W) + start, off)

    def function(self, f: Activation, a: Floats, clip: float) -> Floats:
        """Compute an activation in float64."""
        out = np.empty_like(a)
        with np.errstate(all="ignore"):
            clipped(f, clip)(a, out)
        return out

    def operand(self, values: Floats) -> Floats:
        """Round values as operands of a product, in float64."""
        return PRECISIONS[self.precision].operand(values).astype(np.float64)


class BoundedNumbers(Numbers):
    """`Bounded` as a kind of number for `Cell.step`; `like` is any number of the precision."""

    def __init__(self, like: Bounded) -> None:
        self.like = like

    def apply(self, f: Activation, a: Bounded, clip: float = inf) -> Bounded:
        """Compute ``f(a)`` for values limited to ±`clip`."""
        return a.activate(f, clip)

    def product(self, a: Bounded, W: Floats, name: str) -> Bounded:  # noqa: ARG002
        """Compute ``a @ W``."""
        return a.multiply(W, 0.0, len(W))

    def weight(self, w: Floats, name: str) -> Bounded:  # noqa: ARG002
        """Return weights, which are exact."""
        return self.like.of(w.astype(np.float64), np.zeros(w.shape))

    def mix(self, z: Bounded, a: Bounded, b: Bounded) -> Bounded:
        """Compute ``z a + (1 - z) b``; the bound holds for ``b + z (a - b)`` too."""
        distance, rest = np.abs(a.value - b.value), np.abs(1 - z.value)
        a_term, b_term = z.value * a.value, (1 - z.value) * b.value
        terms = np.abs(a_term) + np.abs(z.value * b.value) + np.abs(b_term)
        off = (distance + a.off + b.off) * z.off + np.abs(z.value) * a.off + rest * b.off
        return z.of(a_term + b_term, off + 2 * z.eps * terms)


def compute_sums(cell: Cell, x: Bounded, h: Bounded) -> list[Bounded]:
    """Compute the sums of a step, ``x_t @ W_xh + h_{t-1} @ W_hh + b_h``, by block."""
    W_xh, W_hh, b_h = operands = cell.operands
    terms, first = len(W_xh) + len(W_hh), operands.first_with_h
    x_sums, h_sums = x.multiply(W_xh, b_h, terms), h.multiply(W_hh, 0.0, terms)
    for array, added in ((x_sums.value, h_sums.value), (x_sums.off, h_sums.off)):
        array[:, first:] += added
    blocks = (np.split(array, len(cell.sum_names), axis=1) for array in (x_sums.value, x_sums.off))
    return [x.of(*block) for block in zip(*blocks, strict=True)]
