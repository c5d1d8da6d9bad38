"""Sequences whose rows come in any order, and rows at which they keep their state.

A row is masked where the input says so (`Rows.masked`), or a layer of the
network (`rnncli.model.layers.Masks`). Without its masked rows a sequence is
like any other, so the others run alone, and what the layers give at a masked
row is filled in: a cell gives h of the state that it keeps, and a layer
without state what it makes of the row below. In a layer of two directions the
cells give 0 where a layer masks, as Keras has it.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np

from rnncli.engine.batch import Packing, Sequences
from rnncli.engine.passes import Pass, Prepared, drive, output_of
from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.layers import Layer, Masks


def advance_rows(prepared: Prepared, rows: Rows, states: Floats) -> list[Pass]:
    """Run the layers over the rows of several sequences.

    Parameters
    ----------
    prepared : Prepared
    rows : Rows
        In the float type of the precision; finite but for masked ones.
    states : array, shape (K, S)
        The state of each sequence, which becomes that after its rows.

    Returns
    -------
    list of Pass
        What each layer gives, in the order of the rows.
    """
    x, masked = rows.x, np.zeros(len(rows.x), bool)
    if rows.masked is not None:
        masked = rows.masked
        x = np.where(masked[:, None], 0, x)  # a masked row may have no features
    made = _masked_by_layers(prepared, x) & ~masked  # by the network, and not by the input
    masked = masked | made
    if rows.key is None and not masked.any():
        found: list[Pass] = []
        drive(
            prepared,
            np.array([len(x)]),
            states,
            lambda _packing, _sequences: x,
            lambda _packing, _sequences, passes: found.extend(passes),
        )
        return found
    key = np.zeros(len(x), np.intp) if rows.key is None else rows.key
    if not masked.any():
        return _advance_together(prepared, x, key, np.arange(len(x)), states)
    before = states[key]
    passes = _advance_together(prepared, x, key, np.flatnonzero(~masked), states)
    _fill(prepared, x, passes, masked, made, key, before)
    return passes


def grouped(key: Integers) -> tuple[Integers, Integers, Integers, Integers]:
    """Return rows in the order of their keys; which keys, where each begins, how many rows."""
    order = np.argsort(key, kind="stable")
    present, starts, lengths = np.unique(key[order], return_index=True, return_counts=True)
    return order, present, starts, lengths


def _masked_by_layers(prepared: Prepared, x: Floats) -> Truths:
    """Return which rows the layers of the network mask."""
    masked = np.zeros(len(x), bool)
    layers = prepared.network.layers[: prepared.network.masking]
    for number, layer in enumerate(layers):
        if number:
            x = output_of(prepared, layers[number - 1], x)
        if layer.masks:
            masked |= cast(Masks, layer).masked(x)
    return masked


def _advance_together(
    prepared: Prepared, x: Floats, key: Integers, active: Integers, states: Floats
) -> list[Pass]:
    """Advance several sequences by their active rows; the others are left to be filled."""
    by_key, present, starts, lengths = grouped(key[active])
    found = [_empty_pass(prepared, layer, len(key)) for layer in prepared.network.layers]

    def places(packing: Packing, sequences: Sequences) -> Integers:
        return np.asarray(active[by_key[packing.places(starts[sequences])]])

    def give(packing: Packing, sequences: Sequences, passes: Sequence[Pass]) -> None:
        place = places(packing, sequences)
        for whole, part in zip(found, passes, strict=True):
            for array, of_part in zip(whole.arrays, part.arrays, strict=True):
                array[place] = of_part

    of_present = states[present]
    drive(
        prepared,
        lengths,
        of_present,
        lambda packing, sequences: x[places(packing, sequences)],
        give,
    )
    states[present] = of_present
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
    key: Integers,
    before: Floats,
) -> None:
    """Fill in what the layers give at masked rows, where states are kept."""
    network, output = prepared.network, x
    kept = {
        direction: _kept_rows(masked, key, direction)
        for layer in network.layers
        for direction in layer.directions
    }
    for layer, each, slices in zip(network.layers, passes, network.state_slices, strict=True):
        for state, direction, places in zip(each.cells, layer.directions, slices, strict=True):
            rows, source = kept[direction]
            first = source < 0
            for array, place in zip(state, places, strict=False):  # h alone, or all
                array[rows] = array[source]
                array[rows[first]] = before[rows[first], place]
            if len(each.cells) > 1:
                state[0][made] = 0
        # All rows at once: a product of one row may round in another way than that of many,
        # and a masked row would not be like the one that it repeats.
        output = output_of(prepared, layer, output, each.cells)
        if output is not each.output:
            each.output[...] = output


def _kept_rows(masked: Truths, key: Integers, direction: str) -> tuple[Integers, Integers]:
    """Return the masked rows, and of each the row whose state is kept; -1 for one before all."""
    order = np.argsort(key, kind="stable")
    if direction == "backward":
        order = order[::-1]
    begins = np.r_[True, key[order[1:]] != key[order[:-1]]]
    place = np.arange(len(order))
    first = np.maximum.accumulate(np.where(begins, place, 0))
    last = np.maximum.accumulate(np.where(masked[order], -1, place))
    source = np.where(last < first, -1, order[last])
    at = masked[order]
    return order[at], source[at]
