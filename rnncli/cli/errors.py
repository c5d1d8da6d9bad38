"""How a command ends: its exit code, and one line that says why. Notes are lines beside it."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import IO, Any

import click
from click.exceptions import Exit, NoArgsIsHelpError

from rnncli.model.errors import WORDING, NotFiniteError, OptionError, on_a_line, sentence

RUN_FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
# Parameters whose options have another name.
NAMES = {"output": "-o", "peers": "--peer", "null_values": "--null-value", "header": "--no-header"}
# A parameter in a message, or a backtick of a user's text, which `verbatim` writes twice.
_PARAMETER = re.compile("``|`([a-z]\\w*)`")

# Whether no notes are written.
quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def note(text: str) -> None:
    """Write on standard error, if it is open, what a result does not show."""
    if not quiet.get() and sys.stderr is not None:
        with suppress(OSError):
            click.echo(f"Note: {on_a_line(text)}", err=True)


class Failure(click.ClickException):
    """An error shown as one line on standard error."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(on_a_line(message))
        self.exit_code = exit_code  # type: ignore[misc]  # Click types it as the class's

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line, if standard error is still open."""
        if sys.stderr is not None:
            with suppress(OSError):
                super().show(file)


@contextmanager
def errors_shown(ctx: click.Context | None = None) -> Iterator[None]:
    """Turn whatever ends a command into its exit code and message."""
    token = WORDING.set(with_options)
    try:
        yield
    except NoArgsIsHelpError:
        raise
    except (KeyboardInterrupt, click.Abort):
        raise Exit(INTERRUPTED) from None
    except BrokenPipeError:
        abandon_stdout()
        raise Exit(0) from None
    except OSError as error:
        abandon_stdout()
        raise failure(error) from error
    except (click.UsageError, ValueError, MemoryError, ImportError) as error:
        raise failure(error, ctx) from error
    finally:
        WORDING.reset(token)


def failure(error: Exception, group: click.Context | None = None) -> Failure:
    """Make the failure to show for an error."""
    if isinstance(error, OSError):
        what = str(error.strerror or error)
        return Failure(sentence(error.filename or "", what, ""), RUN_FAILED)
    if isinstance(error, MemoryError):
        return Failure("not enough memory", RUN_FAILED)
    if isinstance(error, ImportError):  # its cause is the shorter reason
        return Failure(str(error.__cause__ or error), RUN_FAILED)
    if isinstance(error, click.UsageError | OptionError):
        return Failure(_describe_usage(error, group), BAD_INPUT)
    return Failure(str(error), RUN_FAILED if isinstance(error, NotFiniteError) else BAD_INPUT)


def with_options(text: str) -> str:
    """Show each parameter that a text names between backticks as its option."""

    def option(found: re.Match[str]) -> str:
        return NAMES.get(found[1], f"--{found[1].replace('_', '-')}") if found[1] else "`"

    return _PARAMETER.sub(option, text)


def _describe_usage(error: click.UsageError | OptionError, group: click.Context | None) -> str:
    """Describe a usage error, and the help that applies."""
    message, command = str(error), "rnn"
    if group and group.invoked_subcommand:
        command = f"{group.command_path} {group.invoked_subcommand}"
    if isinstance(error, click.UsageError):
        message = error.format_message().rstrip(".")
        command = error.ctx.command_path if error.ctx else command
    return f"{message} (see '{command} --help')"


def abandon_stdout() -> None:
    """Send Python's own last flush of standard output, which failed once, nowhere."""
    with suppress(OSError, AttributeError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
