"""Step by step, after the inputs of many steps have been multiplied at once."""

from rnncli.arrays import Floats
from rnncli.network import Cell
from rnncli.precision import Precision
from rnncli.unroll.blocks import advancing, blocks, cached_steps


def projected(cell: Cell, x: Floats, h0: Floats, precision: Precision, out: Floats) -> None:
    """All input projections of a block in one product, then one product a step.

    ``a = x @ W_xh + b_h``, then ``h_t = f(a_t + h_{t-1} @ W_hh)``

    A block is as many steps as stay in the cache.

    Source: Appleyard et al. (2016), arXiv:1604.01946, section 3.2; what
    cuDNN and PyTorch do.
    """
    T, N, I = x.shape
    size = cached_steps(N * max(I, h0.shape[1]))
    advance = advancing(cell, min(T, size), N, precision)
    for steps in blocks(T, size):
        advance(x[steps], h0, out[steps])
        h0 = out[steps.stop - 1]
