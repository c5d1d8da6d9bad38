"""Strategies that run one cell over T steps.

Every strategy has one signature, ``strategy(cell, x, h0, precision, out)``.
Arrays are time-major, so that a step is one contiguous piece: `x` is the
inputs, T steps of N rows of I, of any strides and rounded as an operand; `h0`
is (N, H); and the states go into `out`, T steps of N rows of H, each step of
which is C-contiguous. Of sequences that end before others `x` and `out` have
ever fewer rows (`rnncli.steps`). The cell is as ``precision.prepare`` gives
it.
"""

from collections.abc import Callable
from typing import TypeAlias

from rnncli.arrays import Floats
from rnncli.network import Cell
from rnncli.precision import Precision
from rnncli.steps import Steps
from rnncli.unroll.fused import fused
from rnncli.unroll.parallel import in_segments, parallel
from rnncli.unroll.projected import projected
from rnncli.unroll.stepwise import stepwise

__all__ = ["UNROLLS", "Strategy", "fastest", "fused", "parallel", "projected", "stepwise"]

Strategy: TypeAlias = Callable[[Cell, Steps, Floats, Precision, Steps], None]


def fastest(cell: Cell, x: Steps, h0: Floats, precision: Precision, out: Steps) -> None:
    """Take the strategy that is measured as the fastest for T, N, I and H.

    A long sequence runs in segments, as `parallel` does, if the network
    forgets and the batch leaves room. Otherwise, one call a step less makes
    `fused` the fastest for a single sequence, until so many inputs are worth
    a product of their own, as they are in a batch.
    """
    if in_segments(cell, x, h0, precision, out):
        return
    strategy = fused if x.N == 1 and len(cell.weights.W_xh) <= 128 else projected
    strategy(cell, x, h0, precision, out)


UNROLLS = {
    "stepwise": stepwise,
    "fused": fused,
    "projected": projected,
    "parallel": parallel,
}
