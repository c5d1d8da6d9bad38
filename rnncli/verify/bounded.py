"""Steps of a cell, and rows of a layer, from what a result holds, with their rounding bounds.

A cell needs nothing here: its own `Cell.step` is taken with `Near` numbers. A
new layer without state is one more entry in `BOUNDED_ROWS`.
"""

from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from typing import Any, cast

import numpy as np

from rnncli.engine import near
from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import Cell, State
from rnncli.model.graph.piece import Piece
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
from rnncli.verify.near import Near, exactly, held


class CellSteps:
    """Steps of a cell in a result, each from the h that the result holds before it.

    A result shows no other state, such as c of an LSTM. That goes along time
    in float64, with how far it may be off in a right program, and follows from
    the h of the result alone::

        c_t = f c_{t-1} + added
        dc_t = (|f| + df) dc_{t-1} + |c_{t-1}| df + dadded + eps (|f c_{t-1}| + |c_t|)

    Where a unit forgets, the bound settles. Where f is 1 it grows with the
    steps, as rounding may: a fault of one step alone that moves c by less than
    t roundings is not seen after t steps. A wrong weight is not hidden so: it
    errs from the first step on, where the bound is small, and in c as steadily
    as the bound grows.

    `x`, (N, T, I), is what the layer below gives in the same result, `h` the
    output. `before` is the row that holds the h before each, -1 for `start`.
    """

    def __init__(
        self, cell: Cell, precision: str, start: State, x: Floats, h: Floats, before: Integers
    ) -> None:
        self.cell, self.precision, self.start = cell, precision, start
        self.x, self.h, self.before = x, h, before
        # The steps overwrite it, and `start` of float64 would be the h0 of the case itself.
        self.carried = [held(array.copy(), precision) for array in start[1:]]
        self.at_once = True

    def h_before(self, n: Integers, t: Integers) -> Floats:
        """Find the h, (k, H), from which the steps t of the sequences n start."""
        rows = self.before[n, t]
        before: Floats = self.h[n, rows]
        before[rows < 0] = self.start[0][n[rows < 0]]
        return before

    def kept_rows(self, n: Integers, t: Integers, *, zero: bool) -> Near:
        """Repeat the h before masked rows, or give 0."""
        return held(self.h_before(n, t) * (not zero), self.precision)

    def __call__(self, n: Integers, t: Integers) -> Near:
        """Take the steps t of the sequences n, in the order in which the cell goes."""
        h = exactly(self.h_before(n, t), self.precision)
        blocks = near.sums(self.cell, exactly(self.x[n, t], self.precision), h)
        edges = [0, *(np.flatnonzero(np.diff(t)) + 1).tolist(), len(t)]
        each_t = (slice(*ends) for ends in pairwise(edges))
        stretches = [(np.array(k), [*g]) for k, g in groupby(each_t, n.tolist().__getitem__)]
        if self.at_once:
            unknown = [Unknown(state, stretches) for state in self.carried]
            try:
                after, *others = self.cell.step(AlongTime(h), blocks, h, *unknown)
                carried = [state.after(new) for state, new in zip(unknown, others, strict=True)]
            except NotCarriedError:
                self.at_once = False
            else:
                for state, new in zip(self.carried, carried, strict=True):
                    state.value[n], state.off[n] = new.value, new.off  # the last of each n stays
                return cast(Near, after)
        made = []
        for rows, each in ((rows, each) for each, steps in stretches for rows in steps):
            before = [array[each] for array in self.carried]
            sums_t = [block[rows] for block in blocks]
            after, *others = self.cell.step(near.NearNumbers(h), sums_t, h[rows], *before)
            for array, new in zip(self.carried, others, strict=True):
                array.value[each], array.off[each] = new.value, new.off
            made.append(after)
        value, off = (np.concatenate([getattr(a, name) for a in made]) for name in ("value", "off"))
        return Near(value, off, self.precision)


class NotCarriedError(Exception):
    """A step takes a state beside h in another way than by `carry`."""


class Unknown(Near):
    """The states before many steps: `AlongTime.carry` alone can compute them.

    `first` are those of each sequence, (N, size). A stretch is the rows of
    steps that the same sequences take.
    """

    made: near.Near

    def __init__(self, first: Near, stretches: Sequence[tuple[Integers, list[slice]]]) -> None:
        self.first, self.stretches = first, stretches

    def __getattr__(self, name: str) -> Any:
        raise NotCarriedError

    def after(self, new: near.Near) -> near.Near:
        """Check that a state after the steps is what `carry` has made of this."""
        if new is not self.made:
            raise NotCarriedError
        return new

    def recurrence(self, last: Floats, factor: Floats, added: Floats) -> tuple[Floats, Floats]:
        """Compute ``s_{t-1}`` and ``s_t = factor s_{t-1} + added`` at every row."""
        last, before, after = last.copy(), np.empty(added.shape), np.empty(added.shape)
        for n, steps in self.stretches:
            s = last[n]
            for rows in steps:
                before[rows] = s
                s = np.multiply(factor[rows], s, out=after[rows])
                s += added[rows]
            last[n] = s
        return before, after


