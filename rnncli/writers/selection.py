"""Writers around a writer, which choose the rows that are shown."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

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
    """A writer that is made for its first rows: a run that fails before them writes nothing."""

    def __init__(self, result: Result, begin: Callable[[Result], Writer]) -> None:
        self.result, self._begin = result, begin
        self._writer: Writer | None = None

    def rows(self, rows: Rows) -> None:
        """Write rows."""
        self._writer = self._writer or self._begin(self.result)
        self._writer.rows(rows)

    def end(self, error: ValueError | None) -> None:
        """End what was begun; without an error, a result without rows too."""
        if self._writer is None and error is None:
            self._writer = self._begin(self.result)
        if self._writer:
            self._writer.end(error)


class Selection(NamedTuple):
    """How many of the first and last steps of each sequence are shown; None is no limit."""

    head: int | None = None
    tail: int | None = None

    def of(self, writer: Begun) -> Begun:
        """Describe the result that is left to a writer."""
        result = writer.result
        shape: tuple[int, ...] = ()
        if result.shape and not (len(result.shape) > 1 and self.head and self.tail):
            *sequences, steps = result.shape
            shape = (*sequences, min(steps, (self.head or 0) + (self.tail or 0)))
        forward = result.forward and (self.tail is None or self.head is not None)
        writer.result = result._replace(shape=shape, forward=forward)
        return writer


class Selected:
    """Passes the first rows of each sequence on, and at the end or an error the last ones.

    The latter alone are kept until then. Rows go on in blocks, as a table has a heading for each.
    """

    def __init__(self, writer: Writer, selection: Selection, resumed: Integers) -> None:
        self._writer = writer
        self._head, self._tail = selection.head or 0, selection.tail or 0
        # By sequence: the steps of earlier runs, and the number of the latest step.
        self._resumed, self._latest = resumed, np.zeros_like(resumed)
        self._first: list[Rows] = []
        self._last: list[Rows] = []
        self._left = 0  # rows in the latter when others were last dropped

    def rows(self, rows: Rows) -> None:
        """Take rows of any sequences."""
        key = _keys(rows)
        room = (0, max(0, key.max(initial=0) + 1 - len(self._resumed)))
        self._resumed, self._latest = np.pad(self._resumed, room), np.pad(self._latest, room)
        first = rows.t - self._resumed[key] <= self._head
        self._first.append(rows.take(first))
        if _count(self._first) >= BLOCK_STEPS:
            self._pass_on()
        if self._tail:
            self._latest[key] = rows.t  # of several steps the last counts
            self._last.append(rows.take(~first))
            # Seldom, as blocks may be small.
            if _count(self._last) >= BLOCK_STEPS + 2 * self._left:
                self._drop()

    def end(self, error: ValueError | None) -> None:
        """Pass the last rows on."""
        self._drop()
        self._first += self._last
        self._pass_on()
        self._writer.end(error)

    def _drop(self) -> None:
        """Drop rows that are no longer among the last."""
        if self._last:
            rows = join(self._last)
            rows = rows.take(self._latest[_keys(rows)] - rows.t < self._tail)
            self._last, self._left = [rows], len(rows.t)

    def _pass_on(self) -> None:
        if _count(self._first):
            self._writer.rows(join(self._first))
        self._first = []


class Last(Selected):
    """Waits for the end of a run, and passes the final state of each sequence on as its one row.

    Where the input's fields are written too, these are those of the last row of each sequence, in
    the order of the input. A run that fails writes nothing.
    """

    def __init__(self, writer: Begun, *, one_row: bool) -> None:
        super().__init__(writer, Selection(tail=1), np.zeros(0, np.intp))
        self._begun, self._one_row = writer, one_row

    def rows(self, rows: Rows) -> None:
        """Take rows of any sequences."""
        if self._begun.result.header:
            super().rows(rows)

    def end(self, error: ValueError | None) -> None:
        """Write the final states."""
        if error:
            return
        result, shape = self._begun.result, tuple[int, ...]()
        rows, keyed = result.final().rows(), bool(result.key_columns)
        if not result.header:
            rows = rows._replace(key=np.arange(len(rows.t)) if keyed else None)
            shape = (len(rows.t), *((1,) if keyed and not self._one_row else ()))
        else:
            self._drop()
            last = join(self._last) if self._last else rows.cut(0, 0)
            n = _keys(last)
            c, y = (each if each is None else each[n] for each in (rows.c, rows.y))
            rows = last._replace(h=rows.h[n], c=c, y=y)
        self._begun.result = result._replace(columns=(), shape=shape)
        if len(rows.t):
            self._begun.rows(rows)
        self._begun.end(None)


def _count(blocks: list[Rows]) -> int:
    return sum(len(rows.t) for rows in blocks)


def _keys(rows: Rows) -> Integers:
    return np.zeros_like(rows.t) if rows.key is None else rows.key
