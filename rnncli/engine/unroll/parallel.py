"""One sequence, run in parallel over its own steps.

A contracting network is a chain that can be cut. Two runs fed the same inputs
converge until they differ by rounding alone. So::

    x   |--- segment 0 ---|--- segment 1 ---|--- segment 2 ---| ...
    1   h0 -> -> -> -> -> 0  -> -> -> -> -> 0  -> -> -> -> ->    all at once
    2                     e0 -> -> joined   e1 -> -> joined      all at once

1. *Guess.* T steps are cut into S segments of L. All run at once, as a batch
   of S rows: the first from the true state, the others from zero.
2. *Correct.* All but the first run again, from the state e that the segment
   before ended with, until the new run has converged to the old one. From that
   step on the old rows stand.
3. A segment that does not converge has changed its end, so its successor is
   corrected again: all such at once as long as every sweep halves their number,
   then one after the other.

**Why the joins are right.** Every row but one a segment is a step from the row
before it. That one row, at the join, is the old state o_t, while the row before
it is the new n_{t-1}, of which the step makes n_t. Converged means
``|n_t - o_t| <= SHARE bound`` in every unit of every array of the state, where
the bound is what rounding may do to this step (`rnncli.engine.near`). So the
row o_t is off from its own step by a share of what `rnn verify` allows.

**What it costs.** A step of a batch costs ``c + S v``: c for the calls, v a
row. The whole is ``(L + horizon) (c + S v)``, ``S L = T``. The horizon, the
steps until runs converge, is measured first, by probes at a few places of x. A
network that is not contracting shows there, and runs step by step.

Source: multiple shooting: Bellen & Zennaro (1989), J. Comput. Appl. Math. 25;
Gander (2015), "50 years of time parallel time integration". Of recurrent
networks: DEER, Lim et al. (2024), arXiv:2309.12252, and ParaRNN, Danieli et al.
(2025), arXiv:2510.21450, which solve all steps as one system by Newton's method.
"""

from collections.abc import Iterator
from math import ceil

import numpy as np

from rnncli.engine.near import NearNumbers, exact, sums
from rnncli.engine.threads import THREADS, in_threads, leaves_processors
from rnncli.engine.unroll.projected import Projected
from rnncli.model.arrays import Floats, Integers, Truths, as_items
from rnncli.model.cells import State

# Under so many steps the preparation costs more than it saves; fewest segments that pay.
SHORT, FEWEST = 4096, 4
# Steps in a block: fewer are more calls.
BLOCK = 32
# Values of the states of a step that stay in the cache, and rows a product is fast for.
STATES_IN_CACHE, ROWS = 8192, 64
# Values of all segments in a block: 28 MB of float32.
MEMORY = 7_000_000
# Places where the horizon is measured, and steps after which it is predicted from the rate.
PROBES, PATIENCE = 8, 64
# Distance of two states that have converged, as a share of what rounding may add up to.
SHARE = 0.25


