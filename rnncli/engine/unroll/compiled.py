"""Step by step, by loops that are compiled for the network's sizes."""

from collections.abc import Callable, Iterator

import numpy as np

from rnncli.engine.batch import Finals, Steps
from rnncli.engine.compiled.loops import Loop, has_loop, loop_of
from rnncli.engine.compiled.steps import compiled_loop
from rnncli.engine.precision import Precision
from rnncli.engine.threads import blocks, product
from rnncli.engine.unroll.projected import cached_steps, projected, spread
from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell, State

# Most inputs that a loop multiplies itself; BLAS is faster for more.
FEW_INPUTS = 16
# Multiplications between two chances to end, some hundredths of a second.
WORK = 500_000_000


def compiled(cell: Cell, x: Steps, state: State, precision: Precision, out: Steps) -> State:
    """All steps in one loop of the processor's own instructions.

    ``h_t = f(x_t @ W_xh + b_h + h_{t-1} @ W_hh)``

    Wide inputs are projected block by block, as `projected` does. So runs a
    cell that no loop is written for: with products within its step, with
    peepholes, or of gelu.
    """
    if not has_loop(cell):
        return projected(cell, x, state, precision, out)
    finals = Finals(state)
    advance = compiling(cell, x.N, precision)
    for x_even, out_even in zip(x.even(), out.even(), strict=True):
        state = finals.running(state, x_even.shape[1])
        state = advance(x_even, state, out_even)
    return finals.all(state)


def compiling(cell: Cell, N: int, precision: Precision) -> Callable[[Floats, State, Floats], State]:
    """Return a function that runs steps of at most N rows.

    ``advance(x, state, out)`` takes arrays (T, n, I) and (T, n, H), and the
    state's arrays (n, H).
    """
    few = len(cell.weights.W_xh) <= FEW_INPUTS
    alone = loop_of(cell, precision, rows=1, projects=few)
    several = alone.machine.rows_at_once
    beside = alone._replace(rows=several)
    W_xh, W_hh, b_h = cell.operands
    weights = [alone.packed(W) for W in (W_xh, W_hh, b_h[None])]
    project = None if few else _projection(alone, np.concatenate([W_xh, b_h[None]]), N)
    most = max(1, WORK // (N * (W_xh.size + W_hh.size)))

    def advance(x: Floats, state: State, out: Floats) -> State:
        T, n, H = out.shape
        padded = [alone.padded(array) for array in state]
        operands = np.stack([precision.operand(padded[0])] * 2, axis=1)  # (n, 2, padded)
        whole = n - n % several

        def run(x: Floats, out: Floats) -> None:
            for loop, rows in ((beside, slice(0, whole)), (alone, slice(whole, n))):
                if rows.start < rows.stop:
                    states = [array[rows] for array in padded]
                    compiled_loop(loop)(x[:, rows], out[:, rows], weights, operands[rows], states)

        for steps in blocks(T, most):
            if project is None:
                run(x[steps], out[steps])
            else:
                for part, a in project(x[steps]):
                    run(a, out[steps][part])
        return (out[-1], *(array[:, :H] for array in padded[1:]))

    return advance


def _projection(
    loop: Loop, stacked: Floats, N: int
) -> Callable[[Floats], Iterator[tuple[slice, Floats]]]:
    """Return a function that projects the inputs of steps, block by block.

    Parameters
    ----------
    loop : Loop
    stacked : array, shape (I + 1, blocks * H)
        Input weights and bias.
    N : int
        Most rows.
    """
    columns = loop.columns(stacked)
    steps = cached_steps(N * max(columns.shape))
    inputs = np.ones((steps * N, len(columns)), columns.dtype)
    sums = np.empty((steps * N, columns.shape[1]), columns.dtype)

    def project(x: Floats) -> Iterator[tuple[slice, Floats]]:
        T, n, _ = x.shape
        for start in range(0, T, steps):
            part = slice(start, min(start + steps, T))
            rows = inputs[: (part.stop - start) * n]
            spread(x[part], rows[:, :-1])
            a = sums[: len(rows)]
            product(rows, columns, a)
            yield part, a.reshape(-1, n, a.shape[1])

    return project
