"""`rnncli.engine.near` by the arithmetic of the reference, and rows of layers without state.

A new layer without state is one more entry in `ROWS`.
"""

from collections.abc import Callable
from typing import Any

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
    Stateless,
)
from rnncli.verification import reference

# Arrays that a normalization may lack, and what stands for them.
LEFT_OUT = (("factor", 1.0), ("shift", 0.0))


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


def layer_rows(layer: Any, x: Near) -> Near:
    """Compute rows (k, O) of a layer without state from rows (k, I)."""
    return ROWS.get(type(layer), _rows_by_itself)(layer, x)


def _rows_by_itself(layer: Stateless, x: Near) -> Near:
    """Compute rows of any other layer by the layer itself, in float64 and in its precision."""

    def multiply(a: Floats, W: Floats) -> Floats:
        return reference.rounded(a, x.precision) @ reference.rounded(W, x.precision)

    like = PRECISIONS[x.precision].dtype
    wide = np.asarray(layer(x.value, multiply), np.float64)
    narrow = layer(x.value.astype(like), lambda a, W: multiply(a, W).astype(like))
    size = np.abs(wide) + np.abs(wide).max(axis=1, keepdims=True)
    off = np.abs(narrow - wide).max(axis=1, keepdims=True)
    return x.of(wide, 8 * off + 64 * x.eps * np.maximum(1, size))


def _dense(layer: Dense, x: Near) -> Near:
    return _activated(layer, x.multiply(layer.W, layer.b, len(layer.W)))


def _activated(layer: Dense | Pointwise, a: Near) -> Near:
    f = layer.activation
    return a.softmax(log=f == "log_softmax") if isinstance(f, str) else a.activate(f)


def _embedded(layer: Embedding, x: Near) -> Near:
    return _as_held(layer.W.take(x.value[:, 0].astype(int), axis=0), x)


def _unmasked(layer: Masking, x: Near) -> Near:
    narrow = x.value.astype(PRECISIONS[x.precision].dtype)
    return _as_held(np.where(layer.masked(narrow)[:, None], 0, x.value), x)


def _as_held(values: Floats, x: Near) -> Near:
    return held(values.astype(PRECISIONS[x.precision].dtype), x.precision)


def _normalized(layer: Normalization, x: Near) -> Near:
    """Compute ``factor * (x - center) / scale + shift``.

    It is off by ``4 eps (|factor / scale| (|x| + |center|) + |shift|)``:
    some programs multiply by ``factor / scale`` and add what remains.
    """
    center, scale = layer.center.astype(np.float64), layer.scale.astype(np.float64)
    factor, shift = (layer.arrays.get(name, default) for name, default in LEFT_OUT)
    terms = np.abs(factor / scale) * (np.abs(x.value) + np.abs(center)) + np.abs(shift)
    return x.of(factor * (x.value - center) / scale + shift, 4 * x.eps * terms)


def _row_normalized(layer: LayerNormalization, x: Near) -> Near:
    """Compute ``factor * (x - m) / s + shift``, for the mean m and the root s of the variance.

    With e for ``(I + 4) eps``::

        dm = e mean(|x|),  ds / s = 1 / sqrt(1 - 2 e mean(x^2) / s^2) - 1

    since some programs have ``mean(x^2) - m^2`` for the variance; and a few
    roundings of each term.
    """
    rows, I = x.value, x.value.shape[1]
    factor, shift = (layer.arrays.get(name, default) for name, default in LEFT_OUT)
    mean, size, square = (a.sum(axis=1)[:, None] / I for a in (rows, np.abs(rows), rows * rows))
    apart, e = rows - mean, (I + 4) * x.eps
    variance = (apart * apart).sum(axis=1)[:, None] / I + layer.epsilon
    value = factor * (apart / np.sqrt(variance)) + shift
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / np.sqrt(np.maximum(variance - 2 * e * square, 0))
        moved = e * size + 4 * x.eps * (np.abs(rows) + np.abs(mean))
        off = moved * scale + np.abs(apart) * (scale - 1 / np.sqrt(variance))
    return x.of(value, np.abs(factor) * off + 4 * x.eps * (np.abs(value) + np.abs(shift)))


# rows(layer, x): the rows (k, O) of a layer without state from rows (k, I), by its class.
ROWS: dict[type[Layer], Callable[..., Near]] = {
    Dense: _dense,
    Embedding: _embedded,
    Normalization: _normalized,
    LayerNormalization: _row_normalized,
    Pointwise: _activated,
    Masking: _unmasked,
}
