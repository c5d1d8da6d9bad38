"""Kinds of option values that Click does not know."""

import csv
from typing import Any

import click


class Delimiter(click.ParamType):
    """One character, or the name of one that is awkward to type."""

    name = "CHAR"
    NAMES = {"comma": ",", "tab": "\t", "\\t": "\t", "semicolon": ";", "space": " ", "pipe": "|"}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Give the character."""
        character = self.NAMES.get(value, value)
        if len(character) != 1 or character in '"\r\n':
            self.fail(f"{value!r} is not one character, or one of {', '.join(self.NAMES)}", param, ctx)
        return str(character)


class Columns(click.ParamType):
    """Header names or numbers from 1, separated by commas; quoted as in CSV."""

    name = "LIST"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Give the names and numbers, still as text."""
        if not isinstance(value, str):
            return tuple(value)
        try:
            (row,) = csv.reader([value], skipinitialspace=True, strict=True)
        except (csv.Error, ValueError):
            self.fail(f"{value!r} is not a list of columns, such as 1,3 or value", param, ctx)
        columns = tuple(column.strip() for column in row)
        if "" in columns:
            self.fail(f"{value!r} names an empty column", param, ctx)
        return columns
