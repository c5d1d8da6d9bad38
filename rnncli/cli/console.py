"""Notes and progress on standard error."""

import os
import sys
import time
from contextlib import suppress
from contextvars import ContextVar
from datetime import timedelta
from io import TextIOWrapper
from shutil import get_terminal_size
from threading import Timer
from typing import TYPE_CHECKING, Self

import click

from rnncli.model.errors import on_a_line

if TYPE_CHECKING:  # they load NumPy
    from rnncli.opening import Blocks
    from rnncli.readers.input import Input

# A command that takes longer shows its progress, ten times in that time.
SECONDS = 1.0
# Whether no notes are written.
quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def write_utf8() -> None:
    """Write UTF-8 and plain line ends on Windows too, but for a console, which takes Unicode."""
    if sys.platform == "win32":
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper) and not stream.isatty():
                stream.reconfigure(encoding="utf-8", newline="\n")


def say(text: str) -> None:
    """Write a line on standard error, if it is open."""
    if sys.stderr is not None:
        with suppress(OSError):
            click.echo(text, err=True)


def note(text: str) -> None:
    """Write a note, unless notes are off."""
    if not quiet.get():
        say(f"Note: {on_a_line(text)}")


def on_terminal() -> bool:
    """Return whether standard error is a terminal on which a line can be written over."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Line:
    """A line on a terminal, written over the one before, and removed at the end."""

    def __init__(self, text: str = "") -> None:
        self._begin, self._next, self._shown = time.monotonic(), SECONDS, False
        if text:
            self.write(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def show(self, text: str, share: float | None) -> None:
        """Show a text with the share that is done and the time left, if the last is old enough."""
        seconds = time.monotonic() - self._begin
        if seconds > self._next:
            self._next = seconds + SECONDS / 10
            left = timedelta(seconds=round(seconds / share - seconds)) if share else None
            self.write(f"{share:.0%}, {left} left: {text}" if share else text)

    def write(self, text: str) -> None:
        """Write a line as wide as the terminal, also where standard output is a file."""
        if on_terminal():
            with suppress(OSError):
                size = get_terminal_size(os.get_terminal_size(sys.stderr.fileno()))
                width, self._shown = (size.columns or 80) - 1, True
                click.echo(f"\r{text[:width].ljust(width)}\r", nl=False, err=True)

    def clear(self) -> None:
        """Remove the line before other output."""
        if self._shown:
            self.write("")


def watch(blocks: "Blocks", source: "Input", output: str | None) -> "Blocks":
    """Pass blocks on; show how far a long run has come, unless its output is on the screen."""
    from rnncli.storage.sink import on_screen  # loads NumPy

    return _show_rows(blocks, source) if on_terminal() and not on_screen(output) else blocks


def _show_rows(blocks: "Blocks", source: "Input") -> "Blocks":
    """Show the rows that are done after each block, and after a second in any case."""
    count = 0

    def show() -> None:
        line.show(f"{count:,} rows", source.share(count) if count else 0)

    with Line() as line:
        timer = Timer(SECONDS, show)
        timer.daemon = True
        timer.start()
        try:
            for rows in blocks:
                yield rows
                count += len(rows.x)
                show()
        finally:
            timer.cancel()
            timer.join()
