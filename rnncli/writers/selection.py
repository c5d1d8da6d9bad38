"""Which of the rows are shown: writers around a writer."""

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
        """Write what stands behind the rows; with an error, complete what was written."""


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
    """Which steps of each sequence are shown; None is no limit.

    Both together: the first and the last, none of them twice.
    """

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
        self._waiting: list[Rows] = []
        self._last: list[Rows] = []
        self._left = 0  # rows in them when others were last dropped

    def rows(self, rows: Rows) -> None:
        """Take rows of any sequences."""
        key = _keys(rows)
        room = (0, max(0, key.max(initial=0) + 1 - len(self._resumed)))
        self._resumed, self._latest = np.pad(self._resumed, room), np.pad(self._latest, room)
        first = rows.t - self._resumed[key] <= self._head
        self._pass_on(rows.take(first))
        if self._tail:
            self._latest[key] = rows.t  # of several steps the last counts
        if self._tail and not first.all():
            self._last.append(rows.take(~first))
            # Seldom, as blocks may be small.
            if sum(len(each.t) for each in self._last) >= BLOCK_STEPS + 2 * self._left:
                self._drop()

    def _drop(self) -> None:
        """Drop rows that are no longer among the last."""
        if self._last:
            rows = join(self._last)
            rows = rows.take(self._latest[_keys(rows)] - rows.t < self._tail)
            self._last, self._left = [rows], len(rows.t)

    def _pass_on(self, rows: Rows) -> None:
        if len(rows.t):
            self._waiting.append(rows)
        if sum(len(each.t) for each in self._waiting) >= BLOCK_STEPS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.rows(join(self._waiting))
            self._waiting = []

    def end(self, error: ValueError | None) -> None:
        """Pass the last rows on."""
        self._drop()
        for rows in self._last:
            self._pass_on(rows)
        self._flush()
        self._writer.end(error)


class Last(Selected):
    """Waits for the end of a run, and passes the final state of each sequence on as its one row.

    Where the input's cells are written too, these are those of the last row of each sequence, in
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
        final, keyed = result.final().rows(), bool(result.key_columns)
        if result.header:
            self._drop()
            blocks = [_with_states(block, final) for block in self._last]
        else:
            blocks = [final._replace(key=np.arange(len(final.t)) if keyed else None)]
            shape = (len(final.t), *((1,) if keyed and not self._one_row else ()))
        self._begun.result = result._replace(columns=(), shape=shape)
        for rows in blocks:
            self._begun.rows(rows)
        self._begun.end(None)


def _with_states(block: Rows, final: Rows) -> Rows:
    """Put the final state of its sequence into each row of a block."""
    n = _keys(block)
    y = None if final.y is None else final.y[n]
    c = None if final.c is None else final.c[n]
    return block._replace(h=final.h[n], c=c, y=y)


def _keys(block: Rows) -> Integers:
    return np.zeros_like(block.t) if block.key is None else block.key
