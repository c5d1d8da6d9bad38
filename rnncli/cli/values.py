"""Kinds of option values that Click does not know."""

import codecs
import os
from collections.abc import Callable, Iterable
from math import isfinite, nan
from typing import Any

import click

from rnncli.model.activations import Activation, parse
from rnncli.model.errors import did_you_mean, sentence
from rnncli.pipeline import AUTO, is_decimal, is_delimiter, is_encoding
from rnncli.readers.columns import separated
from rnncli.readers.foreign import UTF_8
from rnncli.storage import named

_NAMED = {"comma": ",", "tab": "\t", "\\t": "\t", "semicolon": ";", "space": " ", "pipe": "|"}
# Why a script gives an empty value.
_UNSET = "(a shell variable that is not set?)"


class Choice(click.Choice[str]):
    """One of several names, in any case; a wrong one near one of them is asked about."""

    def __init__(self, choices: Iterable[str]) -> None:
        super().__init__(choices, case_sensitive=False)

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Return the message about a name that is none of them."""
        what = super().get_invalid_choice_message(value, ctx).rstrip(".")
        return sentence("", what, did_you_mean(str(value), self.choices))


class FileName(click.Path):
    """The name of a file, ``-`` among them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name, of a URL without what is secret in it."""
        if not value:
            self.fail(f"an empty file name {_UNSET}", param, ctx)
        return named(os.fsdecode(super().convert(value, param, ctx)))


def name(value: str) -> str:
    """Check the name of something in a file."""
    return _not_empty("name", value)


def state(value: str) -> str:
    """Check that a state is given; what it has to be is told by the network."""
    return _not_empty("state", value)


def _not_empty(kind: str, value: str) -> str:
    if not value:
        raise click.BadParameter(f"an empty {kind} {_UNSET}")
    return value


def whole(least: int, most: int | None = None) -> Callable[[Any], int]:
    """Return a function that reads a whole number within bounds."""
    bounds = f"from {least} up" if most is None else f"from {least} to {most}"

    def read(value: Any) -> int:
        try:
            number = int(value)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            raise click.BadParameter(f"{value!r} is not a whole number {bounds}")
        return number

    return read


def sizes(value: str) -> tuple[int, ...]:
    """Read whole numbers from 1, separated by commas."""
    return tuple(map(whole(1), value.split(",")))


def number(bounds: str, fits: Callable[[float], bool]) -> Callable[[str], float]:
    """Return a function that reads a finite number within bounds."""

    def read(value: str) -> float:
        try:
            found = float(value)
        except ValueError:
            found = nan
        if not (isfinite(found) and fits(found)):
            raise click.BadParameter(f"{value!r} is not a number {bounds}".rstrip())
        return found

    return read


def numbers(bounds: str, fits: Callable[[float], bool]) -> Callable[[str], tuple[float, ...]]:
    """Return a function that reads finite numbers within bounds, separated by commas, or `AUTO`."""
    read = number(bounds, fits)
    return lambda value: AUTO if value == "auto" else tuple(map(read, value.split(",")))


def activation(value: str) -> Activation:
    """Read the name of an activation, in any case, with its parameters."""
    try:
        return parse(value.lower())
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def delimiter(value: str) -> str:
    """Read one character, or the name of one that is awkward to type."""
    character = _NAMED.get(value.lower(), value)
    if not is_delimiter(character):
        known = ", ".join(_NAMED)
        what = f"{value!r} is not one character, or one of {known}"
        raise click.BadParameter(sentence("", what, did_you_mean(value, _NAMED)))
    return character


def decimal(value: str) -> str:
    """Read the character before the decimals of a number; it stands nowhere else in a row."""
    character = _NAMED.get(value.lower(), value)
    if not is_decimal(character):
        raise click.BadParameter(f"{value!r} is not one character such as ',' or '.'")
    return character


def null_values(value: str) -> tuple[str, ...]:
    """Read cells, separated by commas; quoted as in CSV."""
    return _separated(value, "cell")


def columns(value: str) -> tuple[str, ...]:
    """Read header names or numbers from 1, separated by commas; quoted as in CSV.

    Numbers stay text.
    """
    return _separated(value, "column")


def _separated(value: str, kind: str) -> tuple[str, ...]:
    try:
        return separated(value, kind)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def encoding(value: str) -> str:
    """Check the name of an encoding of text; all names of UTF-8 are one."""
    if not is_encoding(value):
        from encodings.aliases import aliases

        known = (name.replace("_", "-") for name in {*aliases, *aliases.values()})
        what = f"{value!r} is no encoding of text, such as cp1252, latin-1 or utf-16"
        hint = did_you_mean(value.replace("_", "-"), filter(is_encoding, known))
        raise click.BadParameter(sentence("", what, hint))
    name = codecs.lookup(value).name
    return UTF_8 if name in (UTF_8, "utf-8-sig") else value
