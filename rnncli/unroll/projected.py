"""Step by step, after the inputs of many steps have been multiplied at once."""

from rnncli.arrays import Floats
from rnncli.network import Cell
from rnncli.precision import Precision
from rnncli.steps import Steps
from rnncli.unroll.blocks import advancing, blocks, cached_steps


def projected(cell: Cell, x: Steps, h0: Floats, precision: Precision, out: Steps) -> None:
    """All input projections of a block in one product, then one product a step.

    ``a = x @ W_xh + b_h``, then ``h_t = f(a_t + h_{t-1} @ W_hh)``

    A block is as many steps as stay in the cache.

    Source: Appleyard et al. (2016), arXiv:1604.01946, section 3.2; what
    cuDNN and PyTorch do.
    """
    T, N = len(x), x.N
    size = cached_steps(N * max(cell.weights.W_xh.shape))
    advance = advancing(cell, min(T, size), N, precision)
    for steps in blocks(T, size):
        h0 = advance(x[steps], h0, out[steps])
