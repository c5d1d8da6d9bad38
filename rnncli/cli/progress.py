"""The progress of a long run, on a terminal's standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, TypeVar

from rnncli.cli.command import NARROW
from rnncli.cli.outputs import collected
from rnncli.engine.rows import Rows

if TYPE_CHECKING:
    from rich.progress import Progress

# Shorter runs show nothing; longer ones are drawn ten times in that time. No
# thread draws: the system may have none left.
SECONDS = 1.0
_UNITS = {"a second": 1, "a minute": 60, "an hour": 3600}

Counted = TypeVar("Counted", Rows, Rows)


def with_progress(
    blocks: Iterator[Counted], share: Callable[[int], float | None], *, quiet: bool
) -> Iterator[Counted]:
    """Pass blocks on, and show their rows, rows a second and the share of the input read."""
    if quiet or not on_terminal():
        return blocks
    return _shown(blocks, share)


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
    """Return whether standard error is a terminal, and of this run alone."""
    alone = collected.get() is None
    return alone and sys.stderr is not None and sys.stderr.isatty()


def _shown(blocks: Iterator[Counted], share: Callable[[int], float | None]) -> Iterator[Counted]:
    bar, rows = Bar(), 0
    try:
        for block in blocks:
            rows += len(block.x)
            if bar.due():
                bar.show(f"{rows:,} rows, {bar.rate(rows)}", share(rows))
            yield block
    finally:
        bar.clear()


class Bar:
    """A bar on a terminal's standard error; `due` sets the `seconds` that it has been there."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._begin, self.seconds = time.monotonic(), 0.0
        self._next = inf if quiet or not on_terminal() else SECONDS
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
        """Take it off the terminal, for something else to be written or at the end."""
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
