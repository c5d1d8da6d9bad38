"""Step by step, after the inputs of many steps have been multiplied at once."""

import numpy as np

from rnncli.arrays import Floats
from rnncli.network import Cell
from rnncli.precision import Precision
from rnncli.unroll.lanes import advance, blocks, in_lanes, rows_at_once


def projected(cell: Cell, x: Floats, h0: Floats, precision: Precision) -> Floats:
    """All input projections of a block in one product, then one product a step.

    ``a = x @ W_xh + b_h``, then ``h_t = f(a_t + h_{t-1} @ W_hh)``

    A block is as many rows and steps as stay in the cache. Of a large batch
    the rows of two blocks run at a time, each block over all steps.

    Source: Appleyard et al. (2016), arXiv:1604.01946, section 3.2; what
    cuDNN and PyTorch do.
    """
    T, N = x.shape[:2]
    h = np.empty((T, *h0.shape), h0.dtype)
    size = rows_at_once(cell)
    if size >= N:
        _run(cell, x, h0, precision, h)
        return h

    def run(rows: slice) -> None:
        _run(cell, x[:, rows], np.ascontiguousarray(h0[rows]), precision, h[:, rows])

    in_lanes(run, [slice(start, start + size) for start in range(0, N, size)])
    return h


def _run(cell: Cell, x: Floats, h0: Floats, precision: Precision, h: Floats) -> None:
    """Run rows over all steps, a block at a time; the states go into `h`, (T, N, H)."""
    T, N, I = x.shape
    H = h0.shape[1]
    beside = h if h.flags.c_contiguous else None
    for steps in blocks(T, N * max(I, H)):
        if beside is None:
            beside = np.empty((steps.stop, N, H), h.dtype)
        out = h[steps] if beside is h else beside[: steps.stop - steps.start]
        advance(cell, x[steps], h0, precision, out)
        h0 = out[-1]
        if beside is not h:
            h[steps], h0 = out, h0.copy()
