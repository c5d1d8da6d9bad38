"""Candidates for what the Tab key completes."""

import csv
import os
from contextlib import suppress

import click
from click.shell_completion import CompletionItem

from rnncli.model.activations import ACTIVATIONS

# Options whose values are columns of the first file, and names of activations.
_COLUMNS = ("columns", "group_by")
_ACTIVATIONS = ("activation", "recurrent_activation")
_FILES = ("weights", "state", "state_in", "state_out", "output", "expected")


def complete(
    option: str, ctx: click.Context, param: click.Parameter, text: str
) -> list[CompletionItem]:
    """Return the candidates for the value of an option."""
    if option in _ACTIVATIONS:
        return [CompletionItem(name) for name in ACTIVATIONS if name.startswith(text)]
    if option in _COLUMNS:
        begin, comma, last = text.rpartition(",") if option == "columns" else ("", "", text)
        names = [name for name in _read_names() if name.startswith(last)]
        return [CompletionItem(f"{begin}{comma}{name}") for name in names]
    if option in _FILES:
        return [CompletionItem(text, type="file")]
    return param.type.shell_complete(ctx, param, text)


def _read_names() -> list[str]:
    """Read the names of the columns of the first file on the command line, if it is CSV."""
    for path in filter(os.path.isfile, os.environ.get("COMP_WORDS", "").split()):
        with suppress(OSError, ValueError), open(path, encoding="utf-8-sig") as file:
            line = file.readline(1 << 16).strip()
            marks = sorted(",;\t|", key=line.count)
            return [name for name in next(csv.reader([line], delimiter=marks[-1]), []) if name]
    return []
