"""The sums of a step, block by block: where they lie, and the products that make them.

A cell with several gates has several blocks of H sums, which it takes as
(blocks, N, H). The blocks of a single row come from one product. Those of
several rows come from a product each: so every block is contiguous, and the
functions of the gates are up to three times as fast as on columns of
(N, blocks * H).
"""

import numpy as np

from rnncli.engine.precision import Precision
from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell, Combine, Product

# Multiplications in a product that OpenBLAS does without copying its operands first
# (interface/gemm.c, small matrices), where the processor has AVX-512; and how many columns
# of a wide matrix are multiplied at once to stay below.
SMALL_PRODUCT = 1_000_000
NARROW = (128, 64, 32)


def blocks_first(sums: Floats, hidden_size: int) -> Floats:
    """View sums side by side, (..., N, blocks * H), as (..., blocks, N, H)."""
    shape = (*sums.shape[:-1], sums.shape[-1] // hidden_size, hidden_size)
    return sums.reshape(shape).swapaxes(-2, -3)


def empty_sums(cell: Cell, N: int) -> Floats:
    """Allocate the sums of all blocks, (blocks, N, H)."""
    b_h = cell.operands.b_h
    return np.empty((len(b_h) // cell.hidden_size, N, cell.hidden_size), b_h.dtype)


def multiplication(W: Floats, out: Floats) -> Product:
    """Return the quickest product of at most N rows with a matrix (K, blocks * H).

    It goes into `out`, (blocks, N, H).
    """
    blocks, N, H = out.shape
    if N == 1:
        row = out.reshape(1, blocks * H)

        def of_one(rows: Floats) -> Floats:
            np.ndarray.dot(rows, W, row)
            return out

        return of_one
    K = len(W)
    fitting = (w for w in (H, *NARROW) if H % w == 0 and N * K * w <= SMALL_PRODUCT)
    columns = next(fitting, H)
    # (blocks, H / columns, K, columns)
    matrices = np.ascontiguousarray(
        W.reshape(K, blocks, H // columns, columns).transpose(1, 2, 0, 3)
    )

    def pieces(sums: Floats) -> Floats:
        return sums.reshape(blocks, sums.shape[1], H // columns, columns).swapaxes(1, 2)

    places = pieces(out)

    def of_several(rows: Floats) -> Floats:
        all_rows = len(rows) == N
        into = out if all_rows else out[:, : len(rows)]
        np.matmul(rows, matrices, out=places if all_rows else pieces(into))
        return into

    return of_several


def combined(cell: Cell, N: int, precision: Precision) -> Combine:
    """Return `cell.combine` for at most N rows."""

    def multiplier(W: Floats) -> Product:
        multiply = multiplication(W, np.empty((1, N, W.shape[1]), W.dtype))
        return lambda h: multiply(precision.operand(h))[0]

    return cell.combine(multiplier)
