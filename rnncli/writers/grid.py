"""Columns of numbers as Rich tables that fit the screen."""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Integers
from rnncli.writers.screen import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

# Blanks after a column: its own padding, and the box's divider.
_BLANKS = 2
# Marks where rows or columns are left out.
GAP = ":"
# Rich takes 100 microseconds a row, as long as 50 rows of plain text take.
_RICH_ROWS = 500
# Cells drawn at once, as all of them are held as text; and rows, at least.
_PAGE, _PAGE_ROWS = 1 << 18, 64
# Cells whose characters are placed at once, in the cache.
_CACHED = 16_384


class Column(NamedTuple):
    """A named column of cells, all of them as text."""

    name: str
    cells: Sequence[str]
    style: str = ""


class Heading(NamedTuple):
    """What stands over a column, and how Rich paints the column."""

    name: str
    style: str = ""


class _Placed(NamedTuple):
    """A table as characters.

    Parameters
    ----------
    characters : array of code points, shape (n, W)
        A line for each row, without its end.
    edges : list of int
        Where in a line each column begins, then W.
    codec : str
        Makes text of the characters.
    """

    characters: NDArray[Any]
    edges: list[int]
    codec: str

    def width(self, column: int) -> int:
        """Give the width of a column, without the blanks behind it."""
        return self.edges[column + 1] - self.edges[column] - _BLANKS

    def lines(self, columns: Sequence[slice], rows: slice) -> list[str]:
        """Text of some columns and rows, line by line, with no blanks at the ends."""
        starts = ((self.edges[part.start], self.edges[part.stop]) for part in columns)
        pieces = [self.characters[rows, start:stop] for start, stop in starts]
        end = np.full((len(pieces[0]), 1), ord("\n"), self.characters.dtype)
        text = np.concatenate([*pieces, end], axis=1).tobytes().decode(self.codec)
        return [f"{line.rstrip()}\n" for line in text.split("\n")[:-1]]


