"""States as a table for people: a row for every t."""

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import TextIO

import numpy as np

from rnncli.engine.stream import Block
from rnncli.writers.digits import Part, joined, rows_of_text, texts_with_gaps
from rnncli.writers.grid import GAP, Heading, draw_cells, page_rows, write_note
from rnncli.writers.model import model_line
from rnncli.writers.screen import printable
from rnncli.writers.trajectory import Key, Labels, Style, Trajectory

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
    rows = page_rows(len(names))
    whole = style.all_steps or style.last or not out.isatty()
    pages = _pages(trajectory.blocks, rows) if whole else _ends(trajectory.blocks)
    labels = len(trajectory.key_columns) + 1
    inputs = 0 if style.last else len(trajectory.columns)
    paint = [*repeat("dim", labels), *repeat("cyan", inputs), *repeat("", len(names))]
    headings = list(map(Heading, names, paint))
    title, cells = model_line(trajectory.model), _initial(trajectory, style)
    keys = Labels(trajectory.keys, _key)
    gap = f"{GAP}\n" * len(names)
    left_out = 0
    try:
        for pieces, rows_between in pages:
            left_out = rows_between
            cells += gap.join(_cells(piece, keys, style) for piece in pieces)
            draw_cells(out, title, headings, labels, cells)
            title, cells = "", ""
    except ValueError:  # a failure of the run, told below what came before it
        write_note(out, _note(left_out, style))
        raise
    write_note(out, _note(left_out, style))


def _names(trajectory: Trajectory, style: Style) -> list[str]:
    inputs = [] if style.last else trajectory.columns
    return [*trajectory.key_columns, "t", *inputs, *trajectory.units(final=style.last)]


def _initial(trajectory: Trajectory, style: Style) -> str:
    """Give the cells of the row of the initial state, where there is one."""
    if not trajectory.widths.forward or style.last or trajectory.key_columns:
        return ""
    (initial,) = joined(trajectory.starts(), ",", style.digits)
    t, inputs = trajectory.carried.start.t[0], len(trajectory.columns)
    return f"{t}\n" + "\n" * inputs + initial.replace(",", "\n") + "\n"


def _pages(blocks: Iterable[Block], rows: int) -> Iterator[tuple[list[Block], int]]:
    """Cut the blocks into pages; there is one even if there are no rows."""
    begun, fault = False, None
    try:
        for block in blocks:
            for start in range(0, len(block.h), rows):
                begun = True
                yield [block.cut(start, start + rows)], 0
    except ValueError as error:
        fault = error
    if not begun:
        yield [], 0
    if fault:
        raise fault


def _ends(blocks: Iterable[Block]) -> Iterator[tuple[list[Block], int]]:
    """Give a page of all rows, or of both ends and how many rows are left out between them."""
    begin: list[Block] = []
    end: list[Block] = []  # the last rows so far
    total, fault = 0, None
    try:
        for block in blocks:
            if total <= LONG:
                begin.append(block.cut(0, LONG))
            total += len(block.h)
            end = [_joined([*end, block.cut(-SHOWN_AT_ENDS, None)]).cut(-SHOWN_AT_ENDS, None)]
    except ValueError as error:
        fault = error
    if total <= LONG:
        yield [_joined(begin)] if begin else [], 0
    else:
        yield [_joined(begin).cut(0, SHOWN_AT_ENDS), *end], total - 2 * SHOWN_AT_ENDS
    if fault:
        raise fault


def _joined(blocks: list[Block]) -> Block:
    t, x, h = (np.concatenate(part) for part in list(zip(*blocks, strict=True))[:3])
    keys = [block.key for block in blocks if block.key is not None]
    return Block(t, x, h, np.concatenate(keys) if keys else None)


def _cells(piece: Block, keys: Labels, style: Style) -> str:
    """Cells of rows, each with a line end behind it."""
    parts: list[Part] = [piece.t, "\n"]
    if piece.key is not None:
        parts.insert(0, list(keys.of(piece.key)))
    if np.isnan(piece.x).any():
        rows = texts_with_gaps(piece.x, "", style.digits)
        parts.append(["".join(f"{cell}\n" for cell in row) for row in rows])
    elif piece.x.shape[1] and not style.last:
        parts += [piece.x, "\n"]
    return "".join(rows_of_text([*parts, piece.h, "\n"], "\n", style.digits))


def _key(key: Key) -> str:
    return "".join(f"{printable(cell)}\n" for cell in key)


def _note(left_out: int, style: Style) -> str:
    """Say what a table leaves out."""
    notes = []
    if left_out:
        notes.append(
            f"Rows {SHOWN_AT_ENDS + 1} to {SHOWN_AT_ENDS + left_out} are not shown "
            f"({left_out} steps): --all-steps shows them."
        )
    if style.digits is not None:
        notes.append(f"Rounded to {style.digits} digits after the point (--digits).")
    return " ".join(notes)
