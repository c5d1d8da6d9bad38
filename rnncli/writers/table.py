"""States as a table for people: a row for every t."""

from collections.abc import Iterable, Iterator
from typing import TextIO

import numpy as np

from rnncli.engine.rows import Rows, join
from rnncli.model.arrays import Floats
from rnncli.model.errors import printable
from rnncli.writers.digits import Part, rows_of_text, texts_with_gaps
from rnncli.writers.grid import GAP, Heading, draw_cells, page_rows, write_note
from rnncli.writers.labels import Key, Labels
from rnncli.writers.model import model_line
from rnncli.writers.trajectory import Style, Trajectory, UntilError

# On a terminal a sequence of more steps than LONG shows only this many at each end.
LONG = 30
SHOWN_AT_ENDS = 10


def write_table(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Draw the rows, those of one forward sequence below its initial state.

    On a terminal more than `LONG` steps show only the first and last. A note
    tells which are not shown, and they are not kept. Anywhere else all rows are
    written as the blocks come, a page at a time under a heading of its own.
    """
    labels = [*trajectory.key_columns, "t"]
    headings = [
        *(Heading(name, "dim") for name in labels),
        *(Heading(name, "cyan") for name in trajectory.columns),
        *map(Heading, trajectory.units),
    ]
    whole = trajectory.last or not out.isatty()
    blocks = UntilError(trajectory.blocks)
    pages = _pages(blocks, page_rows(len(headings))) if whole else _ends(blocks)
    title, cells = model_line(trajectory.model), _initial(trajectory, style)
    keys = Labels(trajectory.keys, lambda keys: [*map(_key, keys)])
    gap = f"{GAP}\n" * len(headings)
    left_out = 0
    for pieces, between in pages:
        left_out += between
        cells += gap.join(_cells(piece, trajectory.rows(piece), keys, style) for piece in pieces)
        draw_cells(out, title, headings, len(labels), cells)
        title, cells = "", ""
    write_note(out, _note(left_out, style))
    blocks.check()


def _initial(trajectory: Trajectory, style: Style) -> str:
    """Return the cells of the initial state; empty text if it has no row."""
    many = trajectory.last or trajectory.key_columns
    if many or not trajectory.forward or "h" not in trajectory.shown:
        return ""
    initial = trajectory.initial()
    h, c = (layer["h"] for layer in initial.layers), (array for array in initial.c if array.size)
    parts: list[Part] = [initial.t, "\n", "\n" * len(trajectory.columns)]
    for part in trajectory.values:
        if part.array in trajectory.shown and part.width:
            of = c if part.array == "c" else h if part.name.endswith("h") else None
            parts += ["\n" * part.width] if of is None else [next(of), "\n"]
    return "".join(rows_of_text(parts, "\n", style.digits))


def _pages(blocks: Iterable[Rows], rows: int) -> Iterator[tuple[list[Rows], int]]:
    """Cut the blocks into pages; one page even if there are no rows."""
    begun = False
    for block in blocks:
        for start in range(0, len(block.h), rows):
            begun = True
            yield [block.cut(start, start + rows)], 0
    if not begun:
        yield [], 0


def _ends(blocks: Iterable[Rows]) -> Iterator[tuple[list[Rows], int]]:
    """Return one page: all rows, or both ends and the number of rows left out between."""
    begin: list[Rows] = []
    end: list[Rows] = []  # the last rows so far
    total = 0
    for block in blocks:
        if total <= LONG:
            begin.append(block.cut(0, LONG))
        total += len(block.h)
        end = [join([*end, block.cut(-SHOWN_AT_ENDS, None)]).cut(-SHOWN_AT_ENDS, None)]
    if total <= LONG:
        yield [join(begin)] if begin else [], 0
    else:
        yield [join(begin).cut(0, SHOWN_AT_ENDS), *end], total - 2 * SHOWN_AT_ENDS


def _cells(piece: Rows, values: Floats, keys: Labels, style: Style) -> str:
    """Return the cells of rows, each with a line end behind it."""
    parts: list[Part] = [piece.t, "\n"]
    if piece.key is not None:
        parts.insert(0, list(keys.of(piece.key)))
    if np.isnan(piece.x).any():
        rows = texts_with_gaps(piece.x, "", style.digits)
        parts.append(["".join(f"{cell}\n" for cell in row) for row in rows])
    elif piece.x.shape[1]:
        parts += [piece.x, "\n"]
    return "".join(rows_of_text([*parts, values, "\n"], "\n", style.digits))


def _key(key: Key) -> str:
    return "".join(f"{printable(cell)}\n" for cell in key)


def _note(left_out: int, style: Style) -> str:
    """Return a note of the rows and digits that a table leaves out."""
    notes = []
    if left_out:
        notes.append(
            f"Rows {SHOWN_AT_ENDS + 1} to {SHOWN_AT_ENDS + left_out} are not shown "
            f"({left_out} steps): `output` FILE.csv has all."
        )
    if style.digits is not None:
        notes.append(f"Rounded to {style.digits} digits after the point (`digits`).")
    return style.worded(" ".join(notes))
