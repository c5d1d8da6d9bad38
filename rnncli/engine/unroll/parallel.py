"""One sequence, run in parallel over its own steps.

A contracting network is a chain that can be cut. Two runs fed the same
inputs converge, until they differ by rounding alone; what came before the
last *horizon* of steps no longer shows. So::

    x   |--- segment 0 ---|--- segment 1 ---|--- segment 2 ---| ...
    1   h0 -> -> -> -> -> 0  -> -> -> -> -> 0  -> -> -> -> ->    all at once
    2                     e0 -> -> joined   e1 -> -> joined      all at once

1. *Guess.* T steps are cut into S segments of L. All run at once, as a batch
   of S rows: the first from the true state, the others from zero.
2. *Correct.* All but the first run again, from the state e that the segment
   before ended with, only until the new run has converged to the old one.
   From that step on the old rows stand.
3. A segment whose runs do not converge has changed its end, so its successor
   is corrected again. As long as every sweep halves the number of these, they
   go at once; otherwise those that are left are done step by step, in order.

**Why the joins are right.** Every row but one a segment is one step, in one
batched product, from the row before it. That one row, at the join, is the old
state o_t, while the row before it is the new n_{t-1}. What a step makes of
n_{t-1} is known: it is n_t. Converged means, in every unit of every array of
the state::

    |n_t - o_t| <= SHARE bound

where the bound is what rounding may do to one step: to the sums of the gates
``(I + H + 4) eps (|x_t| @ |W_xh| + |n_{t-1}| @ |W_hh| + |b_h|)``, and to what
the cell makes of them (`Cell.bounds`). The row o_t is thus off from its own
step by as much more than n_t is, in each unit by its own measure: by `SHARE`
of what `rnncli.verify.steps.step_errors` allows to rounding, which itself uses
a few hundredths of it. The row after it is the step from o_t, as it was
computed. What is not finite never converges.

**What it costs.** A step of a batch costs ``c + S v``: c for the calls, v a
row. The whole is ``(L + horizon) (c + S v)``, ``S L = T``: least where L is
large beside the horizon and S v beside c. The rows are therefore as many as
stay in the cache, or as are worth two threads (`rnncli.engine.threads`), which
take half of them each; and no more than leave a segment twice the horizon.

Of a cell with more inputs than units most of it is ``x @ W_xh``, and copying x.
These sums are made first, of rows as they lie, and go where h is to be. Those
of the first blocks of every segment are kept for the correction.

The horizon is measured first, by probes at a few places of x. A network that
is not contracting shows there, and runs step by step.

Memory beyond x and h is a block of steps, whatever T; of a cell whose state
has more arrays than h, also these arrays at the end of every block.

Source: multiple shooting and its parallel use: Bellen & Zennaro (1989), J.
Comput. Appl. Math. 25; Gander (2015), "50 years of time parallel time
integration"; waveform relaxation: Lelarasmee et al. (1982). Of recurrent
networks: Martin & Cundy (2018), arXiv:1709.04057 (linear ones); DEER, Lim et
al. (2024), arXiv:2309.12252; ELK, Gonzalez et al. (2024), arXiv:2407.19115;
ParaRNN, Danieli et al. (2025), arXiv:2510.21450. These solve all T steps as
one system by Newton's method, with H x H Jacobians or their diagonals. Here
the cell itself is the only operator, so a step costs H^2, as ever, and an
answer can be wrong only at a join, where it is checked.
"""

from collections.abc import Callable
from math import ceil
from typing import NamedTuple, TypeAlias

import numpy as np

from rnncli.engine.batch import Steps
from rnncli.engine.precision import Precision
from rnncli.engine.threads import (
    THREADS,
    blocks,
    in_threads,
    leaves_processors,
    parts_for,
    rows_for_threads,
    shares,
)
from rnncli.engine.unroll.projected import (
    advancing,
    cached_steps,
    is_wide,
    projected,
    projecting,
)
from rnncli.engine.unroll.sums import blocks_first
from rnncli.model.arrays import Floats, Integers, Truths, as_items
from rnncli.model.cells import Cell, Operands, State

