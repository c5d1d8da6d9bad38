"""Rows of an input: what readers hand over, and blocks of them."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, compress
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.arrays import Floats, Integers, Truths

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
        Their features; NaN where a masked row has none.
    key : array of int, shape (n,), optional
        Which sequence each row is a step of, counted from 0 as they come;
        None where there is one sequence.
    masked : array of bool, shape (n,), optional
        Rows at which the state stays as it is, as in Keras.
    cells : list of lists of str, optional
        The rows as they stand in the input; or rows with their types, in a
        sequence whose `of` joins several, and which truths choose from.
    """

    x: Floats
    key: Integers | None = None
    masked: Truths | None = None
    cells: Sequence[Sequence[str]] | None = None

    def cut(self, start: int, stop: int | None) -> "Rows":
        """Return some of the rows."""
        return Rows(*(cut(part, slice(start, stop)) for part in self))

    def take(self, rows: Truths) -> "Rows":
        """Return the rows of which it is true."""
        return Rows(*(cut(part, rows) for part in self))


def cut(part: Any, rows: slice | Truths) -> Any:
    """Return some rows of an array or a list, if there is one."""
    if part is None:
        return None
    if isinstance(part, list) and not isinstance(rows, slice):
        return [*compress(part, rows)]
    return part[rows]


def join(parts: Sequence[Any]) -> Any:
    """Return the rows of several arrays or lists as one, if there are any."""
    if parts[0] is None:
        return None
    if isinstance(parts[0], list):
        return [*chain.from_iterable(parts)]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return parts[0].of(parts)


def joined(blocks: Iterable[Rows]) -> Iterator[Rows]:
    """Join blocks into one, if there are any."""
    every = list(blocks)
    if len(every) < 2:
        yield from every
        return
    if len({rows.key is None for rows in every}) > 1:
        raise ValueError("key: expected keys in all blocks or in none")
    x, key, cells = (join([getattr(r, name) for r in every]) for name in ("x", "key", "cells"))
    yield Rows(x, key, _masked(every), cells)


def steps_in_block(values: int, most: int, rows: int | None = None) -> int:
    """Count the steps in a block: `most`, or fewer where each has many values.

    With `rows`, how many steps there are in all, the blocks are equal, so that
    the last is not too short to run in segments.
    """
    steps = max(1, min(most, BLOCK_VALUES // values))
    return ceil(rows / ceil(rows / steps)) if rows else steps


def in_blocks(parts: Iterable[Rows], steps: int) -> Iterator[Rows]:
    """Cut rows into blocks of so many steps; the last may have fewer.

    What comes before a ValueError is yielded before it.
    """
    taken: list[Rows] = []
    missing, error = steps, None
    try:
        for rows in parts:
            while len(rows.x) >= missing:
                yield from joined([*taken, rows.cut(0, missing)])
                rows, taken, missing = rows.cut(missing, None), [], steps
            taken += [rows] if len(rows.x) else []
            missing -= len(rows.x)
    except ValueError as raised:
        error = raised
    yield from joined(taken)
    if error:
        raise error


def _masked(every: Sequence[Rows]) -> Truths | None:
    """Return which rows of several blocks are masked; None if none is."""
    if all(rows.masked is None for rows in every):
        return None
    masked = [np.zeros(len(r.x), bool) if r.masked is None else r.masked for r in every]
    return np.concatenate(masked)
