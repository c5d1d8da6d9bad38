"""Tasks in processes of this machine.

Each process is given a few tasks and sends what became of each as it ends, so
that it is known at which one it was when it dies: that one has a second try
in a new process, and the others lose nothing. A process whose parent is gone
ends after the task that it is at.
"""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from math import inf
from multiprocessing.connection import Connection, Pipe, wait
from tempfile import TemporaryFile
from typing import Any

from rnncli.batches.report import Outcome, failed
from rnncli.batches.tasks import Task
from rnncli.engine.threads import start_no_threads
from rnncli.model.errors import on_a_line
from rnncli.storage.replacement import remove_left

Work = Callable[[Task], Outcome]

# Tasks that a process is given at once, and bytes of their inputs.
MOST_TASKS, MOST_BYTES = 16, 1 << 20
# Seconds after which a wait for processes asks whether their tasks are still wanted.
_SECONDS = 0.2
_PROGRAM = """
import sys
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[1]))
sys.path[:] = connection.recv()
from rnncli.__main__ import prepare
prepare()
from rnncli.batches.processes import serve
serve(connection)
"""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def large_first(tasks: Iterable[Task], most_bytes: int) -> list[Task]:
    """Put tasks of more bytes of input first, largest first: the last one would run alone."""
    return sorted(tasks, key=lambda task: max(most_bytes, task.size), reverse=True)


def lots(tasks: Iterable[Task], most_tasks: int, most_bytes: int) -> Iterator[list[Task]]:
    """Put tasks that stand in a row together, up to so many, or so many bytes of input."""
    lot: list[Task] = []
    size = 0
    for task in tasks:
        if lot and (len(lot) == most_tasks or task.size + size > most_bytes):
            yield lot
            lot, size = [], 0
        lot.append(task)
        size += task.size
    if lot:
        yield lot


