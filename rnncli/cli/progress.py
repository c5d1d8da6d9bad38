"""Notes on standard error, and the progress of a long run."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from math import inf
from threading import current_thread, main_thread
from typing import TYPE_CHECKING

from rnncli.cli.command import NARROW
from rnncli.cli.outputs import note
from rnncli.cli.signals import SIGNALS
from rnncli.engine.rows import Rows
from rnncli.engine.runner import Runner
from rnncli.pipeline import Console
from rnncli.readers import Input
from rnncli.writers.sink import on_screen

if TYPE_CHECKING:
    from rich.progress import Progress

# Shorter runs show nothing; longer ones are drawn ten times in that time. No
# thread draws: the system may have none left.
SECONDS = 1.0
_UNITS = {"a second": 1, "a minute": 60, "an hour": 3600}


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show a text on a terminal's standard error while a block of code runs."""
    if not on_terminal():
        yield
        return
    from rich.console import Console
    from rich.live import Live

    with Live(text, console=Console(stderr=True), auto_refresh=False, transient=True):
        yield


def on_terminal() -> bool:
    """Return whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


class Terminal(Console):
    """The console of a command: notes on standard error, and how far a run has come."""

    signals = SIGNALS

    def note(self, text: str) -> None:
        """Write a note."""
        note(text)

    def working(self, text: str) -> AbstractContextManager[None]:
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
        shown = RunProgress(source.share, sum(len(layer.cells) for layer in layers))
        if runner:
            runner.watch(shown.tell)
        try:
            yield [shown]
        finally:
            shown.bar.clear()


class RunProgress:
    """The rows of a run, rows a second and the share of the input that is done.

    Parameters
    ----------
    share : callable
        Returns the share of the input that was read with so many rows.
    cells : int
        How many cells tell of each row.
    """

    def __init__(self, share: Callable[[int], float | None], cells: int) -> None:
        self.bar, self._share, self._cells = Bar(), share, cells
        self._done = self._told = self._read = 0

    def begin(self, rows: Rows) -> None:
        """Count rows that were read."""
        self._done, self._told = self._read, 0
        self._read += len(rows.x)

    def tell(self, rows: int) -> None:
        """Count rows of a cell that were computed; another thread's are shown by this one."""
        self._told += rows
        if current_thread() is main_thread():
            self._show(min(self._done + self._told // self._cells, self._read))

    def end(self) -> None:
        """Count them as written."""
        self._show(self._read)

    def _show(self, rows: int) -> None:
        if self.bar.due():
            share = self._share(self._read)
            part = None if share is None else share * rows / self._read
            self.bar.show(f"{rows:,} rows, {self.bar.rate(rows)}", part)


class Bar:
    """A bar on a terminal's standard error; `due` sets the `seconds` that it has been there."""

    def __init__(self) -> None:
        self._begin, self.seconds = time.monotonic(), 0.0
        self._next = SECONDS if on_terminal() else inf
        self._progress: Progress | None = None

    def due(self) -> bool:
        """Return whether it is time to show how far the work is."""
        self.seconds = time.monotonic() - self._begin
        return self.seconds > self._next

    def rate(self, count: int) -> str:
        """Return how many have been done a second; of slow ones, a minute or an hour."""
        rates = {unit: count / self.seconds * seconds for unit, seconds in _UNITS.items()}
        unit = next((unit for unit, rate in rates.items() if rate >= 1), "an hour")
        return f"{rates[unit]:,.0f} {unit}"

    def show(self, text: str, share: float | None) -> None:
        """Show a text, and the share of the work that is done, 0 to 1, or None if not known."""
        self._next = self.seconds + SECONDS / 10
        if self._progress is None:
            self._progress = _progress()
        self._progress.update(
            self._progress.task_ids[0],
            completed=share or 0,
            total=None if share is None else 1,
            text=text,
            left=_left(self.seconds, share),
        )
        self._progress.start()
        self._progress.refresh()

    def clear(self) -> None:
        """Remove the bar from the terminal, before other output and at the end."""
        if self._progress:
            self._progress.stop()


def _left(seconds: float, share: float | None) -> str:
    """Return how long the rest takes, at the rate of all so far: files may take minutes."""
    if not share:
        return "-:--:--"
    minutes, rest = divmod(round(seconds / share - seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
    )
    from rich.table import Column

    console = Console(stderr=True)
    text = TextColumn("{task.fields[text]}")
    left = TextColumn("{task.fields[left]}", "progress.remaining", table_column=Column(min_width=7))
    columns = (text, BarColumn(), TaskProgressColumn(), left)
    bar = Progress(
        *(columns if console.width > NARROW else (left, text)),
        console=console,
        auto_refresh=False,
        transient=True,
    )
    bar.add_task("", total=None, text="", left="")
    return bar
