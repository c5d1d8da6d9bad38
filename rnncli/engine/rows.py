"""Rows: the one record from a reader, through a network, to a writer."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, compress
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
        The rows as they stand in the input. A table in memory gives a sequence
        of its own, whose method `of` joins several; an array of bool selects
        rows of it.
    t : array of int, shape (n,), optional
        Number of each row's step in its sequence, counted from 1.
    h : array, shape (n, H), optional
        Output of the top recurrent layer, or of it and all layers below side
        by side, the bottom one first.
    y : array, shape (n, O), optional
        Output of the network's head, or of each of its layers, the bottom one
        first; None if it has none.
    c : array, shape (n, C), optional
        The states beside h of the top recurrent layer, or of it and all
        layers below; see `rnncli.States`.
    """

    x: Floats
    key: Integers | None = None
    masked: Truths | None = None
    cells: Sequence[Sequence[str]] | None = None
    t: Integers = None  # type: ignore[assignment]  # every row that was run has t and h
    h: Floats = None  # type: ignore[assignment]
    y: Floats | None = None
    c: Floats | None = None

    def cut(self, start: int, stop: int | None) -> "Rows":
        """Return some neighbouring rows."""
        if start == 0 and (stop is None or stop >= len(self.x)):
            return self
        return Rows(*(take(field, slice(start, stop)) for field in self))

    def take(self, chosen: Truths) -> "Rows":
        """Return the rows at which `chosen` is true."""
        return Rows(*(take(field, chosen) for field in self))


def take(field: Any, rows: slice | Truths) -> Any:
    """Return some rows of a field; None for None."""
    if field is None:
        return None
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
