"""What becomes of a batch: recorded and shown as it comes, and summed up."""

import errno
import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

from rnncli.batches.report import DONE, Outcome, Report
from rnncli.batches.tasks import Task
from rnncli.cli.errors import RUN_FAILED, Failure
from rnncli.cli.outputs import note
from rnncli.cli.progress import Bar
from rnncli.model.errors import InputError, printable
from rnncli.storage import is_url

# Failures, and texts of notes, that are shown as they come; the report has all of them.
_FAILURES, _NOTES = 20, 10
# Of a disk without room: every other output would fail too.
_FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))


class Summary(NamedTuple):
    """The outcome of a batch.

    Parameters
    ----------
    done, skipped, failed, not_run : int
        Tasks: run now, done before, failed, and not run since the disk was
        full.
    rows : int
        Steps that were run.
    seconds : float
    report : str
        The file that has a line for each task.
    failures : list of dict
        ``input``, ``output`` and ``error`` of each that failed.
    """

    done: int
    skipped: int
    failed: int
    not_run: int
    rows: int
    seconds: float
    report: str
    failures: list[dict[str, str]]


def sentence(summary: Summary) -> str:
    """Describe the outcome of a batch in a line."""
    left = f"{summary.not_run:,} not run, " if summary.not_run else ""
    return (
        f"{summary.done:,} done, {summary.skipped:,} skipped, {summary.failed:,} failed, {left}"
        f"{summary.rows:,} rows, {summary.seconds:.1f} s; {printable(summary.report)}"
    )


class Running:
    """A batch that runs: what became of its tasks so far, and what is shown of them.

    Parameters
    ----------
    tasks : sequence of Task
        Of the batch, done or not.
    path : str
        Of the report.
    shown : bool
        Whether failures, notes and progress are shown.
    """

    def __init__(self, tasks: Sequence[Task], path: str, *, shown: bool) -> None:
        self._tasks, self._path, self._shown = tasks, path, shown
        self._begin, self._bar = time.monotonic(), Bar(quiet=not shown)
        self._total = self._done = self._rows = 0
        self._failures: list[dict[str, str]] = []
        self._notes: set[str] = set()

    def run(
        self,
        find: Callable[[Mapping[str, str]], list[Task]],
        do: Callable[[Sequence[Task]], Generator[Outcome, None, None]],
    ) -> Summary:
        """Do the tasks that are to be done."""
        if not self._tasks:
            return self._summary()
        _make([os.path.dirname(self._path) or "."])
        with Report.opened(self._path) as report:
            to_do = find(report.done)
            self._total = len(to_do)
            _make(_folders(to_do), writable=True)
            with closing(do(to_do)) as outcomes:
                try:
                    for outcome in outcomes:
                        report.add(outcome)
                        self._count(outcome)
                        self.show_progress()
                        if outcome.error.endswith(_FULL):
                            break
                except (KeyboardInterrupt, SystemExit):
                    self._stopped()
                    raise
                finally:
                    self._bar.clear()
        return self._summary()

    def show_progress(self) -> None:
        """Show how many tasks have ended, how fast that was, and how long the rest takes."""
        if self._bar.due():
            ended = self._done + len(self._failures)
            failures = f", {len(self._failures):,} failed" if self._failures else ""
            rate = f", {self._bar.rate(ended)}" if ended else ""
            text = f"{ended:,} of {self._total:,} files{failures}{rate}"
            self._bar.show(text, ended / self._total)

    def note(self, text: str) -> None:
        """Show a note, where the bar may stand."""
        if self._shown:
            self._bar.clear()
            note(text)

    def _count(self, outcome: Outcome) -> None:
        self._rows += outcome.rows
        if outcome.status == DONE:
            self._done += 1
        else:
            told = {"input": outcome.input, "output": outcome.output, "error": outcome.error}
            self._failures.append(told)
        if not self._shown:
            return
        for text in outcome.notes:
            self._show_note(outcome.input, text)
        if outcome.error:
            self._show_failure(outcome.error)

    def _show_note(self, path: str, text: str) -> None:
        """Show a note the first time that it comes, whichever file it is of."""
        about = text.replace(path, "")
        if about in self._notes or len(self._notes) > _NOTES:
            return
        self._notes.add(about)
        self._bar.clear()
        if len(self._notes) > _NOTES:
            note(f"there are more notes: {self._path} has all of them")
        else:
            note(text if path in text else f"{path}: {text}")

    def _show_failure(self, error: str) -> None:
        if len(self._failures) <= _FAILURES:
            self._bar.clear()
            Failure(error, RUN_FAILED).show()
        elif len(self._failures) == _FAILURES + 1:
            self._bar.clear()
            note(f"more have failed: {self._path} has all of them")

    def _stopped(self) -> None:
        ended = self._done + len(self._failures)
        if self._shown:
            self._bar.clear()
            of = f"{ended:,} of {self._total:,}"
            note(f"stopped after {of}; the same command goes on with the rest")

    def _summary(self) -> Summary:
        failures, seconds = len(self._failures), round(time.monotonic() - self._begin, 3)
        return Summary(
            done=self._done,
            skipped=len(self._tasks) - self._total,
            failed=failures,
            not_run=self._total - self._done - failures,
            rows=self._rows,
            seconds=seconds,
            report=self._path,
            failures=self._failures,
        )


def _folders(tasks: Sequence[Task]) -> list[str]:
    """Return the folders on this machine that tasks write to."""
    files = [
        (task.output, task.options.get("state"), task.options.get("state_out")) for task in tasks
    ]
    names = {os.path.dirname(file) for each in files for file in each if file and not is_url(file)}
    return sorted(name or "." for name in names)


def _make(folders: Sequence[str], *, writable: bool = False) -> None:
    """Make folders, and check that files can be made in them."""
    for folder in folders:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise InputError(folder, f"cannot be made: {error.strerror}") from error
        if writable and not os.access(folder, os.W_OK | os.X_OK):
            raise InputError(folder, "no file can be made in it: read-only, or another user's")
