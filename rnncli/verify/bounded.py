"""One step of each cell from what a result holds, and how far rounding may carry it.

A new cell is one more entry in `BOUNDED_STEPS`, a new layer without state one
in `BOUNDED_ROWS`.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import isinf
from typing import NamedTuple, TypeAlias

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import GRU, LSTM, RNN, Cell, State
from rnncli.model.layers import (
    Dense,
    Embedding,
    Layer,
    LayerNormalization,
    Masking,
    Normalization,
    Pointwise,
)
from rnncli.verify import reference
from rnncli.verify.case import Case
from rnncli.verify.near import Near, exactly, held, joined

# step_at(n, t): the steps t of the sequences n, k of them, taken in float64 from the
# states of a result, (alternatives, k, H), the first of which is the step itself; and how
# far from it rounding may carry a right h, (k, H). It is called with the steps of a
# sequence in the order in which the cell goes, from the first one on, each once; those of
# several sequences stand step by step.
StepAt: TypeAlias = Callable[[Integers, Integers], tuple[Floats, Floats]]


class CellRun(NamedTuple):
    """A cell of a network, and what a result holds of it.

    Parameters
    ----------
    case : Case
    cell : Cell
    direction : {"forward", "backward"}
    start : tuple of arrays, shape (N, size) each
        Its state before the first step.
    x : array, shape (N, T, I)
        Its input: what the layer below gives in the same result.
    h : array, shape (N, T, H)
        Its output.
    before : array of int, shape (N, T)
        The row that holds the h before each step; -1 where that is `start`.
    carried : sequence of Near
        The arrays of the state beside h, (N, size) each, which no output
        holds: at first those of `start`, then as the steps leave them.
    """

    case: Case
    cell: Cell
    direction: str
    start: State
    x: Floats
    h: Floats
    before: Integers
    carried: Sequence[Near] = ()

    def h_before(self, n: Integers, t: Integers) -> Floats:
        """Return the h, (k, H), from which the steps t of the sequences n start."""
        rows = self.before[n, t]
        before: Floats = self.h[n, rows]
        begins = rows < 0
        before[begins] = self.start[0][n[begins]]
        return before


def _rnn_steps(run: CellRun) -> StepAt:
    """Return the steps of the vanilla cell, and the bound that `step_errors` has."""
    cell, precision = run.cell, run.case.precision
    assert isinstance(cell, RNN)
    f, eps = cell.activation, float(np.finfo(PRECISIONS[precision].dtype).eps)
    W_xh, W_hh, b_h = (np.abs(array).astype(np.float64) for array in cell.weights[:3])

    def step_at(n: Integers, t: Integers) -> tuple[Floats, Floats]:
        x, before = run.x[n, t], run.h_before(n, t)
        sums = reference.sums(cell, x, before, precision)
        terms = np.abs(x.astype(np.float64)) @ W_xh + np.abs(before.astype(np.float64)) @ W_hh + b_h
        off = (len(W_xh) + len(W_hh) + 4) * eps * terms  # how far rounding may move a sum
        sides = [sums, sums - off, sums + off] if f.jumps else [sums]
        steps = np.array([reference.activate(cell, side) for side in sides])
        if isinf(f.slope):
            return _judged(Near(sums, off, precision).activated(f, cell.clip))
        return steps, f.slope * off + 4 * eps * np.maximum(1, np.abs(run.h[n, t]))

    return step_at


def _lstm_steps(run: CellRun) -> StepAt:
    """Return the steps of an LSTM, with c carried forward from the h of the result.

    A result shows no c, but every h, from which all sums follow, each off by::

        (I + H + 4) eps (|x_t| @ |W_xh| + |h_{t-1}| @ |W_hh| + |b_h|)

    So c goes forward in float64 by the gates of those sums, and with it, by
    the rules of `Near`, how far c may be in a right program::

        dc_t = |f| dc_{t-1} + |c_{t-1}| df + |g| di + |i| dg
        dh_t = |out(c_t)| do + |o| dout

    and a few roundings of each product. A gate is a sum with an error of its
    own, ``di = max |sigmoid(a +- da) - sigmoid(a)| + 8 eps``: many programs
    have ``0.5 + 0.5 tanh(a / 2)`` for the sigmoid, which is exact to some
    units of 1, not of a small gate. ``dout`` is ``dc_t`` by the slope of the
    activation at c_t. A projection multiplies ``dh_t`` by ``|W_hr|``.

    Where a unit forgets, the bound of c settles. Where f is 1 it grows with
    the steps, as rounding may: a fault of one step alone that moves c by less
    than t roundings is not seen after t steps. A wrong weight is not hidden
    so: it errs from the first step on, where the bound is small, and in c as
    steadily as the bound grows.
    """
    cell, precision = run.cell, run.case.precision
    assert isinstance(cell, LSTM)
    w_ch, W_hr = cell.weights.w_ch, cell.weights.W_hr
    peepholes = np.zeros((3, 1)) if w_ch is None else np.split(w_ch, 3)
    p_i, p_f, p_o = (exactly(p, precision) for p in peepholes)
    (carried,) = run.carried

    def gate(a: Near) -> Near:
        return a.activated(cell.recurrent_activation, cell.clip)

    def carry(each: Sequence[Steps], i: Near, f: Near, g: Near) -> Near:
        return _carried(carried, each, gate(f), gate(i) * g)

    def step_at(n: Integers, t: Integers) -> tuple[Floats, Floats]:
        i, f, g, o = _sum(run, n, t).split(4)
        g = g.activated(cell.activation, cell.clip)
        if w_ch is None:
            c = carry(_alike(n, t), i, f, g)
        else:  # the gates of a step need the c of the one before
            after = []
            for rows in map(slice, *_ends(t)):
                each, before = n[rows], carried[n[rows]]
                i_t, f_t = i[rows] + p_i * before, f[rows] + p_f * before
                after.append(carry([Steps(slice(None), each)], i_t, f_t, g[rows]))
            c = joined(after)
            o = o + p_o * c
        h = gate(o) * c.activated(cell.output_activation)
        return _judged(h if W_hr is None else h.product(W_hr, np.zeros(1), len(W_hr)))

    return step_at


class Steps(NamedTuple):
    """Rows of steps that follow each other, all of the same sequences n."""

    rows: slice
    n: Integers


def _carried(state: Near, each: Sequence[Steps], f: Near, added: Near) -> Near:
    """Return ``c_t = f c_{t-1} + added`` of all steps, and leave the last ones in `state`."""
    before, c = _recurrence(state.value, each, f.value, added.value)
    new = np.abs(before) * f.off + added.off + f.eps * (np.abs(f.value * before) + np.abs(c))
    _, off = _recurrence(state.off, each, np.abs(f.value) + f.off, new)
    return Near(c, off, state.precision)


def _recurrence(
    state: Floats, each: Sequence[Steps], factor: Floats, added: Floats
) -> tuple[Floats, Floats]:
    """Return ``s_{t-1}`` and ``s_t = factor s_{t-1} + added``, and leave the last in `state`."""
    before, after = np.empty(added.shape), np.empty(added.shape)
    for rows, n in each:
        shape = (-1, len(n), added.shape[1])
        last, steps = state[n], after[rows].reshape(shape)
        before[rows][: len(n)] = last
        for f, a, s in zip(
            factor[rows].reshape(shape), added[rows].reshape(shape), steps, strict=True
        ):
            np.multiply(f, last, out=s)
            last = np.add(s, a, out=s)
        before[rows][len(n) :] = after[rows][: -len(n)]
        state[n] = last
    return before, after


def _alike(n: Integers, t: Integers) -> list[Steps]:
    """Return steps that follow each other and take the same sequences."""
    starts, ends = _ends(t)
    sizes = ends - starts
    other = n != n[np.arange(len(n)) - np.repeat(sizes, sizes)]
    begins = np.logical_or.reduceat(other, starts)
    begins[0] = True
    begins[1:] |= sizes[1:] != sizes[:-1]
    bounds = [*starts[begins].tolist(), len(n)]
    counts = sizes[begins].tolist()
    return [
        Steps(slice(*pair), n[pair[0] : pair[0] + count])
        for pair, count in zip(pairwise(bounds), counts, strict=True)
    ]


def _ends(t: Integers) -> tuple[Integers, Integers]:
    """Return where each step starts and ends: rows of equal t that follow each other."""
    inner = np.flatnonzero(np.diff(t)) + 1
    return np.concatenate([[0], inner]), np.concatenate([inner, [len(t)]])


def _gru_steps(run: CellRun) -> StepAt:
    """Return the steps of a GRU, and how far they may be off by the rules of `Near`.

    With m for ``h_{t-1} @ W_hh[n] + b_n``, or ``(r h_{t-1}) @ W_hh[n]`` where
    the reset is before the product::

        dn   = slope (da_n + |m| dr + |r| dm), or slope (da_n + (|h| dr) @ |W_hh[n]| + ...)
        dh_t = |h_{t-1} - n| dz + |1 - z| dn

    and a few roundings of each product. The sums and gates are as far off as
    those of an LSTM. The state before is that of the result, so nothing is
    carried from step to step.
    """
    cell, precision = run.cell, run.case.precision
    assert isinstance(cell, GRU)
    H = cell.hidden_size
    W_xh, W_hh, b_h, b_n, _, _ = cell.weights
    terms = len(W_xh) + H

    def gate(a: Near) -> Near:
        return a.activated(cell.recurrent_activation, cell.clip)

    def step_at(n: Integers, t: Integers) -> tuple[Floats, Floats]:
        h = exactly(run.h_before(n, t), precision)
        z, r, candidate = exactly(run.x[n, t], precision).product(W_xh, b_h, terms).split(3)
        W_z, W_r, W_n = np.split(W_hh, 3, axis=1)
        nothing = np.zeros(H)
        z = gate(z + h.product(W_z, nothing, terms))
        r = gate(r + h.product(W_r, nothing, terms))
        if cell.reset == "after":
            candidate += r * h.product(W_n, nothing if b_n is None else b_n, terms)
        else:
            candidate += (r * h).product(W_n, nothing, terms)
        after = h.between(candidate.activated(cell.activation, cell.clip), share=z)
        return _judged(after)

    return step_at


def _sum(run: CellRun, n: Integers, t: Integers) -> Near:
    """Return ``x_t @ W_xh + h_{t-1} @ W_hh + b_h``."""
    W_xh, W_hh, b_h = run.cell.weights[:3]
    terms = len(W_xh) + len(W_hh)
    h = exactly(run.h_before(n, t), run.case.precision)
    projected = exactly(run.x[n, t], run.case.precision).product(W_xh, b_h, terms)
    return projected + h.product(W_hh, np.zeros(len(b_h)), terms)


def _judged(h: Near) -> tuple[Floats, Floats]:
    """Return a step and its bound.

    Numbers under the smallest normal one may lose all digits. The bound of a c
    that grows without end becomes infinite: nothing is known of it then.
    """
    off = np.where(np.isnan(h.off), np.inf, h.off)
    return h.value[None], off + np.finfo(PRECISIONS[h.precision].dtype).tiny


# The steps of a cell in a result, by its class. A cell with more arrays than h carries
# these forward in float64, from the h of the result.
BOUNDED_STEPS: dict[type, Callable[[CellRun], StepAt]] = {
    RNN: _rnn_steps,
    LSTM: _lstm_steps,
    GRU: _gru_steps,
}


def _dense_rows(layer: Dense, x: Near) -> Near:
    """Return ``f(x @ W + b)``, the sum off by ``(I + 4) eps (|x| @ |W| + |b|)``."""
    return _activated_rows(layer, x.product(layer.W, layer.b, len(layer.W)))


def _activated_rows(layer: Dense | Pointwise, a: Near) -> Near:
    f = layer.activation
    if isinstance(f, str):
        return a.softmax() if f == "softmax" else a.log_softmax()
    return a.activated(f)


def _embedded_rows(layer: Embedding, x: Near) -> Near:
    """Return the rows of the table, as many digits of them as the program takes."""
    return held(reference.ROWS[Embedding](layer, x.value, x.precision), x.precision)


def _normalized_rows(layer: Normalization, x: Near) -> Near:
    """Return ``factor * (x - center) / scale + shift``.

    It is off by ``4 eps (|factor / scale| (|x| + |center|) + |shift|)``:
    some programs multiply by ``factor / scale`` and add what remains.
    """
    value = reference.ROWS[Normalization](layer, x.value, x.precision)
    factor = 1.0 if layer.factor is None else np.abs(layer.factor)
    shift = 0.0 if layer.shift is None else np.abs(layer.shift)
    terms = factor / np.abs(layer.scale) * (np.abs(x.value) + np.abs(layer.center)) + shift
    return Near(value, 4 * x.eps * terms, x.precision)


def _row_normalized_rows(layer: LayerNormalization, x: Near) -> Near:
    """Return ``factor * (x - m) / s + shift``, for the mean m and the root s of the variance.

    With e for ``(I + 4) eps``::

        dm = e mean(|x|),  ds / s = 1 / sqrt(1 - 2 e mean(x^2) / s^2) - 1

    since some programs have ``mean(x^2) - m^2`` for the variance; and a few
    roundings of each term.
    """
    value, rows = reference.ROWS[LayerNormalization](layer, x.value, x.precision), x.value
    e = (rows.shape[1] + 4) * x.eps
    mean, size = (part.mean(axis=1, keepdims=True) for part in (rows, np.abs(rows)))
    square = (rows * rows).mean(axis=1, keepdims=True)
    squared = ((rows - mean) ** 2).mean(axis=1, keepdims=True) + layer.epsilon
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / np.sqrt(np.maximum(squared - 2 * e * square, 0))
        moved = e * size + 4 * x.eps * (np.abs(rows) + np.abs(mean))
        off = moved * scale + np.abs(rows - mean) * (scale - 1 / np.sqrt(squared))
    shift = 0.0 if layer.shift is None else np.abs(layer.shift)
    off = np.abs(layer.factor) * off + 4 * x.eps * (np.abs(value) + shift)
    return Near(value, off, x.precision)


def _unmasked_rows(layer: Masking, x: Near) -> Near:
    """Return the rows as they are, with zeros for masked ones."""
    dtype = PRECISIONS[x.precision].dtype
    return held(reference.ROWS[Masking](layer, x.value.astype(dtype), x.precision), x.precision)


# rows(layer, x): what a layer without state gives at rows, (k, I), by its class.
BOUNDED_ROWS: dict[type, Callable[..., Near]] = {
    Dense: _dense_rows,
    Embedding: _embedded_rows,
    Normalization: _normalized_rows,
    LayerNormalization: _row_normalized_rows,
    Pointwise: _activated_rows,
    Masking: _unmasked_rows,
}


def bounded_rows(layer: Layer, x: Floats, precision: str) -> StepAt:
    """Return the rows of a layer without state, from those that it takes, (N, T, I)."""

    def step_at(n: Integers, t: Integers) -> tuple[Floats, Floats]:
        return _judged(BOUNDED_ROWS[type(layer)](layer, exactly(x[n, t], precision)))

    return step_at


def kept_rows(run: CellRun, *, zero: bool) -> StepAt:
    """Return what a cell gives at masked rows: the h that it keeps, or 0."""

    def step_at(n: Integers, t: Integers) -> tuple[Floats, Floats]:
        return _judged(held(run.h_before(n, t) * (not zero), run.case.precision))

    return step_at
