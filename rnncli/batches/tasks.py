"""From inputs and templates to tasks: an input, and the output that is its own."""

import glob
import hashlib
import os
import re
import shlex
import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from rnncli.model.errors import InputError, did_you_mean, shown, verbatim
from rnncli.storage import is_url, matching, named, version, versions

# What a template can name of every input.
NAMES = ("stem", "name", "dir")

_NUMBER = re.compile("([0-9]+)")


class Task(NamedTuple):
    """An input, and what is to be made of it.

    Parameters
    ----------
    input, output : str
    options : mapping
        Options of ``rnn run`` that are of this task alone: its state files.
    made_of : str
        What tells this result from any other: a hash of the version, the
        options, the weights, all names, and the size and time of the input.
    size : int
        Bytes of the input.
    version : str
        Of the input, before the first task.
    """

    input: str
    output: str
    options: Mapping[str, Any]
    made_of: str = ""
    size: int = 0
    version: str = ""


class Template:
    """A name with fields in braces that differ from task to task.

    Parameters
    ----------
    option : str
        That gives it, for messages.
    text : str
        ``out/{stem}.csv``; ``{{`` is a brace.

    Raises
    ------
    InputError
        A field is unknown, a brace is left open, or it names folders.
    """

    def __init__(self, option: str, text: str) -> None:
        self.text, place = text, f"{option} {text}"
        if text.startswith("~/"):
            what = "in quotes ~ is no home folder"
            raise InputError(place, what, 'write "$HOME", or ./~ for a file of that name')
        if text.endswith("/"):
            raise InputError(place, "a folder", "end it with the name of a file")
        try:
            parts = [part for part in string.Formatter().parse(text) if part[1] is not None]
        except ValueError as error:
            hint = "a brace that is meant as one is written twice: {{"
            raise InputError(place, f"not a template: {error}", hint) from error
        for _, name, form, conversion in parts:
            given = f"{name}{f'!{conversion}' if conversion else ''}{f':{form}' if form else ''}"
            if given not in NAMES:
                known = ", ".join(f"{{{each}}}" for each in NAMES)
                what = f"{{{shown(given)}}} is none of {known}"
                raise InputError(place, what, did_you_mean(given, NAMES))

    @property
    def folder(self) -> str:
        """What stands before the first name, up to its last ``/``."""
        return os.path.dirname(self.text.partition("{")[0].replace("}}", "}"))

    def filled(self, names: Mapping[str, str]) -> str:
        """Return the text with a value for each name."""
        text = self.text.format_map(names)
        if is_url(text):
            return named(text)
        text = re.sub(r"/(?:\.?/)+", "/", text).removeprefix("./")
        return "./-" if text == "-" else text  # a file, not standard output


def names_of(path: str) -> dict[str, str]:
    """Return what a template can name of an input.

    ``{dir}`` is the folder as it is given, but for ``/`` at its start and
    ``..``: an output never leaves the folder that a template begins with.
    """
    folder, name = os.path.split(path.partition("://")[2] if is_url(path) else path)
    stem, extension = os.path.splitext(name)
    if extension.lower() == ".gz":
        stem = os.path.splitext(stem)[0]
    inside = [part for part in folder.split("/") if part not in ("", ".", "..")]
    return {"stem": stem, "name": name, "dir": os.path.join(*inside) if inside else "."}


def expanded(given: Iterable[str]) -> list[str]:
    """Return the files that names and patterns stand for: those of a pattern in natural order.

    A file that is there is itself, whatever its name.
    """
    paths = []
    for name in given:
        if not glob.has_magic(name) or os.path.lexists(name):
            paths.append(named(name))
            continue
        found = matching(name)
        if not found:
            raise InputError(name, "matches no file")
        paths += map(named, sorted(found, key=_naturally))
    return paths


def _naturally(name: str) -> list[tuple[str, int]]:
    """Return what sorts 2 before 10."""
    parts = _NUMBER.split(name)
    return [*zip(parts[::2], map(int, [*parts[1::2], "0"]), strict=True), (name, 0)]


