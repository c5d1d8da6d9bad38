"""Rows in lanes: as many as a thread keeps in its cache, two threads side by side."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from rnncli.arrays import Floats
from rnncli.cells import activate
from rnncli.network import Cell
from rnncli.precision import Precision

T = TypeVar("T")
Found = TypeVar("Found")

# Threads; a third finds Python's lock taken.
LANES = 2
# States of a lane at one step that stay in the cache with a block of inputs.
VALUES = 8192
# Fewest steps in a block: fewer are more calls.
BLOCK = 32


def rows_at_once(cell: Cell) -> int:
    """Count the rows whose states stay in a thread's cache, at least one."""
    return max(1, VALUES // len(cell.weights.b_h))


def in_lanes(work: Callable[[T], Found], parts: Sequence[T]) -> list[Found]:
    """Do parts of a work, two at a time: NumPy lets threads run beside each other."""
    if len(parts) < 2:
        return list(map(work, parts))
    from concurrent.futures import ThreadPoolExecutor  # 8 ms that most runs do not need

    def quietly(part: T) -> Found:
        with np.errstate(all="ignore"):  # each thread has its own
            return work(part)

    with ThreadPoolExecutor(LANES) as pool:
        return list(pool.map(quietly, parts))


def blocks(T: int, values: int) -> Iterator[slice]:
    """Cut T steps of so many values each into blocks that stay in the cache."""
    size = max(BLOCK, VALUES // values)
    return (slice(start, min(start + size, T)) for start in range(0, T, size))


def advance(cell: Cell, x: Floats, h0: Floats, precision: Precision, out: Floats) -> None:
    """Run a block of steps: all input projections in one product, then one product a step.

    ``a = x @ W_xh + b_h``, then ``h_t = f(a_t + h_{t-1} @ W_hh)``

    Parameters
    ----------
    cell, x, h0, precision
        As for a strategy.
    out : array, shape (T, N, H)
        C-contiguous; the states go there.
    """
    weights, f = cell.weights, activate(cell)
    T, N, I = x.shape
    np.matmul(x.reshape(T * N, I), weights.W_xh, out=out.reshape(T * N, out.shape[2]))
    # NumPy adds a row of H to each of many slowly, where H is small.
    flat = out.reshape(T, -1)
    np.add(flat, np.tile(weights.b_h, N), out=flat)
    from_state = np.empty_like(h0)
    before = h0
    for h_t in out:
        np.dot(precision.operand(before), weights.W_hh, out=from_state)
        np.add(h_t, from_state, out=h_t)
        f(h_t, h_t)
        before = h_t
