"""One sequence, run in parallel over its own steps.

Two runs of a contracting network over the same inputs converge until they differ by rounding
alone. So the steps are cut into segments, which run as a batch: the first from the true state, the
others from zero. Then all but the first run again, each from the state in which the segment before
ended, until they have converged to the old run, whose later rows are final. After the first segment
that does not converge, all steps run one after the other.

Each row is a step from the row before it, except one in each segment: the first row o_t of the old
run, where a step from n_{t-1} of the new run gives n_t. Converged means ``|n_t - o_t| <= SHARE
bound`` in every unit of every array of the state, where the bound is for the rounding of this step
(`rnncli.engine.bounded`): a share of what `rnn verify` allows.

Source: Bellen & Zennaro (1989), J. Comput. Appl. Math. 25 (multiple shooting).
"""

from math import ceil

import numpy as np

from rnncli.engine.bounded import Bounded, BoundedNumbers, compute_sums
from rnncli.engine.threads import THREADS, in_threads, may_share_products
from rnncli.engine.unroll.loops import Projected
from rnncli.model.arrays import Floats, Integers, Truths, as_items
from rnncli.model.cells import State

# The fewest steps and the fewest segments that are worth the preparation.
SHORT, FEWEST = 4096, 4
# Steps in a block; fewer would take more calls.
BLOCK = 32
# Values of the states of a step that stay in the cache, and rows of a product that is fast.
STATES_IN_CACHE, ROWS = 8192, 64
# Values of a block of all segments: 28 MB of float32.
MEMORY = 7_000_000
# Segments that measure the horizon, and steps after which their rate predicts it.
PROBES, PATIENCE = 8, 64
# Distance of two states that have converged, as a share of what rounding may add up to.
SHARE = 0.25


