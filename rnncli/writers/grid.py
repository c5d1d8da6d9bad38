"""Columns of text and numbers as tables that fit the screen."""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Integers
from rnncli.model.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

# Blanks between two columns.
_BLANKS = 2
# Shows where rows or columns are left out.
GAP = ":"
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
    """Draw columns side by side, as many as fit, then the others below, each part with the labels.

    No cell is cut: a column wider than the screen makes the table as wide as it needs.
    """
    from rich.text import Text

    screen = console_on(out)
    names, lines, edges = _grid([printable(heading.name) for heading in headings], cells)
    width = max(screen.width, edges[labels] + int(np.diff(edges[labels:]).max(initial=0)))
    # Rich takes a width on a dumb terminal only together with a height.
    console = console_on(out, width, screen.height)
    if title:
        _print(console, Text(printable(title), style="bold"))
    rule = "-" if console.options.ascii_only else "─"
    for start, stop in _parts(edges, labels, width):
        spans = [(0, edges[labels], ""), (edges[start], edges[stop], "")]
        if console.is_terminal:
            shown = [*range(labels), *range(start, stop)]
            spans = [(edges[i], edges[i + 1], headings[i].style) for i in shown]
        patterns = [(slice(*ends), _pattern(console, style)) for *ends, style in spans]
        heading = "".join([*names[:labels], *names[start:stop]]).rstrip()
        console.file.write("\n" + _pattern(console, "bold").format(heading) + "\n")
        console.file.write(rule * (edges[labels] + edges[stop] - edges[start] - 1) + "\n")
        for line in lines:
            row = "".join(pattern.format(line[place]) for place, pattern in patterns)
            console.file.write(row.rstrip().replace("\0", "") + "\n")


def lines_beside(
    names: Sequence[str], labels: int, cells: str, width: int
) -> Iterator[tuple[str, list[str]]]:
    """Return the lines of columns side by side, as many as fit, then those of the others."""
    names, lines, edges = _grid(names, cells)
    left = slice(edges[labels])
    for start, stop in _parts(edges, labels, width):
        right = slice(edges[start], edges[stop])
        heading = "".join([*names[:labels], *names[start:stop]]).rstrip()
        rows = (f"{line[left]}{line[right]}".rstrip() for line in lines)
        yield heading, [row.replace("\0", "") for row in rows]


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


def _print(console: "Console", text: "Text", *, crop: bool = True) -> None:
    """Print without blanks at the ends of lines."""
    with console.capture() as drawn:
        console.print(text, crop=crop)
    console.file.writelines(f"{line.rstrip()}\n" for line in drawn.get().splitlines())


def _pattern(console: "Console", style: str) -> str:
    """Return a pattern of text in a style, with the codes that the terminal knows."""
    from rich.text import Text

    if not style:
        return "{}"
    with console.capture() as drawn:
        console.print(Text("{}", style=style), end="")
    return drawn.get()


def _grid(names: Sequence[str], cells: str) -> tuple[list[str], list[str], list[int]]:
    """Pad columns of cells, with the points of a column's numbers below each other.

    Returns
    -------
    names, lines : lists of str
        The names, each as wide as its column and the blanks behind it; and the rows, with a
        zero character behind each that takes two places on the screen.
    edges : list of int
        Where each column begins in a line, then the width of the line.
    """
    from rich.cells import cell_len

    wide = {ord(c): f"{c}\0" for c in set(cells) if cell_len(c) > 1}
    cells = cells.translate(wide) if wide else cells
    codec, kind = ("ascii", "u1") if cells.isascii() else ("utf-32-le", "<u4")
    text = np.frombuffer(cells.encode(codec), kind).copy()
    ends = np.flatnonzero(text == ord("\n"))
    starts = np.append(0, ends + 1)[:-1]
    points = _points(text, starts, ends).reshape(-1, len(names))
    shifts = points.max(axis=0, initial=0) - points
    longest = (shifts + (ends - starts).reshape(shifts.shape)).max(axis=0, initial=0)
    sizes = [cell_len(name) for name in names]
    widths = np.maximum(longest, sizes) + _BLANKS
    edges = np.append(0, np.cumsum(widths))
    lines = np.full((len(points), edges[-1] + 1), ord(" "), kind)
    text[ends] = ord(" ")
    # How far each cell moves from its place in the text to that in the lines.
    rows = lines.shape[1] * np.arange(len(points))[:, None]
    moves = (rows + edges[:-1] + shifts).reshape(-1) - starts
    for first in range(0, len(ends), _CACHED):
        some = slice(first, first + _CACHED)
        sources = np.arange(starts[first], ends[some][-1] + 1)
        targets = sources + np.repeat(moves[some], ends[some] + 1 - starts[some])
        lines.reshape(-1)[targets] = text[sources]
    lines[:, -1] = ord("\n")
    padded = [f"{n}{' ' * w}" for n, w in zip(names, (widths - sizes).tolist(), strict=True)]
    return padded, lines.tobytes().decode(codec).split("\n")[:-1], edges.tolist()


def _points(text: NDArray[Any], starts: Integers, ends: Integers) -> Integers:
    """Find where the point of a number, or its end, stands in each cell; 0 for a word."""
    first = text[starts]
    digit = np.where(first == ord("-"), text[np.minimum(starts + 1, ends)], first)
    number = (digit >= ord("0")) & (digit <= ord("9"))
    number |= (first == ord(GAP)) & (ends - starts == len(GAP))
    dots = np.append(np.flatnonzero(text == ord(".")), len(text))
    points = np.minimum(dots[np.searchsorted(dots, starts)], ends) - starts
    return np.where(number, points, 0)


def _parts(edges: Sequence[int], labels: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield which columns fit beside the labels, at least one at a time: the first, and the end."""
    start, available = labels, width - edges[labels]
    for n in range(labels + 1, len(edges) - 1):
        if edges[n + 1] - edges[start] > available:
            yield start, n
            start = n
    yield start, len(edges) - 1
