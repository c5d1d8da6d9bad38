"""Columns of numbers as Rich tables that fit the screen."""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Integers
from rnncli.model.errors import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

# Blanks after a column: its own padding, and the box's divider.
_BLANKS = 2
# Shows where rows or columns are left out.
GAP = ":"
# Rich takes 100 microseconds a row, as long as 50 rows of plain text take.
_RICH_ROWS = 500
# Cells drawn at once, as all of them are held as text; and rows, at least.
_PAGE, _PAGE_ROWS = 1 << 18, 64
# Cells whose characters are placed at once, in the cache.
_CACHED = 16_384


class Heading(NamedTuple):
    """The name of a column, and how Rich paints the column."""

    name: str
    style: str = ""


class Column(NamedTuple):
    """The name of a column, and its cells as text."""

    name: str
    cells: Sequence[str]


class _Grid:
    """A table as characters, with the points of a column's numbers below each other.

    Parameters
    ----------
    cells : str
        As for `draw_cells`.
    names : sequence of str
        One for each column; a column is at least as wide as its name.

    Attributes
    ----------
    edges : list of int
        Where each column begins in a line, then the width of the line.
    """

    def __init__(self, cells: str, names: Sequence[str]) -> None:
        from rich.cells import cell_len

        self.names = names
        self._codec, kind = ("ascii", "u1") if cells.isascii() else ("utf-32-le", "<u4")
        text = np.frombuffer(cells.encode(self._codec), kind).copy()
        ends = np.flatnonzero(text == ord("\n"))
        starts = np.concatenate([[0], ends + 1])[:-1]
        points = _points(text, starts, ends).reshape(-1, len(names))
        shifts = points.max(axis=0, initial=0) - points
        widths = (shifts + (ends - starts).reshape(shifts.shape)).max(axis=0, initial=0)
        widths = np.maximum(widths, [cell_len(name) for name in names]) + _BLANKS
        edges = np.concatenate([[0], np.cumsum(widths)])
        self.edges: list[int] = edges.tolist()
        self._lines = np.full((len(points), edges[-1]), ord(" "), kind)
        text[ends] = ord(" ")
        # How far each cell moves from its place in the text to that in the lines.
        rows = edges[-1] * np.arange(len(points))[:, None]
        moves = (rows + edges[:-1] + shifts).reshape(-1) - starts
        for first in range(0, len(ends), _CACHED):
            some = slice(first, first + _CACHED)
            sources = np.arange(starts[first], ends[some][-1] + 1)
            targets = sources + np.repeat(moves[some], ends[some] + 1 - starts[some])
            self._lines.reshape(-1)[targets] = text[sources]

    def width(self, column: int) -> int:
        """Return the width of a column, without the blanks behind it."""
        return self.edges[column + 1] - self.edges[column] - _BLANKS

    def lines(self, columns: Sequence[slice], rows: slice) -> list[str]:
        """Return some columns of some rows, line by line, without blanks at the ends."""
        places = (slice(self.edges[part.start], self.edges[part.stop]) for part in columns)
        pieces = [self._lines[rows, place] for place in places]
        end = np.full((len(pieces[0]), 1), ord("\n"), self._lines.dtype)
        text = np.concatenate([*pieces, end], axis=1).tobytes().decode(self._codec)
        return [f"{line.rstrip()}\n" for line in text.split("\n")[:-1]]


