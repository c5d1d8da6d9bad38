"""States as a table for people: a row for every t."""

from typing import TextIO

from rnncli.engine.rows import Rows, join
from rnncli.model.description import model_line
from rnncli.model.errors import word
from rnncli.writers.digits import texts
from rnncli.writers.grid import GAP, Column, draw, write_note
from rnncli.writers.result import Result, Style

# On a terminal, of more rows than LONG only so many at each end are kept and shown.
LONG = 30
SHOWN_AT_ENDS = 10
# Cells of a page, as the text of a page is in memory at once; and its fewest rows.
_PAGE, _PAGE_ROWS = 1 << 18, 64


class TableWriter:
    """Draws rows page by page; those of one forward sequence stand below its initial state."""

    def __init__(self, out: TextIO, result: Result, style: Style) -> None:
        self._out, self._result, self._digits = out, result, style.digits
        self._labels = len(result.key_columns) + 1
        names = [*result.key_columns, "t", *result.columns, *result.units]
        styles = ["dim"] * self._labels + ["cyan"] * len(result.columns) + [""] * len(result.units)
        self._columns = [*zip(names, styles, strict=True)]
        self._title, self._initial = model_line(result.model), self._initial_row()
        self._shows_all = result.last or not out.isatty()
        self._ends: list[Rows] = []  # all rows, or the first and the last
        self._count = 0

    def rows(self, rows: Rows) -> None:
        """Draw a block of results, or keep its ends."""
        self._count += len(rows.t)
        if self._shows_all:
            page = max(_PAGE_ROWS, _PAGE // len(self._columns))
            for start in range(0, len(rows.t), page):
                self._draw(self._cells(rows.cut(start, start + page)))
            return
        rows = join([*self._ends, rows])
        self._ends = [rows]
        if self._count > LONG:
            self._ends = [rows.cut(0, SHOWN_AT_ENDS), rows.cut(-SHOWN_AT_ENDS, None)]

    def end(self, error: ValueError | None) -> None:  # noqa: ARG002
        """Draw the rows that were kept, and note which are left out."""
        note, ends = "", [*map(self._cells, self._ends)]
        if len(ends) < 2:
            if ends or not self._count:
                self._draw(ends[0] if ends else [[]] * len(self._columns))
        else:
            self._draw([[*first, GAP, *latest] for first, latest in zip(*ends, strict=True)])
            note = (
                f"Rows {SHOWN_AT_ENDS + 1} to {self._count - SHOWN_AT_ENDS} are not shown "
                f"({self._count - 2 * SHOWN_AT_ENDS} steps): `output` FILE.csv has all. "
            )
        if self._digits is not None:
            note += f"Rounded to {self._digits} digits after the point (`digits`)."
        write_note(self._out, word(note.rstrip()))

    def _draw(self, cells: list[list[str]]) -> None:
        """Draw a page; the first one has the title and the initial state."""
        first = self._initial or [[]] * len(cells)
        columns = [
            Column(name, first[n] + cells[n], style)
            for n, (name, style) in enumerate(self._columns)
        ]
        draw(self._out, self._title, columns[: self._labels], columns[self._labels :])
        self._title, self._initial = "", []

    def _initial_row(self) -> list[list[str]]:
        """Return the cells of the initial state, if it has a row."""
        result = self._result
        if result.last or result.key_columns or not result.forward or "h" not in result.shown:
            return []
        rows = result.initial()
        cells = [str(rows.t[0]), *[""] * len(result.columns)]
        for name, size in result.shown.items():
            state = rows.values.get(name)  # a layer without a state has none
            cells += [""] * size if state is None else texts(state[0], self._digits)
        return [[each] for each in cells]

    def _cells(self, rows: Rows) -> list[list[str]]:
        """Return the cells of rows, column by column."""
        keys = [] if rows.key is None else [self._result.keys[n] for n in rows.key.tolist()]
        return [
            *map(list, zip(*keys, strict=True)),
            [*map(str, rows.t.tolist())],
            *texts(rows.x.T, self._digits, ""),
            *texts(self._result.rows(rows).T, self._digits),
        ]
