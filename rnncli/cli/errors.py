"""How a command ends: its exit code, and one line that says why."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from typing import IO, Any

import click
from click.exceptions import Exit, NoArgsIsHelpError, NoSuchOption

from rnncli.model.errors import (
    WORDING,
    InputError,
    NotFiniteError,
    OptionError,
    did_you_mean,
    on_a_line,
    sentence,
)

RUN_FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130

# Errors that have a message, beside those of the system.
EXPECTED = (click.UsageError, ValueError, MemoryError, ImportError)

# A parameter in a hint, or a backtick of a user's text, which `verbatim` writes twice.
_PARAMETER = re.compile("``|`([a-z]\\w*)`")
# How near the name of another file must be: that of a.csv to b.csv is 0.8.
_NEAR_FILE = 0.82
# Names that other programs have for an option.
_OTHER_NAMES = {
    **dict.fromkeys(("--units", "--hidden-size"), "--hidden"),
    "--model": "--weights",
    "--input": "a FILE without an option",
}
# Options whose names are not those of their parameters.
_OPTIONS = {"output": "-o", "peers": "--peer", "null_values": "--null-value"}


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
        try:
            yield
        except RuntimeError as error:
            # Python 3.11 wraps an exception that ends a class statement.
            if isinstance(error.__cause__, KeyboardInterrupt | SystemExit):
                raise error.__cause__ from None
            raise
    except NoArgsIsHelpError:
        raise
    except (KeyboardInterrupt, click.Abort):
        raise Exit(INTERRUPTED) from None
    except BrokenPipeError:
        _abandon_stdout()
        raise Exit(0) from None
    except OSError as error:
        _abandon_stdout()
        raise failure(error) from error
    except EXPECTED as error:
        raise failure(error, ctx) from error
    finally:
        WORDING.reset(token)


def failure(error: Exception, group: click.Context | None = None) -> Failure:
    """Make the failure to show for an error that is one of `EXPECTED`, or an OSError."""
    if isinstance(error, OSError):
        what = str(error.strerror or error)
        return Failure(sentence(error.filename or "", what, ""), RUN_FAILED)
    if isinstance(error, click.UsageError | OptionError):
        return Failure(_usage_message(error, group), BAD_INPUT)
    if isinstance(error, InputError):
        near = "" if error.hint else _near_file(error.__cause__)
        return Failure(sentence("", str(error), near), BAD_INPUT)
    if isinstance(error, MemoryError):
        return Failure("not enough memory", RUN_FAILED)
    if isinstance(error, ImportError):  # its cause is the shorter reason
        return Failure(str(error.__cause__ or error), RUN_FAILED)
    failed = isinstance(error, NotFiniteError)
    return Failure(str(error), RUN_FAILED if failed else BAD_INPUT)


def with_options(text: str) -> str:
    """Show each parameter that a text names between backticks as its option."""
    return _PARAMETER.sub(lambda found: _option(found[1]) if found[1] else "`", text)


def _option(parameter: str) -> str:
    return _OPTIONS.get(parameter, f"--{parameter.replace('_', '-')}")


def _near_file(error: BaseException | None) -> str:
    """Return a hint at a file beside one that is not there, if their names are near.

    One that differs in a number is another of a series, such as that of the day before.
    """
    if not (isinstance(error, FileNotFoundError) and isinstance(error.filename, str)):
        return ""
    folder, name = os.path.split(error.filename)
    with suppress(OSError):
        others = sorted({*os.listdir(folder or ".")} - {name})  # a link to nothing is there
        alike = [other for other in others if _numbers(other) == _numbers(name)]
        return did_you_mean(name, alike, near=_NEAR_FILE)
    return ""


def _numbers(name: str) -> list[str]:
    return re.findall("[0-9]+", name)


def _usage_message(error: click.UsageError | OptionError, group: click.Context | None) -> str:
    """Describe a usage error, and the help that applies."""
    if isinstance(error, OptionError):
        error = click.UsageError(str(error))
    command = "rnn"
    if error.ctx:
        command = error.ctx.command_path
    elif group and group.invoked_subcommand:
        command = f"{group.command_path} {group.invoked_subcommand}"
    message = error.format_message().rstrip(".")
    if isinstance(error, NoSuchOption):
        message = sentence("", f"No such option {error.option_name!r}", _meant(error))
    return f"{message} (see '{command} --help')"


def _meant(error: NoSuchOption) -> str:
    """Suggest an option for an unknown one."""
    if error.ctx is None:
        return ""
    command = error.ctx.command
    names = chain.from_iterable(param.opts for param in command.get_params(error.ctx))
    if isinstance(command, click.Group):
        return did_you_mean(error.option_name, names) or "a command comes first: rnn run"
    if error.option_name in _OTHER_NAMES:
        return f"did you mean {_OTHER_NAMES[error.option_name]}?"
    group = error.ctx.parent.command if error.ctx.parent else None
    if isinstance(group, click.Group):
        for name in group.list_commands(error.ctx):
            other = group.get_command(error.ctx, name)
            if other and any(error.option_name in param.opts for param in other.params):
                return f"it is one of rnn {name}"
    return did_you_mean(error.option_name, names)


def _abandon_stdout() -> None:
    """Send Python's own last flush of standard output nowhere.

    What is still buffered failed to be written once; failing again while
    the interpreter ends would print a second message.
    """
    with suppress(OSError, AttributeError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
