"""Notes on standard error."""

import sys
from contextlib import suppress
from contextvars import ContextVar

import click

from rnncli.model.errors import on_a_line

# Whether no notes are written.
quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def note(text: str) -> None:
    """Write on standard error, if it is open, what a result does not show."""
    if not quiet.get() and sys.stderr is not None:
        with suppress(OSError):
            click.echo(f"Note: {on_a_line(text)}", err=True)
