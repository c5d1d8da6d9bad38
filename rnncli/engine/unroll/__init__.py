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
from typing import NamedTuple, TypeAlias

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
    "compiled",
    "fastest",
    "fused",
    "missing",
    "parallel",
    "projected",
    "stepwise",
]

Strategy: TypeAlias = Callable[[Cell, Steps, State, Precision, Steps], State]


# Seconds that LLVM takes to start and to compile a loop.
COMPILATION = 0.05
# Seconds of a step in NumPy for its calls, of a cell with gates several times as many.
CALLS, GATED = 7e-7, 4


class Seconds(NamedTuple):
    """Seconds that a row of a step takes: for each multiplication, and for the functions of a sum.

    They are measured, to within a factor of 2, for `fastest` to choose by.
    """

    multiplication: float
    sum: float

    def rows(self, cell: Cell, x: Steps) -> float:
        """Return the seconds that all rows of an input take."""
        operands = cell.operands
        multiplications = operands.W_xh.size + operands.W_hh.size
        each = multiplications * self.multiplication + len(operands.b_h) * self.sum
        return each * x.rows[..., 0].size


ONE_IN_NUMPY, SEVERAL_IN_NUMPY = Seconds(5e-11, 3e-9), Seconds(1.5e-11, 3e-9)
ONE_COMPILED, SEVERAL_COMPILED = Seconds(2.5e-11, 4e-10), Seconds(1.3e-11, 4e-10)


def missing(unroll: str) -> str:
    """Say what a strategy lacks here; nothing if it can run."""
    if unroll != "compiled":
        return ""
    from rnncli.engine.compiled.machine import lacks

    return lacks()


def compiled(cell: Cell, x: Steps, state: State, precision: Precision, out: Steps) -> State:
    """Run by a loop in the processor's own instructions, see `rnncli.engine.compiled`."""
    # Imported when used: few runs are worth it.
    from rnncli.engine.compiled.strategy import compiled

    return compiled(cell, x, state, precision, out)


def fastest(
    cell: Cell, x: Steps, state: State, precision: Precision, out: Steps, before: int = 0
) -> State:
    """Run by the strategy that is measured as the fastest for T, N, I and H.

    A long sequence runs in segments, as `parallel` does, if the network is
    contracting and the batch is small enough. If not, and where even that
    takes long, it is worth a loop of its own, if one can be compiled.
    Otherwise, one call a step less makes `fused` the fastest for a single
    sequence, until so many inputs are worth a product of their own, as they
    are in a batch: but for a cell with several sums, whose projected inputs
    would leave the cache.

    In a stream that has had `before` rows as many more are expected, which
    share what it costs to compile a loop.
    """
    compiles = SEVERAL_COMPILED if x.N > 1 else ONE_COMPILED
    rows = x.rows[..., 0].size
    loop = COMPILATION * rows / (rows + before) + compiles.rows(cell, x)
    if SEVERAL_IN_NUMPY.rows(cell, x) > loop and not missing("compiled"):
        return compiled(cell, x, state, precision, out)
    final = in_segments(cell, x, state, precision, out)
    if final is not None:
        return final
    calls = len(x) * CALLS * (1 if cell.sums_alone else GATED)
    numpy = SEVERAL_IN_NUMPY if x.N > 1 else ONE_IN_NUMPY
    worth_a_loop = calls + numpy.rows(cell, x) > loop and not missing("compiled")
    strategy = compiled if worth_a_loop else _fastest_in_order
    return strategy(cell, x, state, precision, out)


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
    "compiled": compiled,
}
# By the same names, strategies that take every step once and one after the other, and each by
# `Cell.combine`.
IN_ORDER = (
    UNROLLS | dict.fromkeys(("parallel", "compiled"), projected) | {"auto": _fastest_in_order}
)
