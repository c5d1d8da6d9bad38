"""Sequences that come in blocks of rows, and the states that are carried between them."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from rnncli.arrays import Floats, Integers, Truths
from rnncli.forward import Prepared, advance, layer_outputs
from rnncli.lanes import in_lanes
from rnncli.network import Part
from rnncli.packing import Packing, Sequences

# Steps in a block, whatever a single read returns: where a stream is cut, and
# so every bit of the output, depends on the data alone.
BLOCK_STEPS = 65_536
# Values in a block of fewer steps, where a step has many: 16 MB of float64.
BLOCK_VALUES = 1 << 21


class Rows(NamedTuple):
    """Consecutive rows of an input.

    Parameters
    ----------
    x : array, shape (n, I)
        Their features; NaN where a held row has none.
    key : array of int, shape (n,), optional
        Which sequence each row is a step of, counted from 0 as they come;
        None where there is one sequence.
    held : array of bool, shape (n,), optional
        Rows at which the state stays as it is: what Keras masks.
    cells : list of lists of str, optional
        The rows as they stand in the input.
    """

    x: Floats
    key: Integers | None = None
    held: Truths | None = None
    cells: Sequence[Sequence[str]] | None = None

    def cut(self, start: int, stop: int | None) -> "Rows":
        """Take some of the rows."""
        key = None if self.key is None else self.key[start:stop]
        held = None if self.held is None else self.held[start:stop]
        cells = None if self.cells is None else self.cells[start:stop]
        return Rows(self.x[start:stop], key, held, cells)


class Block(NamedTuple):
    """Consecutive rows of a stream.

    Parameters
    ----------
    t : array of int, shape (n,)
        Number of each row's step in its sequence, counted from 1.
    x : array, shape (n, I)
        Their inputs; NaN where a held row has none.
    h : array, shape (n, H)
        The hidden states after them: of the top layer, or of all layers, the
        bottom one first.
    key : array of int, shape (n,), optional
        Which sequence each belongs to; None where there is one.
    cells : list of lists of str, optional
        The rows of input as they stand there.
    """

    t: Integers
    x: Floats
    h: Floats
    key: Integers | None = None
    cells: Sequence[Sequence[str]] | None = None

    def cut(self, start: int, stop: int | None) -> "Block":
        """Take some of the rows."""
        rows = slice(start, stop)
        key = None if self.key is None else self.key[rows]
        cells = None if self.cells is None else self.cells[rows]
        return Block(self.t[rows], self.x[rows], self.h[rows], key, cells)


class Carried:
    """Where each sequence of a stream stands: its step count and the state of all cells.

    Parameters
    ----------
    h0 : array, shape (S,)
        Where every new sequence starts.
    sequences : int
        How many there are so far.
    """

    def __init__(self, h0: Floats, sequences: int = 1) -> None:
        self.h0 = h0
        # Some rows may be room for sequences that are yet to come.
        self._t: Integers = np.empty(0, np.intp)
        self._h = np.empty((0, len(h0)), h0.dtype)
        self._count = 0
        self.grow(sequences)
        self.start = self.block()

    @property
    def t(self) -> Integers:
        """How many steps each has had, (K,)."""
        return self._t[: self._count]

    @property
    def h(self) -> Floats:
        """Where each stands, (K, S)."""
        return self._h[: self._count]

    def resume(self, t: Integers, h: Floats) -> None:
        """Let the first sequences stand where an earlier run left them."""
        self.grow(len(t))
        self.t[: len(t)], self.h[: len(t)] = t, h
        self.start = self.block()

    def starts(self) -> Floats:
        """Where each sequence started, (K, S)."""
        started = np.tile(self.h0, (len(self.t), 1))
        started[: len(self.start.h)] = self.start.h
        return started

    def grow(self, sequences: int) -> None:
        """Start new sequences, until there are that many."""
        if sequences <= self._count:
            return
        if sequences > len(self._t):
            room = max(sequences, 2 * len(self._t))  # twice: few are moved often
            t, h = np.empty(room, np.intp), np.empty((room, len(self.h0)), self.h0.dtype)
            t[: self._count], h[: self._count] = self.t, self.h
            self._t, self._h = t, h
        self._t[self._count : sequences] = 0
        self._h[self._count : sequences] = self.h0
        self._count = sequences

    def block(self) -> Block:
        """Where they stand, as rows; the inputs are left out."""
        key = np.arange(len(self.t))
        return Block(self.t.copy(), np.empty((len(key), 0), self.h.dtype), self.h.copy(), key)


class NotFiniteError(ValueError):
    """A hidden state overflowed, or is not a number.

    Parameters
    ----------
    place : str
        Sequence and layer, where there are several, with a colon after each.
    step, unit : int
        The step counted from 1, the unit from 0.
    value : float
        What it is.
    """

    def __init__(self, place: str, step: int, unit: int, value: float) -> None:
        super().__init__(f"{place}step {step}, unit {unit}: overflow ({value})")


def stream(
    prepared: Prepared,
    blocks: Iterable[Rows],
    carried: Carried,
    keys: Sequence[tuple[str, ...]] = (),
    *,
    all_layers: bool = False,
) -> Iterator[Block]:
    """Run a network over sequences that come in blocks of rows, carrying their states.

    Each row is a step of its own sequence, contiguous or interleaved with
    others. Within a block the sequences run as one batch. A network that
    needs whole sequences gives its first block when the input has ended.

    Parameters
    ----------
    prepared : Prepared
        The network.
    blocks : iterable of Rows
    carried : Carried
        Where the sequences stand; kept up to date with the blocks.
    keys : sequence of tuples of str
        Names of the sequences, for messages.
    all_layers : bool
        Whether to give the states of all layers.

    Raises
    ------
    NotFiniteError
        A state overflowed: after a block with the rows before it.
    """
    if prepared.network.needs_whole_sequences:
        blocks = joined(blocks)
    for rows in blocks:
        states = _advance(prepared, rows, carried)
        outputs = layer_outputs(prepared.network, states, all_layers=all_layers)
        h = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=1)
        block = Block(_count(_keys(rows), carried), rows.x, h, rows.key, rows.cells)
        sound = min(map(_finite_rows, [*states, h]))
        for start in range(0, sound, BLOCK_STEPS):
            yield block.cut(start, min(sound, start + BLOCK_STEPS))
        if sound < len(h):
            raise _not_finite(prepared, states, block, sound, keys)


def joined(blocks: Iterable[Rows]) -> Iterator[Rows]:
    """Make one block of all, if there are any."""
    every = list(blocks)
    if len(every) < 2:
        yield from every
        return
    x = np.concatenate([rows.x for rows in every])
    keys = [rows.key for rows in every if rows.key is not None]
    cells = list(chain.from_iterable(rows.cells or () for rows in every))
    yield Rows(x, np.concatenate(keys) if keys else None, _held(every), cells or None)


def steps_in_block(values: int, most: int) -> int:
    """Count the steps in a block: `most`, or fewer where each has many values."""
    return max(1, min(most, BLOCK_VALUES // values))


def in_blocks(parts: Iterable[Rows], steps: int) -> Iterator[Rows]:
    """Make blocks of so many steps of rows that come otherwise; the last may have fewer.

    What comes before a ValueError is given before it.
    """
    taken: list[Rows] = []
    missing, fault = steps, None
    try:
        for rows in parts:
            while len(rows.x) >= missing:
                yield from joined([*taken, rows.cut(0, missing)])
                rows, taken, missing = rows.cut(missing, None), [], steps
            taken += [rows] if len(rows.x) else []
            missing -= len(rows.x)
    except ValueError as error:
        fault = error
    yield from joined(taken)
    if fault:
        raise fault


def _advance(prepared: Prepared, rows: Rows, carried: Carried) -> list[Floats]:
    """Advance the sequences by a block; held rows keep the state.

    Gives the states of each cell, in the order of the rows.
    """
    key = _keys(rows)
    carried.grow(int(key.max(initial=-1)) + 1)
    if rows.held is None:
        if rows.key is not None:
            return _advance_together(prepared, rows.x, key, np.arange(len(key)), carried)
        states, carried.h[...] = advance(prepared, rows.x, Packing(np.array([len(key)])), carried.h)
        return states
    before = carried.h[key]
    states = _advance_together(prepared, rows.x, key, np.flatnonzero(~rows.held), carried)
    for part, h in zip(prepared.parts, states, strict=True):
        turn = slice(None, None, 1 if part.direction == "forward" else -1)
        _fill_held(h[turn], rows.held[turn], key[turn], before[turn, part.state])
    return states


def _advance_together(
    prepared: Prepared, x: Floats, key: Integers, active: Integers, carried: Carried
) -> list[Floats]:
    """Advance several sequences by their active rows; what the others hold is to be filled."""
    by_key, present, starts, lengths = _grouped(key[active])
    widths = [len(part.cell.weights.b_h) for part in prepared.parts]
    states = [np.empty((len(key), H), carried.h.dtype) for H in widths]

    def advance_some(sequences: Sequences) -> None:
        packing = Packing(lengths[sequences])
        place = active[by_key[packing.places(starts[sequences])]]
        keys = present[sequences]
        packed, carried.h[keys] = advance(prepared, x[place], packing, carried.h[keys])
        for h, of_cell in zip(states, packed, strict=True):
            h[place] = of_cell

    in_lanes(advance_some, prepared.side_by_side(lengths))
    return states


def _held(every: Sequence[Rows]) -> Truths | None:
    """Tell which rows of several blocks are held; None if none is."""
    if all(rows.held is None for rows in every):
        return None
    held = [np.zeros(len(rows.x), bool) if rows.held is None else rows.held for rows in every]
    return np.concatenate(held)


def _keys(rows: Rows) -> Integers:
    return np.zeros(len(rows.x), np.intp) if rows.key is None else rows.key


def _finite_rows(h: Floats) -> int:
    """Count the rows before the first that is not finite."""
    finite = np.isfinite(h)
    return len(h) if finite.all() else int(np.argmin(finite.all(axis=1)))


def _grouped(key: Integers) -> tuple[Integers, Integers, Integers, Integers]:
    """Rows in the order of their keys; the keys there are, where each begins, how many rows."""
    order = np.argsort(key, kind="stable")
    present, starts, lengths = np.unique(key[order], return_index=True, return_counts=True)
    return order, present, starts, lengths


def _count(key: Integers, carried: Carried) -> Integers:
    """Give each row the number of its step in its sequence."""
    order, present, starts, lengths = _grouped(key)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(key)) - np.repeat(starts, lengths)
    t: Integers = carried.t[key] + 1 + rank
    carried.t[present] += lengths
    return t


def _fill_held(h: Floats, held: Truths, key: Integers, before: Floats) -> None:
    """Give each held row the state of its sequence at the row before, or `before` the block."""
    order = np.argsort(key, kind="stable")
    sorted_key, sorted_held, sorted_h = key[order], held[order], h[order]
    place = np.arange(len(key))
    last = np.maximum.accumulate(np.where(sorted_held, -1, place))
    known = last >= np.searchsorted(sorted_key, sorted_key)  # a row of this sequence, in this block
    sorted_h[sorted_held] = before[order[sorted_held]]
    copied = sorted_held & known
    sorted_h[copied] = sorted_h[last[copied]]
    h[order] = sorted_h


def _not_finite(
    prepared: Prepared,
    states: Sequence[Floats],
    block: Block,
    row: int,
    keys: Sequence[tuple[str, ...]],
) -> NotFiniteError:
    """Say where what is not finite at a row began: a backward cell comes from later rows."""
    for part, h in zip(prepared.parts, states, strict=True):
        if np.isfinite(h[row]).all():
            continue
        if part.direction == "backward":
            same = True if block.key is None else block.key == block.key[row]
            row = int(np.flatnonzero(~np.isfinite(h).all(axis=1) & same)[-1])
        return _overflow(block, h, row, keys, _layer_name(prepared, part))
    return _overflow(block, block.h, row, keys, "")  # two finite states, merged


def _overflow(
    block: Block, h: Floats, row: int, keys: Sequence[tuple[str, ...]], layer: str
) -> NotFiniteError:
    unit = int(np.argmin(np.isfinite(h[row])))
    sequence = "" if block.key is None else f"{' '.join(keys[block.key[row]])}: "
    return NotFiniteError(f"{sequence}{layer}", int(block.t[row]), unit, float(h[row, unit]))


def _layer_name(prepared: Prepared, part: Part) -> str:
    """Name the cell in a network of several."""
    layers = prepared.network.layers
    layer = f"layer {part.layer}" if len(layers) > 1 else ""
    both = len(layers[part.layer - 1].cells) > 1
    name = " ".join(filter(None, [layer, part.direction if both else ""]))
    return f"{name}: " if name else ""