def make_tasks(
    inputs: Sequence[str], templates: Mapping[str, Template], made_of: str
) -> list[Task]:
    """Return a task for each input."""
    place, found, version_once = resolver(), finder(inputs), cache(version)
    tasks = []
    for path in inputs:
        if not is_url(path) and os.path.isdir(path):
            pattern = verbatim(shlex.quote(os.path.join(path, "*.csv")))
            raise InputError(path, "a folder", f"give the files in it: {pattern}")
        names, seen = names_of(path), found(path)
        files = {option: template.filled(names) for option, template in templates.items()}
        before = version_once(files["state_in"]) if "state_in" in files else ""
        about = f"{seen}\0{place(path)}"
        whole = _digest(about, made_of, before, *map(place, files.values()))
        size = seen.partition(" ")[0]
        tasks.append(
            Task(
                input=path,
                output=files.pop("output"),
                options=files,
                made_of=f"{_digest(about)}-{whole}",
                size=int(size) if size.isdecimal() else 0,
                version=seen,
            )
        )
    return tasks


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode(errors="surrogateescape")).hexdigest()[:20]


def finder(paths: Iterable[str]) -> Callable[[str], str]:
    """Return what finds the `version` of a file: of many elsewhere by a list of their folder."""
    many = Counter(os.path.dirname(path) for path in paths if is_url(path))
    listed = cache(versions)

    def found(path: str) -> str:
        folder, name = os.path.split(path)
        beside = listed(folder) if many[folder] > 1 else None
        if beside is not None:
            return beside.get(name, "")
        try:
            return version(path)
        except OSError:  # its task says why
            return ""

    return found


def resolver() -> Callable[[str], str]:
    """Return what finds the one name of a file, there or not, whose links are followed."""
    folders = cache(os.path.realpath)

    def resolved(path: str) -> str:
        if is_url(path):
            return named(path)
        if os.path.islink(path):
            return os.path.realpath(path)
        folder, slash, name = path.rpartition("/")
        return f"{folders((folder or slash) or '.').rstrip('/')}/{name}"

    return resolved


def check_apart(tasks: Sequence[Task], read: Iterable[str], report: str) -> None:
    """Check that no two tasks write one file, nor one that is read, by whatever names."""
    place = resolver()
    sources = {task.input: None for task in tasks}
    sources |= {task.options["state_in"]: None for task in tasks if "state_in" in task.options}
    by_name = {place(path): path for path in (*sources, *read)}
    by_file = {_file(path): path for path in by_name.values()}
    first: dict[str, tuple[str, Task | None]] = {}
    for path, option, task in [(report, "output", None), *_written(tasks)]:
        name = place(path)
        source = by_name.get(name) or (os.path.exists(path) and by_file.get(_file(path)))
        if source:
            what = f"would be written over: {source} is read"
            raise InputError(path, what, f"give `{option}` another folder or name")
        other_option, other = first.setdefault(name, (option, task))
        if other is not task or other_option != option:
            raise _shared(path, option, other, task)


def _written(tasks: Iterable[Task]) -> Iterator[tuple[str, str, Task]]:
    """Yield each file that a task writes, with the option that names it."""
    for task in tasks:
        yield task.output, "output", task
        for option in ("state", "state_out"):
            if option in task.options:
                yield task.options[option], option, task


def _file(path: str) -> tuple[int, int] | str:
    """Return what is the same for all names of a file that is there."""
    try:
        found = os.stat(path)
    except OSError:
        return path
    return found.st_dev, found.st_ino


def _shared(path: str, option: str, one: Task | None, other: Task | None) -> InputError:
    """Return the error of two tasks, or the report and a task, that would write one file."""
    if one is None or other is None:
        return InputError(path, "is the report of the batch", f"give `{option}` another name")
    if one is other:
        return InputError(path, "would be the output and the state of one input", "give two names")
    if one.input == other.input:
        return InputError(one.input, "is given twice")
    what = f"{one.input} and {other.input} would both be written to {path}"
    return InputError("", what, f"tell them apart in `{option}`, by {{dir}} or {{name}}")
