"""Which strategy is the fastest for a network and its input."""

from typing import NamedTuple

from rnncli.engine.batch import Steps
from rnncli.engine.precision import Precision
from rnncli.engine.threads import THREADS
from rnncli.engine.unroll.compiled import compiled, has_loop, missing
from rnncli.engine.unroll.parallel import FEWEST, SHORT, in_segments, worthwhile_segments
from rnncli.engine.unroll.projected import projected
from rnncli.model.cells import Cell, State


class Seconds(NamedTuple):
    """Seconds that a way to run takes, to within a factor of 2.

    Parameters
    ----------
    step : float
        For every step, whatever its size, of a cell that is a function of one
        sum; `GATED` times as many for others.
    multiplication, sum : float
        For every multiplication of a row, and for the functions of every sum.
    """

    step: float
    multiplication: float
    sum: float

    def of(self, cell: Cell, x: Steps, at_once: int = 1) -> float:
        """Return the seconds that all steps of an input take, so many of them at once."""
        W_xh, W_hh, b_h = cell.operands
        steps = len(x) / at_once * self.step * (1 if cell.sums_alone else GATED)
        row = (W_xh.size + W_hh.size) * self.multiplication + len(b_h) * self.sum
        return steps + row * x.rows[..., 0].size


# Measured with float32 on an EPYC of 4 GHz with AVX-512, at H = 4 to 256.
GATED = 3
ONE_ROW, ROWS = Seconds(1e-6, 5e-11, 0), Seconds(1e-6, 1.1e-11, 4e-10)
SEGMENTS = Seconds(1e-6, 8e-12 / THREADS, 1.5e-9 / THREADS)
ONE_ROW_COMPILED, ROWS_COMPILED = Seconds(1.2e-8, 2.2e-11, 0), Seconds(0, 9e-12, 2e-10)
# What LLVM takes to start and to compile a loop.
COMPILATION = 0.06
# What it takes to call a loop, as where a sequence of a batch ends before others.
CALL = 4e-5
# Fewest segments where a loop would do: fewer are not worth the time to measure the horizon.
MANY = 32


def fastest(
    cell: Cell, x: Steps, state: State, precision: Precision, out: Steps, before: int = 0
) -> State:
    """Run by the strategy that is measured as the fastest for T, N, I and H.

    A long sequence runs in segments, as `parallel` does, if the network is
    contracting and the batch is small enough. If it is not, or where a
    compiled loop is faster even so by more than compiling takes, it runs by
    that. Otherwise it runs as `projected`.
    """
    rows, several = x.rows[..., 0].size, x.N > 1
    compilation = COMPILATION * (rows / (rows + before) if rows >= SHORT else 1)
    loop = (ROWS_COMPILED if several else ONE_ROW_COMPILED).of(cell, x)
    loop += CALL * len(set(x.batch_sizes or ()))
    worth_a_loop = (ROWS if several else ONE_ROW).of(cell, x) > compilation + loop
    worth_a_loop = worth_a_loop and not precision.rounds and has_loop(cell)
    S = worthwhile_segments(cell, x, state, precision, MANY if worth_a_loop else FEWEST)
    if S:
        worth_a_loop = worth_a_loop and SEGMENTS.of(cell, x, S) > compilation + loop
    if worth_a_loop and not missing("compiled"):
        return compiled(cell, x, state, precision, out)
    if S:
        return in_segments(cell, x, state, precision, out, S)
    return projected(cell, x, state, precision, out)