Chosen: TypeAlias = Integers | slice
# prepare(x): what `advance` takes for the inputs (T, ..., I), and an array (T, R, H) for h. Of a
# cell that is a function of one sum both are the array of the projected inputs.
Prepare: TypeAlias = Callable[[Floats], tuple[Floats, Floats]]
# advance(given, state, h): as for a strategy, of at most so many steps and rows.
Advance: TypeAlias = Callable[[Floats, State, Floats], State]
# converged(x_t, before, new, old): of rows (R, ...), for which two states have converged.
Converged: TypeAlias = Callable[[Floats, State, State, State], Truths]

# States of a step that stay in the cache with those of a block.
VALUES = 8192
# Rows that a product is fast for, however wide the states.
ROWS = 64
# Steps in a block: fewer are more calls.
BLOCK = 32
# Values of all segments in a block: 28 MB of float32.
MEMORY = 7_000_000
# Values of sums that are kept for the correction: to copy them takes 0.3 ms.
KEPT = 1_000_000
# Places where the horizon is measured.
PROBES = 8
# Steps after which runs that come no closer are given up.
PATIENCE = 64
# Under so many steps the preparation costs more than it saves.
SHORT = 4096
# Fewest segments that are faster than steps one by one.
FEWEST = 4
# Fewest multiplications in a product that are worth two threads, which take 80 us to start.
WORTH_THREADS = 30_000_000
# Distance of two states that have converged, as a share of what rounding may add up to.
SHARE = 0.25


