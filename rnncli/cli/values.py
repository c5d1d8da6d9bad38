"""Kinds of option values that Click does not know."""

import csv
from math import isfinite
from typing import Any

import click

from rnncli.model.activations import Activation, parse

_NAMED = {"comma": ",", "tab": "\t", "\\t": "\t", "semicolon": ";", "space": " ", "pipe": "|"}


class Whole(click.ParamType):  # type: ignore[type-arg]  # generic only in newer Clicks
    """A whole number within bounds."""

    name = "N"

    def __init__(self, least: int, most: int | None = None) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Give the number."""
        try:
            number = int(value)
        except ValueError:
            number = None
        if number is None or number < self.least or (self.most is not None and number > self.most):
            upper = "up" if self.most is None else f"to {self.most}"
            self.fail(f"{value!r} is not a whole number from {self.least} {upper}", param, ctx)
        return number


class FileName(click.Path):
    """The name of a file, ``-`` among them; an unset shell variable is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Give the name."""
        if not value:
            self.fail("an empty file name", param, ctx)
        return super().convert(value, param, ctx)


class Name(click.ParamType):  # type: ignore[type-arg]  # generic only in newer Clicks
    """The name of something in a file; an unset shell variable is none.

    Parameters
    ----------
    name : str
        What the help calls it.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Give the name."""
        if not value:
            self.fail("an empty name", param, ctx)
        return str(value)


class Sizes(click.ParamType):  # type: ignore[type-arg]  # generic only in newer Clicks
    """Whole numbers from 1, separated by commas."""

    name = "H[,H]..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Give the numbers."""
        if not isinstance(value, str):
            return tuple(value)
        return tuple(Whole(1).convert(part, param, ctx) for part in value.split(","))


class Positive(click.ParamType):  # type: ignore[type-arg]  # generic only in newer Clicks
    """A finite number over 0, or from 0 on."""

    name = "C"

    def __init__(self, *, zero: bool = False) -> None:
        self.zero = zero

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Give the number."""
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not isfinite(number) or number < 0 or (number == 0 and not self.zero):
            bound = "from 0 on" if self.zero else "over 0"
            self.fail(f"{value!r} is not a number {bound}", param, ctx)
        return number


class ActivationText(click.ParamType):  # type: ignore[type-arg]  # generic only in newer Clicks
    """The name of an activation, with its parameters."""

    name = "NAME[:a[,b]]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Activation:
        """Give the activation."""
        if isinstance(value, Activation):
            return value
        try:
            return parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Delimiter(click.ParamType):  # type: ignore[type-arg]  # generic only in newer Clicks
    """One character, or the name of one that is awkward to type."""

    name = "CHAR"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Give the character."""
        character = _NAMED.get(value, value)
        if len(character) != 1 or character in '"\r\n':
            self.fail(f"{value!r} is not one character, or one of {', '.join(_NAMED)}", param, ctx)
        return str(character)


class Columns(click.ParamType):  # type: ignore[type-arg]  # generic only in newer Clicks
    """Header names or numbers from 1, separated by commas; quoted as in CSV."""

    name = "LIST"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Give the names and numbers, still as text."""
        try:
            (row,) = csv.reader([value], skipinitialspace=True, strict=True)
        except (csv.Error, ValueError):
            self.fail(f"{value!r} is not a list of columns, such as 1,3 or value", param, ctx)
        columns = tuple(column.strip() for column in row)
        if not columns or "" in columns:
            self.fail(f"{value!r} names an empty column", param, ctx)
        return columns
