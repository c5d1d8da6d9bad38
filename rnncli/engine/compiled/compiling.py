"""Arrays through compiled loops: state, weights and inputs as a loop takes them."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from itertools import cycle
from typing import TypeAlias

import numpy as np

from rnncli.engine.compiled.loops import loop_of
from rnncli.engine.compiled.steps import compiled_loop
from rnncli.engine.threads import ahead, leaves_processors
from rnncli.model.arrays import Floats, contiguous
from rnncli.model.cells import Cell, State

# What a loop is given, block by block: which steps, and their inputs.
Given: TypeAlias = Generator[tuple[slice, Floats], None, None]

# Most inputs that a loop multiplies itself. With so many and H = 16 it is 1.3 times as fast as with
# BLAS beside it, 1.6 in a batch; an LSTM of H = 256 takes a tenth longer, and others with 40.
FEW_INPUTS = 32
# Weights that are read between two looks at Ctrl-C: some tenths of a second at most.
WORK = 200_000_000


def compiling(cell: Cell) -> Callable[[Floats, State, Floats], State]:
    """Return a function that runs steps.

    ``advance(x, state, out)`` takes arrays (T, N, I), of any strides, and
    (T, N, H), and the state's arrays (N, H).
    """
    W_xh, W_hh, b_h = cell.operands
    few = len(W_xh) <= FEW_INPUTS
    loop = loop_of(cell, projects=few)
    weights = [loop.packed(W) for W in (W_xh, W_hh, b_h[None])]
    work = sum(W.size for W in weights)
    W_inner = np.empty(0) if cell.inner is None else loop.packed(cell.inner)
    columns = None if few else loop.columns(W_xh)

    def advance(x: Floats, state: State, out: Floats) -> State:
        _, N, H = out.shape
        run = compiled_loop(loop if N > 1 else replace(loop, rows=1))
        arrays = [loop.padded(array) for array in state]
        operands = np.stack([arrays[0]] * 2, axis=1)
        inner = (W_inner, np.empty_like(arrays[0]), np.tile(arrays[0], loop.blocks))
        inputs = _whole(x, work) if columns is None else _projected(cell, x, columns)
        with closing(inputs):
            for steps, a in inputs:
                run(a, out[steps], *weights, operands, *inner, *arrays)
        return (out[-1], *(array[:N, :H] for array in arrays[1:]))

    return advance


def _whole(x: Floats, work: int) -> Given:
    """Cut inputs into steps of so much work that Ctrl-C is seen between them.

    Those of a step that are not side by side in memory are copied.
    """
    most = max(1, WORK // (x.shape[1] * work))
    straight = is_straight(x)
    if not straight:
        most = min(most, max(4, 65_536 // x[0].size))
    for start in range(0, len(x), most):
        steps = slice(start, min(start + most, len(x)))
        yield steps, x[steps] if straight else x[steps].copy()


def is_straight(x: Floats) -> bool:
    """Whether the inputs of a step are side by side in memory, as a loop reads them."""
    return x.flags.aligned and x.strides[-1] == x.itemsize


def _projected(cell: Cell, x: Floats, columns: Floats) -> Given:
    """Project inputs, block by block: ``x @ W_xh``, with its columns as in a loop.

    Where that takes long, another thread does it while the block before is run.
    """
    T, N, I = x.shape
    most = max(1, min(T, max(4, 65_536 // (N * max(cell.operands.W_xh.shape)), 1024 // N)))
    beside = most < T and leaves_processors(columns.size)
    places = cycle(np.empty((1 + beside, most, N, columns.shape[1]), columns.dtype))

    def project(steps: slice) -> tuple[slice, Floats]:
        a = next(places)[: steps.stop - steps.start]
        np.matmul(contiguous(x[steps]).reshape(-1, I), columns, a.reshape(-1, columns.shape[1]))
        return steps, a

    edges = range(0, T, most)
    projections = map(project, [slice(start, min(start + most, T)) for start in edges])
    yield from ahead(projections) if beside else projections
