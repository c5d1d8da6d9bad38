"""Columns of numbers as Rich tables that fit the screen."""

import os
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TextIO

from rnncli.screen import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

# Blanks after a column: its own padding, and the box's divider.
_BLANKS = 2
# Marks where rows or columns are left out.
GAP = ":"
# Rich takes 100 microseconds a row, as long as 50 rows of plain text take.
_RICH_ROWS = 500
# Cells drawn at once, as all of them are held as text; and rows, at least.
_PAGE, _PAGE_ROWS = 1 << 18, 64


class Column(NamedTuple):
    """A named column of cells, all of them as text."""

    name: str
    cells: Sequence[str]
    style: str = ""


def page_rows(columns: int) -> int:
    """Give the number of rows to draw at once, of a table of so many columns."""
    return max(_PAGE_ROWS, _PAGE // columns)


def draw(out: TextIO, title: str, labels: Sequence[Column], columns: Sequence[Column]) -> None:
    """Draw columns side by side, as many as fit, then the others below.

    No cell is cut: a column wider than the screen makes the table as wide
    as it needs.

    Parameters
    ----------
    out : text stream
        Its terminal, or ``COLUMNS``, gives the width; 80 otherwise.
    title : str
        A line above. Without one the rows go on from those drawn before.
    labels : sequence of Column
        Repeated at the left of every part.
    columns : sequence of Column
        All with as many cells as the labels.
    """
    from rich.text import Text

    screen = console_on(out)
    labels, columns = ([_aligned(column) for column in group] for group in (labels, columns))
    widths = [_width(column) for column in columns]
    beside = sum(map(_width, labels))
    # Rich takes a width on a dumb terminal only together with a height.
    width = max(screen.width, beside + max(widths, default=0))
    console = console_on(out, width, screen.height)
    parts = [[*labels, *columns[part]] for part in _parts(widths, width - beside)]
    above = [Text(printable(title), style="bold")] if title else []
    # Elsewhere than on a terminal a row with the heading is enough for Rich.
    styled = _RICH_ROWS if title and console.is_terminal else 1
    for piece in chain(above, *(_pages(part, styled) for part in parts)):
        if isinstance(piece, str):
            out.write(piece)
        else:
            _print(console, piece)


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


def _aligned(column: Column) -> Column:
    """Pad the cells so that their points, or else their last digits, stand in line."""
    cells = [printable(cell) for cell in column.cells]
    points = [_point(cell) for cell in cells]
    left = max(points, default=0)
    cells = [" " * (left - point) + cell for point, cell in zip(points, cells, strict=True)]
    width = max(map(len, cells), default=0)
    return column._replace(name=printable(column.name), cells=[cell.ljust(width) for cell in cells])


def _point(cell: str) -> int:
    """Where the point of a number stands; 0 for a word, which starts its column."""
    if not cell.lstrip("-")[:1].isdigit() and cell != GAP:
        return 0
    return cell.find(".") if "." in cell else len(cell)


def _width(column: Column) -> int:
    """Screen width that an aligned column takes."""
    from rich.cells import cell_len

    return max(map(cell_len, (column.name, *column.cells[:1]))) + _BLANKS


def _parts(widths: Sequence[int], available: int) -> Iterator[slice]:
    """Slices of the columns that fit; at least one in each, so that none is lost."""
    start, taken = 0, 0
    for n, width in enumerate(widths):
        if n > start and taken + width > available:
            yield slice(start, n)
            start, taken = n, 0
        taken += width
    yield slice(start, len(widths))


def _pages(columns: Sequence[Column], styled: int) -> "Iterator[RenderableType]":
    """Draw columns that fit side by side: a table of some rows, and the others as plain lines."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    yield Text()
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    widths = [_width(column) - _BLANKS for column in columns]
    for column, width in zip(columns, widths, strict=True):
        table.add_column(Text(column.name), style=column.style, no_wrap=True, min_width=width)
    # One tall row: Rich takes four times as long for rows one by one.
    table.add_row(*(Text("\n".join(column.cells[:styled])) for column in columns))
    yield table
    padded = [
        [cell.ljust(w) for cell in c.cells[styled:]] for c, w in zip(columns, widths, strict=True)
    ]
    yield "".join(f"{(' ' * _BLANKS).join(row).rstrip()}\n" for row in zip(*padded, strict=True))
