"""Step by step, by loops that are compiled for the network's sizes.

These loops, `rnncli.engine.compiled`, are imported when one is used: few runs
are worth it.
"""

from rnncli.engine.batch import Finals, Steps
from rnncli.engine.precision import PRECISIONS, Precision
from rnncli.engine.unroll.projected import projected
from rnncli.model.cells import Cell, State


def compiled(cell: Cell, x: Steps, state: State, precision: Precision, out: Steps) -> State:
    """All steps in one loop of the processor's own instructions.

    ``h_t = f(x_t @ W_xh + b_h + h_{t-1} @ W_hh)``

    Wide inputs are projected block by block, as `projected` does. A cell that
    no loop is written for, with peepholes, a projection or gelu, runs as
    `projected`.
    """
    from rnncli.engine.compiled.compiling import compiling

    if not has_loop(cell):
        return projected(cell, x, state, precision, out)
    finals = Finals(state)
    advance = compiling(cell)
    for x_even, out_even in zip(x.even(), out.even(), strict=True):
        state = finals.running(state, x_even.shape[1])
        state = advance(x_even, state, out_even)
    return finals.all(state)


def missing(unroll: str, precision: str = "float32") -> str:
    """Say what a strategy lacks here; nothing if it can run."""
    if unroll != "compiled":
        return ""
    if PRECISIONS[precision].rounds:
        return "computes in float32 or float64"
    from rnncli.engine.compiled.machine import lacks

    return lacks()


def has_loop(cell: Cell) -> bool:
    """Whether LLVM is installed, and a loop for a cell is written."""
    from rnncli.engine.compiled.loops import is_written
    from rnncli.engine.compiled.machine import installed

    return installed() and is_written(cell)
