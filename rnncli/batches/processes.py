"""Tasks in processes of this machine.

Each process is given a few tasks and sends what became of each as it ends, so
that it is known at which one it was when it dies: that one has a second try
in a new process, and the others lose nothing. A process whose parent is gone
ends after the task that it is at.
"""

import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection, Pipe, wait
from tempfile import TemporaryFile
from typing import Any

from rnncli.batches.report import Outcome, failed
from rnncli.batches.tasks import Task
from rnncli.engine.threads import start_no_threads
from rnncli.model.errors import on_a_line

Work = Callable[[Task], Outcome]

# Tasks that a process is given at once, and bytes of their inputs.
MOST_TASKS, MOST_BYTES = 16, 1 << 20
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


def lots(tasks: Iterable[Task], most_tasks: int, most_bytes: int) -> Iterator[list[Task]]:
    """Put tasks that stand in a row together, up to so many, or so many bytes of input."""
    lot: list[Task] = []
    for task in tasks:
        if lot and (len(lot) == most_tasks or task.size + sum(t.size for t in lot) > most_bytes):
            yield lot
            lot = []
        lot.append(task)
    if lot:
        yield lot


def run_in_processes(
    tasks: Sequence[Task], work: Work, jobs: int
) -> Generator[Outcome, None, None]:
    """Do tasks in so many processes; yield what becomes of each, as they end.

    Raises
    ------
    OSError
        No process can be started.
    """
    most = max(1, min(MOST_TASKS, len(tasks) // (4 * jobs)))
    waiting = deque(_large_first(lots(tasks, most, MOST_BYTES)))
    tried: set[str] = set()
    processes: list[_Process] = []
    try:
        while waiting or any(process.lot for process in processes):
            _give(processes, waiting)
            if waiting:
                jobs = _start(processes, work, jobs)
            for process in _heard(processes):
                try:
                    if outcome := process.receive():
                        yield outcome
                    continue
                except EOFError:
                    processes.remove(process)
                    how = process.ended()
                if process.ready:
                    yield from _second_try(process.lot, how, waiting, tried)
                else:
                    jobs = _most(processes, how)
    finally:
        for process in processes:
            process.stop()


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

    def __init__(self, work: Work) -> None:
        self.lot: deque[Task] = deque()
        self.ready = False
        with ExitStack() as stack:
            self.connection, theirs = map(stack.enter_context, Pipe())
            self._stderr = stack.enter_context(TemporaryFile())
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                pass_fds=[theirs.fileno()],
            )
            theirs.close()
            self._opened = stack.pop_all()
        with suppress(ConnectionError):  # it has ended, which `receive` says
            self.connection.send(sys.path)
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
        """Return what has become of the first task, or None once it is ready.

        Raises
        ------
        EOFError
            It has ended.
        """
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


def _large_first(found: Iterable[list[Task]]) -> list[list[Task]]:
    """Put lots of one large input first: the last one would run alone."""
    return sorted(found, key=lambda lot: max(MOST_BYTES, lot[0].size), reverse=True)


def _give(processes: Iterable[_Process], waiting: deque[list[Task]]) -> None:
    """Give tasks to each process that has none."""
    for process in processes:
        if waiting and process.ready and not process.lot and process.give(waiting[0]):
            waiting.popleft()


def _start(processes: list[_Process], work: Work, jobs: int) -> int:
    """Start processes until there are so many; return how many there can be."""
    while len(processes) < jobs:
        try:
            with _signals_held():  # a process that is started and not yet known would be left
                processes.append(_Process(work))
        except OSError as error:
            return _most(processes, error.strerror)
    return jobs


def _most(processes: Sequence[_Process], reason: object) -> int:
    """Return how many processes there can be, once one could not be started.

    Raises
    ------
    OSError
        There is none.
    """
    if not processes:
        raise OSError(None, f"no process can be started: {reason}", sys.executable)
    return len(processes)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Have signals wait. A process that is started meanwhile goes on to have them wait."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _heard(processes: Sequence[_Process]) -> list[_Process]:
    """Wait until processes have something to say, or have ended."""
    by_connection = {process.connection: process for process in processes}
    return [by_connection[each] for each in wait(list(by_connection))]  # type: ignore[index]


def _second_try(
    lot: Sequence[Task], how: str, waiting: deque[list[Task]], tried: set[str]
) -> Iterator[Outcome]:
    """Put what a process that has ended has not done back, its first task alone and last.

    Yields
    ------
    Outcome
        That of the first task, if a process has ended at it before.
    """
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
