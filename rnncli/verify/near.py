"""Arithmetic that knows how far rounding may have carried its results.

Running error analysis: every operation bounds its own rounding and passes on
that of its operands (Higham (2002), "Accuracy and Stability of Numerical
Algorithms", section 3.3). A step that is written with `Near` numbers is its
equation and its error bound in one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats, Integers
from rnncli.verify import reference


@dataclass(frozen=True)
class Near:
    """Values in float64, and how far from them a right program may be.

    The bounds of the operations, each operation off by half a unit of the
    last place, doubled, with da and db for how far a and b are off::

        a + b     da + db + eps |a + b|
        a b       |a| db + |b| da + da db + eps |a b|
        f(a)      max |f(a +- da) - f(a)| + 8 eps max(1, |f(a)|)
        exp(a)    max |exp(a +- da) - exp(a)| + 8 eps exp(a)

    That of f(a) is tight where f is steep, flat, clipped or jumps, and
    allows for functions that are exact only to a few units of 1: the tanh of
    ONNX Runtime 1.32 to 2.7 eps, its sigmoid to 1.4 eps.

    Parameters
    ----------
    value : array of float64
    off : array of float64, of the same shape
    precision : str
        What the program computes in, one of `PRECISIONS`.
    """

    value: Floats
    off: Floats
    precision: str

    @property
    def eps(self) -> float:
        """Distance from 1 to the next number."""
        return float(np.finfo(PRECISIONS[self.precision].dtype).eps)

    def __getitem__(self, rows: "slice | Integers") -> "Near":
        """Return some of the rows."""
        return self._with(self.value[rows], self.off[rows])

    def __add__(self, other: "Near") -> "Near":
        """Add values that a program has rounded."""
        value = self.value + other.value
        return self._with(value, self.off + other.off + self.eps * np.abs(value))

    def __mul__(self, other: "Near") -> "Near":
        """Multiply element by element."""
        value, a, b = self.value * other.value, np.abs(self.value), np.abs(other.value)
        off = a * other.off + b * self.off + self.off * other.off
        return self._with(value, off + self.eps * np.abs(value))

    def activated(self, f: Activation, clip: float = inf) -> "Near":
        """Return ``f(a)`` of values limited to +-`clip`."""
        value, *sides = (
            reference.activated(f, a, clip)
            for a in (self.value, self.value - self.off, self.value + self.off)
        )
        off = np.max([np.abs(side - value) for side in sides], axis=0)
        least = 0 if f.name == "exponential" else 1
        return self._with(value, off + 8 * self.eps * np.maximum(least, np.abs(value)))

    def softmax(self) -> "Near":
        """Return ``exp(a) / sum(exp(a))`` of each row.

        The logarithm of a value moves with its own a, and against those of
        the row, none of which moves further than the furthest. Rounding adds
        units in the value for those of ``a - max a``, for the sum and for the
        function.
        """
        value, off = reference.softmax(self.value), self._log_softmax_off()
        return self._with(value, value * np.expm1(off))

    def log_softmax(self) -> "Near":
        """Return ``a - log(sum(exp(a)))`` of each row, off as the logarithm of a `softmax`."""
        value = reference.log_softmax(self.value)
        return self._with(value, self._log_softmax_off() + 2 * self.eps * np.abs(value))

    def _log_softmax_off(self) -> Floats:
        below = self.value.max(axis=1, keepdims=True) - self.value
        off = self.off + self.off.max(axis=1, keepdims=True)
        return np.asarray(off + self.eps * (below + self.value.shape[1] + 4))

    def between(self, other: "Near", share: "Near") -> "Near":
        """Return ``z a + (1 - z) b`` for a share z of this.

        It is off by ``|a - b| dz + |z| da + |1 - z| db``, and by two units of
        each term, however it is written.
        """
        a, b, z = self.value, other.value, share.value
        terms = np.abs(z * a) + np.abs(z * b) + np.abs((1 - z) * b)
        off = (np.abs(a - b) + self.off + other.off) * share.off
        off += np.abs(z) * self.off + np.abs(1 - z) * other.off
        return self._with(z * a + (1 - z) * b, off + 2 * self.eps * terms)

    def product(self, W: Floats, start: Floats, terms: int) -> "Near":
        """Return ``start + a @ W``, which is part of a sum of so many terms.

        It is off by ``(terms + 4) eps (|a| @ |W| + |start|) + da @ |W|``:
        the sum may be taken in any order. Where a precision rounds operands,
        da is how far apart the rounded ones may be, doubled: nothing, unless
        a is within da of the middle between two neighbours.
        """
        size, operand = np.abs(W).astype(np.float64), self._operand(self.value)
        moved = self.off
        if self.precision in reference.MANTISSA_BITS:
            ends = (self._operand(self.value + side * self.off) for side in (-1, 1))
            moved = np.max([np.abs(end - operand) for end in ends], axis=0) * 2
        off = (terms + 4) * self.eps * (np.abs(operand) @ size + np.abs(start))
        if moved.any():
            off += moved @ size
        # Term by term, as in the reference, and not by BLAS; but without an array for each.
        value = np.einsum("nk,kj->nj", operand, self._operand(W)) + start
        return self._with(value, off)

    def split(self, count: int) -> "list[Near]":
        """Return so many blocks of columns."""
        parts = (np.split(array, count, axis=-1) for array in (self.value, self.off))
        return [self._with(*part) for part in zip(*parts, strict=True)]

    def _operand(self, values: Floats) -> Floats:
        return reference.rounded(values, self.precision)

    def _with(self, value: Floats, off: Floats) -> "Near":
        return Near(value, off, self.precision)


def joined(parts: Sequence[Near]) -> Near:
    """Return the rows of all parts, one below the other."""
    value, off = (
        np.concatenate(arrays) for arrays in zip(*((a.value, a.off) for a in parts), strict=True)
    )
    return Near(value, off, parts[0].precision)


def exactly(values: Floats, precision: str) -> Near:
    """Return values that every program has alike."""
    wide = np.asarray(values, np.float64)
    return Near(wide, np.zeros(wide.shape), precision)


def held(values: Floats, precision: str) -> Near:
    """Return values of which a program takes as many digits as it has."""
    exact = exactly(values, precision)
    return Near(exact.value, exact.eps * np.abs(exact.value), precision)
