"""States as a table for people: a row for every t."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import TextIO

import numpy as np

from rnncli.stream import Block
from rnncli.writers.digits import texts, texts_with_gaps
from rnncli.writers.grid import GAP, Column, draw, page_rows, write_note
from rnncli.writers.model import model_line
from rnncli.writers.trajectory import Key, Style, Trajectory

# On a terminal a sequence of more steps than LONG shows only this many at each end.
LONG = 30
SHOWN_AT_ENDS = 10


def write_table(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Draw the steps: of one sequence that runs forward from its initial state on.

    On a terminal more rows than `LONG` show only the first and last, and the
    table says which are not shown, unless ``style.all_steps``; what is not
    shown is not held. Anywhere else they are all written, a page of rows at
    a time under a heading of its own, as the blocks come.
    """
    names = _names(trajectory, style)
    whole = style.all_steps or style.last or not out.isatty()
    shown = _Shown(trajectory.blocks, page_rows(len(names)) if whole else None)
    labels = len(trajectory.key_columns) + 1
    inputs = 0 if style.last else len(trajectory.columns)
    styles = ["dim"] * labels + ["cyan"] * inputs
    title = model_line(trajectory.model)
    rows = _initial(trajectory, style)
    for pieces in shown:
        for n, piece in enumerate(pieces):
            rows += [[GAP] * len(names)] if n else []
            rows += _rows(piece, trajectory.keys, style)
        cells = zip(*rows, strict=True) if rows else repeat(())
        columns = [
            Column(name, column, paint)
            for name, column, paint in zip(names, cells, chain(styles, repeat("")), strict=False)
        ]
        draw(out, title, columns[:labels], columns[labels:])
        title, rows = "", []
    write_note(out, _note(shown.gap, style))
    if shown.failure:
        raise shown.failure


def _names(trajectory: Trajectory, style: Style) -> list[str]:
    inputs = [] if style.last else trajectory.columns
    return [*trajectory.key_columns, "t", *inputs, *trajectory.units(final=style.last)]


def _initial(trajectory: Trajectory, style: Style) -> list[list[str]]:
    """Give the row of the initial state, where there is one."""
    if not trajectory.widths.forward or style.last or trajectory.key_columns:
        return []
    (initial,) = texts(trajectory.starts(), style.digits)
    t = str(trajectory.carried.start.t[0])
    return [[t, *("" for _ in trajectory.columns), *initial]]


class _Shown:
    """What is drawn of the blocks: pieces that stand one below the other, once or more.

    Parameters
    ----------
    blocks : iterable of Block
    page : int, optional
        Rows in a page; by default there is one, of both ends.
    """

    def __init__(self, blocks: Iterable[Block], page: int | None) -> None:
        self._blocks, self._page = blocks, page
        self.gap: range | None = None  # rows between two pieces
        self.failure: ValueError | None = None  # what ended the run early

    def __iter__(self) -> Iterator[list[Block]]:
        if self._page is None:
            yield self._ends()
        else:
            yield from self._pages(self._page)

    def _pages(self, rows: int) -> Iterator[list[Block]]:
        """Cut the blocks into pages; there is one even if there are no rows."""
        held: list[Block] = []
        count = 0
        try:
            for block in self._blocks:
                held.append(block)
                count += len(block.h)
                while count > rows:
                    joined = _joined(held)
                    yield [joined.cut(0, rows)]
                    held, count = [joined.cut(rows, None)], count - rows
        except ValueError as error:
            self.failure = error
        yield [_joined(held)] if held else []

    def _ends(self) -> list[Block]:
        kept: list[Block] = []
        end: list[Block] = []  # the last rows so far
        total = 0
        try:
            for block in self._blocks:
                if total <= LONG:
                    kept.append(block)
                total += len(block.h)
                end = [_joined([*end, block]).cut(-SHOWN_AT_ENDS, None)]
        except ValueError as error:
            self.failure = error
        if total <= LONG:
            return [_joined(kept)] if kept else []
        self.gap = range(SHOWN_AT_ENDS + 1, total - SHOWN_AT_ENDS + 1)
        return [_joined(kept).cut(0, SHOWN_AT_ENDS), *end]


def _joined(blocks: list[Block]) -> Block:
    t, x, h = (np.concatenate(part) for part in list(zip(*blocks, strict=True))[:3])
    keys = [block.key for block in blocks if block.key is not None]
    return Block(t, x, h, np.concatenate(keys) if keys else None)


def _rows(piece: Block, keys: Sequence[Key], style: Style) -> list[list[str]]:
    states = texts(piece.h, style.digits)
    inputs = [[] for _ in states] if style.last else texts_with_gaps(piece.x, "", style.digits)
    labels = repeat(()) if piece.key is None else (keys[number] for number in piece.key)
    steps = zip(labels, piece.t.tolist(), inputs, states, strict=False)
    return [[*key, str(t), *x, *h] for key, t, x, h in steps]


def _note(gap: range | None, style: Style) -> str:
    """Say what a table leaves out."""
    notes = []
    if gap:
        notes.append(
            f"Rows {gap.start} to {gap.stop - 1} are not shown ({len(gap)} steps): "
            "--all-steps shows them."
        )
    if style.digits is not None:
        notes.append(f"Rounded to {style.digits} digits after the point (--digits).")
    return " ".join(notes)
