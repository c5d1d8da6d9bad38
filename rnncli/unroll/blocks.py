"""Blocks of steps, whose inputs are multiplied at once."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from rnncli.arrays import Floats, as_items
from rnncli.cells import activate
from rnncli.lanes import stay_in_lane
from rnncli.network import Cell
from rnncli.precision import Precision
from rnncli.steps import Steps
from rnncli.unroll.products import product

Advance: TypeAlias = Callable[[Steps, Floats, Steps], Floats]

# Values in a block that stay in the cache.
VALUES = 65_536
# Fewest steps in a block: fewer are more calls.
STEPS = 8


def cached_steps(values: int) -> int:
    """Count the steps of so many values each that stay in the cache."""
    return max(STEPS, VALUES // values)


def blocks(T: int, steps: int) -> Iterator[slice]:
    """Cut T steps into blocks of so many."""
    for start in range(0, T, steps):
        stay_in_lane()
        yield slice(start, min(start + steps, T))


def advancing(cell: Cell, steps: int, N: int, precision: Precision) -> Advance:
    """Make a function that runs a block: at most so many steps, of at most N rows.

    All input projections are one product, then each step is one:
    ``a = [x, 1] @ [W_xh; b_h]``, then ``h_t = f(a_t + h_{t-1} @ W_hh)``

    The column of ones adds the biases within the product, and keeps it from
    having a single input, which NumPy multiplies without BLAS, ten times as
    slowly.

    Returns
    -------
    callable
        ``advance(x, h0, out)``, as for a strategy; gives the last state. The
        rows of `x` may have more axes, (T, ..., I), and any strides.
    """
    weights, f = cell.weights, activate(cell)
    I, H = weights.W_xh.shape
    projection = np.concatenate([weights.W_xh, weights.b_h[None]])  # (I+1, H)
    inputs = np.ones((steps * N, I + 1), weights.b_h.dtype)
    from_state = np.empty((N, H), weights.b_h.dtype)

    def advance(x: Steps, h0: Floats, out: Steps) -> Floats:
        block = inputs[: out.rows.size // H]
        spread(x.rows, block[:, :I])
        _project(block, projection, out.rows)
        before, sums = h0, from_state[: len(h0)]
        for h_t in out:
            if len(h_t) < len(before):
                before, sums = before[: len(h_t)], sums[: len(h_t)]
            product(precision.operand(before), weights.W_hh, sums)
            np.add(h_t, sums, h_t)
            f(h_t, h_t)
            before = h_t
        return before

    return advance


def spread(x: Floats, out: Floats) -> None:
    """Copy the rows of an array into a part of a wider one, (R, I)."""
    # NumPy is faster at gathering items into one piece and then spreading that.
    as_items(out)[...] = np.ascontiguousarray(as_items(x)).reshape(-1)


def _project(inputs: Floats, projection: Floats, out: Floats) -> None:
    """Multiply the inputs of all steps, in one product where `out` allows."""
    if out.flags.c_contiguous:
        product(inputs, projection, out.reshape(-1, out.shape[-1]))
    else:
        product(inputs.reshape(*out.shape[:-1], -1), projection, out)
