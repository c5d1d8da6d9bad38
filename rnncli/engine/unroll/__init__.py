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
    "compiled",
    "fastest",
    "fused",
    "missing",
    "parallel",
    "projected",
    "stepwise",
]

Strategy: TypeAlias = Callable[[Cell, Steps, State, Precision, Steps], State]


# Seconds that NumPy takes for the calls of a step of a cell that is a function of one sum, and
# for a multiplication.
CALLS_OF_A_STEP, MULTIPLICATION = 7e-7, 5e-11
# How many times as many calls a step of a cell with gates takes.
GATED = 4
# Seconds of steps in NumPy, one after the other, that are worth compiling a loop: as long as that
# takes, LLVM's start included; and how many times faster `parallel` is.
WORTH_A_LOOP, PARALLEL_GAIN = 0.04, 10


def missing(unroll: str) -> str:
    """Say what a strategy lacks here; nothing if it can run."""
    if unroll != "compiled":
        return ""
    from rnncli.engine.compiled.machine import lacks

    return lacks()


def compiled(cell: Cell, x: Steps, state: State, precision: Precision, out: Steps) -> State:
    """Run by a loop in the processor's own instructions, see `rnncli.engine.unroll.compiled`."""
    # Imported when used: few runs are worth it.
    from rnncli.engine.unroll.compiled import compiled

    return compiled(cell, x, state, precision, out)


def fastest(cell: Cell, x: Steps, state: State, precision: Precision, out: Steps) -> State:
    """Run by the strategy that is measured as the fastest for T, N, I and H.

    Many steps are worth a loop of their own, if it can be compiled. Fewer run
    in segments, as `parallel` does, if the network is contracting and the
    batch small enough. Otherwise, one call a step less makes `fused` the
    fastest for a single sequence, until so many inputs are worth a product of
    their own, as they are in a batch: but for a cell with several sums, whose
    projected inputs would leave the cache.
    """
    seconds = _seconds_in_order(cell, x)
    compiles = seconds > WORTH_A_LOOP and not missing("compiled")
    if compiles and seconds > PARALLEL_GAIN * WORTH_A_LOOP:
        return compiled(cell, x, state, precision, out)
    final = in_segments(cell, x, state, precision, out)
    if final is None:
        strategy = compiled if compiles else _fastest_in_order
        final = strategy(cell, x, state, precision, out)
    return final


def _seconds_in_order(cell: Cell, x: Steps) -> float:
    """Estimate the seconds that NumPy takes for the steps, one after the other."""
    calls = CALLS_OF_A_STEP * (1 if cell.sums_alone else GATED)
    multiplications: int = x.rows[..., 0].size * sum(W.size for W in cell.operands)
    return len(x) * calls + multiplications * MULTIPLICATION


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
