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
from rnncli.engine.unroll.choice import fastest
from rnncli.engine.unroll.compiled import compiled, missing
from rnncli.engine.unroll.parallel import parallel
from rnncli.engine.unroll.projected import projected
from rnncli.engine.unroll.stepwise import fused, stepwise
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

UNROLLS = {
    "stepwise": stepwise,
    "fused": fused,
    "projected": projected,
    "parallel": parallel,
    "compiled": compiled,
}
# By the same names, strategies that take every step once and one after the other, and each by
# `Cell.combine`.
IN_ORDER = UNROLLS | dict.fromkeys(("parallel", "compiled", "auto"), projected)
