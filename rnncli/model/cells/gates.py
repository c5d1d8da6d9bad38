"""Gates and biases as frameworks lay them out: in another order, and two biases for our one."""

from collections.abc import Sequence

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells.cell import Weights


def ordered(array: Floats, order: Sequence[int]) -> Floats:
    """Return an array (..., gates * H) with its gates in another order.

    Parameters
    ----------
    array : array
    order : sequence of int
        Where each of the gates that are returned stands in `array`.
    """
    gates = array.reshape(*array.shape[:-1], len(order), array.shape[-1] // len(order))
    return gates.take(order, axis=-2).reshape(array.shape)


def two_biases(weights: Weights) -> tuple[Floats, Floats]:
    """Split the bias of a cell into the input's and the state's.

    The state's is `b_n`, and elsewhere -0.0, which changes no bit of their
    sum.
    """
    b_h, b_n = weights.b_h, weights.b_n
    if b_n is None:
        return b_h, np.full_like(b_h, -0.0)
    return b_h, np.concatenate([np.full(len(b_h) - len(b_n), -0.0, b_n.dtype), b_n])


def summed(b_x: Floats, b_r: Floats, apart: int = 0) -> dict[str, Floats]:
    """Return `b_h`, the sum of two biases, and what stays apart as `b_n`.

    Parameters
    ----------
    b_x, b_r : array, shape (gates * H,)
        The input's and the state's.
    apart : int
        How many of the last values of `b_r` are not added: H in a GRU that
        resets after the product, whose r multiplies them.
    """
    if not apart:
        return {"b_h": b_x + b_r}
    b_h = np.concatenate([b_x[:-apart] + b_r[:-apart], b_x[-apart:]])
    return {"b_h": b_h, "b_n": b_r[-apart:]}
