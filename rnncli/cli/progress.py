"""The progress of a long run, on a terminal's standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from rnncli.engine.rows import Rows
from rnncli.engine.stream import Block

if TYPE_CHECKING:
    from rich.progress import Progress

# Shorter runs show nothing; longer ones are drawn ten times in that time. No
# thread draws: the system may have none left.
SECONDS = 1.0

Counted = TypeVar("Counted", Block, Rows)


def with_progress(
    blocks: Iterator[Counted], share: Callable[[int], float | None], *, quiet: bool
) -> Iterator[Counted]:
    """Pass blocks on, and show their rows, rows a second and the share of the input read.

    Parameters
    ----------
    blocks : iterator of Block or Rows
    share : callable
        Returns the share of the input that has been read after so many rows,
        0 to 1, or None if it is not known.
    quiet : bool
        Whether to show nothing, as results go to the same screen.
    """
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
    """Return whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def _shown(blocks: Iterator[Counted], share: Callable[[int], float | None]) -> Iterator[Counted]:
    begin, rows = time.monotonic(), 0
    due = begin + SECONDS
    bar: Progress | None = None
    try:
        for block in blocks:
            rows += len(block.x)
            now = time.monotonic()
            if now > due:
                due = now + SECONDS / 10
                bar = bar or _bar()
                read = share(rows)
                bar.update(
                    bar.task_ids[0],
                    completed=read or 0,
                    total=None if read is None else 1,
                    rows=f"{rows:,}",
                    rate=f"{rows / (now - begin):,.0f}",
                    refresh=True,
                )
            yield block
    finally:
        if bar:
            bar.stop()


def _bar() -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.fields[rows]} rows, {task.fields[rate]} a second"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
    )
    bar.add_task("", total=None, rows="", rate="")
    bar.start()
    return bar
