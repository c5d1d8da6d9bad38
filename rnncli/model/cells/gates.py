"""Gates and biases as frameworks lay them out: in another order, and two biases for our one."""

from collections.abc import Sequence

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells.cell import Weights


def reorder(array: Floats, order: Sequence[int]) -> Floats:
    """Return an array (..., gates * H) with gate ``order[k]`` at index k."""
    gates = array.reshape(*array.shape[:-1], len(order), array.shape[-1] // len(order))
    return gates.take(order, axis=-2).reshape(array.shape)


def split_bias(weights: Weights) -> tuple[Floats, Floats]:
    """Split a bias into the input's, rounded, and the state's: the rest, or -0.0, and `b_n`."""
    b_h, b_n = weights.b_h, weights.b_n
    b_x = b_h.astype(min(b_h.dtype, weights.W_hh.dtype))
    b_r = (b_h - b_x).astype(b_x.dtype)
    b_r[b_r == 0] = -0.0
    if b_n is not None:
        b_r = np.concatenate([b_r[: -len(b_n)], b_n])
    return b_x, b_r


def sum_biases(b_x: Floats, b_r: Floats, size: int = 0) -> dict[str, Floats]:
    """Return `b_h`, the exact sum of two biases, and the last `size` values of `b_r` as `b_n`."""
    added = len(b_x) - size
    b_h = np.concatenate([np.add(b_x[:added], b_r[:added], dtype=np.float64), b_x[added:]])
    with np.errstate(over="ignore"):
        narrow = b_h.astype(np.result_type(b_x, b_r))
    b_h = narrow if (narrow == b_h).all() else b_h
    return {"b_h": b_h, "b_n": b_r[added:]} if size else {"b_h": b_h}