def page_rows(columns: int) -> int:
    """Return how many rows of so many columns to draw at once."""
    return max(_PAGE_ROWS, _PAGE // columns)


def draw(out: TextIO, title: str, labels: Sequence[Column], columns: Sequence[Column]) -> None:
    """Draw columns of a few cells; see `draw_cells`."""
    every = [*labels, *columns]
    rows = zip(*(column.cells for column in every), strict=True)
    cells = "".join(f"{printable(cell)}\n" for row in rows for cell in row)
    headings = [Heading(column.name) for column in every]
    draw_cells(out, title, headings, len(labels), cells)


def draw_cells(
    out: TextIO, title: str, headings: Sequence[Heading], labels: int, cells: str
) -> None:
    """Draw columns side by side, as many as fit, then the others below.

    No cell is cut: a column wider than the screen makes the table as wide
    as it needs.
    """
    from rich.text import Text

    screen = console_on(out)
    names = [printable(heading.name) for heading in headings]
    styles = [heading.style for heading in headings]
    grid = _Grid(cells, names)
    widths = np.diff(grid.edges[labels:]).tolist()
    # Rich takes a width on a dumb terminal only together with a height.
    width = max(screen.width, grid.edges[labels] + max(widths, default=0))
    console = console_on(out, width, screen.height)
    if title:
        _print(console, Text(printable(title), style="bold"))
    rich_rows = (_RICH_ROWS if title else 1) if console.is_terminal else 0
    for shown in _parts(grid, labels, width):
        columns = [i for piece in shown for i in range(piece.start, piece.stop)]
        out.write("\n")
        if rich_rows:
            _print(console, _table(grid, styles, columns, rich_rows))
        else:
            rule = "-" if console.options.ascii_only else "─"
            out.write(_heading(grid, columns, rule))
        out.writelines(grid.lines(shown, slice(rich_rows, None)))


def lines_beside(
    names: Sequence[str], labels: int, cells: str, width: int
) -> Iterator[tuple[str, list[str]]]:
    """Return the lines of columns side by side, as many as fit, then those of the others."""
    grid = _Grid(cells, names)
    for shown in _parts(grid, labels, width):
        columns = [i for piece in shown for i in range(piece.start, piece.stop)]
        yield _names(grid, columns), [line[:-1] for line in grid.lines(shown, slice(None))]


def write_note(out: TextIO, note: str) -> None:
    """Write a line below what is drawn, if any."""
    if note:
        out.write("\n")
        write_text(out, note, "italic", wrap=True)


def write_text(out: TextIO, text: str, style: str = "", *, wrap: bool = False) -> None:
    """Write text in lines that fit a terminal; a word that does not, such as a path, is not cut."""
    from rich.text import Text

    console, text = console_on(out), printable(text)
    if wrap or console.is_terminal:
        _print(console, Text(text, style=style, overflow="ignore"), crop=False)
    else:
        out.write(f"{text}\n")


def _print(console: "Console", piece: "RenderableType", **options: bool) -> None:
    """Print without blanks at the ends of lines."""
    with console.capture() as drawn:
        console.print(piece, **options)  # type: ignore[arg-type]
    console.file.writelines(f"{line.rstrip()}\n" for line in drawn.get().splitlines())


def console_on(out: TextIO, width: int | None = None, height: int | None = None) -> "Console":
    """Return a console whose caller handles a closed pipe."""
    from rich.console import Console

    columns = os.environ.get("COLUMNS", "")
    if width is None and columns.isdecimal() and int(columns):
        # Rich passes over COLUMNS on a dumb terminal.
        width, height = int(columns), 25

    class PlainConsole(Console):
        def on_broken_pipe(self) -> None:
            """Raise the error that is being handled; Rich would exit with 1."""
            raise

    terminal = getattr(out, "terminal", out)  # a `Screen` passes no colours on
    return PlainConsole(file=terminal, width=width, height=height, highlight=False)


def _points(text: NDArray[Any], starts: Integers, ends: Integers) -> Integers:
    """Return where the point of a number, or its end, stands in each cell; 0 for a word."""
    first = text[starts]
    digit = np.where(first == ord("-"), text[np.minimum(starts + 1, ends)], first)
    number = (digit >= ord("0")) & (digit <= ord("9"))
    number |= (first == ord(GAP)) & (ends - starts == len(GAP))
    dots = np.append(np.flatnonzero(text == ord(".")), len(text))
    points = np.minimum(dots[np.searchsorted(dots, starts)], ends) - starts
    return np.where(number, points, 0)


def _parts(grid: _Grid, labels: int, width: int) -> Iterator[list[slice]]:
    """Return the labels and the columns that fit beside them; at least one column in each part."""
    left = slice(0, labels)
    start, end = labels, len(grid.names)
    available = width - grid.edges[labels]
    for n in range(labels, end):
        if n > start and grid.edges[n + 1] - grid.edges[start] > available:
            yield [left, slice(start, n)]
            start = n
    yield [left, slice(start, end)]


def _names(grid: _Grid, columns: Sequence[int]) -> str:
    """Return the names of columns as a line."""
    from rich.cells import set_cell_size

    names = (set_cell_size(grid.names[i], grid.width(i)) for i in columns)
    return (" " * _BLANKS).join(names).rstrip()


def _heading(grid: _Grid, columns: Sequence[int], rule: str) -> str:
    """Return the names of columns, and a rule below them."""
    width = sum(grid.width(i) + _BLANKS for i in columns) - _BLANKS
    return f"{_names(grid, columns)}\n{rule * (width + 1)}\n"


def _table(grid: _Grid, styles: Sequence[str], columns: Sequence[int], rows: int) -> "Table":
    """Return a Rich table of the first rows of columns that fit side by side."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for i in columns:
        name = Text(grid.names[i])
        table.add_column(name, style=styles[i], no_wrap=True, min_width=grid.width(i))
    # One tall row: Rich takes four times as long for rows one by one.
    cells = (grid.lines([slice(i, i + 1)], slice(rows)) for i in columns)
    table.add_row(*(Text("".join(lines).removesuffix("\n")) for lines in cells))
    return table
