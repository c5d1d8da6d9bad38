"""Strategies that run any cell over T steps.

Every strategy has one signature, ``strategy(cell, x, state, precision, out)``.
Arrays are time-major, so that a step is one contiguous piece: `x` holds the
inputs, T steps of N rows of I, of any strides and rounded as operands;
`state` the arrays (N, size) before the first step, of which those beside h
may be overwritten; h_t of every step goes into `out`, T steps of N rows of H,
each step of which is C-contiguous. Of
sequences that end before others, `x` and `out` have ever fewer rows
(`rnncli.engine.batch.Steps`). The cell has its weights in the precision. What
a strategy returns is the state of each sequence after its last step.
"""

from collections.abc import Callable
from typing import TypeAlias

from rnncli.engine.batch import Steps
from rnncli.engine.precision import Precision
from rnncli.engine.unroll.fused import fused
from rnncli.engine.unroll.parallel import in_segments, parallel
from rnncli.engine.unroll.projected import projected
from rnncli.engine.unroll.stepwise import stepwise
from rnncli.model.cells import Cell, State

__all__ = [
    "IN_ORDER",
    "UNROLLS",
    "Strategy",
    "fastest",
    "fused",
    "parallel",
    "projected",
    "stepwise",
]

Strategy: TypeAlias = Callable[[Cell, Steps, State, Precision, Steps], State]


def fastest(cell: Cell, x: Steps, state: State, precision: Precision, out: Steps) -> State:
    """Run by the strategy that is measured as the fastest for T, N, I and H.

    A long sequence runs in segments, as `parallel` does, if the network is
    contracting and the batch is small enough. Otherwise, one call a step less
    makes `fused` the fastest for a single sequence, until so many inputs are
    worth a product of their own, as they are in a batch: but for a cell with
    several sums, whose projected inputs would leave the cache.
    """
    final = in_segments(cell, x, state, precision, out)
    return _fastest_in_order(cell, x, state, precision, out) if final is None else final


def _fastest_in_order(
    cell: Cell, x: Steps, state: State, precision: Precision, out: Steps
) -> State:
    few_inputs = len(cell.weights.W_xh) <= 128
    strategy = fused if (few_inputs if x.N == 1 else not cell.sums_alone) else projected
    return strategy(cell, x, state, precision, out)


UNROLLS = {
    "stepwise": stepwise,
    "fused": fused,
    "projected": projected,
    "parallel": parallel,
}
# By the same names, strategies that take every step once and one after the other.
IN_ORDER = UNROLLS | {"auto": _fastest_in_order, "parallel": projected}
