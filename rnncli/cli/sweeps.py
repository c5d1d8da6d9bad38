"""Values of options that a batch sweeps: every input is run with each."""

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import product
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from rnncli.batches.tasks import expanded
from rnncli.model.errors import did_you_mean, sentence

NAMES = ("seed", "init", "hidden", "weights", "precision")


class Sweep(NamedTuple):
    """An option, and its values by what a template has for each."""

    name: str
    values: dict[str, Any]


def read_sweep(ctx: click.Context, _param: click.Parameter, texts: Sequence[str]) -> list[Sweep]:
    """Read ``NAME=VALUE VALUE ...``, each value as the option itself reads it.

    Raises
    ------
    click.BadParameter
        That is no option that can be swept, or it is given twice; or a value
        is none of its values, or stands there twice.
    """
    sweeps = [_read(ctx, text) for text in texts]
    for place, sweep in enumerate(sweeps):
        if sweep.name in [other.name for other in sweeps[:place]]:
            raise click.BadParameter(f"{sweep.name} is given twice: give all values at once")
    return sweeps


def check_given_once(ctx: click.Context, sweeps: Sequence[Sweep]) -> None:
    """Check that no option that is swept is also given.

    Raises
    ------
    click.UsageError
        One is.
    """
    for name, _ in sweeps:
        if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} and --sweep {name}=...: give one", ctx)


def check_quoted(ctx: click.Context, sweeps: Sequence[Sweep], files: Sequence[str]) -> None:
    """Check that no value of a sweep stands among the files, for want of quotes.

    Raises
    ------
    click.UsageError
        A file that is not there reads as one.
    """
    for name in (sweep.name for sweep in sweeps if sweep.name != "weights"):
        option = _option(ctx, name)
        for file in files:
            with suppress(click.BadParameter):
                option.type.convert(file, option, ctx)
                if not os.path.lexists(file):
                    what = f"put the values in quotes: --sweep '{name}=... {file} ...'"
                    raise click.UsageError(f"{file}: no such file; {what}", ctx)


def combinations(sweeps: Sequence[Sweep]) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """Return each combination of their values, as texts and as values; one without sweeps."""
    names = [sweep.name for sweep in sweeps]
    for chosen in product(*(sweep.values.items() for sweep in sweeps)):
        yield (
            {name: text for name, (text, _) in zip(names, chosen, strict=True)},
            {name: value for name, (_, value) in zip(names, chosen, strict=True)},
        )


def _read(ctx: click.Context, text: str) -> Sweep:
    name, equals, rest = text.partition("=")
    name = name.removeprefix("--")
    if name not in NAMES or not equals:
        what = f"{text!r} is not NAME='VALUE VALUE ...', NAME one of {', '.join(NAMES)}"
        hint = "" if name in NAMES else did_you_mean(name, NAMES)
        raise click.BadParameter(sentence("", what, hint))
    option = _option(ctx, name)
    values: dict[str, Any] = {}
    for each in _split(name, rest):
        try:
            value = option.type.convert(each, option, ctx)
        except click.BadParameter as error:
            hint = "blanks stand between values" if "," in each else ""
            raise click.BadParameter(sentence(name, error.message, hint)) from error
        shown = _shown(value)
        if shown in values:
            both = f"{values[shown]} and {value}" if values[shown] != value else shown
            raise click.BadParameter(
                f"{name}: {both}: two values that are both {{{name}}} = {shown}"
            )
        values[shown] = value
    if not values:
        raise click.BadParameter(f"{name}: no value")
    return Sweep(name, values)


def _option(ctx: click.Context, name: str) -> click.Parameter:
    (option,) = (param for param in ctx.command.params if param.name == name)
    return option


def _split(name: str, text: str) -> list[str]:
    """Return the values; a file may stand in quotes, or be one of a pattern."""
    try:
        values = shlex.split(text)
        return expanded(values) if name == "weights" else values
    except ValueError as error:
        raise click.BadParameter(f"{name}: {error}") from error


def _shown(value: Any) -> str:
    """Return what a template has for a value: of a file, its name without the extension."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return os.path.splitext(os.path.basename(value))[0] if isinstance(value, str) else str(value)
