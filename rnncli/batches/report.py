"""The report of a batch, which is also what the next one goes on from.

A line of JSON for each task, added as it ends. The last line of an output
says how it is.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, Self, TextIO

from rnncli.batches.tasks import Task
from rnncli.model.errors import InputError

NAME = "rnn-batch.jsonl"
DONE, FAILED = "done", "failed"


class Outcome(NamedTuple):
    """How a task ended: a line of the report.

    Parameters
    ----------
    input, output, made_of : str
        Of the task.
    status : {"done", "failed"}
    rows : int
        Steps that were run.
    seconds : float
    error : str
        What went wrong, as ``rnn run`` says it.
    notes : list of str
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
    file : text stream
        Open to read and to add to.

    Attributes
    ----------
    done : dict
        Of each output that is done: what it is made of.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.done: dict[str, str] = {}
        file.seek(0)
        line = "\n"
        for line in file:
            with suppress(ValueError, KeyError, TypeError):  # of a run that was killed
                item = json.loads(line)
                self.done[item["output"]] = item["made_of"] if item["status"] == DONE else ""
        if not line.endswith("\n"):
            file.write("\n")

    @classmethod
    @contextmanager
    def opened(cls, path: str) -> Iterator[Self]:
        """Open a report, there or not, and keep other batches from it.

        Raises
        ------
        InputError
            Another batch has it.
        OSError
            It cannot be written.
        """
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "a+", encoding="utf-8", errors="surrogateescape") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(path, "another batch is adding to it") from error
            except OSError:  # the file system has no locks
                pass
            yield cls(file)

    def add(self, outcome: Outcome) -> None:
        """Add a line."""
        self._file.write(json.dumps(outcome._asdict()) + "\n")
        self._file.flush()
