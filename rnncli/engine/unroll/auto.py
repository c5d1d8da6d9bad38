"""Strategies that compile a loop over time: `Compiled`, and `Auto`, which chooses by the costs."""

from functools import cached_property
from typing import TYPE_CHECKING

from rnncli.engine.unroll.loops import Projected
from rnncli.engine.unroll.parallel import SHORT, Parallel
from rnncli.model.arrays import Floats
from rnncli.model.cells import State

if TYPE_CHECKING:
    from rnncli.engine.compiled.loop import CompiledCell

# Seconds in NumPy of a step of a vanilla and of a gated cell, of a multiplication, and of the
# functions of a sum, each within a factor of 2.
STEP, GATED_STEP, MULTIPLICATION, FUNCTION = 1.3e-6, 3.3e-6, 2.5e-11, 2e-9
# Seconds that it takes to load LLVM (0.04) and compile a loop (0.01 to 0.04), batches that share
# them, and seconds of a call of the loop.
COMPILATION, BATCHES, CALL = 0.05, 4, 4e-5
# Weights that the cache of a core holds: with more, segments use each weight for many rows.
CACHED = 1 << 16


class Compiled(Projected):
    """All steps in one loop of machine code; a cell that cannot be compiled runs as `Projected`."""

    @cached_property
    def compiled(self) -> "CompiledCell | None":
        """The loop, if the cell can be compiled here."""
        from rnncli.engine.compiled.loop import CompiledCell, can_compile

        return CompiledCell(self.cell) if can_compile(self.cell) else None

    def __call__(self, x: Floats, state: State, out: State) -> State:
        """Run T steps, see `Strategy`."""
        if self.compiled is None or len(out) > 1:
            return super().__call__(x, state, out)
        return self.compiled(x, state, out[0])


class Auto(Parallel):
    """A compiled loop, if it pays to compile; else segments, if they converge; else `Projected`."""

    @cached_property
    def compiled(self) -> "CompiledCell | None":
        """The loop, if the cell can be compiled here."""
        lacking = why_unavailable("compiled", self.precision.name)
        return None if lacking else Compiled(self.cell, self.precision).compiled

    def __call__(self, x: Floats, state: State, out: State) -> State:
        """Run T steps, see `Strategy`."""
        (T, N, _), (W_xh, W_hh, b_h) = x.shape, self.cell.weights[:3]
        weights = W_xh.size + W_hh.size
        seconds = T * (STEP if self.cell.gates == 1 else GATED_STEP)
        seconds += T * N * (weights * MULTIPLICATION + len(b_h) * FUNCTION)
        compilation = COMPILATION * T * N / max(T * N, self.rows_run) / (1 if N == 1 else BATCHES)
        loop = self.compiled if len(out) == 1 and seconds > CALL + compilation else None
        if loop and (N > 1 or weights < CACHED):
            return loop(x, state, out[0])
        S = self.choose_segments(x, state) if len(out) == 1 and T >= SHORT else 0
        if S:
            return self.run_segments(x, state, out[0], S)
        return loop(x, state, out[0]) if loop else Projected.__call__(self, x, state, out)


def why_unavailable(unroll: str, precision: str = "float32") -> str:
    """Find what a strategy lacks here, in words; empty if it can run."""
    if unroll != "compiled":
        return ""
    if precision != "float32":
        return "computes in float32"
    from rnncli.engine.compiled.code import lacks

    return lacks()
