"""The end of a command: errors, exit codes and signals."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import click
from click.exceptions import Exit, NoArgsIsHelpError

from rnncli.cli.console import say
from rnncli.model.errors import (
    WORDING,
    InputError,
    NotFiniteError,
    OptionError,
    on_a_line,
    sentence,
)

RUN_FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
# Errors of the user, and of the machine. Any other is a mistake in this program.
USER_ERRORS = (click.UsageError, InputError, OptionError)
MACHINE_ERRORS = (NotFiniteError, OSError, MemoryError, ImportError)
# A variable of the environment that asks for the traceback of a mistake in this program.
TRACEBACK = "RNN_TRACEBACK"
# Signals that end a process; Windows sends SIGBREAK for Ctrl-Break.
SIGNALS = [
    signal.Signals[name]
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    if name in signal.Signals.__members__
]
# Parameters with options of another name.
NAMES = {"output": "-o", "peers": "--peer", "null_values": "--null-value", "header": "--no-header"}


@contextmanager
def show_errors() -> Iterator[None]:
    """Turn an exception that ends a command into a message and an exit code."""
    token = WORDING.set(with_options)
    try:
        yield
    except (NoArgsIsHelpError, Exit):
        raise
    except (KeyboardInterrupt, click.Abort):
        raise Exit(INTERRUPTED) from None
    except BrokenPipeError:
        abandon_stdout()
        raise Exit(0) from None
    except Exception as error:
        if isinstance(error, OSError):
            abandon_stdout()
        say(f"Error: {describe(error)}")
        raise Exit(BAD_INPUT if isinstance(error, USER_ERRORS) else RUN_FAILED) from error
    finally:
        WORDING.reset(token)


@contextmanager
def raise_signals() -> Iterator[None]:
    """Turn signals that would end the process at once into exceptions, which clean up."""

    def end(number: int, _frame: object) -> NoReturn:
        sys.exit(128 + number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    changed = [n for n, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in changed:
        is_key = number.name in ("SIGINT", "SIGBREAK")
        signal.signal(number, signal.default_int_handler if is_key else end)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, before[number])


def describe(error: Exception) -> str:
    """Return the message of an error, in one line."""
    message = str(error)
    if isinstance(error, OSError):
        message = sentence(error.filename or "", error.strerror or message, "")
    elif isinstance(error, MemoryError):
        message = "not enough memory"
    elif isinstance(error, ImportError):  # its cause is the shorter reason
        message = str(error.__cause__ or error)
    elif isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "rnn"
        message = f"{error.format_message().rstrip('.')} (see '{path} --help')"
    elif not isinstance(error, USER_ERRORS + MACHINE_ERRORS):
        message = _describe_mistake(error)
    return on_a_line(message)


def _describe_mistake(error: Exception) -> str:
    """Return the message of an error that this program did not foresee."""
    import traceback

    package = os.path.dirname(os.path.dirname(__file__))
    frames = traceback.extract_tb(error.__traceback__)
    *_, last = (frame for frame in frames if frame.filename.startswith(package))
    where = f"{os.path.relpath(last.filename, package)}:{last.lineno}"
    if os.environ.get(TRACEBACK):
        say("".join(traceback.format_exception(error)).rstrip())
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"a mistake in rnn, not in its input ({what}, at {where}); {TRACEBACK}=1 shows more"


def with_options(text: str) -> str:
    """Replace each parameter between backticks by its option.

    Two backticks, as `verbatim` writes one of a user's text, become one.
    """

    def replace(match: re.Match[str]) -> str:
        return NAMES.get(match[1], f"--{match[1].replace('_', '-')}") if match[1] else "`"

    return re.sub(r"``|`([a-z]\w*)`", replace, text)


def abandon_stdout() -> None:
    """Discard what is left of standard output: Python's flush at the end would fail again."""
    with suppress(OSError, AttributeError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
