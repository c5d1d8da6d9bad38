"""How a command ends: signals such as Ctrl-C, its exit code, and one line that says why."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import IO, Any, NoReturn

import click
from click.exceptions import Exit, NoArgsIsHelpError

from rnncli.model.errors import WORDING, NotFiniteError, on_a_line, sentence

RUN_FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Parameters whose options have another name.
NAMES = {"output": "-o", "peers": "--peer", "null_values": "--null-value", "header": "--no-header"}

# Whether no notes are written.
quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def say(text: str) -> None:
    """Write a line on standard error, if it is open."""
    if sys.stderr is not None:
        with suppress(OSError):
            click.echo(text, err=True)


def note(text: str) -> None:
    """Write what a result does not show."""
    if not quiet.get():
        say(f"Note: {on_a_line(text)}")


class Failure(click.ClickException):
    """An error shown as one line on standard error."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(on_a_line(message))
        self.exit_code = exit_code  # type: ignore[misc]  # Click types it as the class's

    def show(self, _file: IO[Any] | None = None) -> None:
        """Print the line."""
        say(f"Error: {self.message}")


@contextmanager
def show_errors() -> Iterator[None]:
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
    except (click.UsageError, OSError, ValueError, MemoryError, ImportError) as error:
        if isinstance(error, OSError):
            abandon_stdout()
        raise failure(error) from error
    finally:
        WORDING.reset(token)


@contextmanager
def raise_signals() -> Iterator[None]:
    """Turn signals that would end the process at once into exceptions: they allow a clean-up."""

    def end(number: int, _frame: object) -> NoReturn:
        sys.exit(128 + number)

    changed = [each for each in SIGNALS if signal.getsignal(each) is signal.SIG_DFL]
    for number in changed:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else end)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


def failure(error: Exception) -> Failure:
    """Make the failure to show for an error."""
    message, code = str(error), RUN_FAILED
    if isinstance(error, OSError):
        message = sentence(error.filename or "", error.strerror or message, "")
    elif isinstance(error, MemoryError):
        message = "not enough memory"
    elif isinstance(error, ImportError):  # its cause is the shorter reason
        message = str(error.__cause__ or error)
    elif isinstance(error, click.UsageError):
        path, code = error.ctx.command_path if error.ctx else "rnn", BAD_INPUT
        message = f"{error.format_message().rstrip('.')} (see '{path} --help')"
    elif not isinstance(error, NotFiniteError):
        code = BAD_INPUT
    return Failure(message, code)


def with_options(text: str) -> str:
    """Show each parameter that a text names between backticks as its option.

    A backtick of a user's text, which `verbatim` writes twice, is shown as one.
    """

    def replace(match: re.Match[str]) -> str:
        return NAMES.get(match[1], f"--{match[1].replace('_', '-')}") if match[1] else "`"

    return re.sub(r"``|`([a-z]\w*)`", replace, text)


def abandon_stdout() -> None:
    """Send Python's own last flush of standard output, which failed once, nowhere."""
    with suppress(OSError, AttributeError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