class Parallel(Projected):
    """Segments of the sequence at once, as a batch; then again from their true states.

    ``h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``, each step within rounding
    of the row before it, joins included. Short sequences, or a network that
    is not contracting, run as `Projected`.
    """

    def __call__(self, x: Floats, state: State, out: State) -> State:
        """Run T steps, see `Strategy`."""
        S = self.worthwhile_segments(x, state) if len(out) == 1 else 0
        return self.run_segments(x, state, out[0], S) if S else super().__call__(x, state, out)

    def worthwhile_segments(self, x: Floats, state: State) -> int:
        """Choose the number of segments; 0 where there would be too few of them."""
        (T, N, I), width = x.shape, self.W_xh.shape[1]
        rows = max(ROWS, STATES_IN_CACHE // width)
        if T < SHORT or rows < FEWEST * N:
            return 0
        horizon = self.horizon(x, state, rows, T // (4 * FEWEST))
        if horizon is None:
            return 0
        most = min(T // (2 * horizon), MEMORY // (BLOCK * N * (2 * I + 1 + width)))
        if THREADS > 1 and leaves_processors(self.W_xh.size):
            rows *= THREADS
        S = min(most, rows // N)
        return S if S >= FEWEST else 0

    def horizon(self, x: Floats, state: State, rows: int, limit: int) -> int | None:
        """Measure the steps until two runs have converged; None if they do not in a probe of x.

        They are given up early where their rate predicts more than `limit` steps.

        One run starts from zero, the other where `state` leads: a gate that
        remembers does not show where a unit is zero.
        """
        T, N, _ = x.shape
        places = _cut(x, PROBES, T // PROBES)
        at_once = max(1, rows // (2 * N))
        longest = BLOCK
        for first in range(0, PROBES, at_once):
            probes = places[first : first + at_once]
            half = len(probes) * N
            now = tuple(np.tile(array, (2 * len(probes), 1)) for array in state)
            for steps in _blocks(probes.shape[1]):
                block = _take(probes, slice(None), steps)
                before, now, _ = self.advance(np.concatenate([block, block], axis=1), now)
                zero, far = tuple(a[:half] for a in now), tuple(a[half:] for a in now)
                distance = max(float(np.abs(a - b).max()) for a, b in zip(zero, far, strict=True))
                if steps.start == 0:
                    first_distance = max(float(np.abs(array).max()) for array in far)
                    for array in zero:
                        array[...] = 0
                elif self.converged(block[-1], tuple(a[:half] for a in before), zero, far).all():
                    longest = max(longest, steps.start)
                    break
                elif steps.start >= PATIENCE:
                    with np.errstate(all="ignore"):
                        rate = np.log(distance / first_distance) / steps.start
                    if not (rate < 0 and np.log(1e-7) / rate < limit):
                        return None
            else:
                return None
        return longest

    def run_segments(self, x: Floats, state: State, h: Floats, S: int) -> State:
        """Run the steps in S segments."""
        T = len(x)
        L = (T // S - 1) | 1  # odd: segments an even way apart share lines of the cache
        S = T // L
        segments = Segments(_cut(x, S, L), _cut(h, S, L), state)
        starts = tuple(np.zeros((S, *array.shape), array.dtype) for array in state)
        for start, array in zip(starts, state, strict=True):
            start[0] = array
        self.guess(segments, starts)
        chosen = np.arange(1, S)
        while len(chosen):
            left = self.correct(segments, chosen) + 1
            left = left[left < S]
            if 2 * len(left) > len(chosen):
                break
            chosen = left
        else:
            left = chosen
        self.run_in_order(segments, left)
        last = tuple(array[0] for array in segments.ends(np.array([S - 1])))
        return super().__call__(x[S * L :], last, (h[S * L :],))

    def run_in_order(self, segments: "Segments", left: Integers) -> None:
        """Run segments again one after the other, and their successors if their ends change."""
        S = len(segments.x)
        wrong = np.isin(np.arange(S + 1), left)
        for s in range(S):
            if wrong[s]:
                wrong[s + 1] |= len(self.correct(segments, np.array([s]))) > 0

    def guess(self, segments: "Segments", starts: State) -> None:
        """Run all segments from `starts`."""
        S, L, N, _ = segments.x.shape

        def run(share: slice) -> None:
            chosen = np.arange(S)[share]
            now = tuple(array[share].reshape(-1, array.shape[-1]) for array in starts)
            for steps in _blocks(L):
                block = _take(segments.x, chosen, steps)
                h = np.empty((len(block), len(now[0]), len(self.W_hh)), block.dtype)
                now = Projected.__call__(self, block, now, (h,))
                segments.put(chosen, steps, h, now)

        in_threads(run, self.shares(S, N))

    def correct(self, segments: "Segments", chosen: Integers) -> Integers:
        """Run segments again from the ends before them; return the ones that do not converge."""
        _, L, N, _ = segments.x.shape
        starts = segments.ends(chosen - 1)  # of all, before any is corrected
        left: list[Integers] = []

        def run(share: slice) -> None:
            running = chosen[share]
            now = tuple(array[share].reshape(-1, array.shape[-1]) for array in starts)
            for number, steps in enumerate(_blocks(L)):
                block = _take(segments.x, running, steps)
                before, now, h = self.advance(block, now)
                old = tuple(a.reshape(-1, a.shape[-1]) for a in segments.ends(running, number))
                near = self.converged(block[-1], before, now, old).reshape(-1, N).all(axis=1)
                joined = np.repeat(near, N)
                for array, of_old in zip(now, old, strict=True):
                    array[joined] = of_old[joined]  # the first of `now` is the last row of h
                segments.put(running, steps, h, now)
                running, now = running[~near], tuple(array[~joined] for array in now)
                if not len(running):
                    break
            left.append(running)

        in_threads(run, self.shares(len(chosen), N))
        return np.sort(np.concatenate(left))

    def shares(self, S: int, N: int) -> list[slice]:
        """Share S segments out among two threads, if they are worth it."""
        worth = S * N * self.W_xh.shape[1] > STATES_IN_CACHE and S > 1
        if worth and leaves_processors(self.W_xh.size):
            return [slice(0, S // 2), slice(S // 2, None)]
        return [slice(None)]

    def advance(self, x: Floats, state: State) -> tuple[State, State, Floats]:
        """Run a block; return the state before its last step, that after it, and h."""
        h = np.empty((len(x), len(state[0]), len(self.W_hh)), x.dtype)
        state = super().__call__(x[:-1], state, (h[:-1],))
        before = tuple(array.copy() for array in state)  # the next step may overwrite it
        return before, super().__call__(x[-1:], state, (h[-1:],)), h

    def converged(self, x: Floats, before: State, new: State, old: State) -> Truths:
        """Find the rows at which two runs are as near as rounding in their last step."""
        x_t, h, *rest = (exact(array, self.precision.name) for array in (x, *before))
        with np.errstate(all="ignore"):
            after = self.cell.step(NearNumbers(h), sums(self.cell, x_t, h), h, *rest)
            near = np.ones(len(x), bool)
            for step, a, b in zip(after, new, old, strict=True):
                near &= (np.abs(a - b) <= SHARE * step.off).all(axis=1)
                near &= np.isfinite(step.off).all(axis=1)
        return near


class Segments:
    """A sequence that is cut into S segments of L steps: x is (S, L, N, I), h (S, L, N, H).

    The arrays of the state beside h at the end of every block are in `rest`.
    """

    def __init__(self, x: Floats, h: Floats, state: State) -> None:
        self.x, self.h = x, h
        shape = (len(x), ceil(x.shape[1] / BLOCK))
        self.rest = [np.empty((*shape, *array.shape), array.dtype) for array in state[1:]]

    def ends(self, chosen: Integers, block: int = -1) -> State:
        """Copy the states of segments after a block, (chosen, N, size)."""
        L = self.x.shape[1]
        step = L - 1 if block < 0 else min((block + 1) * BLOCK, L) - 1
        return (self.h[chosen, step], *(array[chosen, block] for array in self.rest))

    def put(self, chosen: Integers, steps: slice, h: Floats, state: State) -> None:
        """Store a block, (steps, chosen * N, H), and the state after it."""
        N, H = self.h.shape[2:]
        items = as_items(h.reshape(len(h), -1, N, H))
        as_items(self.h)[chosen, steps] = items.swapaxes(0, 1)
        for whole, array in zip(self.rest, state[1:], strict=True):
            whole[chosen, steps.start // BLOCK] = array.reshape(-1, N, array.shape[-1])


def _blocks(T: int) -> Iterator[slice]:
    """Cut T steps into blocks."""
    return (slice(start, min(start + BLOCK, T)) for start in range(0, T, BLOCK))


def _cut(a: Floats, S: int, L: int) -> Floats:
    """View the first S L steps of (T, N, K) as (S, L, N, K)."""
    return a[: S * L].reshape(S, L, *a.shape[1:])


def _take(a: Floats, chosen: Integers | slice, steps: slice) -> Floats:
    """Copy steps of segments of (S, L, N, K), time first: (steps, chosen N, K)."""
    items = np.ascontiguousarray(as_items(a)[chosen, steps].swapaxes(0, 1))
    return items.view(a.dtype).reshape(len(items), -1, a.shape[-1])
