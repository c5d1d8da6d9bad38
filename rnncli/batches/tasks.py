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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from string import Formatter
from typing import Any, NamedTuple

from rnncli.model.errors import InputError, OptionError, verbatim
from rnncli.storage import is_url, matching, named, version

# What a template can name of every input.
NAMES = ("stem", "name", "dir")
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
        names = {"input": self.input, "output": self.output, **self.states}
        places = {
            name: path if is_url(path) else os.path.abspath(path) for name, path in names.items()
        }
        return self._replace(input=places.pop("input"), output=places.pop("output"), states=places)

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


def check_template(option: str, text: str) -> None:
    """Check the name of a file that has fields in braces; ``{{`` is a brace."""
    what = "in quotes ~ is no home folder, $HOME is" if text.startswith("~/") else ""
    try:
        fields = [field for _, *field in Formatter().parse(text)]
    except ValueError:
        fields = [["{"]]
    if any(name not in (None, *NAMES) or any(how) for name, *how in fields):
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
    return {"stem": stem, "name": name, "dir": os.path.join(*inside) if inside else "."}


def expand(given: Iterable[str]) -> list[str]:
    """Return the files that names and patterns stand for: those of a pattern in natural order.

    A file that is there is itself, whatever its name.
    """
    paths: list[str] = []
    for name in given:
        if not glob.has_magic(name) or os.path.lexists(name):
            paths.append(named(name))
            continue
        found = matching(name)
        if not found:
            raise InputError(name, "matches no file")
        paths += map(named, sorted(found, key=_natural_order))
    return paths


def _natural_order(name: str) -> list[tuple[str, int]]:
    """Return a key that sorts 2 before 10."""
    parts = re.split("([0-9]+)", name)
    return [*zip(parts[::2], map(int, [*parts[1::2], "0"]), strict=True), (name, 0)]


def make_tasks(inputs: Sequence[str], templates: Mapping[str, str], identity: str) -> list[Task]:
    """Return a task for each input; `identity` tells the network and the options from others."""
    resolve, see, version_once = resolver(), viewer(inputs), cache(version)
    tasks = []
    for path in inputs:
        if not is_url(path) and os.path.isdir(path):
            pattern = verbatim(shlex.quote(os.path.join(path, "*.csv")))
            raise InputError(path, "a folder", f"give the files in it: {pattern}")
        names, seen = names_of(path), see(path)
        files = {option: fill(template, names) for option, template in templates.items()}
        before = version_once(files["state_in"]) if "state_in" in files else ""
        about = f"{seen}\0{resolve(path)}"
        whole = _digest(about, identity, before, *map(resolve, files.values()))
        made_of = f"{_digest(about)}-{whole}"
        tasks.append(Task(path, files.pop("output"), files, made_of, seen))
    return tasks


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode(errors="surrogateescape")).hexdigest()[:20]


def viewer(paths: Iterable[str]) -> Callable[[str], str]:
    """Return a function that finds the version of a file, "" for none.

    A folder elsewhere that has many of the paths is listed once.
    """
    many = Counter(os.path.dirname(path) for path in paths if is_url(path))
    list_once = cache(matching)

    def see(path: str) -> str:
        folder = os.path.dirname(path)
        try:
            listed = list_once(f"{folder}/*") if many[folder] > 1 else {}
            return listed.get(path) or version(path)
        except OSError:  # its task says why
            return ""

    return see


def resolver() -> Callable[[str], str]:
    """Return a realpath that resolves each folder once."""
    resolve_once = cache(os.path.realpath)

    def resolve(path: str) -> str:
        if is_url(path):
            return named(path)
        if os.path.islink(path):
            return os.path.realpath(path)
        folder, slash, name = path.rpartition("/")
        return f"{resolve_once((folder or slash) or '.').rstrip('/')}/{name}"

    return resolve


def check_files(tasks: Sequence[Task], read: Iterable[str], report: str) -> None:
    """Check that no file is written twice, nor one that is read, by whatever names."""
    resolve = resolver()
    states = (task.states["state_in"] for task in tasks if "state_in" in task.states)
    sources = {resolve(path): path for path in (*(task.input for task in tasks), *states, *read)}
    written = [("", "the report of the batch", report)]
    for task in tasks:
        source = resolve(task.input)
        written.append((source, task.input, task.output))
        for option in task.states.keys() - {"state_in"}:
            written.append((source, f"the state of {task.input}", task.states[option]))
    writers: dict[str, tuple[str, str]] = {}
    for source, whose, path in written:
        place = resolve(path)
        if place in sources:
            raise InputError(path, f"would be written over: {sources[place]} is read")
        if place in writers:
            other, first = writers[place]
            what = f"{first} and {whose} would both be written to {path}"
            differ = other not in ("", source)
            raise InputError("", what, "a template with {dir}/{name} tells them apart" * differ)
        writers[place] = source, whose


@contextmanager
def open_report(path: str) -> Iterator[tuple[dict[str, str], Callable[[Outcome], None]]]:
    """Open a report, there or not, for this batch alone; the value is what is done, and `add`."""
    resolve = resolver()
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
        if not _BEGIN.startswith(file.read(len(_BEGIN))):
            hint = "give `output` another folder"
            raise InputError(path, "not the report of a batch", hint)
        file.seek(0)
        for line in file:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            with suppress(ValueError, KeyError, TypeError):
                item = json.loads(line)
                done[item["output"]] = item["made_of"] if item["status"] == "done" else ""
    return done, whole
