"""Step by step, after the inputs of many steps have been multiplied at once."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from rnncli.engine.batch import Finals, Steps
from rnncli.engine.precision import Precision
from rnncli.engine.threads import blocks, product, product_of
from rnncli.model.arrays import Floats, as_items
from rnncli.model.cells import Cell, Product, State

# advance(x, state, out): as for a strategy, over at most so many steps and rows.
# The rows of `x` may have more axes, (T, ..., I), and any strides.
Advance: TypeAlias = Callable[[Steps, State, Steps], State]

# Values in a block that stay in the cache.
VALUES = 65_536
# Fewest steps in a block: fewer are more calls.
STEPS = 8


def projected(cell: Cell, x: Steps, state: State, precision: Precision, out: Steps) -> State:
    """All input projections of a block in one product, then one product a step.

    ``a = x @ W_xh + b_h``, then ``h_t = f(a_t + h_{t-1} @ W_hh)``

    A block is as many steps as stay in the cache.

    Source: Appleyard et al. (2016), arXiv:1604.01946, section 3.2; what
    cuDNN and PyTorch do.
    """
    T, N = len(x), x.N
    size = cached_steps(N * max(cell.weights.W_xh.shape))
    advance = advancing(cell, min(T, size), N, precision)
    finals = Finals(state)
    for steps in blocks(T, size):
        x_block = x[steps]
        state = advance(x_block, finals.running(state, x_block.N), out[steps])
    return finals.all(state)


def cached_steps(values: int) -> int:
    """Count the steps of so many values each that stay in the cache."""
    return max(STEPS, VALUES // values)


def advancing(cell: Cell, steps: int, N: int, precision: Precision) -> Advance:
    """Return a function that runs a block: at most so many steps, of at most N rows.

    All input projections are one product, ``a = [x, 1] @ [W_xh; b_h]``. The
    column of ones adds the biases within the product, and keeps it from
    having a single input, which NumPy multiplies without BLAS, ten times as
    slowly.
    """
    W_xh, _, b_h = cell.weights
    I, width = W_xh.shape
    projection = np.concatenate([W_xh, b_h[None]])  # (I+1, gates H)
    inputs = np.ones((steps * N, I + 1), b_h.dtype)

    def multiplier(W: Floats) -> Product:
        compute, rounds = product_of(N, W), precision.rounds
        result = np.empty((N, W.shape[1]), b_h.dtype)

        def multiply(h: Floats) -> Floats:
            into = result if len(h) == N else result[: len(h)]
            compute(precision.operand(h) if rounds else h, W, into)
            return into

        return multiply

    step = cell.stepper(multiplier)
    # Where there is one gate, the projections stand where h_t is to be.
    sums = None if cell.gates == 1 else np.empty((steps * N, width), b_h.dtype)

    def advance(x: Steps, state: State, out: Steps) -> State:
        block = inputs[: out.rows.size // out.rows.shape[-1]]
        spread(x.rows, block[:, :I])
        a = out if sums is None else out.like(sums[: len(block)])
        _project(block, projection, a.rows)
        if out.batch_sizes is None:
            for a_t, h_t in zip(a.rows, out.rows, strict=True):
                state = step(a_t, state, h_t)
            return state
        finals = Finals(state)
        for a_t, h_t in zip(a, out, strict=True):
            state = step(a_t, finals.running(state, len(h_t)), h_t)
        return finals.all(state)

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