def page_rows(columns: int) -> int:
    """Give the number of rows to draw at once, of a table of so many columns."""
    return max(_PAGE_ROWS, _PAGE // columns)


def draw(out: TextIO, title: str, labels: Sequence[Column], columns: Sequence[Column]) -> None:
    """Draw columns of a few cells; as `draw_cells`."""
    every = [*labels, *columns]
    rows = zip(*(column.cells for column in every), strict=True)
    cells = "".join(f"{printable(cell)}\n" for row in rows for cell in row)
    headings = [Heading(column.name, column.style) for column in every]
    draw_cells(out, title, headings, len(labels), cells)


def draw_cells(
    out: TextIO, title: str, headings: Sequence[Heading], labels: int, cells: str
) -> None:
    """Draw columns side by side, as many as fit, then the others below.

    No cell is cut: a column wider than the screen makes the table as wide
    as it needs.

    Parameters
    ----------
    out : text stream
        Its terminal, or ``COLUMNS``, gives the width; 80 otherwise.
    title : str
        A line above. Without one the rows go on from those drawn before.
    headings : sequence of Heading
        One a column.
    labels : int
        How many of the columns are repeated at the left of every part.
    cells : str
        Printable text, each cell with a line end behind it, row after row.
    """
    from rich.cells import cell_len
    from rich.text import Text

    screen = console_on(out)
    headings = [heading._replace(name=printable(heading.name)) for heading in headings]
    placed = _placed(cells, [cell_len(heading.name) for heading in headings])
    widths = np.diff(placed.edges[labels:]).tolist()
    beside = placed.edges[labels]
    # Rich takes a width on a dumb terminal only together with a height.
    width = max(screen.width, beside + max(widths, default=0))
    console = console_on(out, width, screen.height)
    if title:
        _print(console, Text(printable(title), style="bold"))
    rich_rows = (_RICH_ROWS if title else 1) if console.is_terminal else 0
    for part in _parts(widths, width - beside):
        shown = [slice(0, labels), slice(labels + part.start, labels + part.stop)]
        out.write("\n")
        if rich_rows:
            _print(console, _table(placed, headings, shown, rich_rows))
        else:
            rule = "-" if console.options.ascii_only else "─"
            out.write(_heading(placed, headings, shown, rule))
        out.writelines(placed.lines(shown, slice(rich_rows, None)))


def write_note(out: TextIO, note: str) -> None:
    """Write a line below what is drawn, if any."""
    from rich.text import Text

    if note:
        _print(console_on(out), Text(f"\n{printable(note)}", style="italic"))


def _print(console: "Console", piece: "RenderableType") -> None:
    """Print without blanks at the ends of lines."""
    with console.capture() as drawn:
        console.print(piece)
    console.file.writelines(f"{line.rstrip()}\n" for line in drawn.get().splitlines())


def console_on(out: TextIO, width: int | None = None, height: int | None = None) -> "Console":
    """Open a console that leaves a closed pipe to the caller."""
    from rich.console import Console

    columns = os.environ.get("COLUMNS", "")
    if width is None and columns.isdecimal() and int(columns):
        # Rich passes over COLUMNS on a dumb terminal.
        width, height = int(columns), 25

    class PlainConsole(Console):
        def on_broken_pipe(self) -> None:
            """Leave a closed pipe to the caller; Rich would exit with 1."""
            raise  # called while the error is being handled

    terminal = getattr(out, "terminal", out)  # which a `Screen` sends no colours
    return PlainConsole(file=terminal, width=width, height=height, highlight=False)


def _placed(cells: str, least: Sequence[int]) -> _Placed:
    """Place the cells so that in a column points, or else last digits, stand in line.

    Each column is at least so wide, and has blanks behind it.
    """
    codec, kind = ("ascii", "u1") if cells.isascii() else ("utf-32-le", "<u4")
    text = np.frombuffer(cells.encode(codec), kind).copy()
    ends = np.flatnonzero(text == ord("\n"))
    starts = np.concatenate([[0], ends + 1])[:-1]
    points = _points(text, starts, ends).reshape(-1, len(least))
    shifts = points.max(axis=0, initial=0) - points
    taken = (shifts + (ends - starts).reshape(shifts.shape)).max(axis=0, initial=0)
    edges = np.concatenate([[0], np.cumsum(np.maximum(taken, least) + _BLANKS)])
    lines = np.full((len(points), edges[-1]), ord(" "), kind)
    moved = (edges[-1] * np.arange(len(lines))[:, None] + edges[:-1] + shifts).reshape(-1) - starts
    text[ends] = ord(" ")
    for first in range(0, len(ends), _CACHED):
        some = slice(first, first + _CACHED)
        place = np.arange(starts[first], ends[some][-1] + 1)
        lines.reshape(-1)[place + np.repeat(moved[some], ends[some] + 1 - starts[some])] = text[
            place
        ]
    return _Placed(lines, edges.tolist(), codec)


def _points(text: NDArray[Any], starts: Integers, ends: Integers) -> Integers:
    """Where in each cell the point of a number stands; 0 for a word, which starts its column."""
    first = text[starts]
    digit = np.where(first == ord("-"), text[np.minimum(starts + 1, ends)], first)
    number = (digit >= ord("0")) & (digit <= ord("9"))
    number |= (first == ord(GAP)) & (ends - starts == len(GAP))
    dots = np.append(np.flatnonzero(text == ord(".")), len(text))
    points = np.minimum(dots[np.searchsorted(dots, starts)], ends) - starts
    return np.where(number, points, 0)


def _parts(widths: Sequence[int], available: int) -> Iterator[slice]:
    """Slices of the columns that fit; at least one in each, so that none is lost."""
    start, taken = 0, 0
    for n, width in enumerate(widths):
        if n > start and taken + width > available:
            yield slice(start, n)
            start, taken = n, 0
        taken += width
    yield slice(start, len(widths))


def _heading(
    placed: _Placed, headings: Sequence[Heading], shown: Sequence[slice], rule: str
) -> str:
    """Write the names of columns, and a rule below them."""
    from rich.cells import cell_len, set_cell_size

    columns = [i for part in shown for i in range(part.start, part.stop)]
    names = [set_cell_size(headings[i].name, placed.width(i)) for i in columns]
    line = (" " * _BLANKS).join(names)
    return f"{line.rstrip()}\n{rule * (cell_len(line) + 1)}\n"


def _table(
    placed: _Placed, headings: Sequence[Heading], shown: Sequence[slice], rows: int
) -> "Table":
    """Make a table of the first rows of columns that fit side by side."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    columns = [i for part in shown for i in range(part.start, part.stop)]
    for i in columns:
        name, style = headings[i]
        table.add_column(Text(name), style=style, no_wrap=True, min_width=placed.width(i))
    # One tall row: Rich takes four times as long for rows one by one.
    cells = (placed.lines([slice(i, i + 1)], slice(rows)) for i in columns)
    table.add_row(*(Text("".join(lines).removesuffix("\n")) for lines in cells))
    return table
