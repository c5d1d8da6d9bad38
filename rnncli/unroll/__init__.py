"""Strategies that run one cell over T steps.

Every strategy has one signature, ``strategy(cell, x, h0, precision)``, and
time-major arrays, so that a step is one contiguous piece: `x` is (T, N, I)
and rounded as an operand, `h0` is (N, H), and the result is (T, N, H). The
cell is as ``precision.prepare`` gives it.
"""

from collections.abc import Callable
from typing import TypeAlias

from rnncli.arrays import Floats
from rnncli.network import Cell
from rnncli.precision import Precision
from rnncli.unroll.fused import fused
from rnncli.unroll.parallel import in_segments, parallel
from rnncli.unroll.projected import projected
from rnncli.unroll.stepwise import stepwise

__all__ = ["UNROLLS", "Strategy", "fastest", "fused", "parallel", "projected", "stepwise"]

Strategy: TypeAlias = Callable[[Cell, Floats, Floats, Precision], Floats]


def fastest(cell: Cell, x: Floats, h0: Floats, precision: Precision) -> Floats:
    """Take the strategy that is measured as the fastest for T, N, I and H.

    A long sequence runs in segments, as `parallel` does, if the network
    forgets and the batch leaves room. Otherwise, one call a step less makes
    `fused` the fastest for a single sequence, until so many inputs are worth
    a product of their own. In a batch `projected` is, unless the inputs are
    few beside the units.
    """
    N, I = x.shape[1:]
    H = len(cell.weights.b_h)
    h = in_segments(cell, x, h0, precision)
    if h is not None:
        return h
    strategy = fused if (I <= 64 if N == 1 else 16 * I <= H) else projected
    return strategy(cell, x, h0, precision)


UNROLLS = {
    "stepwise": stepwise,
    "fused": fused,
    "projected": projected,
    "parallel": parallel,
}
