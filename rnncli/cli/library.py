"""What Python programs call of the commands."""

import os
from collections.abc import Iterable
from numbers import Number
from typing import Any

import click

from rnncli.batches.tasks import expanded
from rnncli.cli.batch import batch as command
from rnncli.cli.batch import run_batch
from rnncli.cli.summary import Summary
from rnncli.model.errors import did_you_mean, sentence

# Options that list what a file may name in any way.
_NAMED = ("columns", "group_by", "null_values")
# What Python has no use for.
_OF_SHELL = ("dry_run",)
File = str | os.PathLike[str]


def batch(
    inputs: File | Iterable[File],
    output: File,
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    force: bool = False,
    verbose: bool = False,
    **options: Any,
) -> Summary:
    """Run a network over many inputs and write a result for each.

    It does what ``rnn batch`` does: a result that is there, made by this
    version with these options and weights from the input as it is now, is
    not made again.

    Parameters
    ----------
    inputs : str, path or iterable of them
        Files, or patterns such as ``in/**/*.csv``.
    output : str or path
        Where each result goes: ``out/{stem}.csv``, or a folder. ``{stem}`` is
        the name of its input without the extension, ``{name}`` the whole
        name, ``{dir}`` its folder.
    jobs : int, optional
        Processes on this machine; by default one for each processor. 1
        starts none.
    scheduler : str, optional
        Address of a Dask cluster to run on.
    force : bool
        Whether to run what is done, too.
    verbose : bool
        Whether to show failures, notes and progress on standard error.
    **options
        The other options of ``rnn batch``, by their names with ``_`` for
        ``-``: ``hidden=(32, 16)``, ``columns=["value"]``, ``last=True``,
        ``state="states/{stem}.npz"``.

    Returns
    -------
    Summary
        ``done``, ``skipped``, ``failed``, ``not_run``, ``rows``, ``seconds``,
        ``report``, and ``failures``. An input that fails raises nothing.

    Raises
    ------
    InputError
        A file that is given cannot be used, or two outputs are one file.
    ValueError
        Options contradict each other, or a value is none of an option's.
    TypeError
        There is no such option, or a value is of no type that one has.
    OSError
        The report cannot be written.

    Examples
    --------
    >>> summary = rnncli.batch(
    ...     "in/*.csv", "out/{stem}.csv", columns=["value"], weights="model.keras"
    ... )
    >>> summary.failed
    0
    """
    paths = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    given = {
        "output": output,
        "jobs": jobs,
        "scheduler": scheduler,
        "force": force,
        **options,
    }
    words = [word for name, value in given.items() for word in _words(name, value)]
    try:
        with command.make_context("rnncli.batch", words, help_option_names=[]) as ctx:
            return run_batch(ctx, expanded(os.fspath(path) for path in paths), shown=verbose)
    except click.UsageError as error:
        raise ValueError(error.format_message()) from error


def _words(name: str, value: Any) -> list[str]:
    """Return an option as the command line has it; none for one that is not given."""
    option, inverse = _option(name)
    if value is None:
        return []
    if option.is_flag:
        return [option.opts[-1]] if bool(value) != inverse else []
    texts = [_text(value)]
    if (
        option.multiple
        and not getattr(option, "once", False)
        and isinstance(value, Iterable)
        and not isinstance(value, str)
    ):
        texts = [_quoted(_text(each)) if option.name in _NAMED else _text(each) for each in value]
    return [f"{option.opts[-1]}={text}" for text in texts]


def _option(name: str) -> tuple[click.Option, bool]:
    """Find an option, and whether its flag is the opposite of the name: --no-header of header."""
    by_name: dict[str, tuple[click.Option, bool]] = {}
    for option in command.params:
        if isinstance(option, click.Option) and option.name not in _OF_SHELL:
            written = option.opts[-1].removeprefix("--").replace("-", "_")
            by_name |= {
                str(option.name): (option, written == f"no_{option.name}"),
                written: (option, False),
            }
    if name not in by_name:
        what = f"batch() got an unexpected keyword argument {name!r}"
        raise TypeError(sentence("", what, did_you_mean(name, by_name)))
    return by_name[name]


def _quoted(name: str) -> str:
    """Return the name of a column, or a cell, that may hold what separates those in a list."""
    return '"{}"'.format(name.replace('"', '""')) if set(name) & set(',"') else name


def _text(value: Any) -> str:
    """Return a value as the command line has it."""
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    if isinstance(value, Iterable):
        return ",".join(map(str, value))
    if isinstance(value, Number):
        return str(value)
    raise TypeError(f"expected text, a path or numbers, got {value!r}")