class Parallel(Projected):
    """All segments at once; `Projected` if a sequence is short or a network does not contract."""

    def __call__(self, x: Floats, state: State, out: State) -> State:
        """Run T steps, see `Strategy`."""
        S = self.choose_segments(x, state) if len(out) == 1 and len(x) >= SHORT else 0
        return self.run_segments(x, state, out[0], S) if S else super().__call__(x, state, out)

    def choose_segments(self, x: Floats, state: State) -> int:
        """Choose the number of segments; 0 if there would be too few."""
        (T, N, I), width = x.shape, len(self.operands.b_h)
        rows = max(ROWS, STATES_IN_CACHE // width)
        horizon = 0 if rows < FEWEST * N else self.measure_horizon(x, state, T // (4 * FEWEST))
        if not horizon:
            return 0
        most = min(T // (2 * horizon), MEMORY // (BLOCK * N * (2 * I + 1 + width)))
        if may_share_products():
            rows *= THREADS
        S = min(most, rows // N)
        return S if S >= FEWEST else 0

    def measure_horizon(self, x: Floats, state: State, limit: int) -> int:
        """Measure the steps until two runs have converged; 0 if their rate predicts over `limit`.

        One starts from zero, and the other from a state after `state`: from zero alone a gate that
        remembers would stay hidden.
        """
        probes = _cut(x, PROBES, _shorten(len(x) // PROBES))
        half, initial = PROBES * x.shape[1], 0.0
        now = tuple(np.tile(array, (2 * PROBES, 1)) for array in state)
        for start in range(0, probes.shape[1], BLOCK):
            block = _take(probes, np.arange(PROBES), slice(start, start + BLOCK))
            before, now, _ = self.advance(np.concatenate([block, block], axis=1), now)
            zero, far = tuple(a[:half] for a in now), tuple(a[half:] for a in now)
            distance = max(float(np.abs(a - b).max()) for a, b in zip(zero, far, strict=True))
            if start == 0:
                initial = max(float(np.abs(array).max()) for array in far)
                for array in zero:
                    array[...] = 0
            elif self.find_converged(block[-1], tuple(a[:half] for a in before), zero, far).all():
                return start
            elif start >= PATIENCE and not distance < initial * 1e-7 ** (start / limit):
                return 0
        return 0

    def run_segments(self, x: Floats, state: State, h: Floats, S: int) -> State:
        """Run the steps in S segments."""
        L = _shorten(len(x) // S)
        S = len(x) // L
        x_segments, h_segments, blocks = _cut(x, S, L), _cut(h, S, L), ceil(L / BLOCK)
        # Every array of the state at the end of every block, (S, blocks, N, size).
        ends = tuple(np.empty((S, blocks, *array.shape), array.dtype) for array in state)
        starts = tuple(np.zeros((S, *array.shape), array.dtype) for array in state)
        for start, array in zip(starts, state, strict=True):
            start[0] = array
        self.sweep(x_segments, h_segments, starts, ends)
        starts = tuple(array[:-1, -1].copy() for array in ends)
        done = 1 + int(self.sweep(x_segments, h_segments, starts, ends).min(initial=S - 1))
        last = tuple(array[done - 1, -1] for array in ends)
        return super().__call__(x[done * L :], last, (h[done * L :],))

    def sweep(self, x: Floats, h: Floats, starts: State, ends: State) -> Integers:
        """Run all segments, or all but the first until they converge; return those that do not."""
        (S, L, N, _), H, unconverged = x.shape, h.shape[-1], list[Integers]()
        first = S - len(starts[0])

        def run(running: Integers) -> None:
            now = tuple(array[running - first].reshape(-1, array.shape[-1]) for array in starts)
            for number, start in enumerate(range(0, L, BLOCK)):
                steps, near = slice(start, start + BLOCK), np.zeros(len(running), bool)
                block = _take(x, running, steps)
                before, now, h_block = self.advance(block, now)
                if first > 0:
                    old = tuple(a[running, number].reshape(-1, a.shape[-1]) for a in ends)
                    rows = self.find_converged(block[-1], before, now, old)
                    near = np.asarray(rows.reshape(-1, N).all(axis=1))
                    for array, old_array in zip(now, old, strict=True):  # the first is a row of h
                        array[np.repeat(near, N)] = old_array[np.repeat(near, N)]
                items = as_items(h_block.reshape(len(h_block), -1, N, H))
                as_items(h)[running, steps] = items.swapaxes(0, 1)
                for end, array in zip(ends, now, strict=True):
                    end[running, number] = array.reshape(-1, N, array.shape[-1])
                if near.any():
                    running, now = running[~near], tuple(a[~np.repeat(near, N)] for a in now)
                if not len(running):
                    break
            unconverged.append(running)

        pays = S * N * len(self.operands.b_h) > STATES_IN_CACHE and may_share_products()
        in_threads(run, np.array_split(np.arange(first, S), 2 if pays else 1))
        return np.concatenate(unconverged)

    def advance(self, x: Floats, state: State) -> tuple[State, State, Floats]:
        """Run a block; return the states before and after its last step, and h of all steps."""
        out = tuple(np.empty((len(x), *array.shape), array.dtype) for array in state)
        Projected.__call__(self, x, state, out)
        return tuple(array[-2] for array in out), tuple(array[-1] for array in out), out[0]

    def find_converged(self, x: Floats, before: State, new: State, old: State) -> Truths:
        """Find the rows whose two states after a step are as near as its rounding."""
        exact = [(array.astype(np.float64), np.zeros(array.shape)) for array in (x, *before)]
        x_t, h, *rest = (Bounded(*pair, self.precision.name) for pair in exact)
        with np.errstate(all="ignore"):
            after = self.cell.step(BoundedNumbers(h), compute_sums(self.cell, x_t, h), h, *rest)
            near = np.ones(len(x), bool)
            for step, a, b in zip(after, new, old, strict=True):
                near &= (np.abs(a - b) <= SHARE * step.off).all(axis=1)
                near &= np.isfinite(step.off).all(axis=1)
        return near


def _shorten(T: int) -> int:
    """Shorten T: odd for the cache, and three steps or more in the last block."""
    return (T - 3) | 3


def _cut(a: Floats, S: int, L: int) -> Floats:
    """View the first S L steps of (T, N, K) as (S, L, N, K)."""
    return a[: S * L].reshape(S, L, *a.shape[1:])


def _take(a: Floats, chosen: Integers, steps: slice) -> Floats:
    """Copy steps of segments of (S, L, N, K), time first: (steps, chosen N, K)."""
    items = np.ascontiguousarray(as_items(a)[chosen, steps].swapaxes(0, 1))
    return items.view(a.dtype).reshape(len(items), -1, a.shape[-1])
