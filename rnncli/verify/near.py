"""`rnncli.engine.near` by the arithmetic of the reference, and rows of layers without state.

A new layer without state is one more entry in `ROWS`.
"""

from collections.abc import Callable

import numpy as np

from rnncli.engine import near
from rnncli.engine.precision import PRECISIONS
from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats
from rnncli.model.layers import (
    Dense,
    Embedding,
    Layer,
    LayerNormalization,
    Masking,
    Normalization,
    Pointwise,
)
from rnncli.verify import reference


class Near(near.Near):
    """Values in float64, and how far from them a right program may be."""

    def softmax(self, *, log: bool = False) -> "Near":
        """Compute ``exp(a) / sum(exp(a))`` of each row, or ``a - log(sum(exp(a)))``.

        The logarithm of a value moves with its own a, and against those of
        the row, none of which moves further than the furthest. Rounding adds
        units in the value for those of ``a - max a``, for the sum and for the
        function.
        """
        below = self.value.max(axis=1, keepdims=True) - self.value
        off = self.off + self.off.max(axis=1, keepdims=True)
        off = off + self.eps * (below + self.value.shape[1] + 4)
        if log:
            value = reference.log_softmax(self.value)
            return self.of(value, off + 2 * self.eps * np.abs(value))
        value = reference.softmax(self.value)
        return self.of(value, value * np.expm1(off))

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


def layer_rows(layer: Layer, x: Near) -> Near:
    """Compute rows (k, O) of a layer without state from rows (k, I)."""
    return ROWS.get(type(layer), _rows_by_itself)(layer, x)


def _rows_by_itself(layer: Layer, x: Near) -> Near:
    """Compute rows of any other layer by the layer itself, in float64 and in its precision."""
    dtype = PRECISIONS[x.precision].dtype
    narrow, wide = layer(x.value.astype(dtype)), layer(x.value)
    off = np.abs(narrow - wide).max(axis=1, keepdims=True)
    return Near(wide, 8 * (off + x.eps * np.maximum(1, np.abs(wide))), x.precision)


def _dense(layer: Dense, x: Near) -> Near:
    return _activated(layer, x.multiply(layer.W, layer.b, len(layer.W)))


def _activated(layer: Dense | Pointwise, a: Near) -> Near:
    f = layer.activation
    return a.softmax(log=f == "log_softmax") if isinstance(f, str) else a.activate(f)


def _selected(layer: Embedding | Masking, x: Near) -> Near:
    """Take numbers of a table or of the input, as many digits of them as the program takes."""
    values = x.value.astype(PRECISIONS[x.precision].dtype)
    return held(reference.ROWS[type(layer)](layer, values, x.precision), x.precision)


def _normalized(layer: Normalization, x: Near) -> Near:
    """Compute ``factor * (x - center) / scale + shift``.

    It is off by ``4 eps (|factor / scale| (|x| + |center|) + |shift|)``:
    some programs multiply by ``factor / scale`` and add what remains.
    """
    value = reference.ROWS[Normalization](layer, x.value, x.precision)
    factor = 1.0 if layer.factor is None else np.abs(layer.factor)
    shift = 0.0 if layer.shift is None else np.abs(layer.shift)
    terms = factor / np.abs(layer.scale) * (np.abs(x.value) + np.abs(layer.center)) + shift
    return Near(value, 4 * x.eps * terms, x.precision)


def _row_normalized(layer: LayerNormalization, x: Near) -> Near:
    """Compute ``factor * (x - m) / s + shift``, for the mean m and the root s of the variance.

    With e for ``(I + 4) eps``::

        dm = e mean(|x|),  ds / s = 1 / sqrt(1 - 2 e mean(x^2) / s^2) - 1

    since some programs have ``mean(x^2) - m^2`` for the variance; and a few
    roundings of each term.
    """
    value, rows = reference.ROWS[LayerNormalization](layer, x.value, x.precision), x.value
    e = (rows.shape[1] + 4) * x.eps
    mean, size, square = (
        array.mean(axis=1, keepdims=True) for array in (rows, np.abs(rows), rows * rows)
    )
    squared = ((rows - mean) ** 2).mean(axis=1, keepdims=True) + layer.epsilon
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / np.sqrt(np.maximum(squared - 2 * e * square, 0))
        moved = e * size + 4 * x.eps * (np.abs(rows) + np.abs(mean))
        off = moved * scale + np.abs(rows - mean) * (scale - 1 / np.sqrt(squared))
    shift = 0.0 if layer.shift is None else np.abs(layer.shift)
    off = np.abs(layer.factor) * off + 4 * x.eps * (np.abs(value) + shift)
    return Near(value, off, x.precision)


# rows(layer, x): the rows (k, O) of a layer without state from rows (k, I), by its class.
ROWS: dict[type[Layer], Callable[..., Near]] = {
    Dense: _dense,
    Embedding: _selected,
    Normalization: _normalized,
    LayerNormalization: _row_normalized,
    Pointwise: _activated,
    Masking: _selected,
}