class Segments(NamedTuple):
    """A sequence that is cut into S segments of L steps.

    Parameters
    ----------
    cell : Cell
    precision : Precision
    x : array, shape (S, L, N, I)
    h : array, shape (S, L, N, H)
        Where h of every step goes.
    others : tuple of arrays, shape (blocks, S, N, size) each
        The state's arrays beside h, at the end of every block of steps.
    sums : array, shape (S, kept, N, H), optional
        The projected inputs of the first steps of each, which h is about to
        cover: those of all steps lie where h is to be.
    """

    cell: Cell
    precision: Precision
    x: Floats
    h: Floats
    others: State
    sums: Floats | None = None

    def shares(self, S: int) -> list[slice]:
        """Share S segments out among threads."""
        N = self.h.shape[2]
        return shares(S, min(THREADS, parts_for(S * N, [self.cell])))

    def state(self, chosen: Chosen, step: int) -> State:
        """Copy the state of segments after a step that ends a block, (chosen N, size)."""
        others = (array[step // BLOCK, chosen] for array in self.others)
        return tuple(rows(array) for array in (self.h[chosen, step], *others))

    def put(self, chosen: Chosen, steps: slice, h: Floats, state: State) -> None:
        """Store a block of steps, (steps, chosen N, H), and the state after it."""
        N, H = self.h.shape[2:]
        items = as_items(h.reshape(len(h), -1, N, H))
        as_items(self.h)[chosen, steps] = items.swapaxes(0, 1)
        for array, other in zip(self.others, state[1:], strict=True):
            array[steps.start // BLOCK, chosen] = other.reshape(-1, N, other.shape[1])


def parallel(cell: Cell, x: Steps, state: State, precision: Precision, out: Steps) -> State:
    """Segments of the sequence at once, as a batch; then again from their true states.

    ``h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``, each step within rounding
    of the row before it, joins included. Short sequences, or a network that
    is not contracting, run as `projected`.
    """
    S = worthwhile_segments(cell, x, state, precision)
    if not S:
        return projected(cell, x, state, precision, out)
    return in_segments(cell, x, state, precision, out, S)


def worthwhile_segments(
    cell: Cell, x: Steps, state: State, precision: Precision, fewest: int = FEWEST
) -> int:
    """Choose into how many segments steps are cut; 0 where there would be fewer than worthwhile."""
    T = len(x)
    if x.batch_sizes or T < SHORT or rows_at_once(cell) < FEWEST * x.N:
        return 0
    horizon = probed_horizon(cell, x.rows, state, precision, T // (4 * fewest))
    S = segments_at_once(cell, x.N, T // (2 * horizon))
    return S if fewest <= S else 0


def in_segments(
    cell: Cell, x: Steps, state: State, precision: Precision, out: Steps, S: int
) -> State:
    """Run steps in S segments at once, as `parallel` does."""
    T = len(x)
    L = (T // S - 1) | 1  # odd: segments an even way apart share lines of the cache
    S = T // L
    shape = (ceil(L / BLOCK), S, x.N)
    others = tuple(np.empty((*shape, array.shape[1]), array.dtype) for array in state[1:])
    segments = Segments(cell, precision, cut(x.rows, S, L), cut(out.rows, S, L), others)
    if is_wide(cell):
        project_all(cell, x[: S * L], out[: S * L])
        kept = max(1, min(ceil(L / 2 / BLOCK), KEPT // segments.h[:, :BLOCK].size))  # blocks
        segments = segments._replace(sums=segments.h[:, : kept * BLOCK].copy())
    step_by_step(segments, correct_all(segments, guess_all(segments, state)))
    rest = slice(S * L, T)
    return projected(cell, x[rest], segments.state(slice(-1, None), L - 1), precision, out[rest])


def rows_at_once(cell: Cell) -> int:
    """Count the rows of a batch that one thread is fast for."""
    return max(ROWS, VALUES // len(cell.weights.b_h))


def segments_at_once(cell: Cell, N: int, most: int) -> int:
    """Choose the number of segments, at most so many: enough for two threads, if that allows it."""
    I, width = cell.weights.W_xh.shape
    values = (I + 2 * width) if is_wide(cell) else 2 * I + 1 + width
    most = min(most, MEMORY // (BLOCK * N * values))
    one, two = rows_at_once(cell) // N, ceil(rows_for_threads(cell) / N)
    in_two = THREADS > 1 and two <= most and leaves_processors(cell)
    return min(most, max(one, two) if in_two else one)


def probed_horizon(cell: Cell, x: Floats, state: State, precision: Precision, limit: int) -> int:
    """Measure the steps until two runs from different states have converged, up to a limit.

    The probes are an eighth of T apart. As many run at once as a step has
    rows for. One of two begins where `state` leads, if the cell has gates: a
    gate that holds what a unit has does not show where that is zero.
    """
    T, N = len(x), x.shape[1]
    if cell.sums_alone:
        state = tuple(map(np.zeros_like, state))
    places = cut(x, PROBES, T // PROBES)
    together = max(1, rows_at_once(cell) // (2 * N))
    longest = BLOCK
    for first in range(0, PROBES, together):
        horizon = probe(cell, places[first : first + together], state, precision, limit)
        if horizon is None:
            return T
        longest = max(longest, horizon)
    return longest


def probe(cell: Cell, x: Floats, state: State, precision: Precision, limit: int) -> int | None:
    """Run from two states until they converge: zero, and where a block of steps leads.

    They are given up as soon as the rate at which they have come closer
    would take more steps than `limit`.
    """
    half = x.shape[0] * x.shape[2]
    state = tuple(np.tile(array, (2 * x.shape[0], 1)) for array in state)
    prepare, advance = of_blocks(cell, 2 * half, precision)
    converged = convergence(cell)
    apart = 0.0
    for steps in blocks(x.shape[1], BLOCK):
        inputs = take(x, slice(None), steps)
        given, h = prepare(np.concatenate([inputs, inputs], axis=1))
        before, state = ran(advance, given, state, h)
        one, other = tuple(a[:half] for a in state), tuple(a[half:] for a in state)
        if steps.start == 0:
            apart = max(float(np.abs(array).max()) for array in other)
            for array in one:
                array[...] = 0
        elif converged(inputs[-1], tuple(a[:half] for a in before), one, other).all():
            return int(steps.start)
        elif steps.start >= PATIENCE:
            distance = max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))
            if not expected_horizon(apart, distance, steps.start) < limit:
                break
    return None


def expected_horizon(first: float, distance: float, n: int) -> float:
    """Predict the steps to a distance of 1e-7 times the first, from the rate of n steps.

    Infinitely many where there is no such rate, as from a distance of 0.
    """
    with np.errstate(all="ignore"):
        rate = np.log(np.divide(distance, first)) / n
    return float(np.log(1e-7) / rate) if rate < 0 else np.inf


def guess_all(segments: Segments, state: State) -> Integers:
    """Run all segments, the first from `state`, the others from zero."""
    S, L, *_ = segments.x.shape
    starts = tuple(np.zeros((S, *array.shape), array.dtype) for array in state)
    for start, array in zip(starts, state, strict=True):
        start[0] = array

    def guess(part: slice) -> None:
        now = tuple(rows(array[part]) for array in starts)
        prepare, advance = of_blocks(segments.cell, len(now[0]), segments.precision)
        for steps in blocks(L, BLOCK):
            if segments.sums is None:  # x: (steps, S, N, I)
                given, h = prepare(segments.x[part, steps].swapaxes(0, 1))
            else:
                given = h = take(segments.h, part, steps)
            now = advance(given, now, h)
            segments.put(part, steps, h, now)

    in_threads(guess, segments.shares(S))
    return np.arange(1, S)


def correct_all(segments: Segments, chosen: Integers) -> Integers:
    """Run segments again until they converge to what is there, and their successors if not."""
    while len(chosen):
        left = corrected(segments, chosen) + 1
        left = left[left < len(segments.x)]
        if 2 * len(left) > len(chosen):
            return left
        chosen = left
    return chosen


def corrected(segments: Segments, chosen: Integers) -> Integers:
    """Run segments from where those before them ended, each until it converges to its old run.

    A single one of a cell with gates is compared ever more seldom, after 1,
    2, 4, ... blocks: to compare takes as long as to run some steps.
    """
    N, L = segments.h.shape[2], segments.x.shape[1]
    starts = segments.state(chosen - 1, L - 1)  # of all, before any is corrected
    converged = convergence(segments.cell)

    def correct(part: slice) -> Integers:
        those = chosen[part]
        now = tuple(rows(array.reshape(len(chosen), N, -1)[part]) for array in starts)
        prepare, advance = of_blocks(segments.cell, len(now[0]), segments.precision)
        for number, steps in enumerate(blocks(L, BLOCK), start=1):
            if not len(those):
                break
            if segments.sums is None or steps.stop > segments.sums.shape[1]:
                given, h = prepare(take(segments.x, those, steps))
            else:
                given = h = take(segments.sums, those, steps)
            seldom = len(those) == 1 and not segments.cell.sums_alone
            if seldom and number.bit_count() > 1:
                now = advance(given, now, h)
                segments.put(those, steps, h, now)
                continue
            before, now = ran(advance, given, now, h)
            old = segments.state(those, steps.stop - 1)
            x_t = take(segments.x, those, slice(steps.stop - 1, steps.stop))[0]
            apart = ~converged(x_t, before, now, old).reshape(-1, N).all(axis=1)
            joined = np.repeat(~apart, N)
            # The first array of `now` is the last row of `h`: the old state goes into both.
            for new_array, old_array in zip(now, old, strict=True):
                new_array[joined] = old_array[joined]
            segments.put(those, steps, h, now)
            those, now = those[apart], tuple(array[~joined] for array in now)
        return those

    return np.concatenate(in_threads(correct, segments.shares(len(chosen))))


def step_by_step(segments: Segments, left: Integers) -> None:
    """Run segments again one after the other, and their successors if their end changes."""
    wrong = np.isin(np.arange(len(segments.x) + 1), left)
    for s in range(len(segments.x)):
        if wrong[s]:
            wrong[s + 1] |= len(corrected(segments, np.array([s]))) > 0


def project_all(cell: Cell, x: Steps, out: Steps) -> None:
    """Project the inputs of all steps to where h is to be."""
    size = cached_steps(out.rows[0].size)

    def project(part: slice) -> None:
        compute = projecting(cell, size, x.N)
        for steps in blocks(part.stop - part.start, size):
            compute(x[part][steps], out[part][steps])

    long = out.rows.size * x.rows.shape[-1] >= WORTH_THREADS and leaves_processors(cell)
    in_threads(project, shares(len(x), THREADS if long else 1))


def of_blocks(cell: Cell, rows: int, precision: Precision) -> tuple[Prepare, Advance]:
    """Return what runs a block of steps of at most so many rows."""
    H, dtype = cell.state_sizes[0], cell.operands.b_h.dtype
    project = projecting(cell, BLOCK, rows)

    def prepare(x: Floats) -> tuple[Floats, Floats]:
        h = np.empty((len(x), x[0].size // x.shape[-1], H), dtype)
        return np.asarray(project(Steps(x), Steps(h))), h

    return prepare, advancing(cell, rows, precision)


def ran(advance: Advance, given: Floats, state: State, h: Floats) -> tuple[State, State]:
    """Run a block of steps; return the state before the last one, and that after it."""
    if len(given) > 1:
        state = advance(given[:-1], state, h[:-1])
    before = tuple(array.copy() for array in state)  # the next step may overwrite it
    return before, advance(given[-1:], state, h[-1:])


def convergence(cell: Cell) -> Converged:
    """Return a function that finds the rows at which two runs have converged."""
    operands = cell.operands
    sizes = Operands(*map(np.abs, operands))
    rounding = (len(operands.W_xh) + len(operands.W_hh) + 4) * np.finfo(operands.b_h.dtype).eps

    def converged(x_t: Floats, before: State, new: State, old: State) -> Truths:
        near = np.ones(len(x_t), bool)
        with np.errstate(invalid="ignore", over="ignore"):
            off = _sums(sizes, np.abs(x_t), np.abs(before[0]))
            off *= rounding
            sums = off if cell.sums_alone else _sums(operands, x_t, before[0])
            if not cell.sums_alone:
                off, sums = (blocks_first(each, cell.hidden_size) for each in (off, sums))
            for bound, a, b in zip(cell.bounds(sums, off, before, new), new, old, strict=True):
                near &= ((np.abs(a - b) <= SHARE * bound) & np.isfinite(bound)).all(axis=1)
        return near

    return converged


def _sums(operands: Operands, x_t: Floats, h: Floats) -> Floats:
    """Return the sums of a step side by side, (R, blocks * H)."""
    W_xh, W_hh, b_h = operands
    sums = x_t @ W_xh
    sums[:, -W_hh.shape[1] :] += h @ W_hh
    return sums + b_h


def cut(a: Floats, S: int, L: int) -> Floats:
    """View the first S L steps of (T, N, K) as (S, L, N, K)."""
    return a[: S * L].reshape(S, L, *a.shape[1:])


def rows(h: Floats) -> Floats:
    """View (S, N, H) as (S N, H)."""
    return h.reshape(-1, h.shape[-1])


def take(a: Floats, chosen: Chosen, steps: slice) -> Floats:
    """Copy steps of segments of (S, L, N, K), time first: (steps, chosen N, K)."""
    items = np.ascontiguousarray(as_items(a)[chosen, steps].swapaxes(0, 1))
    return items.view(a.dtype).reshape(len(items), -1, a.shape[-1])
