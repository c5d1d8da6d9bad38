"""One sequence, run in parallel over its own steps.

A recurrent network that forgets is a chain that can be cut. Two states fed
the same inputs come closer with every step, until they differ by rounding
alone; what came before the last *horizon* of steps no longer shows. So::

    x   |--- segment 0 ---|--- segment 1 ---|--- segment 2 ---| ...
    1   h0 -> -> -> -> -> 0  -> -> -> -> -> 0  -> -> -> -> ->    all at once
    2                     e0 -> -> met      e1 -> -> met         all at once

1. *Guess.* T steps are cut into S segments of L. All run at once, as a batch
   of S rows: the first from the true state, the others from zero.
2. *Correct.* All but the first run again, from the state e that the segment
   before ended with, only until the new run has met the old one. From that
   step on the old rows stand.
3. A segment that ends unmet has changed its end, so its successor is
   corrected again. As long as every sweep halves the number of these, they go
   at once; otherwise those that are left are done step by step, in order.

**Why the joins are right.** Every row but one a segment is one step, in one
batched product, from the row before it. That one row, at the join, is the old
state o_t, while the row before it is the new n_{t-1}. What a step makes of
n_{t-1} is at hand: it is n_t. Met means, in every unit j::

    |n_t - o_t|_j <= SHARE eps (slope (I + H + 4) a_j + 4 |n_t|_j),
    a = |x_t| @ |W_xh| + |n_{t-1}| @ |W_hh| + |b_h|

with the activation's steepest slope (if over 1). The row o_t is thus off from
its own step by as much more than n_t is, in each unit by its own measure: by
`SHARE` of what `rnncli.compare.step_errors` allows to rounding, which itself uses
a few hundredths of it. The row after it is the step from o_t, as it was
computed. What is not finite never meets.

**What it costs.** A step of a batch costs ``c + S v``: c for the calls, v a
row. The whole is ``(L + horizon) (c + S v)``, ``S L = T``: least where L is
large beside the horizon and S v beside c. The rows are therefore as many as
stay in the cache, or as are worth two lanes (`rnncli.unroll.parts`), which take half
of them each; and no more than leave a segment twice the horizon.

The horizon is measured first, at a few places of x (`forgetting_horizon`). A
network that does not forget is seen there, and runs step by step.

Memory beyond x and h is a block of steps, whatever T.

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

from rnncli.arrays import Floats, Integers, Truths, as_items
from rnncli.lanes import LANES, in_lanes, shares
from rnncli.network import Cell
from rnncli.precision import Precision
from rnncli.steps import Steps
from rnncli.unroll.blocks import Advance, advancing, blocks
from rnncli.unroll.parts import parts_for, rows_for_lanes
from rnncli.unroll.products import one_thread, product
from rnncli.unroll.projected import projected

Chosen: TypeAlias = Integers | slice
# met(x_t, before, new, old): of rows (R, ...), in which units (R, H) the two states have met.
Met: TypeAlias = Callable[[Floats, Floats, Floats, Floats], Truths]

# States of a step that stay in the cache with those of a block.
VALUES = 8192
# Rows that a product is fast for, however wide the states.
ROWS = 64
# Steps in a block: fewer are more calls.
BLOCK = 32
# Values of all segments in a block: 28 MB of float32.
MEMORY = 7_000_000
# Places where the horizon is measured.
PILOTS = 8
# Steps after which runs that come no closer are given up.
PATIENCE = 64
# Under so many steps the preparation costs more than it saves.
SHORT = 4096
# Fewest segments that are faster than steps one by one.
FEWEST = 4
# Distance of two states that have met, as a share of what rounding may add up to.
SHARE = 0.25


class Segments(NamedTuple):
    """A sequence that is cut into S segments of L steps.

    Parameters
    ----------
    cell : Cell
    precision : Precision
    x : array, shape (S, L, N, I)
    h : array, shape (S, L, N, H)
        Where the states go.
    """

    cell: Cell
    precision: Precision
    x: Floats
    h: Floats

    def lanes(self, S: int) -> list[slice]:
        """Share S segments out among lanes."""
        N = self.h.shape[2]
        return shares(S, min(LANES, parts_for(S * N, [self.cell])))


def parallel(cell: Cell, x: Steps, h0: Floats, precision: Precision, out: Steps) -> None:
    """Segments of the sequence at once, as a batch; then again from their true states.

    ``h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``, each step within rounding
    of the row before it, joins included. Short sequences, or a
    network that does not forget, run as `projected`.
    """
    if not in_segments(cell, x, h0, precision, out):
        projected(cell, x, h0, precision, out)


def in_segments(cell: Cell, x: Steps, h0: Floats, precision: Precision, out: Steps) -> bool:
    """Run as `parallel` does, or tell that steps one by one are sooner done."""
    T = len(x)
    if x.counts or T < SHORT or rows_at_once(cell) < FEWEST * x.N:
        return False
    S = segments_at_once(cell, x.N, T // (2 * forgetting_horizon(cell, x.rows, precision)))
    if S < FEWEST:
        return False
    L = (T // S - 1) | 1  # odd: segments an even way apart share lines of the cache
    S = T // L
    segments = Segments(cell, precision, cut(x.rows, S, L), cut(out.rows, S, L))
    step_by_step(segments, correct_all(segments, guess_all(segments, h0)))
    rest = slice(S * L, T)
    projected(cell, x[rest], out.rows[S * L - 1], precision, out[rest])
    return True


def rows_at_once(cell: Cell) -> int:
    """Count the rows of a batch that one lane is fast for."""
    return max(ROWS, VALUES // len(cell.weights.b_h))


def segments_at_once(cell: Cell, N: int, room: int) -> int:
    """Choose the number of segments, at most `room`: enough for two lanes, if there is room."""
    I, H = cell.weights.W_xh.shape
    room = min(room, MEMORY // (BLOCK * N * (2 * I + 1 + H)))
    one, two = rows_at_once(cell) // N, ceil(rows_for_lanes(H) / N)
    in_two = LANES > 1 and two <= room and one_thread(cell)
    return min(room, max(one, two) if in_two else one)


def forgetting_horizon(cell: Cell, x: Floats, precision: Precision) -> int:
    """Measure the steps until two runs from different states have met, at several places.

    The places are apart by an eighth of T, and as many go at once as rows do.

    Returns
    -------
    int
        The longest, a multiple of `BLOCK`; T where two do not meet.
    """
    T, N = len(x), x.shape[1]
    places = cut(x, PILOTS, T // PILOTS)
    together = max(1, rows_at_once(cell) // (2 * N))
    longest = BLOCK
    for first in range(0, PILOTS, together):
        horizon = meeting(cell, places[first : first + together], precision, T // 16)
        if horizon is None:
            return T
        longest = max(longest, horizon)
    return longest


def meeting(cell: Cell, x: Floats, precision: Precision, limit: int) -> int | None:
    """Run from two states, zero and one of another time, until they meet.

    They are given up as soon as the rate at which they have come closer
    would take more steps than `limit`.

    Parameters
    ----------
    x : array, shape (places, L, N, I)

    Returns
    -------
    int or None
        Steps until those of all places have met; None where they are given
        up.
    """
    half = x.shape[0] * x.shape[2]
    states = np.zeros((2 * half, len(cell.weights.b_h)), x.dtype)
    advance, met = advancing(cell, BLOCK, 2 * half, precision), meetings(cell)
    before = 0.0
    for steps in blocks(x.shape[1], BLOCK):
        inputs = take(x, slice(None), steps)
        h = ran(advance, np.concatenate([inputs, inputs], axis=1), states)
        last = h[-2] if len(h) > 1 else states
        states = h[-1]
        one, other = states[:half], states[half:]
        if steps.start == 0:
            before = float(np.abs(other).max())
            one[...] = 0
        elif met(inputs[-1], last[:half], one, other).all():
            return int(steps.start)
        elif steps.start >= PATIENCE:
            distance = float(np.abs(one - other).max())
            if not expected_meeting(before, distance, steps.start) < limit:
                break
    return None


def expected_meeting(first: float, distance: float, n: int) -> float:
    """Predict the steps to a distance of 1e-7 times the first, from the rate of n steps."""
    with np.errstate(all="ignore"):
        rate = np.log(distance / first) / n
    return float(np.log(1e-7) / rate) if rate < 0 else np.inf


def guess_all(segments: Segments, h0: Floats) -> Integers:
    """Run all segments, the first from `h0`, the others from zero.

    Returns
    -------
    array of int
        Those whose first state was a guess.
    """
    S, L, *_ = segments.x.shape
    states = np.zeros((S, *h0.shape), h0.dtype)
    states[0] = h0

    def guess(part: slice) -> None:
        h_t = rows(states[part])
        advance = advancing(segments.cell, BLOCK, len(h_t), segments.precision)
        for steps in blocks(L, BLOCK):
            h = ran(advance, segments.x[part, steps].swapaxes(0, 1), h_t)  # x: (steps, S, N, I)
            put(segments.h, part, steps, h)
            h_t = h[-1]

    in_lanes(guess, segments.lanes(S))
    return np.arange(1, S)


def correct_all(segments: Segments, chosen: Integers) -> Integers:
    """Run segments again until they meet what is there, and their successors if they do not.

    Returns
    -------
    array of int
        Segments that still start from another state than the one before
        ends with; empty if all is right.
    """
    while len(chosen):
        unmet = corrected(segments, chosen) + 1
        unmet = unmet[unmet < len(segments.x)]
        if 2 * len(unmet) > len(chosen):
            return unmet
        chosen = unmet
    return chosen


def corrected(segments: Segments, chosen: Integers) -> Integers:
    """Run segments from where those before them ended, each until it meets its old run.

    Returns
    -------
    array of int
        Segments that have not met it before their end.
    """
    N, H = segments.h.shape[2:]
    starts = segments.h[chosen - 1, -1]  # of all, before any is corrected
    met = meetings(segments.cell)

    def correct(part: slice) -> Integers:
        those, h_t = chosen[part], rows(starts[part])
        advance = advancing(segments.cell, BLOCK, len(h_t), segments.precision)
        for steps in blocks(segments.x.shape[1], BLOCK):
            if not len(those):
                break
            inputs = take(segments.x, those, steps)
            h = ran(advance, inputs, h_t)
            before = h[-2] if len(h) > 1 else h_t
            new, old = h[-1].reshape(-1, N, H), segments.h[those, steps.stop - 1]
            unmet = ~met(inputs[-1], before, h[-1], rows(old)).reshape(old.shape).all(axis=(1, 2))
            new[~unmet] = old[~unmet]
            put(segments.h, those, steps, h)
            those, h_t = those[unmet], rows(new[unmet])
        return those

    return np.concatenate(in_lanes(correct, segments.lanes(len(chosen))))


def step_by_step(segments: Segments, unmet: Integers) -> None:
    """Run segments again one after the other, and their successors if their end changes."""
    wrong = np.isin(np.arange(len(segments.x) + 1), unmet)
    for s in range(len(segments.x)):
        if wrong[s]:
            wrong[s + 1] |= len(corrected(segments, np.array([s]))) > 0


def ran(advance: Advance, x: Floats, h0: Floats) -> Floats:
    """Run a block of steps from `h0`, (R, H); gives the states, (T, R, H)."""
    h = np.empty((len(x), *h0.shape), h0.dtype)
    advance(Steps(x), h0, Steps(h))
    return h


def meetings(cell: Cell) -> Met:
    """Make a function that tells in which units two runs have met at a step.

    Returns
    -------
    callable
        ``met(x_t, before, new, old)``: the inputs of the step, (R, I), the
        state before it and the one after it in one run, and the one after it
        in the other, (R, H) each; gives (R, H). The step from `before` gives
        either state, within rounding.
    """
    W_xh, W_hh, b_h = (np.abs(array) for array in cell.weights)
    eps, terms = np.finfo(b_h.dtype).eps, max(1, cell.activation.slope) * (sum(W_xh.shape) + 4)

    def met(x_t: Floats, before: Floats, new: Floats, old: Floats) -> Truths:
        from_input, from_state = np.empty_like(new), np.empty_like(new)
        with np.errstate(invalid="ignore", over="ignore"):
            product(np.abs(x_t), W_xh, from_input)
            product(np.abs(before), W_hh, from_state)
            allowed = SHARE * eps * (terms * (from_input + from_state + b_h) + 4 * np.abs(new))
            near = np.abs(new - old) <= allowed
        same: Truths = near & np.isfinite(allowed)
        return same

    return met


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


def put(a: Floats, chosen: Chosen, steps: slice, block: Floats) -> None:
    """Copy a block back, as `take` gave it."""
    N, K = a.shape[2:]
    items = as_items(block.reshape(len(block), -1, N, K))
    as_items(a)[chosen, steps] = items.swapaxes(0, 1)
