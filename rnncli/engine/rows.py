"""Rows, the one record from a reader through a network to a writer, and their sequences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, compress, pairwise
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.arrays import Floats, Integers, Truths

# Steps in a block. A stream is cut by row number, not by what a read returned,
# so that every bit of the output depends on the data alone.
BLOCK_STEPS = 65_536
# Values in a block of fewer steps, where a step has many: 16 MB of float64.
BLOCK_VALUES = 1 << 21


class Literal(str):
    """Text of a number, a truth value or null (empty) in JSON lines, without quotes."""


class Quoted(str):
    """Text of a string in JSON lines, with quotes even if it looks like a number."""


class Rows(NamedTuple):
    """Consecutive rows of an input and, once they are run, the results at them.

    Parameters
    ----------
    x : array, shape (n, I)
        Their features; NaN where a masked row has none.
    key : array of int, shape (n,), optional
        Which sequence each row is a step of, from 0 in order of appearance;
        None where there is one sequence.
    masked : array of bool, shape (n,), optional
        Rows at which the state stays as it is, as in Keras.
    cells : list of lists of str, optional
        The input's cells, for `passthrough`: a list of rows, or an object that
        can be sliced, masked, and joined by its static method `of`.
    t : array of int, shape (n,), optional
        Number of each row's step in its sequence, counted from 1.
    values : mapping of str to arrays, shape (n, size)
        Results by name. ``h`` is the output of the top recurrent layer, ``c``
        its states beside h (see `rnncli.States`), ``y`` the output of the head.
        The other layers have ``layer_1_h``, ``layer_1_c``, ``layer_2_y``, ...
    """

    x: Floats
    key: Integers | None = None
    masked: Truths | None = None
    cells: Sequence[Sequence[str]] | None = None
    t: Integers = None  # type: ignore[assignment]  # every row that was run has t
    values: Mapping[str, Floats] = {}

    @property
    def h(self) -> Floats:
        """Output of the top recurrent layer, (n, H)."""
        return self.values["h"]

    @property
    def c(self) -> Floats | None:
        """States of the top recurrent layer beside h, (n, C); None if they were not asked for."""
        return self.values.get("c")

    @property
    def y(self) -> Floats | None:
        """Output of the head, (n, O); None if the network has none."""
        return self.values.get("y")

    def cut(self, start: int, stop: int | None) -> Rows:
        """Return some neighbouring rows."""
        if start == 0 and (stop is None or stop >= len(self.x)):
            return self
        return Rows(*(take(field, slice(start, stop)) for field in self))

    def take(self, chosen: Truths) -> Rows:
        """Return the rows at which `chosen` is true."""
        return Rows(*(take(field, chosen) for field in self))


def take(field: Any, rows: slice | Truths) -> Any:
    """Return some rows of a field; None for None."""
    if field is None:
        return None
    if isinstance(field, Mapping):
        return {name: array[rows] for name, array in field.items()}
    if isinstance(field, list) and not isinstance(rows, slice):
        return [*compress(field, rows)]
    return field[rows]


def join(blocks: Sequence[Rows]) -> Rows:
    """Join blocks, at least one, into one."""
    if len(blocks) == 1:
        return blocks[0]
    if len({rows.key is None for rows in blocks}) > 1:
        raise ValueError("key: expected keys in all blocks or in none")
    if any(rows.masked is not None for rows in blocks):
        none = [np.zeros(len(rows.x), bool) for rows in blocks]
        pairs = zip(blocks, none, strict=True)
        blocks = [rows if rows.masked is not None else rows._replace(masked=m) for rows, m in pairs]
    return Rows(*map(_concatenate, zip(*blocks, strict=True)))


def join_all(blocks: Iterable[Rows]) -> Iterator[Rows]:
    """Join all blocks into one; yield nothing if there are none."""
    if all_blocks := [*blocks]:
        yield join(all_blocks)


def _concatenate(fields: Sequence[Any]) -> Any:
    if any(field is None for field in fields):
        return None
    if isinstance(fields[0], Mapping):
        return {name: np.concatenate([each[name] for each in fields]) for name in fields[0]}
    if isinstance(fields[0], list):
        return [*chain.from_iterable(fields)]
    return np.concatenate(fields) if isinstance(fields[0], np.ndarray) else fields[0].of(fields)


def steps_in_block(values: int, most: int, rows: int | None = None) -> int:
    """Count the steps of a block, at most `most`; the blocks of `rows` become equally long."""
    steps = max(1, min(most, BLOCK_VALUES // values))
    return ceil(rows / ceil(rows / steps)) if rows else steps


def in_blocks(source: Iterable[Rows], steps: int) -> Iterator[Rows]:
    """Cut rows into blocks of so many steps; yield the rows before a ValueError, then raise it."""
    waiting, missing = list[Rows](), steps
    try:
        for rows in source:
            while len(rows.x) >= missing:
                yield join([*waiting, rows.cut(0, missing)])
                rows, waiting, missing = rows.cut(missing, None), [], steps
            waiting += [rows] if len(rows.x) else []
            missing -= len(rows.x)
    except ValueError:
        if waiting:
            yield join(waiting)
        raise
    if waiting:
        yield join(waiting)


class Groups(NamedTuple):
    """Rows of a block, those of each sequence together."""

    order: Integers  # (n,): the rows, one sequence after another, each in its own order
    present: Integers  # (P,): the keys of the sequences that have rows, rising
    starts: Integers  # (P,): where each begins in `order`
    lengths: Integers  # (P,): how many rows it has

    @property
    def last(self) -> Integers:
        """The last row of each sequence, (P,)."""
        return np.asarray(self.order[self.starts + self.lengths - 1])

    @property
    def keys(self) -> Integers:
        """The key of each row in `order`, (n,)."""
        return np.repeat(self.present, self.lengths)

    def only(self, chosen: Truths) -> Groups:
        """Drop the rows that are not chosen, and sequences without chosen rows."""
        rows = chosen[self.order]
        return _group_sorted(self.order[rows], self.keys[rows])

    def turned(self, direction: str) -> Groups:
        """Turn every sequence around if the direction is backward."""
        if direction != "backward":
            return self
        mirrored = np.repeat(2 * self.starts + self.lengths - 1, self.lengths)
        return self._replace(order=self.order[mirrored - np.arange(len(self.order))])

    def find_sources(self, masked: Truths, direction: str) -> Integers:
        """For each row, find the row whose state it repeats.

        It is the row itself, or the last unmasked row before it in this direction; n + p stands
        for the initial state of sequence p.
        """
        order = self.turned(direction).order
        p = np.repeat(np.arange(len(self.present)), self.lengths)
        last = np.maximum.accumulate(np.where(masked[order], -1, np.arange(len(order))))
        sources = np.empty_like(order)
        sources[order] = np.where(last >= self.starts[p], order[last], len(order) + p)
        return sources

    def split(self) -> list[Integers]:
        """Return the rows of each sequence."""
        return np.split(self.order, self.starts[1:])[: len(self.present)]

    def batches(self) -> Iterator[tuple[Integers, Integers]]:
        """Yield batches of equally long sequences: their indices in `present`, and rows (N, T)."""
        for T in np.unique(self.lengths):
            alike = np.flatnonzero(self.lengths == T)
            yield alike, self.rows_of(alike)

    def rows_of(self, indices: Integers) -> Integers:
        """Return the rows, (N, T), of equally long sequences by their indices in `present`."""
        T = self.lengths[indices].max(initial=0)
        return np.asarray(self.order[self.starts[indices][:, None] + np.arange(T)])

    def number(self, counts: Integers) -> Integers:
        """Return the number of each row's step, (n,), and add the rows to `counts`, (K,)."""
        t = np.empty_like(self.order)
        first = np.repeat(counts[self.present] - self.starts, self.lengths)
        t[self.order] = np.arange(1, len(t) + 1) + first
        counts[self.present] += self.lengths
        return t


