"""Numbers with error bounds by the functions of the reference, and layers without state."""

from typing import Any

import numpy as np

from rnncli.engine.bounded import Bounded
from rnncli.engine.precision import PRECISIONS
from rnncli.model import layers
from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats
from rnncli.verification import reference


class ReferenceBounded(Bounded):
    """Values in float64, and how far from them a correct program may be."""

    def function(self, f: Activation, a: Floats, clip: float) -> Floats:
        """Compute an activation in float64."""
        return reference.activate(f, a, clip)

    def operand(self, values: Floats) -> Floats:
        """Round values as operands of a product, in float64."""
        return reference.round_to(values, self.precision)


def exact(values: Floats, precision: str) -> ReferenceBounded:
    """Return values without error: every program has them alike."""
    wide = np.asarray(values, np.float64)
    return ReferenceBounded(wide, np.zeros(wide.shape), precision)


def inexact(values: Floats, precision: str) -> ReferenceBounded:
    """Return values that a program has rounded to its float type."""
    result = exact(values, precision)
    return result.of(result.value, result.eps * np.abs(result.value))


def layer_rows(layer: Any, x: ReferenceBounded) -> ReferenceBounded:
    """Compute rows (k, O) of a layer without state from rows (k, I)."""
    match layer:
        case layers.Dense():
            return _activate(layer.activation, x.multiply(layer.W, layer.b, len(layer.W)))
        case layers.Pointwise():
            return _activate(layer.activation, x)
        case layers.Normalization():
            return _normalize(layer, x)
    # Any other layer runs by itself, in float64 and in its precision.
    like = PRECISIONS[x.precision].dtype
    wide = np.asarray(layer(x.value, lambda a, W: x.operand(a) @ x.operand(W)), np.float64)
    narrow = layer(x.value.astype(like), lambda a, W: (x.operand(a) @ x.operand(W)).astype(like))
    size = np.abs(wide) + np.abs(wide).max(axis=1, keepdims=True)
    off = 8 * np.abs(narrow - wide).max(axis=1, keepdims=True) + 64 * x.eps * np.maximum(1, size)
    if isinstance(layer, layers.LayerNormalization):
        # The mean is off by units of x, as is x that is scaled before it is subtracted.
        root = np.sqrt(x.value.var(axis=1, keepdims=True) + layer.epsilon)
        size = np.abs(x.value).max(axis=1, keepdims=True) * np.abs(layer.factor) / root
        off = off + 16 * x.eps * size
    return x.of(wide, off)


def _activate(f: Activation | str, a: ReferenceBounded) -> ReferenceBounded:
    """Apply an activation, or the softmax of each row, whose logarithm moves with all of its a."""
    if not isinstance(f, str):
        return a.activate(f)
    below = a.value.max(axis=1, keepdims=True) - a.value
    off = a.off + a.off.max(axis=1, keepdims=True)
    off = off + a.eps * (below + a.value.shape[1] + 4)  # of a - max a, the sum and the function
    log = reference.log_softmax(a.value)
    if f == "softmax":
        value = np.exp(log)
        return a.of(value, value * np.expm1(off))
    return a.of(log, off + 2 * a.eps * np.abs(log))


def _normalize(layer: layers.Normalization, x: ReferenceBounded) -> ReferenceBounded:
    """Allow for programs that multiply by ``factor / scale`` and add what remains."""
    center, scale = layer.center.astype(np.float64), layer.scale.astype(np.float64)
    factor, shift = layer.arrays.get("factor", 1.0), layer.arrays.get("shift", 0.0)
    slope = np.abs(factor / scale)
    off = 4 * x.eps * (slope * (np.abs(x.value) + np.abs(center)) + np.abs(shift))
    return x.of(factor * (x.value - center) / scale + shift, slope * x.off + off)
