"""How far a long run has come, on a terminal's standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rnncli.engine.stream import Block

if TYPE_CHECKING:
    from rich.progress import Progress

# Shorter runs show nothing; longer ones ten pictures in that time. No thread
# draws them: the system may have none left.
SECONDS = 1.0


def with_progress(
    blocks: Iterator[Block], share: Callable[[], float | None], *, quiet: bool
) -> Iterator[Block]:
    """Show rows, rows a second and, where it is known, the share read, as blocks pass.

    Parameters
    ----------
    blocks : iterator of Block
    share : callable
        How much of the input has been read, 0 to 1, or None.
    quiet : bool
        Show nothing: results go to the same screen.
    """
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        return blocks
    return _shown(blocks, share)


@contextmanager
def working(on: str) -> Iterator[None]:
    """Show what takes long, as long as it does, on a terminal's standard error."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.live import Live

    with Live(on, console=Console(stderr=True), auto_refresh=False, transient=True):
        yield


def _shown(blocks: Iterator[Block], share: Callable[[], float | None]) -> Iterator[Block]:
    begin, rows = time.monotonic(), 0
    due = begin + SECONDS
    bar: Progress | None = None
    try:
        for block in blocks:
            rows += len(block.h)
            now = time.monotonic()
            if now > due:
                due = now + SECONDS / 10
                bar = bar or _bar()
                read = share()
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
    bar.add_task("", rows="", rate="")
    bar.start()
    return bar
