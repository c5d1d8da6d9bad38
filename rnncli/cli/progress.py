"""How far a long command has come, on one line of a terminal's standard error."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from math import inf
from shutil import get_terminal_size
from threading import current_thread, main_thread
from typing import Any

from rnncli.cli.command import SIGNALS
from rnncli.cli.errors import note
from rnncli.engine.rows import Rows
from rnncli.engine.runner import Runner
from rnncli.model.errors import word
from rnncli.pipeline import Console
from rnncli.readers import Input
from rnncli.writers.sink import on_screen

# Shorter commands show nothing; longer ones ten lines in that time.
SECONDS = 1.0


def on_terminal() -> bool:
    """Return whether standard error is a terminal on which a line can be written over."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Line:
    """A line on a terminal, written over the one before; `due` says when it is time for one."""

    def __init__(self) -> None:
        self._begin, self._shown = time.monotonic(), False
        self._next = SECONDS if on_terminal() else inf

    def due(self) -> bool:
        """Return whether it is time to show how far the work is."""
        return time.monotonic() - self._begin > self._next

    def show(self, text: str, count: int, share: float | None) -> None:
        """Show a text, how many are done a second, the share that is done, and the time left."""
        seconds = max(time.monotonic() - self._begin, 1e-9)
        self._next = seconds + SECONDS / 10
        rate = count / seconds
        text = f"{text}, {rate:,.{1 if rate < 10 else 0}f} a second"
        if share:
            left = timedelta(seconds=round(seconds / share - seconds))
            text = f"{share:.0%}, {left} left: {text}"
        self.write(text)

    def write(self, text: str) -> None:
        """Write a line as wide as the terminal."""
        width, self._shown = get_terminal_size().columns - 1, True
        with suppress(OSError):
            sys.stderr.write(f"\r{text[:width].ljust(width)}\r")
            sys.stderr.flush()

    def clear(self) -> None:
        """Remove the line, before other output and at the end."""
        if self._shown:
            self.write("")


@contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """Show a text while a block of code runs; the value adds to it."""
    line = Line()

    def show(more: str) -> None:
        if on_terminal():
            line.write(f"{text}{word(more)}")

    show("")
    try:
        yield show
    finally:
        line.clear()


class Terminal(Console):
    """The console of a command: notes on standard error, and how far a run has come."""

    signals = SIGNALS

    def note(self, text: str) -> None:
        """Write a note."""
        note(text)

    def working(self, text: str) -> AbstractContextManager[Any]:
        """Show a text while a block of code runs."""
        return working(text)

    @contextmanager
    def progress(
        self, source: Input, runner: Runner | None, output: str | None
    ) -> Iterator[Sequence["RunProgress"]]:
        """Show how far a run has come, unless its output is on the screen."""
        if not on_terminal() or on_screen(output):
            yield ()
            return
        layers = runner.network.layers if runner else ()
        shown = RunProgress(source, sum(len(layer.cells) for layer in layers))
        if runner:
            runner.watch(shown.tell)
        try:
            yield [shown]
        finally:
            shown.clear()


class RunProgress(Line):
    """The rows of a run, and the share of its input; each cell tells of each row."""

    def __init__(self, source: Input, cells: int) -> None:
        super().__init__()
        self._source, self._cells = source, cells
        self._done = self._told = self._read = 0

    def begin(self, rows: Rows) -> None:
        """Count rows that were read."""
        self._done, self._told = self._read, 0
        self._read += len(rows.x)

    def tell(self, rows: int) -> None:
        """Count rows of a cell that were computed; another thread's are shown by this one."""
        self._told += rows
        if current_thread() is main_thread():
            self._draw(min(self._done + self._told // self._cells, self._read))

    def end(self) -> None:
        """Count them as written."""
        self._draw(self._read)

    def _draw(self, rows: int) -> None:
        if self.due():
            share = self._source.share(self._read)
            done = None if share is None else share * rows / self._read
            self.show(f"{rows:,} rows", rows, done)
