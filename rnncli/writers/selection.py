"""Selectors choose the rows of a run that are written."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from rnncli.engine.rows import BLOCK_STEPS, Rows, join
from rnncli.model.arrays import Integers


class Writer(Protocol):
    """A writer takes the rows of a run, block by block."""

    def rows(self, rows: Rows) -> None:
        """Write rows, at least one."""

    def end(self, error: ValueError | None) -> None:
        """Write the end of a result; with an error, complete what was written."""


class Selector:
    """Chooses all rows; `shape` is that of the chosen rows, if it is known (`Result.shape`)."""

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        self.shape = shape

    def choose(self, rows: Rows) -> Rows | None:
        """Choose rows that are written as they come."""
        return rows

    def choose_last(self, error: ValueError | None) -> Rows | None:  # noqa: ARG002
        """Choose rows that are written at the end of a run, or at its error."""
        return None


class Head(Selector):
    """Chooses the first rows of each sequence; `before` are its steps in earlier runs."""

    def __init__(self, shape: tuple[int, ...], most: int, before: Integers) -> None:
        super().__init__(_limit(shape, most))
        self._most, self._before = most, before

    def choose(self, rows: Rows) -> Rows | None:
        """Choose rows by the number of their step in this run."""
        key = _keys(rows)
        self._before = _grow(self._before, key)
        return rows.take(rows.t - self._before[key] <= self._most)


class Tail(Selector):
    """Chooses the last rows of each sequence, at the end."""

    def __init__(self, shape: tuple[int, ...], most: int) -> None:
        super().__init__(_limit(shape, most))
        self._most = most
        self._t: Integers = np.zeros(0, np.intp)  # the latest step of each sequence
        self._recent: list[Rows] = []
        self._room = BLOCK_STEPS  # rows to collect before old ones are dropped

    def choose(self, rows: Rows) -> Rows | None:
        """Collect rows."""
        key = _keys(rows)
        self._t = _grow(self._t, key)
        self._t[key] = rows.t  # the last step of a sequence counts
        self._recent.append(rows)
        if sum(len(each.t) for each in self._recent) >= self._room:
            self._room = BLOCK_STEPS + 2 * len(self._drop().t)
        return None

    def choose_last(self, error: ValueError | None) -> Rows | None:  # noqa: ARG002
        """Choose the last rows; those before an error too."""
        return self._drop() if self._recent else None

    def _drop(self) -> Rows:
        """Drop all rows but the last of each sequence; return these."""
        rows = join(self._recent)
        self._recent = [rows.take(self._t[_keys(rows)] - rows.t < self._most)]
        return self._recent[0]


class Final(Selector):
    """Chooses the final state of each sequence, which `final` gives, unless the run failed."""

    def __init__(self, final: Callable[[], Rows], *, keyed: bool, one_row: bool) -> None:
        super().__init__()
        self._final, self._keyed, self._one_row = final, keyed, one_row

    def choose(self, rows: Rows) -> Rows | None:  # noqa: ARG002
        """Choose no step."""
        return None

    def choose_last(self, error: ValueError | None) -> Rows | None:
        """Choose the states of all sequences; their number is known by now."""
        if error:
            return None
        rows = self._final()
        self.shape = (len(rows.t), *((1,) if self._keyed and not self._one_row else ()))
        return rows._replace(key=np.arange(len(rows.t)) if self._keyed else None)


class FinalCells(Tail):
    """Chooses the final state of each sequence, with the input's cells of its last row."""

    def __init__(self, final: Callable[[], Rows]) -> None:
        super().__init__((), 1)
        self._final = final

    def choose_last(self, error: ValueError | None) -> Rows | None:
        """Choose the last rows, in the order of the input, unless the run failed."""
        if error:
            return None
        final, last = self._final().values, super().choose_last(None)
        if last is None:
            return None
        # c stands in them as in other rows, if it was asked for.
        names = [name for name in final if name in last.values or name == "y"]
        return last._replace(values={name: final[name][_keys(last)] for name in names})


class Selection:
    """Writes the rows that a selector chooses; a run that fails before them writes nothing.

    `begin` makes the writer, for rows of the selector's shape.
    """

    def __init__(self, selector: Selector, begin: Callable[[tuple[int, ...]], Writer]) -> None:
        self._selector, self._begin = selector, begin
        self._writer: Writer | None = None

    def rows(self, rows: Rows) -> None:
        """Write the chosen rows."""
        self._write(self._selector.choose(rows))

    def end(self, error: ValueError | None) -> None:
        """End the result; write one without rows unless the run failed."""
        self._write(self._selector.choose_last(error))
        if self._writer is None and error is None:
            self._writer = self._begin(self._selector.shape)
        if self._writer:
            self._writer.end(error)

    def _write(self, rows: Rows | None) -> None:
        if rows and len(rows.t):
            self._writer = self._writer or self._begin(self._selector.shape)
            self._writer.rows(rows)


def _keys(rows: Rows) -> Integers:
    return np.zeros_like(rows.t) if rows.key is None else rows.key


def _grow(t: Integers, key: Integers) -> Integers:
    """Return the steps of sequences, with 0 for those that are new."""
    return np.pad(t, (0, max(0, key.max(initial=0) + 1 - len(t))))


def _limit(shape: tuple[int, ...], most: int) -> tuple[int, ...]:
    """Return the shape of at most so many steps of each sequence."""
    return (*shape[:-1], min(shape[-1], most)) if shape else ()
