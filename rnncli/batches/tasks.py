"""The tasks of a batch, and how they ended."""

import os
from typing import NamedTuple

from rnncli.storage import is_url


class Task(NamedTuple):
    """An input and its files."""

    input: str
    output: str
    state: str | None = None
    # Hashes: of the input and its version; of these, the options, the network and all names; and,
    # if there is a state, of these without the version.
    digest: str = ""
    version: str = ""  # of the input before the first task

    def absolute(self) -> "Task":
        """Return the task as another folder names it."""
        paths = self.input, self.output, self.state
        names = [path and (path if is_url(path) else os.path.abspath(path)) for path in paths]
        return Task._make([*names, self.digest, self.version])

    def size(self) -> int:
        """Return the bytes of the input; one whose size is not known counts as large."""
        return int(self.version.partition(" ")[0] or 0) or 1 << 30


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
