"""One long sequence in a few segments at once, by compiled loops.

As `rnncli.engine.unroll.parallel` does with many: each segment runs from a
guess, and again from where the one before it ends until the two runs have
converged. A loop runs a few rows in little more time than one, so a few
segments are enough.
"""

import numpy as np

from rnncli.engine.batch import Steps
from rnncli.engine.compiled.compiling import compiling, is_straight
from rnncli.engine.compiled.machine import this_machine
from rnncli.engine.precision import Precision
from rnncli.engine.threads import THREADS, in_threads, shares
from rnncli.engine.unroll.parallel import Advance, convergence, cut, probed_horizon
from rnncli.engine.unroll.projected import projected
from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell, State

# Fewest steps, and multiplications of all of them, that are worth the probes: these take a
# thousandth of a second and more. What a step takes beside counts for so many.
SHORT, WORTH, BESIDE = 8192, 40_000_000, 1000


def in_few_segments(
    cell: Cell, x: Floats, state: State, precision: Precision, out: Floats
) -> State | None:
    """Run a sequence, (T, 1, I); None where it is short or the network is not contracting."""
    T, S = len(x), THREADS * this_machine().rows_at_once
    L = T // S
    work = T * (cell.weights.W_xh.size + cell.weights.W_hh.size + BESIDE)
    if T < SHORT or work < WORTH or not is_straight(x):
        return None
    horizon = probed_horizon(cell, x, state, precision, L // 16)
    if horizon > L // 8:
        return None
    inputs, h = (cut(rows[:, 0], S, L).swapaxes(0, 1) for rows in (x, out))  # (L, S, I or H)
    advance = compiling(cell, precision)
    starts = tuple(np.zeros((S, size), x.dtype) for size in cell.state_sizes)
    for start, given in zip(starts, state, strict=True):
        start[:1] = given
    joins, ends = guess_all(advance, inputs, starts, h, 2 * horizon)
    correct_all(cell, advance, inputs, h, joins, ends, 2 * horizon)
    last, rest = tuple(array[-1:] for array in ends), slice(S * L, T)
    return projected(cell, Steps(x[rest]), last, precision, Steps(out[rest]))


def guess_all(
    advance: Advance, inputs: Floats, starts: State, h: Floats, join: int
) -> tuple[State, State]:
    """Run all segments; return their states after so many steps, and after their last one."""
    L, S, _ = h.shape
    kept: list[State] = [tuple(map(np.empty_like, starts)) for _ in range(2)]

    def guess(part: slice) -> None:
        now = tuple(array[part] for array in starts)
        for steps, states in zip((slice(0, join), slice(join, L)), kept, strict=True):
            now = advance(inputs[steps, part], now, h[steps, part])
            put(now, states, part)

    in_threads(guess, shares(S, THREADS))
    joins, ends = kept
    return joins, ends


def correct_all(
    cell: Cell,
    advance: Advance,
    inputs: Floats,
    h: Floats,
    joins: State,
    ends: State,
    join: int,
) -> None:
    """Run the first steps of segments again, from the ends of those before them.

    One that has not converged after so many steps runs whole, and so does the
    one behind it, which then starts from another state than it did.
    """
    S = h.shape[1]
    again = np.empty((join, S - 1, h.shape[2]), h.dtype)
    before = advance(inputs[: join - 1, 1:], tuple(a[:-1] for a in ends), again[:-1])
    after = advance(inputs[join - 1 : join, 1:], before, again[-1:])
    old = tuple(array[1:] for array in joins)
    converged = convergence(cell)(inputs[join - 1, 1:], before, after, old)
    h[: join - 1, 1:][:, converged] = again[:-1, converged]
    for s in range(1, S):
        if not converged[s - 1]:
            one, start = slice(s, s + 1), tuple(array[s - 1 : s] for array in ends)
            put(advance(inputs[:, one], start, h[:, one]), ends, one)
            converged[s : s + 1] = False


def put(state: State, states: State, part: slice) -> None:
    """Store the state of some segments among those of all."""
    for array, of_part in zip(states, state, strict=True):
        array[part] = of_part
