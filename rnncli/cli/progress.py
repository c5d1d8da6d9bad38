"""How far a long command has come, on one line of a terminal's standard error."""

import os
import sys
import time
from contextlib import suppress
from datetime import timedelta
from shutil import get_terminal_size
from typing import Self

from rnncli.cli.errors import note
from rnncli.pipeline import Blocks, Console
from rnncli.readers import Input
from rnncli.writers.sink import on_screen

# Shorter commands show nothing; longer ones ten lines in that time.
SECONDS = 1.0


def on_terminal() -> bool:
    """Return whether standard error is a terminal on which a line can be written over."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Line:
    """A line on a terminal, written over the one before, and removed at the end."""

    def __init__(self) -> None:
        self._begin, self._next, self._shown = time.monotonic(), SECONDS, False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def show(self, text: str, share: float | None) -> None:
        """Show, if it is time to, a text with the share that is done and the time left."""
        seconds = time.monotonic() - self._begin
        if seconds > self._next:
            self._next = seconds + SECONDS / 10
            left = timedelta(seconds=round(seconds / share - seconds)) if share else None
            self.write(f"{share:.0%}, {left} left: {text}" if share else text)

    def write(self, text: str) -> None:
        """Write a line as wide as the terminal."""
        if on_terminal():
            width, self._shown = get_terminal_size().columns - 1, True
            with suppress(OSError):
                sys.stderr.write(f"\r{text[:width].ljust(width)}\r")
                sys.stderr.flush()

    def clear(self) -> None:
        """Remove the line before other output."""
        if self._shown:
            self.write("")


def show_rows(blocks: Blocks, source: Input) -> Blocks:
    """Pass blocks on; show how many rows are written, and which share of the input is read."""
    count = 0
    with Line() as line:
        for rows in blocks:
            yield rows
            count += len(rows.x)
            line.show(f"{count:,} rows", source.share(count))


class Terminal(Console):
    """The console of a command: notes on standard error, and how far a run has come."""

    def note(self, text: str) -> None:
        """Write a note."""
        note(text)

    def working(self, text: str) -> Line:
        """Show a text while a block of code runs."""
        line = Line()
        line.write(text)
        return line

    def watch(self, blocks: Blocks, source: Input, output: str | None) -> Blocks:
        """Pass blocks on; show how far a run has come, unless its output is on the screen."""
        return show_rows(blocks, source) if on_terminal() and not on_screen(output) else blocks
