"""The end of a command: errors, exit codes, signals; notes and progress on standard error."""

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from io import TextIOWrapper
from shutil import get_terminal_size
from threading import Timer
from typing import TYPE_CHECKING, NoReturn, Self

import click
from click.exceptions import Exit, NoArgsIsHelpError

from rnncli.model.errors import (
    WORDING,
    InputError,
    NotFiniteError,
    OptionError,
    on_a_line,
    sentence,
)

if TYPE_CHECKING:  # they load NumPy
    from rnncli.opening import Blocks
    from rnncli.readers.input import Input

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

# A command that takes longer shows its progress, ten times in that time.
SECONDS = 1.0

# Whether no notes are written.
quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def write_utf8() -> None:
    """Write UTF-8 and plain line ends on Windows too, but for a console, which takes Unicode."""
    if sys.platform == "win32":
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper) and not stream.isatty():
                stream.reconfigure(encoding="utf-8", newline="\n")


def say(text: str) -> None:
    """Write a line on standard error, if it is open."""
    if sys.stderr is not None:
        with suppress(OSError):
            click.echo(text, err=True)


def note(text: str) -> None:
    """Write a note, unless notes are off."""
    if not quiet.get():
        say(f"Note: {on_a_line(text)}")


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


def on_terminal() -> bool:
    """Return whether standard error is a terminal on which a line can be written over."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Line:
    """A line on a terminal, written over the one before, and removed at the end."""

    def __init__(self, text: str = "") -> None:
        self._begin, self._next, self._shown = time.monotonic(), SECONDS, False
        if text:
            self.write(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def show(self, text: str, share: float | None) -> None:
        """Show a text with the share that is done and the time left, if the last is old enough."""
        seconds = time.monotonic() - self._begin
        if seconds > self._next:
            self._next = seconds + SECONDS / 10
            left = timedelta(seconds=round(seconds / share - seconds)) if share else None
            self.write(f"{share:.0%}, {left} left: {text}" if share else text)

    def write(self, text: str) -> None:
        """Write a line as wide as the terminal, also where standard output is a file."""
        if on_terminal():
            with suppress(OSError):
                size = get_terminal_size(os.get_terminal_size(sys.stderr.fileno()))
                width, self._shown = (size.columns or 80) - 1, True
                click.echo(f"\r{text[:width].ljust(width)}\r", nl=False, err=True)

    def clear(self) -> None:
        """Remove the line before other output."""
        if self._shown:
            self.write("")


def watch(blocks: "Blocks", source: "Input", output: str | None) -> "Blocks":
    """Pass blocks on; show how far a long run has come, unless its output is on the screen."""
    from rnncli.storage.sink import on_screen  # loads NumPy

    return _show_rows(blocks, source) if on_terminal() and not on_screen(output) else blocks


def _show_rows(blocks: "Blocks", source: "Input") -> "Blocks":
    """Show the rows that are done after each block, and after a second in any case."""
    count = 0

    def show() -> None:
        line.show(f"{count:,} rows", source.share(count) if count else 0)

    with Line() as line:
        timer = Timer(SECONDS, show)
        timer.daemon = True
        timer.start()
        try:
            for rows in blocks:
                yield rows
                count += len(rows.x)
                show()
        finally:
            timer.cancel()
            timer.join()
