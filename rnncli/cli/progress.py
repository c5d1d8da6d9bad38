"""How far a long command has come, on one line of a terminal's standard error."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from shutil import get_terminal_size
from typing import Self

from rnncli.cli.errors import SIGNALS, note
from rnncli.engine.rows import Rows
from rnncli.pipeline import Console
from rnncli.readers.input import Input
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


class RunProgress(Line):
    """The rows of a run, and the share of its input that is done."""

    def __init__(self, source: Input) -> None:
        super().__init__()
        self._source, self._rows = source, 0

    def begin(self, rows: Rows) -> None:
        """Count rows that were read."""
        self._rows += len(rows.x)

    def end(self) -> None:
        """Show them as written."""
        self.show(f"{self._rows:,} rows", self._source.share(self._rows))


class Terminal(Console):
    """The console of a command: notes on standard error, and how far a run has come."""

    signals = SIGNALS

    def note(self, text: str) -> None:
        """Write a note."""
        note(text)

    def working(self, text: str) -> Line:  # type: ignore[override]  # whose value nobody takes
        """Show a text while a block of code runs."""
        line = Line()
        line.write(text)
        return line

    @contextmanager
    def progress(self, source: Input, output: str | None) -> Iterator[Sequence[RunProgress]]:
        """Show how far a run has come, unless its output is on the screen."""
        if not on_terminal() or on_screen(output):
            yield ()
        else:
            with RunProgress(source) as shown:
                yield [shown]
