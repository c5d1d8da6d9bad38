"""How a command ends: its exit code, and one line that says why."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

import click
from click.exceptions import Exit, NoArgsIsHelpError

from rnncli.stream import NotFiniteError

RUN_FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130


class Failure(click.ClickException):
    """An error shown as one line on standard error."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code  # type: ignore[misc]  # Click types it as the class's

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line, if standard error is still open."""
        if sys.stderr is not None:
            with suppress(OSError):
                super().show(file)


@contextmanager
def endings(ctx: click.Context | None = None) -> Iterator[None]:
    """Turn whatever ends a command into its exit code and message.

    Parameters
    ----------
    ctx : click.Context, optional
        Of the group, once its own options are parsed.
    """
    try:
        yield
    except NoArgsIsHelpError:
        raise
    except (KeyboardInterrupt, click.Abort):
        raise Exit(INTERRUPTED) from None
    except BrokenPipeError:
        _abandon_stdout()
        raise Exit(0) from None
    except OSError as error:
        _abandon_stdout()
        place = error.filename or "standard output"
        raise Failure(f"{place}: {error.strerror or error}", RUN_FAILED) from error
    except (click.UsageError, ValueError, MemoryError) as error:
        raise _failure(error, ctx) from error


def _failure(error: Exception, ctx: click.Context | None) -> Failure:
    if isinstance(error, click.UsageError):
        return Failure(_usage_message(error, ctx), BAD_INPUT)
    if isinstance(error, MemoryError):
        return Failure("not enough memory", RUN_FAILED)
    return Failure(str(error), RUN_FAILED if isinstance(error, NotFiniteError) else BAD_INPUT)


def _usage_message(error: click.UsageError, group: click.Context | None) -> str:
    """Say what is wrong, and where the way out is described."""
    command = "rnn"
    if error.ctx:
        command = error.ctx.command_path
    elif group and group.invoked_subcommand:
        command = f"{group.command_path} {group.invoked_subcommand}"
    return f"{error.format_message().rstrip('.')} (see '{command} --help')"


def _abandon_stdout() -> None:
    """Let Python's own last flush of standard output go nowhere.

    What is still buffered failed to be written once; failing again while
    the interpreter ends would print a second message.
    """
    with suppress(OSError, AttributeError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
