"""Sequences whose rows come in any order, and rows at which they keep their state.

A row is masked where the input says so (`Rows.masked`), or a layer of the
network (`rnncli.model.layers.Masks`). Without its masked rows a sequence is
like any other, so the others run alone, and what the layers give at a masked
row is filled in: a cell gives h of the state that it keeps, and a layer
without state what it makes of the row below. In a layer of two directions the
cells give 0 where a layer masks, as Keras has it.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np

from rnncli.engine.batch import Packing, Sequences, order_of
from rnncli.engine.passes import Pass, Prepared, drive, output_of
from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats, Integers, Truths, as_items
from rnncli.model.layers import Layer, Masks


class Groups(NamedTuple):
    """Rows of a block, those of each sequence together.

    Parameters
    ----------
    order : array of int, shape (n,)
        The rows, one sequence after another, each in its own order.
    key : array of int, shape (n,)
        Which sequence each of these is a step of.
    present : array of int, shape (P,)
        The sequences that have rows, rising.
    starts : array of int, shape (P,)
        Where each begins in `order`.
    lengths : array of int, shape (P,)
        How many rows each has.
    """

    order: Integers
    key: Integers
    present: Integers
    starts: Integers
    lengths: Integers

    @property
    def last(self) -> Integers:
        """The last row of each sequence, (P,)."""
        return np.asarray(self.order[self.starts + self.lengths - 1])

    def only(self, chosen: Truths) -> "Groups":
        """Leave out the rows that are not chosen, (n,), and the sequences that have no other."""
        kept = chosen[self.order]
        return _groups(self.order[kept], self.key[kept])

    def numbered(self, taken: Integers) -> Integers:
        """Return the number of each row's step, and add the rows to those `taken` before, (K,)."""
        t = np.arange(1, len(self.order) + 1)
        if len(self.present) == 1:
            t += taken[self.present]
        else:
            t[self.order] = t + np.repeat(taken[self.present] - self.starts, self.lengths)
        taken[self.present] += self.lengths
        return t


def grouped(rows: Rows) -> Groups:
    """Group the rows of a block by their sequences."""
    n = len(rows.x)
    if rows.key is None:
        one = np.zeros(min(n, 1), np.intp)
        return Groups(np.arange(n), np.zeros(n, np.intp), one, one, one + n)
    order = order_of(rows.key)
    return _groups(order, rows.key[order])


def advance_rows(prepared: Prepared, rows: Rows, groups: Groups, states: Floats) -> list[Pass]:
    """Run the layers over the rows of several sequences."""
    x, masked = rows.x, np.zeros(len(rows.x), bool)
    if rows.masked is not None:
        masked = rows.masked
        x = np.where(masked[:, None], 0, x)  # a masked row may have no features
    made = masked_by_layers(prepared, x) & ~masked  # by the network, and not by the input
    masked = masked | made
    if masked.any():
        before = states[groups.present]
        passes = _advance_together(prepared, x, groups.only(~masked), states)
        _fill(prepared, x, passes, masked, made, groups, before)
        return passes
    if len(groups.present) != 1:
        return _advance_together(prepared, x, groups, states)
    found: list[Pass] = []
    state = states[groups.present]
    drive(
        prepared,
        groups.lengths,
        state,
        lambda _packing, _sequences: x,
        lambda _packing, _sequences, passes: found.extend(passes),
    )
    states[groups.present] = state
    return found


def _groups(order: Integers, key: Integers) -> Groups:
    """Find where each sequence begins and ends among rows that are in the order of their keys."""
    begins = np.ones(len(key), bool)
    begins[1:] = key[1:] != key[:-1]
    starts = np.flatnonzero(begins)
    return Groups(order, key, key[starts], starts, np.diff(starts, append=len(key)))


def masked_by_layers(prepared: Prepared, x: Floats) -> Truths:
    """Return which rows the layers of the network mask."""
    masked = np.zeros(len(x), bool)
    layers = prepared.network.layers[: prepared.network.masking]
    for number, layer in enumerate(layers):
        if number:
            x = output_of(prepared, layers[number - 1], x)
        if layer.masks:
            masked |= cast(Masks, layer).masked(x)
    return masked


def _advance_together(prepared: Prepared, x: Floats, groups: Groups, states: Floats) -> list[Pass]:
    """Advance several sequences by their rows; those that are not grouped are left to be filled."""
    found = [_empty_pass(prepared, layer, len(x)) for layer in prepared.network.layers]
    placed: dict[Packing, Integers] = {}  # where the rows of each part are, until they are given

    def take(packing: Packing, sequences: Sequences) -> Floats:
        placed[packing] = groups.order[packing.places(groups.starts[sequences])]
        return x.take(placed[packing], axis=0)

    def give(packing: Packing, _sequences: Sequences, passes: Sequence[Pass]) -> None:
        place = placed.pop(packing)
        for whole, part in zip(found, passes, strict=True):
            for array, of_part in zip(whole.arrays, part.arrays, strict=True):
                as_items(array)[place] = as_items(of_part).reshape(-1)

    of_present = states[groups.present]
    drive(prepared, groups.lengths, of_present, take, give)
    states[groups.present] = of_present
    return found


def _empty_pass(prepared: Prepared, layer: Layer, rows: int) -> Pass:
    """Allocate what a layer gives at so many rows."""
    dtype, cells = prepared.precision.dtype, []
    for cell in layer.cells:
        sizes = cell.state_sizes if prepared.all_states else cell.state_sizes[:1]
        cells.append(tuple(np.empty((rows, size), dtype) for size in sizes))
    one = len(cells) == 1  # what a layer of one cell gives is its h
    return Pass(cells[0][0] if one else np.empty((rows, layer.output_size), dtype), cells)


def _fill(
    prepared: Prepared,
    x: Floats,
    passes: Sequence[Pass],
    masked: Truths,
    made: Truths,
    groups: Groups,
    before: Floats,
) -> None:
    """Fill in what the layers give at masked rows, where states are kept."""
    network, output = prepared.network, x
    kept = {
        direction: _kept_rows(masked, groups, direction)
        for layer in network.layers
        for direction in layer.directions
    }
    for layer, each, slices in zip(network.layers, passes, network.state_slices, strict=True):
        for state, direction, places in zip(each.cells, layer.directions, slices, strict=True):
            rows, key, source = kept[direction]
            first = source < 0
            for array, place in zip(state, places, strict=False):  # h alone, or all
                array[rows] = array[source]
                array[rows[first]] = before[np.searchsorted(groups.present, key[first]), place]
            if len(each.cells) > 1:
                state[0][made] = 0
        # All rows at once: a product of one row may round in another way than that of many,
        # and a masked row would not be like the one that it repeats.
        output = output_of(prepared, layer, output, each.cells)
        if output is not each.output:
            each.output[...] = output


def _kept_rows(
    masked: Truths, groups: Groups, direction: str
) -> tuple[Integers, Integers, Integers]:
    """Return the masked rows, the key of each, and the row whose state it keeps; -1 if none."""
    order, key = groups.order, groups.key
    if direction == "backward":
        order, key = order[::-1], key[::-1]
    begins = np.r_[True, key[1:] != key[:-1]]
    place = np.arange(len(order))
    first = np.maximum.accumulate(np.where(begins, place, 0))
    last = np.maximum.accumulate(np.where(masked[order], -1, place))
    source = np.where(last < first, -1, order[last])
    at = masked[order]
    return order[at], key[at], source[at]