class Processes:
    """Processes that do tasks, at most `jobs`, started when there are some and kept for the next.

    Names of files are relative to `folder`, by default that of this process.
    """

    def __init__(self, work: Work, jobs: int, folder: str | None = None) -> None:
        self._work, self._jobs, self._folder = work, jobs, folder
        self._processes: list[_Process] = []

    def run(
        self,
        tasks: Sequence[Task],
        seconds: float = inf,
        check_wanted: Callable[[], None] = lambda: None,
    ) -> Generator[Outcome, None, None]:
        """Do tasks; yield what becomes of each, as they end."""
        most = max(1, min(MOST_TASKS, len(tasks) // (4 * self._jobs)))
        waiting = deque(lots(large_first(tasks, MOST_BYTES), most, MOST_BYTES))
        tried: set[str] = set()
        end = inf
        try:
            while waiting or any(process.lot for process in self._processes):
                _give(self._processes, waiting)
                if waiting:
                    self._start()
                for outcome in self._received(waiting, tried, check_wanted):
                    yield outcome
                    end = min(end, time.monotonic() + seconds)
                if time.monotonic() > end:
                    waiting.clear()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the processes, whatever they are at."""
        while self._processes:
            self._processes.pop().stop()

    def _start(self) -> None:
        """Start processes until there are as many as can be."""
        while len(self._processes) < self._jobs:
            try:
                with _signals_held():  # a process that is started and not yet known would be left
                    self._processes.append(_Process(self._work, self._folder))
            except OSError as error:
                self._no_more(error.strerror)

    def _no_more(self, reason: object) -> None:
        """Do with the processes that there are, once one could not be started."""
        if not self._processes:
            raise OSError(None, f"no process can be started: {reason}", sys.executable)
        self._jobs = len(self._processes)

    def _received(
        self, waiting: deque[list[Task]], tried: set[str], check_wanted: Callable[[], None]
    ) -> Iterator[Outcome]:
        """Wait for something to happen; yield what has become of tasks."""
        for process in _heard(self._processes, check_wanted):
            try:
                if outcome := process.receive():
                    yield outcome
                continue
            except EOFError:
                self._processes.remove(process)
                how = process.ended()
            if process.ready:
                yield from _second_try(process.lot, how, waiting, tried)
            else:
                self._no_more(how)


def run_in_processes(
    tasks: Sequence[Task], work: Work, jobs: int, meanwhile: Callable[[], None] = lambda: None
) -> Generator[Outcome, None, None]:
    """Do tasks in so many processes, which end then, as `Processes.run` does.

    `meanwhile` is called some times a second.
    """
    with closing(Processes(work, jobs)) as processes:
        yield from processes.run(tasks, check_wanted=meanwhile)


def serve(connection: "Connection[Any, Any]") -> None:
    """Do the tasks that come, until no more do: what a process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    start_no_threads()
    with suppress(EOFError, ConnectionError):  # the parent is gone
        work: Work = connection.recv()
        connection.send(None)  # it is ready
        while True:
            for task in connection.recv():
                connection.send(work(task))


class _Process:
    """A process, and the tasks that it has been given and not yet done, in order.

    Attributes
    ----------
    ready : bool
        Whether it has started, and loaded all that it needs.
    """

    def __init__(self, work: Work, folder: str | None = None) -> None:
        self.lot: deque[Task] = deque()
        self.ready = False
        self._folder = folder or ""
        with ExitStack() as stack:
            self.connection, theirs = map(stack.enter_context, Pipe())
            self._stderr = stack.enter_context(TemporaryFile())
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                pass_fds=[theirs.fileno()],
                cwd=folder,
            )
            theirs.close()
            self._opened = stack.pop_all()
        with suppress(ConnectionError):  # it has ended, which `receive` says
            self.connection.send(list(map(os.path.abspath, sys.path)))
            self.connection.send(work)

    def give(self, lot: Sequence[Task]) -> bool:
        """Give it tasks; return whether it is there to take them."""
        try:
            self.connection.send(lot)
        except ConnectionError:
            return False
        self.lot.extend(lot)
        return True

    def receive(self) -> Outcome | None:
        """Return the outcome of the first task, or None once the process is ready."""
        try:
            outcome: Outcome | None = self.connection.recv()
        except OSError as error:  # within what it sent
            raise EOFError from error
        if outcome:
            self.lot.popleft()
        self.ready = True
        return outcome

    def ended(self) -> str:
        """Return how it has ended, with the last line that it has written."""
        code = self._child.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").split("\n")
        last = next((f": {on_a_line(line)}" for line in reversed(lines) if line.strip()), "")
        self.stop()
        if code >= 0:
            return f"its process ended with {code}{last}"
        name = next((each.name for each in signal.Signals if each == -code), f"signal {-code}")
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"its process was ended by {name}{hint}{last}"

    def stop(self) -> None:
        self._child.kill()
        self._child.wait()
        self._opened.close()
        for task in self.lot:
            remove_left_of(task, self._folder)


def remove_left_of(task: Task, folder: str = "") -> None:
    """Remove the temporary files of a task that was ended."""
    for path in (task.output, *task.options.values()):
        remove_left(os.path.join(folder, path))


def _give(processes: Iterable[_Process], waiting: deque[list[Task]]) -> None:
    """Give tasks to each process that has none."""
    for process in processes:
        if waiting and process.ready and not process.lot and process.give(waiting[0]):
            waiting.popleft()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Have signals wait. A process that is started meanwhile goes on to have them wait."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _heard(processes: Sequence[_Process], check_wanted: Callable[[], None]) -> list[_Process]:
    """Wait until processes have something to say, or have ended."""
    by_connection = {process.connection: process for process in processes}
    while True:
        check_wanted()
        if ready := wait(list(by_connection), _SECONDS):
            return [by_connection[each] for each in ready]  # type: ignore[index]


def _second_try(
    lot: Sequence[Task], how: str, waiting: deque[list[Task]], tried: set[str]
) -> Iterator[Outcome]:
    """Put what a process that has ended has not done back, its first task alone and last."""
    if not lot:
        return
    first, *rest = lot
    if rest:
        waiting.appendleft(rest)
    if first.output in tried:
        yield failed(first, f"{first.input}: tried twice: {how}")
    else:
        tried.add(first.output)
        waiting.append([first])
