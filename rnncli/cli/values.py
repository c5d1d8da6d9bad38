"""Kinds of option values that Click does not know."""

import os
from collections.abc import Callable, Iterable
from math import isfinite, nan
from typing import Any

import click

from rnncli.model.activations import Activation, parse
from rnncli.model.errors import did_you_mean, sentence
from rnncli.options import whole
from rnncli.readers.columns import separated
from rnncli.storage import named

# Why a script gives an empty value.
_UNSET = "(a shell variable that is not set?)"


class Value(click.ParamType):  # type: ignore[type-arg]  # generic since Click 8.2
    """A value that a function reads; its ValueError is the message of a usage error."""

    name = "text"

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self.read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value."""
        try:
            return self.read(value)
        except ValueError as error:
            return self.fail(str(error), param, ctx)


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
        raise ValueError(f"an empty {kind} {_UNSET}")
    return value


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
            raise ValueError(f"{value!r} is not a number {bounds}".rstrip())
        return found

    return read


def activation(value: str) -> Activation:
    """Read the name of an activation, in any case, with its parameters."""
    return parse(value.lower())


def null_values(value: str) -> tuple[str, ...]:
    """Read cells, separated by commas; quoted as in CSV."""
    return separated(value, "cell")


def columns(value: str) -> tuple[str, ...]:
    """Read header names or numbers from 1 as text, separated by commas; quoted as in CSV."""
    return separated(value)
