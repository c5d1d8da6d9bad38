"""Which of the rows are shown: the stage between the blocks of a run and its writer."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from rnncli.engine.rows import BLOCK_STEPS, Rows, join
from rnncli.model.arrays import Integers, Truths
from rnncli.writers.trajectory import Trajectory, UntilError


class Selection(NamedTuple):
    """Which steps of each sequence are shown; None is no limit.

    Parameters
    ----------
    head, tail : int, optional
        So many of the first, and of the last. Both together: the first and the
        last, none of them twice.
    """

    head: int | None = None
    tail: int | None = None

    def given(self) -> dict[str, int]:
        """Return the limits that there are, by name."""
        return {name: n for name, n in self._asdict().items() if n is not None}

    def of(self, trajectory: Trajectory, resumed: Integers) -> Trajectory:
        """Leave out the other rows, as the blocks come.

        The rows of `tail` come after all others, and alone are kept until the
        blocks have ended, or failed.
        """
        if not self.given():
            return trajectory
        blocks = UntilError(trajectory.blocks)
        rows = self._rows(blocks, resumed)
        return trajectory._replace(
            blocks=blocks.after(_in_blocks(rows)),
            shape=self._shape(trajectory.shape),
            forward=trajectory.forward and (self.tail is None or self.head is not None),
        )

    def _rows(self, blocks: Iterable[Rows], resumed: Integers) -> Iterator[Rows]:
        kept: list[Rows] = []
        held = left = 0  # rows of it, now and when the others were last left out
        before = resumed
        latest = np.zeros_like(before)
        for block in blocks:
            room = (0, max(0, _keys(block).max(initial=0) + 1 - len(before)))
            before, latest = np.pad(before, room), np.pad(latest, room)
            place = block.t - before[_keys(block)]
            first = place <= self._most(self.head)
            yield from _some(block, first)
            if self.tail:
                latest[_keys(block)] = block.t  # of several steps the last counts
                kept += _some(block, ~first)
                held += int(np.count_nonzero(~first))
                if held >= BLOCK_STEPS + 2 * left:  # seldom, as blocks may be small
                    kept = [*self._last(join(kept), latest)]
                    held = left = sum(len(each.t) for each in kept)
        for block in kept:
            yield from self._last(block, latest)

    def _last(self, block: Rows, latest: Integers) -> Iterator[Rows]:
        """Return the rows that are among the last so far, if there are any."""
        behind = latest[_keys(block)] - block.t
        return _some(block, behind < self._most(self.tail))

    def _most(self, limit: int | None) -> int:
        """Return a limit: without both everything is of the head."""
        alone = self.head is None and self.tail is None
        return np.iinfo(np.intp).max if alone else limit or 0

    def _shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of what is left, if it is known and the rows come in its order."""
        if not shape or (len(shape) > 1 and self.head and self.tail):
            return ()
        *sequences, steps = shape
        return (*sequences, min(steps, self._most(self.head) + (self.tail or 0)))


def final_rows(trajectory: Trajectory, *, one_row: bool) -> Trajectory:
    """Run through all steps, and return the final states as the only rows.

    Where the input's cells are written too, these are those of the last row of
    each sequence, in the order of the input.
    """
    shape: tuple[int, ...] = ()
    if trajectory.header:
        none = np.zeros(0, np.intp)
        inputs = [*Selection(tail=1).of(trajectory, none).blocks]
        final = trajectory.final().rows()
        blocks = [_with_states(block, final) for block in inputs]
    else:
        deque(trajectory.blocks, maxlen=0)
        rows = trajectory.final().rows()
        key = np.arange(len(rows.t)) if trajectory.key_columns else None
        shape = (len(rows.t), *((1,) if trajectory.key_columns and not one_row else ()))
        blocks = [rows._replace(key=key)]
    return trajectory._replace(blocks=blocks, columns=(), shape=shape)


def _with_states(block: Rows, final: Rows) -> Rows:
    """Put the final state of its sequence into each row of a block."""
    n = _keys(block)
    y = None if final.y is None else final.y[n]
    c = None if final.c is None else final.c[n]
    return block._replace(h=final.h[n], c=c, y=y)


def _in_blocks(pieces: Iterable[Rows]) -> Iterator[Rows]:
    """Join pieces, which may be small: a table has a heading for each block."""
    taken: list[Rows] = []
    rows = 0
    for piece in pieces:
        taken.append(piece)
        rows += len(piece.t)
        if rows >= BLOCK_STEPS:
            yield join(taken)
            taken, rows = [], 0
    if taken:
        yield join(taken)


def _keys(block: Rows) -> Integers:
    return np.zeros_like(block.t) if block.key is None else block.key


def _some(block: Rows, rows: Truths) -> Iterator[Rows]:
    """Return some rows of a block, if there are any."""
    if rows.all():
        yield block
    elif rows.any():
        yield block.take(rows)
