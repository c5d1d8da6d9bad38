"""The rows of an input that a state has counted: a batch runs each row once, also of a log."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rnncli.engine.rows import Rows
from rnncli.model.errors import InputError
from rnncli.opening import Console
from rnncli.readers import is_plain_text
from rnncli.readers.input import Input
from rnncli.run_options import Options
from rnncli.states.format import SavedStates
from rnncli.storage import version

_ANEW = "delete the state file to start over"


@dataclass
class CountedInput:
    """The input of a task of a batch, of which the state file may have counted rows."""

    task: str
    path: str  # of the state file
    before: SavedStates | None  # its content
    input: str = ""
    version: str = ""  # of the input before it was read, if it is a local file
    skipped: int = 0  # rows that an earlier task has counted
    rows: int = 0  # of the input, with these

    def has_all(self, options: Options, console: Console) -> bool:
        """Return whether the task has run to its end before; refuse one of other options."""
        (self.input,) = options.files
        self.version = version(self.input) if os.path.isfile(self.input) else ""
        if not self.before or not self.before.task:
            return False
        ran, task = self.before.task.split("-"), self.task.split("-")
        if ran[0] != task[0] and self._has_new_rows(self.before, console):
            return False
        size = version(options.output or "").partition(" ")[0]
        if {*ran[1:]} & {*task[1:]} and size and (size != "0" or not self.before.rows):
            return True
        what = "already includes this input (other options, or its output was deleted)"
        raise InputError(self.path, what, _ANEW)

    def _has_new_rows(self, before: SavedStates, console: Console) -> bool:
        """Find how many rows of a changed input are counted; return whether there are others."""
        path, new = self.input, "all its rows are read as new ones"
        if not self.version or not before.sha256:
            console.note(f"{path}: {self.path} does not tell which rows it has counted: {new}")
            return True
        size = os.path.getsize(path)
        if size < before.size or _hash_begin(path, before.size) != before.sha256:
            console.note(f"{path}: does not begin with the rows counted before: {new}")
            return True
        if size == before.size:
            return False
        with open(path, "rb") as file:
            file.seek(max(before.size - 1, 0))
            ends_within = b"\n" not in file.read(2)
        if ends_within or not is_plain_text(path):
            what = f"{path} has grown, and cannot be cut after the rows that were counted"
            raise InputError(self.path, what, _ANEW)
        self.skipped = before.rows
        what = "are run, and written without them"
        console.note(f"{path}: rows counted before: {before.rows:,}; those after them {what}")
        return True

    def skip(self, source: Input) -> Input:
        """Count the rows of the input, and leave out those that were counted before."""
        if self.before and self.skipped and self.before.columns != column_names(source):
            what = f"has counted {self.skipped:,} rows of {self.input} with other columns"
            raise InputError(self.path, what, _ANEW)

        def pass_new() -> Iterator[Rows]:
            for rows in source.blocks:
                start, self.rows = self.rows, self.rows + len(rows.x)
                if self.rows > self.skipped:
                    yield rows.cut(max(self.skipped - start, 0), None)

        return source._replace(blocks=pass_new())

    def describe(self) -> dict[str, Any]:
        """Return the fields of the state file that say which rows it has counted."""
        about: dict[str, Any] = {"task": self.task, "rows": self.rows}
        if self.version:
            size = os.path.getsize(self.input)
            about |= {"size": size, "sha256": _hash_begin(self.input, size)}
            if version(self.input) != self.version:
                what = "was changed while it was read"
                raise InputError(self.input, what, "run the same command again")
        return about


def _hash_begin(path: str, size: int) -> str:
    """Return the SHA-256 of the first bytes of a file."""
    import hashlib  # takes 3 ms

    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while size and (chunk := file.read(min(size, 1 << 20))):
            digest.update(chunk)
            size -= len(chunk)
    return digest.hexdigest()


def column_names(source: Input) -> tuple[str, ...]:
    """Return the names of the columns that are read, if all have one."""
    names = tuple(name for name in source.chosen if isinstance(name, str))
    return names if len(names) == len(source.chosen) else ()
