"""The report of a batch, which is also what the next one goes on from.

A line of JSON for each task, added as it ends. The last line of an output
says how it is.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from typing import NamedTuple, Self

from rnncli.batches.tasks import Task, resolver
from rnncli.model.errors import InputError

NAME = "rnn-batch.jsonl"
DONE, FAILED = "done", "failed"
# Bytes that a line has at most.
_LONGEST = 1 << 20
# What every line begins with.
_BEGIN = b'{"input": '


class Outcome(NamedTuple):
    """How a task ended: a line of the report.

    Parameters
    ----------
    input, output, made_of : str
        Of the task. In the report the names are absolute.
    status : {"done", "failed"}
    rows : int
        Steps that were run.
    seconds : float
    error : str
        What went wrong, as ``rnn run`` says it.
    notes : tuple of str
        What ``rnn run`` would have noted.
    """

    input: str
    output: str
    made_of: str
    status: str
    rows: int = 0
    seconds: float = 0.0
    error: str = ""
    notes: tuple[str, ...] = ()


def failed(task: Task, error: str) -> Outcome:
    """Return the outcome of a task of which nothing else is known."""
    return Outcome(task.input, task.output, task.made_of, FAILED, error=error)


class Report:
    """A report to which outcomes are added.

    Parameters
    ----------
    path : str
    file : raw binary file
        The same, open to add to.

    Attributes
    ----------
    done : dict
        Of each output that the last line of says is done: what it is made of.
        Outputs are absolute names.
    """

    def __init__(self, path: str, file: FileIO) -> None:
        self._path, self._file, self._resolved = path, file, resolver()
        self.done, whole = _read(path)
        file.truncate(whole)  # without a half line, of a batch that was killed

    @classmethod
    @contextmanager
    def opened(cls, path: str) -> Iterator[Self]:
        """Open a report, there or not, and keep other batches from it."""
        with open(path, "ab", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(path, "another batch is adding to it") from error
            except OSError:  # the file system has no locks
                pass
            yield cls(path, file)

    def add(self, outcome: Outcome) -> None:
        """Add a line."""
        place = self._resolved
        named = outcome._replace(input=place(outcome.input), output=place(outcome.output))
        rest = memoryview(json.dumps(named._asdict()).encode() + b"\n")
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from error


def done_before(path: str) -> dict[str, str]:
    """Return `Report.done` of a report that is left as it is; nothing where there is none."""
    return _read(path)[0] if os.path.exists(path) else {}


def _read(path: str) -> tuple[dict[str, str], int]:
    """Return the finished tasks, and how many bytes the whole lines have."""
    done, whole = dict[str, str](), 0
    with open(path, "rb") as file:
        if not _BEGIN.startswith(file.read(len(_BEGIN))):
            raise _not_a_report(path)
        file.seek(0)
        while line := file.readline(_LONGEST):
            if len(line) == _LONGEST:
                raise _not_a_report(path)
            if not line.endswith(b"\n"):  # it will be cut off, so it says nothing
                break
            whole += len(line)
            with suppress(ValueError, KeyError, TypeError, RecursionError):
                item = json.loads(line)
                done[item["output"]] = item["made_of"] if item["status"] == DONE else ""
    return done, whole


def _not_a_report(path: str) -> InputError:
    return InputError(path, "not the report of a batch", "give `output` another folder")
