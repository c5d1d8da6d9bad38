"""Markdown as a terminal shows it."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, TextIO

from rnncli.writers.grid import console_on

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.markdown import Markdown, TableRowElement
    from rich.table import Table
    from rich.text import Text
    from rich.theme import Theme

# Lines of text are hard to read when they are longer, and a table's when it is narrower.
WIDEST, NARROW = 100, 60


def drawn_markdown(out: TextIO, text: str) -> str:
    """Return Markdown as it is drawn on a terminal, with its colours.

    Code stands at the left margin, line by line as it is written, so that
    it can be copied; of a session the commands have a colour. In a narrow
    terminal the cells of a table stand below each other.

    Parameters
    ----------
    out : text stream
        The terminal, or ``COLUMNS``, gives the width; at most `WIDEST`.
    text : str
        Markdown. Of a link to a file beside it only the words are shown.
    """
    screen = console_on(out)
    console = console_on(out, min(screen.width, WIDEST), screen.height)
    text = re.sub(r"\[([^\]]+)\]\((?!\w+:)[^)]*\)", r"\1", text)
    with console.use_theme(_theme()), console.capture() as drawn:
        console.print(_markdown(text), crop=False)
    # Rich fills lines up with blanks.
    ends = re.compile(r"(?: |\x1b\[[\d;]*m)+$", re.MULTILINE)
    return ends.sub(lambda end: end[0].replace(" ", ""), drawn.get())


def fits(out: TextIO, text: str) -> bool:
    """Return whether a terminal shows all of a text at once, with a prompt below it."""
    return text.count("\n") < console_on(out).height


def _theme() -> "Theme":
    """Return styles that are legible on a light and on a dark ground."""
    from rich.theme import Theme

    return Theme(
        {
            "markdown.h1": "bold underline",
            "markdown.h2": "bold",
            "markdown.h3": "bold italic",
            "markdown.code": "cyan",
            "markdown.code_block": "cyan",
            "markdown.table.border": "none",
            "markdown.table.header": "bold",
        }
    )


def _markdown(text: str) -> "Markdown":
    """Return Markdown whose headings, code and tables are drawn as a manual has them."""
    from rich.markdown import CodeBlock, Heading, Markdown, TableElement
    from rich.text import Text

    class Left(Heading):
        def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
            yield self.text

    class Code(CodeBlock):
        def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
            code = Text(str(self.text).rstrip(), no_wrap=True, overflow="ignore")
            shell = self.lexer_name == "console"
            code.highlight_regex(r"(?m)^\$ .*" if shell else r"(?s).*", "markdown.code_block")
            yield code

    class Cells(TableElement):
        def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
            rows = [[cell.content for cell in row.cells] for row in self._rows()]
            if options.max_width < NARROW:
                yield from _below(rows)
            else:
                yield _beside(rows, options.max_width // 3)

        def _rows(self) -> "list[TableRowElement]":
            head = self.header and self.header.row
            return [*([head] if head else []), *(self.body.rows if self.body else [])]

    class Manual(Markdown):
        elements: ClassVar = {
            **Markdown.elements,
            "heading_open": Left,
            "fence": Code,
            "table_open": Cells,
        }

    return Manual(text, hyperlinks=False)


def _beside(rows: "Sequence[Sequence[Text]]", widest: int) -> "Table":
    """Return a table; the first row is its heading, and the first column at most so wide."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for name in rows[0]:
        most = None if table.columns else widest
        table.add_column(name, justify=name.justify or "default", max_width=most, overflow="fold")
    for row in rows[1:]:
        table.add_row(*row)
    return table


def _below(rows: "Sequence[Sequence[Text]]") -> "Iterator[RenderableType]":
    """Return the first cell of each row, and the others below it, each after its heading."""
    from rich.padding import Padding
    from rich.text import Text

    names = rows[0]
    for first, *others in rows[1:]:
        yield first
        for name, cell in zip(names[1:], others, strict=True):
            cell.justify = "left"
            told = cell if len(names) == 2 else Text.assemble(name, ": ", cell)
            yield Padding(told, (0, 0, 0, 4))
