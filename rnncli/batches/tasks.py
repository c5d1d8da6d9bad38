"""From inputs and a template to tasks: an input, and the output that is its own."""

import os
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rnncli.model.errors import InputError, did_you_mean, shown

# What a template can name of every input.
OF_INPUT = ("stem", "name", "dir")


class Task(NamedTuple):
    """An input, and what is to be made of it.

    Parameters
    ----------
    input, output : str
    options : mapping
        Options of ``rnn run`` that are of this task alone: its state files, and
        the values that a sweep gives it.
    made_of : str
        What tells this result from any other: a hash of the version, the
        options and the weights, and the size and time of the input.
    size : int
        Bytes of the input.
    """

    input: str
    output: str
    options: Mapping[str, Any]
    made_of: str = ""
    size: int = 0


class Template:
    """A name with parts in braces that differ from task to task.

    Parameters
    ----------
    option : str
        That gives it, for messages.
    text : str
        ``out/{stem}.csv``; ``{{`` is a brace.
    known : sequence of str
        Names that may stand in it.

    Attributes
    ----------
    names : set of str
        Those that do.

    Raises
    ------
    InputError
        Another name stands there, or a brace is left open.
    """

    def __init__(self, option: str, text: str, known: Sequence[str]) -> None:
        place = f"{option} {text}"
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            hint = "a brace that is meant as one is written twice: {{"
            raise InputError(place, f"not a template: {error}", hint) from error
        self.text = text
        self.names = {name for _, name, _, _ in parts if name is not None}
        for _, name, form, conversion in parts:
            if name is not None and (name not in known or form or conversion):
                there = ", ".join(f"{{{each}}}" for each in known)
                what = f"{{{shown(name)}}} is none of {there}"
                raise InputError(place, what, did_you_mean(name, known))

    @property
    def folder(self) -> str:
        """What stands before the first name, up to its last ``/``."""
        return os.path.dirname(self.text.partition("{")[0])

    def filled(self, names: Mapping[str, str]) -> str:
        """Return the text with a value for each name."""
        return os.path.normpath(self.text.format_map(names))


def names_of(path: str) -> dict[str, str]:
    """Return what a template can name of an input.

    ``{dir}`` is the folder as it is given, but for ``/`` at its start and
    ``..``: an output never leaves the folder that a template begins with.
    """
    folder, name = os.path.split(path)
    stem, extension = os.path.splitext(name)
    if extension.lower() == ".gz":
        stem = os.path.splitext(stem)[0]
    inside = [part for part in folder.split("/") if part not in ("", ".", "..")]
    return {"stem": stem, "name": name, "dir": os.path.join(*inside) if inside else "."}


def check_apart(tasks: Iterable[Task]) -> None:
    """Check that no two tasks write one file.

    Raises
    ------
    InputError
        They do.
    """
    first: dict[str, Task] = {}
    for task in tasks:
        other = first.setdefault(task.output, task)
        if other is task:
            continue
        if other.input == task.input:
            raise InputError(task.input, "is given twice")
        what = f"{other.input} and {task.input} would both be written to {task.output}"
        raise InputError("", what, "tell them apart in `output`, by {dir} or {name}")
