"""The base of the strategies, ways to run a cell over many steps, and those that need only NumPy.

A partial sum over the largest float stays infinite, even if later terms have the other sign, and an
activation or a clip hides it: tanh gives 1 where -1 is right. So a step whose terms may add up to
more than the largest float counts as an overflow.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import repeat

import numpy as np

from rnncli.engine.precision import Precision
from rnncli.model.arrays import Floats, as_items, contiguous, largest
from rnncli.model.cells import Cell, State, StepFunction
from rnncli.model.cells.cell import Operands, Prepare

# Largest matrix, in numbers, that OpenBLAS multiplies by a vector in one thread (interface/gemv.c).
ONE_THREAD = 8192
# Sums of a block that stay in the cache, and the fewest steps of a block.
SUMS_IN_CACHE, STEPS = 65_536, 4
# Weights and rows of a product from which BLAS is a fifth faster.
LARGE, ROWS = 20_000, 1024
# Share of the largest float below which a sum cannot overflow, however it is rounded.
SAFE = 0.99


class Strategy:
    """A way to run a cell, with its weights in a precision, over T steps."""

    rows_run = 0  # rows of the stream so far, this batch included

    def __init__(self, cell: Cell, precision: Precision) -> None:
        self.cell, self.precision, self.H = cell, precision, cell.hidden_size

    @cached_property
    def _step(self) -> tuple[Operands, Prepare]:
        """The operands of a step in NumPy, and what prepares it: copies that few runs need."""
        return self.cell.get_step(lambda a, W: self.product(self.precision.operand(a), W))

    @property
    def operands(self) -> Operands:
        """The weights of the sums of a step."""
        return self._step[0]

    def __call__(self, x: Floats, state: State, out: State) -> State:
        """Run T steps and return the state after them.

        `x`, (T, N, I), is rounded as an operand, and may have any strides. `state` has arrays
        (N, size), and all but h may be overwritten. `out` has arrays (T, N, size), for h of every
        step and any number of the other arrays; the rows of a step are C-contiguous.
        """
        raise NotImplementedError

    def prepare(self, state: State) -> tuple[Floats, State, StepFunction]:
        """Return the sums that a step takes, copies of the state after h, and the step."""
        sums, rest, step = self._step[1](len(state[0]))
        for array, first in zip(rest, state[1:], strict=True):
            array[...] = first
        return sums, rest, step

    def product(self, rows: Floats, W: Floats) -> Floats:
        """Multiply rows by a matrix."""
        return np.asarray(rows @ W)

    @cached_property
    def limits(self) -> tuple[Floats, Floats, float, float | None]:
        """The largest weight of each input and of each h, the largest bias, and h if bounded."""
        cell, (W_xh, W_hh, b_h) = self.cell, self.cell.operands
        W_hh = W_hh if cell.inner is None else np.hstack([W_hh, cell.inner])
        gate, ends = getattr(cell, "recurrent_activation", None), cell.ends
        is_bounded = ends and (gate is None or gate.name in ("sigmoid", "hard_sigmoid"))
        h_max = max(map(abs, ends)) if ends and is_bounded else None
        return largest_weights(W_xh), largest_weights(W_hh), largest(b_h), h_max

    def mark_overflows(self, x: Floats, before: Floats, out: State, last: Sequence[Floats]) -> None:
        """Set `out`, and `last`, the arrays after h, to NaN from a step on that may overflow."""
        w_x, w_h, b_max, h_max = self.limits
        (h, *rest), h_bound = out, largest(before)
        h_bound += largest(out[0]) if h_max is None else h_max
        if largest(x) * w_x.sum() + h_bound * w_h.sum() + b_max <= safe_bound(h):
            return
        previous = self.precision.operand(np.concatenate([before[None], h[:-1]]))
        bounds = np.abs(x) @ w_x + np.abs(previous) @ w_h + b_max
        over = np.logical_or.accumulate(~(bounds <= safe_bound(h)))[..., None]  # (T, N, 1)
        hidden = over & np.isfinite(h).all(axis=2, keepdims=True)  # if no unit of h shows it
        marked = [(h, hidden), *((a, over) for a in rest), *((a, over[-1]) for a in last)]
        for array, where in marked:
            array[where & np.isfinite(array)] = np.nan


class Stepwise(Strategy):
    """Two products a step, row by row, as in cell 6 of the notebook: the reference to the bit."""

    def __call__(self, x: Floats, state: State, out: State) -> State:
        """Run T steps, see `Strategy`."""
        h, (sums, rest, step), compute_sums = state[0], self.prepare(state), self.compute_sums
        # NumPy's functions may differ in the last digit if values have gaps between them.
        rows, shape = sums.swapaxes(0, 1), (len(h), -1, self.H)
        for t, (x_t, h_t) in enumerate(zip(x, out[0], strict=True)):
            rows[...] = compute_sums(x_t, h).reshape(shape)
            step(h, h_t)
            for array, after in zip(out[1:], rest, strict=False):
                array[t] = after
            h = h_t
        return (h, *rest)

    def compute_sums(self, x_t: Floats, h: Floats) -> Floats:
        """Compute ``x_t @ W_xh + h_{t-1} @ W_hh + b_h``, (N, B * H)."""
        W_xh, W_hh, b_h = self.operands
        sums = row_products(contiguous(x_t), W_xh)
        sums[:, self.operands.first_with_h :] += row_products(self.precision.operand(h), W_hh)
        sums += b_h
        return sums

    def product(self, rows: Floats, W: Floats) -> Floats:
        """Multiply rows one by one."""
        return row_products(rows, W)


class Fused(Stepwise):
    """One product a step, ``[x_t, h_{t-1}] @ [W_xh; W_hh] + b_h``, as in cell 7 of the notebook."""

    product = Strategy.product

    @cached_property
    def all_weights(self) -> Floats:
        """The weights of inputs and state, one above the other, (I + H, B * H)."""
        W_xh, W_hh, _ = self.operands
        return np.vstack([W_xh, np.pad(W_hh, ((0, 0), (self.operands.first_with_h, 0)))])

    def compute_sums(self, x_t: Floats, h: Floats) -> Floats:
        """Compute all sums of a step, (N, B * H)."""
        x_h = np.concatenate([x_t, self.precision.operand(h)], axis=1)
        return np.asarray(x_h @ self.all_weights + self.operands.b_h)


class Projected(Strategy):
    """All inputs of a block in one product, then ``h_t = f(a_t + h_{t-1} @ W_hh)`` step by step.

    Source: Appleyard et al. (2016), arXiv:1604.01946, section 3.2.
    """

    @cached_property
    def input_weights(self) -> Floats:
        """The input weights above the biases, which a column of ones adds, (I + 1, B * H)."""
        # NumPy multiplies two columns by BLAS, but not one.
        return np.concatenate([self.operands.W_xh, self.operands.b_h[None]])

    @cached_property
    def blocks_xh(self) -> Floats:
        """The same for several rows, (B, I + 1, H).

        Each block of columns is a product of its own, so that its sums lie together: this makes the
        functions of the gates up to three times as fast.
        """
        return self._cut_blocks(self.input_weights)

    @cached_property
    def blocks_hh(self) -> Floats:
        """The recurrent weights for several rows, (C, H, H)."""
        return self._cut_blocks(self.operands.W_hh)

    def _cut_blocks(self, W: Floats) -> Floats:
        return np.ascontiguousarray(W.reshape(len(W), -1, self.H).swapaxes(0, 1))

    def __call__(self, x: Floats, state: State, out: State) -> State:
        """Run T steps, see `Strategy`."""
        h, (sums, rest, step) = state[0], self.prepare(state)
        N, first = len(h), self.operands.first_with_h  # the first sum that h adds to
        # NumPy takes the least time for sums side by side.
        sums, first = (sums.reshape(-1), first) if N == 1 else (sums, first // self.H)
        without_h, with_h = sums[:first], sums[first:]
        multiply: Callable[..., Floats] = np.matmul
        W_hh = self.operands.W_hh
        if N == 1 or W_hh.shape[1] == self.H:
            multiply, W, products = np.ndarray.dot, W_hh, with_h.reshape(N, -1)
        else:
            W, products = self.blocks_hh, with_h
        add, copy, t = np.add, np.copyto, 0
        rounds, operand = self.precision.rounds, self.precision.operand
        recorded = [*zip(out[1:], rest, strict=False)]
        for a in self._project(x):
            a = a.reshape(len(a), *sums.shape)
            a_without_h = a[:, :first] if first else repeat(None)
            for a_x, a_h, h_t in zip(a_without_h, a[:, first:], out[0][t:], strict=False):
                multiply(operand(h) if rounds else h, W, products)
                add(a_h, with_h, with_h)
                if first:
                    copy(without_h, a_x)
                step(h, h_t)
                for array, after in recorded:
                    array[t] = after
                h, t = h_t, t + 1
        return (h, *rest)

    def _project(self, x: Floats) -> Iterator[Floats]:
        """Yield ``[x, 1] @ [W_xh; b_h]`` block by block, (steps, B, N, H)."""
        (T, N, I), W = x.shape, self.input_weights
        size = max(SUMS_IN_CACHE // (N * max(W.shape)), STEPS, ROWS // N * (W.size >= LARGE))

        def project(x: Floats) -> Floats:
            rows = np.ones((len(x) * N, I + 1), W.dtype)
            # NumPy is faster if it gathers the rows in one array first.
            as_items(rows[:, :I])[...] = np.ascontiguousarray(as_items(x)).reshape(-1)
            if N == 1:
                return np.asarray(rows @ W).reshape(len(x), -1, 1, self.H)
            return np.asarray(rows @ self.blocks_xh).reshape(-1, len(x), N, self.H).swapaxes(0, 1)

        return (project(x[start : start + size]) for start in range(0, T, size))


def largest_weights(W: Floats) -> Floats:
    """Return the largest absolute weight of each row, (K,)."""
    return np.asarray(np.abs(W).max(axis=1, initial=0), np.float64)


def safe_bound(values: Floats) -> float:
    """Return the bound for the terms of a sum, below which it cannot overflow in a float type."""
    return SAFE * float(np.finfo(values.dtype).max)


def row_products(rows: Floats, W: Floats) -> Floats:
    """Multiply rows one by one, by slices of a matrix that OpenBLAS multiplies in one thread."""
    K, H = W.shape
    rows = rows[:, None]  # (N, 1, K): a row product for each of N
    if K * H <= ONE_THREAD:
        return (rows @ W)[:, 0]
    height = max(1, ONE_THREAD // H)
    total = rows[:, :, :height] @ W[:height]  # (N, 1, H)
    for start in range(height, K, height):
        total += rows[:, :, start : start + height] @ W[start : start + height]
    return total[:, 0]
