"""How a command ends: its exit code, and one line that says why."""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, NoReturn, Self

import click
from click.exceptions import Exit, NoArgsIsHelpError

from rnncli.engine.rows import Rows
from rnncli.engine.stream import Block, NotFiniteError
from rnncli.model.errors import InputError, sentence
from rnncli.writers.screen import on_a_line

RUN_FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130

# A parameter in a hint, or a backtick of a user's text, which `verbatim` writes twice.
_PARAMETER = re.compile("``|`([a-z]\\w*)`")
# Options whose names are not those of their parameters.
_OPTIONS = {"output": "-o"}


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
def signals_raised() -> Iterator[None]:
    """Let a signal end a command by an exception, so that what is half written is cleaned up.

    Otherwise it ends the process at once. A signal that is ignored stays so.
    """
    handlers = {"SIGINT": signal.default_int_handler, "SIGTERM": _end, "SIGHUP": _end}
    numbers = {getattr(signal, name, None): handler for name, handler in handlers.items()}
    taken = [each for each in numbers if each and signal.getsignal(each) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, numbers[number])
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


class Stopping:
    """Ends an input at a signal, where otherwise the command would end at once.

    While rows are computed and written a signal waits; while the next ones
    are awaited it ends the input. A second one ends the command.

    Attributes
    ----------
    came : int or None
        The number of the signal that has come.
    """

    def __init__(self) -> None:
        self.came: int | None = None
        self._awaiting = False
        self._before: dict[int, Callable[..., object]] = {}

    def __enter__(self) -> Self:
        """Take the signals that have a handler in Python."""
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            before = signal.getsignal(number) if number else None
            if number and callable(before):
                self._before[number] = before
                signal.signal(number, self._take)
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        """Give them back; then let the one that came end the command, if nothing else has."""
        for number, before in self._before.items():
            signal.signal(number, before)
        if self.came and failure is None:
            self._before[self.came](self.came, None)

    def until(self, blocks: Iterator[Rows]) -> Iterator[Rows]:
        """Give blocks until there are no more, or a signal comes."""
        with suppress(Stopped):
            while rows := self._next(blocks):
                yield rows

    def _next(self, blocks: Iterator[Rows]) -> Rows | None:
        self._awaiting = True
        try:
            return None if self.came else next(blocks, None)
        finally:
            self._awaiting = False

    def _take(self, number: int, frame: object) -> None:
        if self.came:
            self._before[number](number, frame)
        self.came = number
        if self._awaiting:
            raise Stopped


class Stopped(BaseException):
    """A signal has come while rows, or room for them, were awaited."""


@contextmanager
def endings(ctx: click.Context | None = None) -> Iterator[None]:
    """Turn whatever ends a command into its exit code and message.

    Parameters
    ----------
    ctx : click.Context, optional
        Of the group, once its own options are parsed.
    """
    try:
        with _unwrapped():
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
    except (click.UsageError, ValueError, MemoryError, ImportError) as error:
        raise _failure(error, ctx) from error


@contextmanager
def _unwrapped() -> Iterator[None]:
    """Raise what ends a command as it is; Python 3.11 wraps it where it ends a class statement."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__cause__, KeyboardInterrupt | SystemExit):
            raise error.__cause__ from None
        raise


def _failure(error: Exception, ctx: click.Context | None) -> Failure:
    if isinstance(error, click.UsageError):
        return Failure(_usage_message(error, ctx), BAD_INPUT)
    if isinstance(error, InputError):
        return Failure(sentence(error.place, error.what, with_options(error.hint)), BAD_INPUT)
    if isinstance(error, MemoryError):
        return Failure("not enough memory", RUN_FAILED)
    failed = isinstance(error, NotFiniteError | ImportError)
    return Failure(str(error), RUN_FAILED if failed else BAD_INPUT)


def with_options(hint: str) -> str:
    """Show each parameter that a hint names between backticks as its option."""
    return _PARAMETER.sub(lambda found: _option(found[1]) if found[1] else "`", hint)


def _option(parameter: str) -> str:
    return _OPTIONS.get(parameter, f"--{parameter.replace('_', '-')}")


def naming_options(blocks: Iterable[Block]) -> Iterator[Block]:
    """Pass blocks on; an error that ends them names options, as results show it too."""
    try:
        yield from blocks
    except InputError as error:
        message = sentence(error.place, error.what, with_options(error.hint))
        raise ValueError(message) from error


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
