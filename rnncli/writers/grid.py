"""Columns of text and numbers as tables that fit the screen."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, NamedTuple, TextIO

from rnncli.model.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

# Blanks between two columns.
_BLANKS = 2
# Shows where rows or columns are left out.
GAP = ":"
# Characters of a number before its point or exponent; a text may begin with a number.
_BEFORE_POINT = re.compile(r"(?!.* )-?[0-9](?:[^.e]|e(?![-+][0-9]))*")


class Column(NamedTuple):
    """The name of a column, its cells as text, and their style in Rich."""

    name: str
    cells: Sequence[str]
    style: str = ""
    width: int = 0  # of its padded texts


def ends_shown(out: TextIO, count: int, long: int, at_ends: int) -> list[int | None]:
    """Choose the rows to show: all or, on a terminal, both ends of many with None between them."""
    if count <= max(long, 2 * at_ends) or not out.isatty():
        return list(range(count))
    return [*range(at_ends), None, *range(count - at_ends, count)]


def with_gaps(cells: Iterable[str], shown: Iterable[int | None]) -> list[str]:
    """Put a mark among cells where `ends_shown` leaves some out."""
    each = iter(cells)
    return [GAP if i is None else next(each) for i in shown]


def draw(out: TextIO, title: str, labels: Sequence[Column], columns: Sequence[Column]) -> None:
    """Draw columns side by side, as many as fit, and the rest below; labels begin each block.

    No cell is cut: a column wider than the screen makes the table as wide as it needs.
    """
    if title:
        write_text(out, title, "bold", wrap=True)
    left, right = [*map(_pad, labels)], [*map(_pad, columns)]
    styles = {"", "bold", *(column.style for column in (*left, *right))}
    patterns, width = dict.fromkeys(styles, "{}"), _find_width()
    file: IO[str] = out
    if _may_have_styles(out):
        console = console_on(out)
        patterns |= {style: _pattern(console, style) for style in filter(None, styles)}
        width, file = console.width, console.file
    room = width - sum(column.width for column in left)
    encoding = getattr(out, "encoding", None) or "utf-8"
    rule = "─" if encoding.lower().startswith("utf") else "-"
    stop = 0
    while not stop or stop < len(right):
        start, stop = stop, stop + 1
        while stop < len(right) and sum(c.width for c in right[start : stop + 1]) <= room:
            stop += 1
        block = [*left, *right[start:stop]]
        heading = "".join(column.name for column in block).rstrip()
        file.write("\n" + patterns["bold"].format(heading) + "\n")
        file.write(rule * (sum(column.width for column in block) - 1) + "\n")
        painted = [map(patterns[column.style].format, column.cells) for column in block]
        file.writelines(f"{''.join(row).rstrip()}\n" for row in zip(*painted, strict=True))


def write_note(out: TextIO, note: str) -> None:
    """Write a note, if it is not empty, below a drawing."""
    if note:
        out.write("\n")
        write_text(out, note, "italic", wrap=True)


def write_text(out: TextIO, text: str, style: str = "", *, wrap: bool = False) -> None:
    """Write text in lines that fit a terminal; a longer word, such as a path, is not cut."""
    text = printable(text)
    is_short = text.isascii() and len(text) <= _find_width()
    if not _may_have_styles(out) and (is_short or not wrap):
        out.write(f"{text.rstrip() if wrap else text}\n")
        return
    from rich.text import Text

    console = console_on(out)
    if wrap or console.is_terminal:
        print_text(console, Text(text, style=style, overflow="ignore"))
    else:
        out.write(f"{text}\n")


def print_text(console: "Console", text: "Text") -> None:
    """Print without blanks at the ends of lines."""
    with console.capture() as drawn:
        console.print(text, crop=False)
    console.file.writelines(f"{line.rstrip()}\n" for line in drawn.get().splitlines())


def console_on(out: TextIO) -> "Console":
    """Return a console whose caller handles a closed pipe."""
    from rich.console import Console

    class PlainConsole(Console):
        def on_broken_pipe(self) -> None:
            """Raise the error that is being handled; Rich would exit with 1."""
            raise

    columns = os.environ.get("COLUMNS", "")
    # Rich ignores COLUMNS on a dumb terminal, and accepts a width only with a height.
    size = (int(columns), 25) if columns.isdecimal() and int(columns) else (None, None)
    terminal = getattr(out, "terminal", out)  # a `Screen` would escape colours
    return PlainConsole(file=terminal, width=size[0], height=size[1], highlight=False)


def _may_have_styles(out: TextIO) -> bool:
    """Whether Rich may see a stream as a terminal; to load it takes 15 ms."""
    return bool(os.environ.keys() & {"FORCE_COLOR", "TTY_COMPATIBLE"}) or out.isatty()


def _find_width() -> int:
    """Find the columns of the screen, as Rich does for a stream that is no terminal."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    for number in range(3):
        with suppress(OSError, ValueError):
            return os.get_terminal_size(number).columns or 80
    return 80


def _pattern(console: "Console", style: str) -> str:
    """Return a format of text in a style, with the codes of the terminal."""
    from rich.text import Text

    with console.capture() as drawn:
        console.print(Text("{}", style=style), end="")
    return drawn.get()


def _pad(column: Column) -> Column:
    """Pad a column to one width, and align the points of its numbers."""
    cells = column.cells
    if not "".join(cells).isprintable():
        cells = [*map(printable, cells)]
    points = [match.end() if match else 0 for match in map(_BEFORE_POINT.match, cells)]
    most = max(points, default=0)
    shifts = [most - (point or cell == GAP) for point, cell in zip(points, cells, strict=True)]
    texts = [" " * shift + cell for shift, cell in zip(shifts, cells, strict=True)]
    texts = [printable(column.name), *texts]
    size: Callable[[str], int] = len
    if not "".join(texts).isascii():
        from rich.cells import cell_len as size
    width = max(map(size, texts)) + _BLANKS
    texts = [each + " " * (width - size(each)) for each in texts]
    return Column(texts[0], texts[1:], column.style, width)
