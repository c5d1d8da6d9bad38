"""States as a table for people: a row for every t."""

from functools import cache
from typing import TextIO

from rnncli.engine.rows import Rows, join
from rnncli.model.errors import printable
from rnncli.writers.digits import Words, by_key, floats, integers, rows_of_text, text_of, words_of
from rnncli.writers.grid import GAP, Heading, draw_cells, page_rows, write_note
from rnncli.writers.model import model_line
from rnncli.writers.result import Result, Style

# On a terminal a sequence of more steps than LONG shows only this many at each end.
LONG = 30
SHOWN_AT_ENDS = 10


class TableWriter:
    """Draws the rows, those of one forward sequence below its initial state.

    On a terminal more than `LONG` steps show only the first and last. A note tells which are
    not shown, and they are not kept. Anywhere else all rows are written as they come, a page at
    a time under a heading of its own.
    """

    def __init__(self, out: TextIO, result: Result, style: Style) -> None:
        self._out, self._result, self._style = out, result, style
        self._labels = [*result.key_columns, "t"]
        self._headings = [
            *(Heading(name, "dim") for name in self._labels),
            *(Heading(name, "cyan") for name in result.columns),
            *map(Heading, result.units),
        ]
        self._title, self._initial = model_line(result.model), self._initial_cells()
        self._whole = result.last or not out.isatty()
        self._first: list[Rows] = []
        self._latest: list[Rows] = []
        self._count = 0
        self._label = cache(lambda n: "".join(f"{printable(cell)}\n" for cell in result.keys[n]))

    def rows(self, rows: Rows) -> None:
        """Draw a block of results, or hold its ends."""
        if self._whole:
            page = page_rows(len(self._headings))
            for start in range(0, len(rows.t), page):
                self._draw(self._cells(rows.cut(start, start + page)))
        else:
            if self._count <= LONG:
                self._first.append(rows.cut(0, LONG))
            latest = join([*self._latest, rows.cut(-SHOWN_AT_ENDS, None)])
            self._latest = [latest.cut(-SHOWN_AT_ENDS, None)]
        self._count += len(rows.t)

    def end(self, error: ValueError | None) -> None:  # noqa: ARG002
        """Draw the rows that are held, and note what is left out."""
        notes = []
        if not self._count:
            self._draw("")
        elif not self._whole and self._count <= LONG:
            self._draw(self._cells(join(self._first)))
        elif not self._whole:
            first = self._cells(join(self._first).cut(0, SHOWN_AT_ENDS))
            gap = f"{GAP}\n" * len(self._headings)
            self._draw(first + gap + self._cells(self._latest[0]))
            notes.append(
                f"Rows {SHOWN_AT_ENDS + 1} to {self._count - SHOWN_AT_ENDS} are not shown "
                f"({self._count - 2 * SHOWN_AT_ENDS} steps): `output` FILE.csv has all."
            )
        if self._style.digits is not None:
            notes.append(f"Rounded to {self._style.digits} digits after the point (`digits`).")
        write_note(self._out, self._style.worded(" ".join(notes)))

    def _draw(self, cells: str) -> None:
        """Draw a page, the first below the model and the initial state."""
        cells = self._initial + cells
        draw_cells(self._out, self._title, self._headings, len(self._labels), cells)
        self._title = self._initial = ""

    def _initial_cells(self) -> str:
        """Return the cells of the initial state; empty text if it has no row."""
        result, digits = self._result, self._style.digits
        if result.last or result.key_columns or not result.forward or "h" not in result.shown:
            return ""
        initial = result.initial()
        h, c = (layer["h"] for layer in initial.layers), (each for each in initial.c if each.size)
        parts = [integers(initial.t), words_of(["\n" + "\n" * len(result.columns)])]
        for columns in result.values:
            if columns.array in result.shown and columns.width:
                of = c if columns.array == "c" else h if columns.name.endswith("h") else None
                if of is None:
                    parts.append(words_of(["\n" * columns.width]))
                else:
                    parts += [floats(next(of), "", "\n", digits), words_of(["\n"])]
        return text_of(parts)

    def _cells(self, rows: Rows) -> str:
        """Return the cells of rows, each with a line end behind it."""
        values, digits = self._result.rows(rows), self._style.digits

        def parts_of(some: slice) -> list[Words]:
            return [
                *(() if rows.key is None else [by_key(rows.key[some], self._label)]),
                integers(rows.t[some]),
                floats(rows.x[some], "\n", "\n", digits, "") if rows.x.shape[1] else words_of([""]),
                floats(values[some], "\n", "\n", digits),
                words_of(["\n"]),
            ]

        width = 2 * (rows.x.shape[1] + values.shape[1]) + 4
        return "".join(rows_of_text(len(rows.t), width, parts_of))
