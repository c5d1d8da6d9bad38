"""Strategies that run one cell over T steps.

Every strategy has one signature, ``strategy(cell, x, h0, precision, out)``,
and time-major arrays, so that a step is one contiguous piece: `x` is
(T, N, I), of any strides, and rounded as an operand, `h0` is (N, H), and the
states go into `out`, (T, N, H), each step of which is C-contiguous. The cell
is as ``precision.prepare`` gives it.
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

Strategy: TypeAlias = Callable[[Cell, Floats, Floats, Precision, Floats], None]


def fastest(cell: Cell, x: Floats, h0: Floats, precision: Precision, out: Floats) -> None:
    """Take the strategy that is measured as the fastest for T, N, I and H.

    A long sequence runs in segments, as `parallel` does, if the network
    forgets and the batch leaves room. Otherwise, one call a step less makes
    `fused` the fastest for a single sequence, until so many inputs are worth
    a product of their own, as they are in a batch.
    """
    if in_segments(cell, x, h0, precision, out):
        return
    N, I = x.shape[1:]
    strategy = fused if N == 1 and I <= 128 else projected
    strategy(cell, x, h0, precision, out)


UNROLLS = {
    "stepwise": stepwise,
    "fused": fused,
    "projected": projected,
    "parallel": parallel,
}
