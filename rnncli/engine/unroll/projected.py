"""Step by step, after the inputs of many steps have been multiplied at once."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from itertools import cycle, pairwise
from typing import TypeAlias

import numpy as np

from rnncli.engine.batch import Finals, Steps
from rnncli.engine.precision import Precision
from rnncli.engine.threads import (
    ahead,
    blocks,
    leaves_processors,
    may_start_a_thread,
)
from rnncli.engine.unroll.sums import blocks_first, combined, empty_sums, multiplication
from rnncli.model.arrays import Floats, as_items, contiguous
from rnncli.model.cells import Cell, State

# advance(a, state, out): steps of equally many rows from their projected inputs, which it may
# overwrite.
Advance: TypeAlias = Callable[[Iterable[Floats], State, Iterable[Floats]], State]
# project(x, out): a_t of each step of `x`, of which those of a single sum lie in `out`.
# The rows of `x` may have more axes, (T, ..., I), and any strides.
Project: TypeAlias = Callable[[Steps, Steps], Iterable[Floats]]
# multiply(inputs, out): the same, of rows [x, 1] that lie together.
Multiply: TypeAlias = Callable[[Floats, Steps], Iterable[Floats]]

# Values in a block that stay in the cache.
VALUES = 65_536
# Fewest steps in a block: fewer are more calls.
STEPS = 4
# Multiplications of an input from which BLAS takes longest. Of so many rows at once it takes up to
# a fifth less than of the few that stay in the cache; and they are worth a thread, which takes
# 80 us to start and waits for Python's lock after each block.
LARGE, ROWS = 20_000, 1024


def projected(cell: Cell, x: Steps, state: State, precision: Precision, out: Steps) -> State:
    """All input projections of a block in one product, then one product a step.

    ``a = x @ W_xh + b_h``, then ``h_t = f(a_t + h_{t-1} @ W_hh)``

    A block is as many steps as stay in the cache.

    Source: Appleyard et al. (2016), arXiv:1604.01946, section 3.2; what
    cuDNN and PyTorch do.
    """
    advance, finals = advancing(cell, x.N, precision), Finals(state)
    with closing(_projected_blocks(cell, x, out)) as projections:
        for a, h in projections:
            if h.batch_sizes is None:
                state = advance(a, state, h)
            else:
                for a_t, h_t in zip(a, h, strict=True):
                    state = advance((a_t,), finals.running(state, len(h_t)), (h_t,))
    return finals.all(state)


def _projected_blocks(
    cell: Cell, x: Steps, out: Steps
) -> Generator[tuple[Iterable[Floats], Steps], None, None]:
    """Project inputs block by block; yield the a_t of each and where its h_t go.

    Where that takes long, another thread does it while the block before is run.
    """
    T, N = len(x), x.N
    size, beside = projected_at_once(cell, T, N)
    # Two, as the sums of a block are made while those of the one before are in use.
    projects = cycle([projecting(cell, size, N) for _ in range(1 + beside)])

    def project(steps: slice) -> tuple[Iterable[Floats], Steps]:
        h = out[steps]
        return next(projects)(x[steps], h), h

    projections = map(project, blocks(T, size))
    yield from ahead(projections) if beside else projections


def projected_at_once(cell: Cell, T: int, N: int) -> tuple[int, bool]:
    """Count the steps of a block, and say whether another thread is to project them."""
    W_xh = cell.weights.W_xh
    size, large = cached_steps(N * max(W_xh.shape)), W_xh.size >= LARGE
    if large:
        size = max(size, ROWS // N)
    beside = large and size < T and leaves_processors(cell) and may_start_a_thread()
    return max(1, min(T, size)), beside  # there may be no steps


def cached_steps(values: int) -> int:
    """Count the steps of so many values each that stay in the cache."""
    return max(STEPS, VALUES // values)


def projecting(cell: Cell, steps: int, N: int) -> Project:
    """Return what projects the inputs of at most so many steps, of at most N rows.

    They are one product, ``a = [x, 1] @ [W_xh; b_h]``. The column of ones
    adds the biases within the product, and keeps it from having a single
    input, which NumPy multiplies without BLAS, ten times as slowly. Wide
    inputs are not copied to have it: their biases are added to the sums.
    """
    W_xh, _, b_h = cell.operands
    I = len(W_xh)
    if is_wide(cell):
        return _without_a_copy(W_xh, b_h)
    projection = np.concatenate([W_xh, b_h[None]])  # (I+1, blocks H)
    inputs = np.ones((steps * N, I + 1), b_h.dtype)
    if cell.sums_alone:
        multiply = _in_place(projection)
    else:
        multiply = _block_by_block(projection, empty_sums(cell, steps * N), N)

    def project(x: Steps, out: Steps) -> Iterable[Floats]:
        block = inputs[: out.rows.size // out.rows.shape[-1]]
        spread(x.rows, block[:, :I])
        return multiply(block, out)

    return project


def is_wide(cell: Cell) -> bool:
    """Whether the inputs of a cell are more than its sum, and so dearer to copy."""
    I, width = cell.weights.W_xh.shape
    return cell.sums_alone and width < I


def advancing(cell: Cell, N: int, precision: Precision) -> Advance:
    """Build the loop that takes steps of at most N rows from projected inputs."""
    make = _steps_of_one_sum if cell.sums_alone else _steps_of_blocks
    return make(cell, N, precision)


def spread(x: Floats, out: Floats) -> None:
    """Copy the rows of an array, (..., I), into a part of a wider one."""
    # NumPy is faster at gathering items into one piece and then spreading that.
    items = as_items(out)
    items[...] = np.ascontiguousarray(as_items(x)).reshape(items.shape)


def _in_place(projection: Floats) -> Multiply:
    """Project one block of sums to where h_t is to be."""

    def project(inputs: Floats, out: Steps) -> Iterable[Floats]:
        if out.rows.flags.c_contiguous:
            np.matmul(inputs, projection, out.rows.reshape(-1, out.rows.shape[-1]))
        else:
            np.matmul(inputs.reshape(*out.rows.shape[:-1], -1), projection, out.rows)
        return out.rows if out.batch_sizes is None else out

    return project


def _without_a_copy(W_xh: Floats, b_h: Floats) -> Project:
    """Project to where h_t is to be, and add the biases there."""
    multiply = _in_place(W_xh)

    def project(x: Steps, out: Steps) -> Iterable[Floats]:
        a = multiply(contiguous(x.rows).reshape(-1, len(W_xh)), out)
        np.add(out.rows, b_h, out.rows)
        return a

    return project


def _block_by_block(projection: Floats, sums: Floats, N: int) -> Multiply:
    """Project into `sums`, (blocks, R, H)."""
    blocks, R, H = sums.shape
    multiply = multiplication(projection, sums)

    def project(inputs: Floats, out: Steps) -> Iterable[Floats]:
        if N == 1:
            side_by_side = sums.reshape(R, 1, blocks * H)[: len(inputs)]
            np.matmul(inputs, projection, side_by_side[:, 0])
            return blocks_first(side_by_side, H)
        a = multiply(inputs)
        if out.batch_sizes is None:
            return a.reshape(blocks, len(out), -1, H).swapaxes(0, 1)
        ends = np.cumsum([0, *out.batch_sizes]).tolist()
        return (a[:, start:stop] for start, stop in pairwise(ends))

    return project


def _steps_of_one_sum(cell: Cell, N: int, precision: Precision) -> Advance:
    """Return the steps of a cell that is a function of its one sum, which lies in `out`."""
    _, W_hh, b_h = cell.operands
    dot, add, rounds = np.ndarray.dot, np.add, precision.rounds
    recurrent = np.empty((N, len(b_h)), b_h.dtype)
    combine = combined(cell, N, precision)

    def advance(_a: Iterable[Floats], state: State, out: Iterable[Floats]) -> State:
        (h,) = state
        u = recurrent[: len(h)]
        for h_t in out:
            dot(precision.operand(h) if rounds else h, W_hh, u)
            add(h_t, u, h_t)
            combine(h_t, h_t)
            h = h_t
        return (h,)

    return advance


def _steps_of_blocks(cell: Cell, N: int, precision: Precision) -> Advance:
    """Return the steps of a cell with several sums, (blocks, n, H)."""
    _, W_hh, b_h = cell.operands
    before = (len(b_h) - W_hh.shape[1]) // cell.hidden_size  # blocks without the state's product
    whole = empty_sums(cell, N)
    apart, multiply = whole[:before], multiplication(W_hh, whole[before:])
    combine, rounds = combined(cell, N, precision), precision.rounds

    def advance(a: Iterable[Floats], state: State, out: Iterable[Floats]) -> State:
        n = len(state[0])
        sums = whole if n == N else whole[:, :n]
        for a_t, h_t in zip(a, out, strict=True):
            if before:
                apart.fill(0)
            multiply(precision.operand(state[0]) if rounds else state[0])
            state = combine(np.add(sums, a_t, sums), h_t, *state)
        return state

    return advance
