"""Sequences that come in blocks of rows, and the states that are carried between them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.forward import States, run
from rnncli.network import Floats, Network

Integers: TypeAlias = NDArray[np.intp]
Truths: TypeAlias = NDArray[np.bool_]


class Rows(NamedTuple):
    """Consecutive rows of an input.

    Parameters
    ----------
    x : array, shape (n, I)
        Their features.
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


class Block(NamedTuple):
    """Consecutive rows of a stream.

    Parameters
    ----------
    t : array of int, shape (n,)
        Number of each row's step in its sequence, counted from 1.
    x : array, shape (n, I)
        Their inputs.
    h : array, shape (n, H)
        The hidden states after them.
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
    """Where each sequence of a stream stands: its step count and hidden state.

    Parameters
    ----------
    h0 : array, shape (H,)
        Where every new sequence starts.
    sequences : int
        How many there are so far.
    """

    def __init__(self, h0: Floats, sequences: int = 1) -> None:
        self.h0 = h0
        self.t: Integers = np.zeros(sequences, np.intp)
        self.h = np.tile(h0, (sequences, 1))  # (K, H)
        self.start = self.block()

    def resume(self, t: Integers, h: Floats) -> None:
        """Let the first sequences stand where an earlier run left them."""
        self.grow(len(t))
        self.t[: len(t)], self.h[: len(t)] = t, h
        self.start = self.block()

    def starts(self) -> Floats:
        """Where each sequence started, (K, H)."""
        started = np.tile(self.h0, (len(self.t), 1))
        started[: len(self.start.h)] = self.start.h
        return started

    def grow(self, sequences: int) -> None:
        """Start new sequences, so that there are as many."""
        new = Carried(self.h0, max(0, sequences - len(self.t)))
        if len(new.t):
            self.t = np.concatenate([self.t, new.t])
            self.h = np.concatenate([self.h, new.h])

    def block(self) -> Block:
        """Where they stand, as rows; the inputs are left out."""
        key = np.arange(len(self.t))
        return Block(self.t.copy(), np.empty((len(key), 0), self.h.dtype), self.h.copy(), key)


class NotFiniteError(ValueError):
    """A hidden state overflowed, or is not a number.

    Parameters
    ----------
    step, unit : int
        Where, the step counted from 1, the unit from 0.
    value : float
        What it is.
    key : tuple of str
        Which sequence it is, where there are several.
    """

    def __init__(self, step: int, unit: int, value: float, key: tuple[str, ...]) -> None:
        sequence = f"{' '.join(key)}: " if key else ""
        super().__init__(f"{sequence}step {step}, unit {unit}: overflow ({value})")


def stream(
    network: Network,
    blocks: Iterable[Rows],
    carried: Carried,
    keys: Sequence[tuple[str, ...]] = (),
    *,
    precision: str = "float32",
    unroll: str = "auto",
) -> Iterator[Block]:
    """Run a network over sequences that come in blocks of rows, carrying their states.

    Each row is a step of its own sequence, contiguous or interleaved with
    others. Within a block the sequences run as one batch.

    Parameters
    ----------
    network : Network
    blocks : iterable of Rows
    carried : Carried
        Where the sequences stand; kept up to date with the blocks.
    keys : sequence of tuples of str
        Names of the sequences, for messages.
    precision, unroll : str
        As for `run`.

    Raises
    ------
    NotFiniteError
        A state overflowed: after a block with the rows before it.
    """
    forward = partial(run, network, precision=precision, unroll=unroll)
    for rows in blocks:
        block = _advance(forward, rows, carried)
        finite = np.isfinite(block.h)
        sound = len(block.h) if finite.all() else int(np.argmin(finite.all(axis=1)))
        if sound:
            yield block.cut(0, sound)
        if sound < len(block.h):
            raise _not_finite(block, sound, keys)


def _advance(forward: Callable[..., States], rows: Rows, carried: Carried) -> Block:
    """Advance the sequences by a block; held rows count as steps and keep the state."""
    key = np.zeros(len(rows.x), np.intp) if rows.key is None else rows.key
    carried.grow(int(key.max(initial=-1)) + 1)
    before = carried.h if rows.held is None else carried.h.copy()
    active = slice(None) if rows.held is None else ~rows.held
    h = np.empty((len(key), len(carried.h0)), carried.h.dtype)
    if rows.key is None:
        h[active] = _one(forward, rows.x[active], carried)
    else:
        h[active] = _batch(forward, rows.x[active], key[active], carried)
    if rows.held is not None:
        _fill_held(h, rows.held, key, before)
    return Block(_count(key, carried), rows.x, h, rows.key, rows.cells)


def _one(forward: Callable[..., States], x: Floats, carried: Carried) -> Floats:
    """Advance the only sequence."""
    states = forward(x, carried.h[0])
    carried.h[0] = states.h_n
    return states.h


def _batch(forward: Callable[..., States], x: Floats, key: Integers, carried: Carried) -> Floats:
    """Advance every sequence that has rows in a block, together.

    The sequences are sorted by their number of rows, the longest first. Up
    to the end of the shortest all run, then all but those that have ended,
    and so on: nothing is padded.
    """
    order, present, starts, lengths = _grouped(key)
    longest_first = np.argsort(-lengths, kind="stable")
    present, starts, lengths = (a[longest_first] for a in (present, starts, lengths))
    state = carried.h[present]  # (K, H)
    h = np.empty((len(x), state.shape[1]), state.dtype)
    begin = 0
    for end in np.unique(lengths):
        running = int(np.count_nonzero(lengths >= end))
        rows = order[starts[:running, None] + np.arange(begin, end)]  # (N, T)
        states = forward(x[rows], state[:running])
        h[rows], state[:running] = states.h, states.h_n
        begin = end
    carried.h[present] = state
    return h


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
    """Give each held row the state of its sequence at the row before."""
    order = np.argsort(key, kind="stable")
    sorted_key, sorted_held, sorted_h = key[order], held[order], h[order]
    place = np.arange(len(key))
    last = np.maximum.accumulate(np.where(sorted_held, -1, place))
    known = last >= np.searchsorted(sorted_key, sorted_key)  # a row of this sequence, in this block
    sorted_h[sorted_held] = before[sorted_key[sorted_held]]
    copied = sorted_held & known
    sorted_h[copied] = sorted_h[last[copied]]
    h[order] = sorted_h


def _not_finite(block: Block, row: int, keys: Sequence[tuple[str, ...]]) -> NotFiniteError:
    unit = int(np.argmin(np.isfinite(block.h[row])))
    key = () if block.key is None else keys[block.key[row]]
    return NotFiniteError(int(block.t[row]), unit, float(block.h[row, unit]), key)
