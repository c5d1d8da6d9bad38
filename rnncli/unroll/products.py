"""Products of many rows by a matrix, on one thread where lanes take the others."""

import numpy as np

from rnncli.arrays import Floats
from rnncli.network import Cell
from rnncli.processors import products_take_one

# Whether OpenBLAS has no other threads.
ALONE = products_take_one()
# Multiplications in a product that OpenBLAS leaves to one thread
# (interface/gemm.c). Beyond, two lanes would queue for its threads, and those
# go on spinning, on the processor that a lane needs, when the product is done.
ONE_THREAD = 262_144
# Fewest rows that are worth a product of their own.
FEW = 32


def product(a: Floats, W: Floats, out: Floats) -> None:
    """Give ``a @ W``: where OpenBLAS has more, in pieces that it leaves to one thread.

    A matrix so large that the pieces would be few rows is left to all its
    threads.

    Parameters
    ----------
    a : array, shape (..., M, K)
    W : array, shape (K, H)
    out : array, shape (..., M, H)
        The product goes there.
    """
    rows, M = ONE_THREAD // W.size, a.shape[-2]
    if ALONE or rows < FEW or rows >= M:
        if a.ndim == 2:
            a.dot(W, out)  # the quicker call
        else:
            np.matmul(a, W, out=out)
        return
    whole = M - M % rows
    np.matmul(_pieces(a, whole, rows), W, out=_pieces(out, whole, rows))
    if whole < M:
        np.matmul(a[..., whole:, :], W, out=out[..., whole:, :])


def one_thread(cell: Cell) -> bool:
    """Whether the products of a cell are on one thread, and so leave lanes their processors."""
    I, H = cell.weights.W_xh.shape
    return ALONE or max(I + 1, H) * H * FEW <= ONE_THREAD


def _pieces(a: Floats, whole: int, rows: int) -> Floats:
    """View (..., M, K) as (..., M / rows, rows, K)."""
    return a[..., :whole, :].reshape(*a.shape[:-2], whole // rows, rows, a.shape[-1])
