"""Writers that pass chosen rows on to another writer."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from rnncli.engine.rows import BLOCK_STEPS, Rows, join
from rnncli.model.arrays import Integers
from rnncli.writers.result import Result


class Writer(Protocol):
    """A writer takes the rows of a run, block by block."""

    def rows(self, rows: Rows) -> None:
        """Write rows, at least one."""

    def end(self, error: ValueError | None) -> None:
        """Write the end of a result; with an error, complete what was written."""


class Begun:
    """Makes a writer for the first rows: a run that fails before them writes nothing."""

    def __init__(self, result: Result, begin: Callable[[Result], Writer]) -> None:
        self.result, self._begin = result, begin
        self._writer: Writer | None = None

    def rows(self, rows: Rows) -> None:
        """Write rows."""
        self._writer = self._writer or self._begin(self.result)
        self._writer.rows(rows)

    def end(self, error: ValueError | None) -> None:
        """End the result; write one without rows unless the run failed."""
        if self._writer is None and error is None:
            self._writer = self._begin(self.result)
        if self._writer:
            self._writer.end(error)


class Selected:
    """Passes on the first rows of each sequence, or at the end the last ones."""

    def __init__(self, writer: Begun, head: int, tail: int, resumed: Integers) -> None:
        self._writer, self._head, self._tail = writer, head, tail
        self._t = resumed.copy()  # steps of each sequence in earlier runs; for `tail` steps so far
        self._recent: list[Rows] = []
        self._most = BLOCK_STEPS  # rows to collect before old ones are dropped
        result, shape = writer.result, writer.result.shape
        if shape:
            shape = (*shape[:-1], min(shape[-1], head or tail))
        writer.result = result._replace(shape=shape, forward=result.forward and not tail)

    def rows(self, rows: Rows) -> None:
        """Take rows of any sequences."""
        key = _keys(rows)
        self._t = np.pad(self._t, (0, max(0, key.max(initial=0) + 1 - len(self._t))))
        if self._tail:
            self._t[key] = rows.t  # the last step of a sequence counts
            self._recent.append(rows)
            if sum(len(each.t) for each in self._recent) >= self._most:
                self._most = BLOCK_STEPS + 2 * len(self._drop().t)
        elif (first := rows.t - self._t[key] <= self._head).any():
            self._writer.rows(rows.take(first))

    def end(self, error: ValueError | None) -> None:
        """Pass the last rows on."""
        if self._recent:
            self._writer.rows(self._drop())
        self._writer.end(error)

    def _drop(self) -> Rows:
        """Drop all rows but the last of each sequence; return these."""
        rows = join(self._recent)
        self._recent = [rows.take(self._t[_keys(rows)] - rows.t < self._tail)]
        return self._recent[0]


class Last(Selected):
    """Passes on the final state of each sequence as its one row, at the end of a run.

    The input's fields, if they are written, are those of the last row of each sequence, in the
    order of the input. A run that fails writes nothing.
    """

    def __init__(self, writer: Begun, *, one_row: bool) -> None:
        super().__init__(writer, 0, 1, np.zeros(0, np.intp))
        self._one_row = one_row

    def rows(self, rows: Rows) -> None:
        """Take rows of any sequences."""
        if self._writer.result.header:
            super().rows(rows)

    def end(self, error: ValueError | None) -> None:
        """Write the final states."""
        if error:
            return
        result, shape = self._writer.result, tuple[int, ...]()
        rows, keyed = result.final(), bool(result.key_columns)
        if not result.header:
            rows = rows._replace(key=np.arange(len(rows.t)) if keyed else None)
            shape = (len(rows.t), *((1,) if keyed and not self._one_row else ()))
        else:
            last = self._drop() if self._recent else rows.cut(0, 0)
            n = _keys(last)  # c stands in them as in other rows, if it was asked for
            names = [name for name in rows.values if name in last.values or name == "y"]
            rows = last._replace(values={name: rows.values[name][n] for name in names})
        self._writer.result = result._replace(columns=(), shape=shape)
        if len(rows.t):
            self._writer.rows(rows)
        self._writer.end(None)


def _keys(rows: Rows) -> Integers:
    return np.zeros_like(rows.t) if rows.key is None else rows.key
