"""States as a table for people: a row for every t."""

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import NamedTuple, TextIO

import numpy as np

from rnncli.stream import Block
from rnncli.writers.digits import texts, texts_with_gaps
from rnncli.writers.grid import GAP, Column, draw
from rnncli.writers.model import model_line
from rnncli.writers.trajectory import Key, Style, Trajectory

# A sequence of more steps than LONG shows only this many at each end.
LONG = 30
SHOWN_AT_ENDS = 10


def write_table(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Draw the steps: of one sequence that runs forward from its initial state on.

    More rows than `LONG` show only the first and last, and the table says
    which are not shown, unless ``style.all_steps``; what is not shown is
    not held.
    """
    pieces, gap, failure = _shown(trajectory.blocks, whole=style.all_steps or style.last)
    inputs = [] if style.last else list(trajectory.columns)
    units = trajectory.units(final=style.last)
    rows = []
    if trajectory.widths.forward and not (style.last or trajectory.key_columns):
        (initial,) = texts(trajectory.starts(), style.digits)
        rows = [[str(trajectory.carried.start.t[0]), *("" for _ in inputs), *initial]]
    for n, piece in enumerate(pieces):
        rows += [[GAP] * len(rows[0])] if n else []
        rows += _rows(piece, trajectory.keys, style)
    names = [*trajectory.key_columns, "t", *inputs, *units]
    labels = len(trajectory.key_columns) + 1
    styles = ["dim"] * labels + ["cyan"] * len(inputs) + [""] * len(units)
    cells = zip(*rows, strict=True) if rows else repeat(())
    columns = list(map(Column, names, cells, styles))
    draw(out, model_line(trajectory.model), columns[:labels], columns[labels:], _note(gap, style))
    if failure:
        raise failure


class _Shown(NamedTuple):
    """Pieces to show, the rows in the gap between two, and what ended the run early."""

    pieces: list[Block]
    gap: range | None
    failure: ValueError | None


def _shown(blocks: Iterable[Block], *, whole: bool) -> _Shown:
    kept: list[Block] = []
    end: Block | None = None  # the last rows so far
    total = 0
    failure = None
    try:
        for block in blocks:
            if whole or total <= LONG:
                kept.append(block)
            total += len(block.h)
            end = _joined([end, block] if end else [block]).cut(-SHOWN_AT_ENDS, None)
    except ValueError as error:
        failure = error
    if end is None:
        return _Shown([], None, failure)
    if whole or total <= LONG:
        return _Shown([_joined(kept)], None, failure)
    start = _joined(kept).cut(0, SHOWN_AT_ENDS)
    return _Shown([start, end], range(SHOWN_AT_ENDS + 1, total - SHOWN_AT_ENDS + 1), failure)


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
