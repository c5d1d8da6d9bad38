"""States as a table for people: a row for every t."""

from collections.abc import Iterable
from typing import NamedTuple, TextIO

import numpy as np

from rnncli.forward import Block
from rnncli.writers.digits import texts
from rnncli.writers.grid import Column, draw
from rnncli.writers.model import model_line
from rnncli.writers.trajectory import Style, Trajectory, unit_names

# A sequence of more steps than LONG shows only this many at each end.
LONG = 30
SHOWN_AT_ENDS = 10

_GAP = ":"


def write_table(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Draw the steps, from the initial state at t = 0 to T.

    A long sequence shows its first and last steps and says which are not
    shown, unless ``style.all_steps``; what is not shown is not held.
    """
    whole = style.all_steps or style.last
    pieces, hidden, failure = _shown(trajectory.blocks, whole=whole)
    inputs = [] if style.last else list(trajectory.columns)
    units = unit_names(len(trajectory.h0))
    initial = texts(trajectory.h0[None], style.digits)[0]
    rows = [] if style.last else [["0", *("" for _ in inputs), *initial]]
    for n, piece in enumerate(pieces):
        rows += [[_GAP] * len(rows[0])] if n else []
        rows += _rows(piece, style)
    names = ["t", *inputs, *units]
    styles = ["dim", *("cyan" for _ in inputs), *("" for _ in units)]
    label, *columns = map(Column, names, zip(*rows, strict=True), styles)
    draw(out, model_line(trajectory.model), label, columns, _note(hidden, style))
    if failure:
        raise failure


class _Shown(NamedTuple):
    """Pieces to show, the steps in the gap between two, and what ended the run early."""

    pieces: list[Block]
    gap: range | None
    failure: ValueError | None


def _shown(blocks: Iterable[Block], *, whole: bool) -> _Shown:
    kept: list[Block] = []
    end: Block | None = None  # the last steps so far
    total = 0
    failure = None
    try:
        for block in blocks:
            if whole or total <= LONG:
                kept.append(block)
            total += len(block.h)
            end = _cut(_joined([end, block] if end else [block]), -SHOWN_AT_ENDS, None)
    except ValueError as error:
        failure = error
    if end is None:
        return _Shown([], None, failure)
    if whole or total <= LONG:
        return _Shown([_joined(kept)], None, failure)
    start = _cut(_joined(kept), 0, SHOWN_AT_ENDS)
    return _Shown([start, end], range(start.first + SHOWN_AT_ENDS, end.first), failure)


def _joined(blocks: list[Block]) -> Block:
    return Block(
        blocks[0].first,
        np.concatenate([block.x for block in blocks]),
        np.concatenate([block.h for block in blocks]),
    )


def _cut(block: Block, start: int, stop: int | None) -> Block:
    steps = range(len(block.h))[start:stop]
    rows = slice(steps.start, steps.stop)
    return Block(block.first + steps.start, block.x[rows], block.h[rows])


def _rows(piece: Block, style: Style) -> list[list[str]]:
    states = texts(piece.h, style.digits)
    inputs = [[] for _ in states] if style.last else texts(piece.x, style.digits)
    steps = enumerate(zip(inputs, states, strict=True), start=piece.first)
    return [[str(t), *x, *h] for t, (x, h) in steps]


def _note(hidden: range | None, style: Style) -> str:
    """Say what a table leaves out."""
    notes = []
    if hidden:
        notes.append(
            f"t = {hidden.start} to {hidden.stop - 1} not shown ({len(hidden)} steps): "
            "--all-steps shows them."
        )
    if style.digits is not None:
        notes.append(f"Rounded to {style.digits} digits after the point (--digits).")
    return " ".join(notes)