def group(key: Integers | None, n: int) -> Groups:
    """Group n rows by their keys; without keys they are one sequence."""
    if key is None:
        one = np.zeros(min(n, 1), np.intp)
        return Groups(np.arange(n), one, one, one + n)
    # NumPy sorts numbers of 16 bits five times as fast.
    narrow = key.astype(np.uint16) if key.max(initial=0) < 1 << 16 else key
    order = np.argsort(narrow, kind="stable")
    return _group_sorted(order, key[order])


def _group_sorted(order: Integers, key: Integers) -> Groups:
    """Find where each sequence begins and ends in rows that are sorted by their keys."""
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    return Groups(order, key[starts], starts, np.diff(starts, append=len(key)))


class Run(NamedTuple):
    """T steps of the same N sequences."""

    rows: slice  # among the packed rows
    T: int
    N: int

    def cut(self, T: int) -> Iterator[slice]:
        """Cut its rows into T steps each."""
        for start in range(self.rows.start, self.rows.stop, T * self.N):
            yield slice(start, min(start + T * self.N, self.rows.stop))

    def view(self, packed: Floats) -> Floats:
        """View its rows among packed rows (R, K) as (T, N, K)."""
        return packed[self.rows].reshape(self.T, self.N, packed.shape[-1])


def pack(groups: Groups) -> tuple[Integers, Integers, list[Run]]:
    """Pack sequences like a ``PackedSequence``: return keys, the longest first, rows and runs."""
    rank = np.argsort(-groups.lengths, kind="stable")
    lengths = groups.lengths[rank]
    steps = np.arange(lengths.max(initial=0))
    sizes = len(lengths) - np.searchsorted(lengths[::-1], steps, side="right")
    edges = np.append(0, np.cumsum(sizes))
    t = np.repeat(steps, sizes)
    n = np.arange(len(t)) - edges[t]
    changes = [*np.flatnonzero(np.diff(sizes, prepend=0)).tolist(), len(steps)]
    runs = [
        Run(slice(int(edges[start]), int(edges[stop])), stop - start, int(sizes[start]))
        for start, stop in pairwise(changes)
    ]
    return groups.present[rank], groups.order[groups.starts[rank][n] + t], runs
