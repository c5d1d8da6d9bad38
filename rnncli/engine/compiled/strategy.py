"""Step by step, by loops that are compiled for the network's sizes."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from rnncli.engine.batch import Finals, Steps
from rnncli.engine.compiled.loops import has_loop, loop_of
from rnncli.engine.compiled.steps import compiled_loop
from rnncli.engine.precision import Precision
from rnncli.engine.threads import blocks, product
from rnncli.engine.unroll.projected import cached_steps, projected, spread
from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell, State

# Most inputs that a loop multiplies itself; BLAS is faster for more.
FEW_INPUTS = 16
# Weights that are read between two chances to end: some tenths of a second at most.
WORK = 200_000_000


def compiled(cell: Cell, x: Steps, state: State, precision: Precision, out: Steps) -> State:
    """All steps in one loop of the processor's own instructions.

    ``h_t = f(x_t @ W_xh + b_h + h_{t-1} @ W_hh)``

    Wide inputs are projected block by block, as `projected` does. So runs a
    cell that no loop is written for: with peepholes or a projection, or of
    gelu.
    """
    if not has_loop(cell):
        return projected(cell, x, state, precision, out)
    finals = Finals(state)
    advance = compiling(cell, precision)
    for x_even, out_even in zip(x.even(), out.even(), strict=True):
        state = finals.running(state, x_even.shape[1])
        state = advance(x_even, state, out_even)
    return finals.all(state)


def compiling(cell: Cell, precision: Precision) -> Callable[[Floats, State, Floats], State]:
    """Return a function that runs steps.

    ``advance(x, state, out)`` takes arrays (T, N, I), of any strides, and
    (T, N, H), and the state's arrays (N, H).
    """
    W_xh, W_hh, b_h = cell.operands
    few = len(W_xh) <= FEW_INPUTS
    loop = loop_of(cell, precision, projects=few)
    weights = [loop.packed(W) for W in (W_xh, W_hh, b_h[None])]
    work = sum(W.size for W in weights)
    inner = None if cell.inner is None else loop.packed(cell.inner)
    stacked = None if few else loop.columns(np.concatenate([W_xh, b_h[None]]))

    def advance(x: Floats, state: State, out: Floats) -> State:
        _, N, H = out.shape
        run = compiled_loop(loop if N > 1 else replace(loop, rows=1))
        arrays = [loop.padded(array) for array in state]
        operands = np.stack([precision.operand(arrays[0])] * 2, axis=1)
        within = (
            ()
            if inner is None
            else (inner, np.empty_like(arrays[0]), np.tile(arrays[0], loop.blocks))
        )
        inputs = _whole(x, work) if stacked is None else _projected(x, stacked)
        for steps, a in inputs:
            run(a, out[steps], *weights, operands, *within, *arrays)
        return (out[-1], *(array[:N, :H] for array in arrays[1:]))

    return advance


def _whole(x: Floats, work: int) -> Iterator[tuple[slice, Floats]]:
    """Cut inputs into steps of so much work a row that a thread may end between them.

    Those of a step that are not side by side in memory are copied.
    """
    most = max(1, WORK // (x.shape[1] * work))
    straight = x.flags.aligned and x.strides[-1] == x.itemsize
    if not straight:
        most = min(most, cached_steps(x[0].size))
    for steps in blocks(len(x), most):
        yield steps, x[steps] if straight else x[steps].copy()


def _projected(x: Floats, stacked: Floats) -> Iterator[tuple[slice, Floats]]:
    """Project inputs, block by block: ``[x, 1] @ [W_xh; b_h]``, with its columns as in a loop."""
    T, N, _ = x.shape
    most = min(T, cached_steps(N * max(stacked.shape)))
    inputs = np.ones((most * N, len(stacked)), stacked.dtype)
    sums = np.empty((most, N, stacked.shape[1]), stacked.dtype)
    for steps in blocks(T, most):
        a = sums[: steps.stop - steps.start]
        block = inputs[: len(a) * N]
        spread(x[steps], block[:, :-1])
        product(block, stacked, a.reshape(len(block), -1))
        yield steps, a
