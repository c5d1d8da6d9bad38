"""What a shell completes beside the names of commands, options and files.

It is loaded when a shell asks. Where a file cannot be read there is nothing
to complete, and nothing is said.
"""

import glob
import os
import re
from collections.abc import Iterable
from contextlib import redirect_stderr, suppress
from io import StringIO
from typing import Any

import click
import numpy as np
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

from rnncli.cli.options import NetworkOptions, picked
from rnncli.model.activations import ACTIVATIONS
from rnncli.readers import Keys, Layout, read_file


@add_completion_class
class Bash(BashComplete):
    """Bash, to which a completed word goes as it is to stand on the command line."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one to complete; Bash takes ``=`` for a word."""
        args, incomplete = super().get_completion_args()
        return [word for word in args if word != "="], incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Quote a word, unless it stands in quotes; `read` of Bash takes one backslash off."""
        value = item.value
        if item.type == "plain" and not self._is_quoted():
            value = re.sub(r"([^\w,.:/@%+=-])", r"\\\1", value)
        return super().format_completion(
            CompletionItem(value.replace("\\", "\\\\"), item.type, item.help)
        )

    def _is_quoted(self) -> bool:
        words = os.environ["COMP_WORDS"].split("\n")
        return words[min(int(os.environ["COMP_CWORD"]), len(words) - 1)].startswith(("'", '"'))


def activations(_ctx: click.Context, incomplete: str) -> list[str]:
    """Return the names of activations."""
    return _begun(incomplete, ACTIVATIONS)


def encodings(_ctx: click.Context, incomplete: str) -> list[str]:
    """Return the usual encodings of text; Python knows a hundred."""
    return _begun(incomplete, ("utf-8", "latin-1", "cp1252", "utf-16"))


def auto(_ctx: click.Context, incomplete: str) -> list[str]:
    """Return the word for numbers that are to be found."""
    return _begun(incomplete, ("auto",))


def columns(ctx: click.Context, incomplete: str) -> list[str]:
    """Return the names in the header of the first file, for the last of a list of columns."""
    outside = re.sub('"[^"]*"?', lambda quoted: "_" * len(quoted[0]), incomplete)
    end = outside.rfind(",") + 1
    end += incomplete.startswith("!", end)
    names = (_in_list(name, incomplete[end:]) for name in _header(ctx))
    return _begun(incomplete, (incomplete[:end] + name for name in names))


def column(ctx: click.Context, incomplete: str) -> list[str]:
    """Return the names in the header of the first file, for one column."""
    return _begun(incomplete, _header(ctx))


def layers(ctx: click.Context, incomplete: str) -> list[str]:
    """Return the names of the parts of a model file that can be run."""
    from rnncli.model.formats import layer_names

    path = ctx.params.get("weights") or next(iter(_files(ctx, "file")), "")
    with suppress(Exception):
        if os.path.isfile(path):
            return _begun(incomplete, layer_names(path))
    return []


def units(ctx: click.Context, incomplete: str) -> list[str]:
    """Return the names of the units of a network."""
    from rnncli.cli.networks import build_network
    from rnncli.explain.units import unit_names

    with suppress(Exception), redirect_stderr(StringIO()):
        network, *_ = build_network(picked(NetworkOptions, ctx.params), None)
        return _begun(
            incomplete, (f"{name}{j}" for name, size in unit_names(network) for j in range(size))
        )
    return []


def _begun(incomplete: str, words: Iterable[str]) -> list[str]:
    """Return the words that begin so; a shell would show what controls a terminal as it is."""
    return [word for word in words if word.startswith(incomplete) and word.isprintable()]


def _in_list(name: str, begun: str) -> str:
    """Return a column as a list names it: in quotes, as in CSV, where they are begun or needed."""
    if begun.startswith('"') or set(name) & set(',"'):
        return '"{}"'.format(name.replace('"', '""'))
    return name


def _header(ctx: click.Context) -> list[str]:
    """Return the names of the columns of the first file; those that stand twice are none."""
    looks = (
        (name, ctx.params.get(name)) for name in ("delimiter", "decimal", "encoding", "first_row")
    )
    layout = Layout(np.dtype(np.float32), **{name: look for name, look in looks if look})
    with suppress(Exception):
        first, *_ = _files(ctx, "files")
        path = next(glob.iglob(first, recursive=True), first)  # a batch has patterns
        if os.path.isfile(path):  # a pipe would wait, and be read but once
            chosen = read_file(path, layout, Keys()).chosen
            return [name for name in chosen if isinstance(name, str)]
    return []


def _files(ctx: click.Context, parameter: str) -> list[str]:
    """Return the files so far; Click leaves them over where the value of an option is missing."""
    found = ctx.params.get(parameter) or ()
    return [*([found] if isinstance(found, str) else found), *ctx.args]