class AlongTime(near.NearNumbers):
    """`Near` numbers at the rows of many steps, with states that go from step to step."""

    def carry(self, c: near.Near, f: near.Near, added: near.Near) -> near.Near:
        """Compute ``f c + added``, each c from the one before it."""
        if not isinstance(c, Unknown):
            return super().carry(c, f, added)
        shape = (c.stretches[-1][1][-1].stop, c.first.value.shape[1])
        factor, df, value, off = (
            np.broadcast_to(array, shape) for array in (f.value, f.off, added.value, added.off)
        )
        before, value = c.recurrence(c.first.value, factor, value)
        off = np.abs(before) * df + off + f.eps * (np.abs(factor * before) + np.abs(value))
        c.made = f.of(value, c.recurrence(c.first.off, np.abs(factor) + df, off)[1])
        return c.made


def _dense_rows(layer: Dense, x: Near) -> Near:
    """Compute ``f(x @ W + b)``."""
    return _activated_rows(layer, x.multiply(layer.W, layer.b, len(layer.W)))


def _activated_rows(layer: Dense | Pointwise, a: Near) -> Near:
    f = layer.activation
    if isinstance(f, str):
        return a.softmax() if f == "softmax" else a.log_softmax()
    return a.activate(f)


def _embedded_rows(layer: Embedding, x: Near) -> Near:
    """Take the rows of the table, as many digits of them as the program takes."""
    return held(reference.ROWS[Embedding](layer, x.value, x.precision), x.precision)


def _normalized_rows(layer: Normalization, x: Near) -> Near:
    """Compute ``factor * (x - center) / scale + shift``.

    It is off by ``4 eps (|factor / scale| (|x| + |center|) + |shift|)``:
    some programs multiply by ``factor / scale`` and add what remains.
    """
    value = reference.ROWS[Normalization](layer, x.value, x.precision)
    factor = 1.0 if layer.factor is None else np.abs(layer.factor)
    shift = 0.0 if layer.shift is None else np.abs(layer.shift)
    terms = factor / np.abs(layer.scale) * (np.abs(x.value) + np.abs(layer.center)) + shift
    return Near(value, 4 * x.eps * terms, x.precision)


def _row_normalized_rows(layer: LayerNormalization, x: Near) -> Near:
    """Compute ``factor * (x - m) / s + shift``, for the mean m and the root s of the variance.

    With e for ``(I + 4) eps``::

        dm = e mean(|x|),  ds / s = 1 / sqrt(1 - 2 e mean(x^2) / s^2) - 1

    since some programs have ``mean(x^2) - m^2`` for the variance; and a few
    roundings of each term.
    """
    value, rows = reference.ROWS[LayerNormalization](layer, x.value, x.precision), x.value
    e = (rows.shape[1] + 4) * x.eps
    mean, size, square = (
        array.mean(axis=1, keepdims=True) for array in (rows, np.abs(rows), rows * rows)
    )
    squared = ((rows - mean) ** 2).mean(axis=1, keepdims=True) + layer.epsilon
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / np.sqrt(np.maximum(squared - 2 * e * square, 0))
        moved = e * size + 4 * x.eps * (np.abs(rows) + np.abs(mean))
        off = moved * scale + np.abs(rows - mean) * (scale - 1 / np.sqrt(squared))
    shift = 0.0 if layer.shift is None else np.abs(layer.shift)
    off = np.abs(layer.factor) * off + 4 * x.eps * (np.abs(value) + shift)
    return Near(value, off, x.precision)


def _unmasked_rows(layer: Masking, x: Near) -> Near:
    """Take the rows as they are, with zeros for masked ones."""
    dtype = PRECISIONS[x.precision].dtype
    return held(reference.ROWS[Masking](layer, x.value.astype(dtype), x.precision), x.precision)


def _computed_rows(layer: Piece, x: Near) -> Near:
    """Compute the steps of a piece, as far off as in the type of the precision, eightfold."""

    def multiply(a: Floats, W: Floats) -> Floats:
        return reference.rounded(a, x.precision) @ reference.rounded(W, x.precision)

    value = np.asarray(layer(x.value, multiply), np.float64)
    dtype = PRECISIONS[x.precision].dtype
    narrow = layer(x.value.astype(dtype), lambda a, W: multiply(a, W).astype(a.dtype))
    size = np.abs(value) + np.abs(value).max(axis=1, keepdims=True)
    return Near(value, 8 * np.abs(narrow - value) + 64 * x.eps * size, x.precision)


# rows(layer, x): the rows (k, O) of a layer without state from rows (k, I), by its class.
BOUNDED_ROWS: dict[type[Layer], Callable[..., Near]] = {
    Dense: _dense_rows,
    Embedding: _embedded_rows,
    Normalization: _normalized_rows,
    LayerNormalization: _row_normalized_rows,
    Pointwise: _activated_rows,
    Masking: _unmasked_rows,
    Piece: _computed_rows,
}


def layer_rows(layer: Layer, x: Floats, precision: str, n: Integers, t: Integers) -> Near:
    """Compute the rows t of the sequences n of a layer without state, from what it takes."""
    return BOUNDED_ROWS[type(layer)](layer, exactly(x[n, t], precision))
