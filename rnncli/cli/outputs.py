"""Notes on standard error."""

import sys
from contextlib import suppress
from contextvars import ContextVar

import click

from rnncli.model.errors import on_a_line

# Where the notes of one of many runs go, whose progress is not shown either.
collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)
# Whether no notes are written.
quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def note(text: str) -> None:
    """Write on standard error, if it is open, what a result does not show."""
    notes = collected.get()
    if quiet.get():
        return
    if notes is not None:
        notes.append(on_a_line(text))
    elif sys.stderr is not None:
        with suppress(OSError):
            click.echo(f"Note: {on_a_line(text)}", err=True)
