"""`rnncli.engine.near` by other arithmetic: activations and products of the reference."""

import numpy as np

from rnncli.engine import near
from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats
from rnncli.verify import reference


class Near(near.Near):
    """Values in float64, and how far from them a right program may be."""

    def softmax(self) -> "Near":
        """Compute ``exp(a) / sum(exp(a))`` of each row.

        The logarithm of a value moves with its own a, and against those of
        the row, none of which moves further than the furthest. Rounding adds
        units in the value for those of ``a - max a``, for the sum and for the
        function.
        """
        value, off = reference.softmax(self.value), self._log_softmax_off()
        return Near(value, value * np.expm1(off), self.precision)

    def log_softmax(self) -> "Near":
        """Compute ``a - log(sum(exp(a)))`` of each row, off as the logarithm of a `softmax`."""
        value = reference.log_softmax(self.value)
        off = self._log_softmax_off() + 2 * self.eps * np.abs(value)
        return Near(value, off, self.precision)

    def _log_softmax_off(self) -> Floats:
        below = self.value.max(axis=1, keepdims=True) - self.value
        off = self.off + self.off.max(axis=1, keepdims=True)
        return np.asarray(off + self.eps * (below + self.value.shape[1] + 4))

    def function(self, f: Activation, a: Floats, clip: float) -> Floats:
        """Compute an activation in float64."""
        return reference.activated(f, a, clip)

    def operand(self, values: Floats) -> Floats:
        """Round values to what a product takes of them, in float64."""
        return reference.rounded(values, self.precision)

    def product(self, rows: Floats, W: Floats) -> Floats:
        """Multiply term by term and not by BLAS, but without an array for each."""
        return np.asarray(np.einsum("nk,kj->nj", rows, W))


def exactly(values: Floats, precision: str) -> Near:
    """Return values that every program has alike."""
    wide = np.asarray(values, np.float64)
    return Near(wide, np.zeros(wide.shape), precision)


def held(values: Floats, precision: str) -> Near:
    """Return values of which a program takes as many digits as it has."""
    exact = exactly(values, precision)
    return Near(exact.value, exact.eps * np.abs(exact.value), precision)
