"""The tasks of a batch, each an input with an output of its own, and the report of what is done.

The report has a line of JSON for each task, added as it ends. The last line of an output says how
it is.
"""

import fcntl
import glob
import hashlib
import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, NamedTuple

from rnncli.model.errors import InputError, OptionError, verbatim
from rnncli.storage import is_url, matching, named, version, versions

REPORT = "rnn-batch.jsonl"
# Every line of a report begins so.
_BEGIN = b'{"input": '


class Task(NamedTuple):
    """An input, and the files that are its own."""

    input: str
    output: str
    states: Mapping[str, Any]  # files of states, by option
    made_of: str = ""  # a hash of the options, the network, all names and the version of the input
    version: str = ""  # of the input before the first task

    def absolute(self) -> "Task":
        """Return the task as another folder names it."""
        return self._replace(
            input=_absolute(self.input),
            output=_absolute(self.output),
            states={name: _absolute(path) for name, path in self.states.items()},
        )

    def size(self) -> int:
        """Return the bytes of the input; one whose size is not known counts as large."""
        text = self.version.partition(" ")[0]
        return (int(text) if text.isdecimal() else 0) or 1 << 30


class Outcome(NamedTuple):
    """How a task ended: a line of the report, in which names are absolute."""

    input: str
    output: str
    made_of: str
    status: str  # done or failed
    rows: int = 0
    seconds: float = 0.0
    error: str = ""
    notes: tuple[str, ...] = ()


def _absolute(path: str) -> str:
    return path if is_url(path) else os.path.abspath(path)


def check_template(option: str, text: str) -> None:
    """Check the name of a file that has fields in braces; ``{{`` is a brace."""
    what = "in quotes ~ is no home folder, $HOME is" if text.startswith("~/") else ""
    if re.search("[{}]", re.sub("{{|}}|{stem}|{name}|{dir}", "", text)):
        what = "expected {stem}, {name} or {dir}; a brace that is meant as one is written twice"
    if what:
        raise OptionError(f"`{option}` {verbatim(text)}: {what}")


def fill(template: str, names: Mapping[str, str]) -> str:
    """Return the name of a file of one input."""
    text = template.format_map(names)
    if is_url(text):
        return named(text)
    text = re.sub(r"/(?:\.?/)+", "/", text).removeprefix("./")
    return "./-" if text == "-" else text  # a file, not standard output


def names_of(path: str) -> dict[str, str]:
    """Return the names of an input that a template can have.

    ``{dir}`` is the folder as it is given, but for ``/`` at its start and ``..``: an output never
    leaves the folder that a template begins with.
    """
    folder, name = os.path.split(path.partition("://")[2] if is_url(path) else path)
    stem, extension = os.path.splitext(name)
    if extension.lower() in (".gz", ".xz", ".bz2", ".zst"):
        stem = os.path.splitext(stem)[0]
    inside = [part for part in folder.split("/") if part not in ("", ".", "..")]
    return {"stem": stem, "name": name, "dir": "/".join(inside) or "."}


def expand(given: Iterable[str]) -> list[str]:
    """Return the files that names and patterns stand for, those of a pattern sorted.

    A file that is there is itself, whatever its name.
    """
    paths: list[str] = []
    for name in given:
        found = [name]
        if glob.has_magic(name) and not os.path.lexists(name):
            found = sorted(matching(name))
        if not found:
            raise InputError(name, "matches no file")
        paths += map(named, found)
    return paths


def make_tasks(inputs: Sequence[str], templates: Mapping[str, str], identity: str) -> list[Task]:
    """Return a task for each input; `identity` tells the network and the options from others."""
    see, tasks = viewer(), []
    for path in inputs:
        if not is_url(path) and os.path.isdir(path):
            pattern = verbatim(shlex.quote(os.path.join(path, "*.csv")))
            raise InputError(path, "a folder", f"give the files in it: {pattern}")
        names, seen = names_of(path), see(path)
        files = {option: fill(template, names) for option, template in templates.items()}
        about = f"{seen}\0{resolve(path)}"
        before = see(files["state_in"]) if "state_in" in files else ""
        whole = _digest(about, identity, before, *map(resolve, files.values()))
        made_of = f"{_digest(about)}-{whole}"
        tasks.append(Task(path, files.pop("output"), files, made_of, seen))
    return tasks


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode(errors="surrogateescape")).hexdigest()[:20]


def viewer() -> Callable[[str], str]:
    """Return a function that finds the version of a file, "" for none.

    It lists a folder of a store once, and does not ask for each file in it.
    """
    list_once = cache(versions)

    def see(path: str) -> str:
        folder, name = os.path.split(path)
        listed = list_once(folder) if is_url(path) else None
        if listed is not None:
            return listed.get(name, "")
        try:
            return version(path)
        except OSError:  # its task says why
            return ""

    return see


def resolve(path: str) -> str:
    """Return the one name of a file, whose links are followed."""
    return named(path) if is_url(path) else os.path.realpath(path)


def check_files(tasks: Sequence[Task], read: Iterable[str], report: str) -> None:
    """Check that no file is written twice, nor one that is read, by whatever names."""
    states = (task.states["state_in"] for task in tasks if "state_in" in task.states)
    sources = {resolve(path): path for path in (*(task.input for task in tasks), *states, *read)}
    written = [("the report of the batch", report)]
    for task in tasks:
        written.append((task.input, task.output))
        names = task.states.keys() - {"state_in"}
        written += [(f"the state of {task.input}", task.states[name]) for name in names]
    writers: dict[str, str] = {}
    for whose, path in written:
        place = resolve(path)
        if place in sources:
            raise InputError(path, f"would be written over: {sources[place]} is read")
        if place in writers:
            what = f"{writers[place]} and {whose} would both be written to {path}"
            raise InputError("", what, "a template with {dir}/{name} tells folders apart")
        writers[place] = whose


@contextmanager
def open_report(path: str) -> Iterator[tuple[dict[str, str], Callable[[Outcome], None]]]:
    """Open a report, there or not, for this batch alone; the value is what is done, and `add`."""
    with open(path, "ab") as file:

        def add(outcome: Outcome) -> None:
            paths = {"input": resolve(outcome.input), "output": resolve(outcome.output)}
            try:
                file.write(json.dumps(outcome._asdict() | paths).encode() + b"\n")
                file.flush()
            except OSError as error:
                raise OSError(error.errno, error.strerror, path) from error

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(path, "another batch is adding to it") from error
        except OSError:  # the file system has no locks
            pass
        done, whole = _read(path)
        file.truncate(whole)  # cuts off half a line of a batch that was killed
        yield done, add


def read_done(path: str) -> dict[str, str]:
    """Return, by output, what each that is done is made of; nothing where there is no report."""
    return _read(path)[0] if os.path.exists(path) else {}


def _read(path: str) -> tuple[dict[str, str], int]:
    """Return the results that are done, and how many bytes the whole lines have."""
    done, whole = dict[str, str](), 0
    with open(path, "rb") as file:
        for line in file:
            if not (whole or _BEGIN.startswith(line[: len(_BEGIN)])):
                raise InputError(path, "not the report of a batch", "give `output` another folder")
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            with suppress(ValueError, KeyError, TypeError):
                item = json.loads(line)
                done[item["output"]] = item["made_of"] if item["status"] == "done" else ""
    return done, whole
