"""Tasks in processes of this machine.

Each process is given a few tasks and sends what became of each as it ends, so
that it is known at which one it was when it dies: that one has a second try
in a new process, and the others lose nothing. A process whose parent is gone
ends after the task that it is at.
"""

import os
import pickle
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from rnncli.__main__ import BLAS_THREADS
from rnncli.batches.report import Outcome, failed
from rnncli.batches.tasks import Task

Work = Callable[[Task], Outcome]

# Tasks that a process is given at once, and bytes of their inputs.
MOST_TASKS, MOST_BYTES = 16, 1 << 20
_PROGRAM = """
import pickle, sys
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[1]))
sys.path[:] = connection.recv()
from rnncli.batches.processes import serve
serve(connection)
"""


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


def run_in_processes(tasks: Sequence[Task], work: Work, jobs: int) -> Iterator[Outcome]:
    """Do tasks in so many processes; yield what becomes of each, as they end.

    Raises
    ------
    OSError
        No process can be started.
    """
    most = max(1, min(MOST_TASKS, len(tasks) // (4 * jobs)))
    waiting = deque(lots(tasks, most, MOST_BYTES))
    tried: set[str] = set()
    processes: list[_Process] = []
    try:
        while waiting or any(process.lot for process in processes):
            _refill(processes, waiting, work, jobs)
            for process in _ready(processes):
                outcome = process.outcome()
                if outcome is not None:
                    yield outcome
                    continue
                processes.remove(process)
                task, *rest = process.lot
                if task.output in tried:
                    yield failed(task, f"{task.input}: {process.ended()}, twice")
                else:
                    tried.add(task.output)
                    waiting.append([task])
                if rest:
                    waiting.appendleft(rest)
    finally:
        for process in processes:
            process.stop()


def serve(connection: "Connection[Any, Any]") -> None:
    """Do the tasks that come, until no more do: what a process runs."""
    from rnncli.engine.threads import start_no_threads

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    start_no_threads()
    try:
        work: Work = pickle.loads(connection.recv_bytes())
        while True:
            for task in connection.recv():
                connection.send(work(task))
    except (EOFError, ConnectionError):
        return


class _Process:
    """A process, and the tasks that it has been given and not yet done, in order."""

    def __init__(self, work: Work) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | dict.fromkeys(BLAS_THREADS, "1"),
            )
        self.connection: Connection[Any, Any] = Connection(ours.detach())
        self.lot: deque[Task] = deque()
        self.connection.send(sys.path)
        self.connection.send_bytes(pickle.dumps(work))

    def give(self, lot: list[Task]) -> None:
        self.lot.extend(lot)
        self.connection.send(lot)

    def outcome(self) -> Outcome | None:
        """Return what has become of the first task, or None if the process has ended."""
        try:
            outcome = self.connection.recv()
        except (EOFError, ConnectionError):
            return None
        self.lot.popleft()
        assert isinstance(outcome, Outcome)
        return outcome

    def ended(self) -> str:
        """Return how it has ended."""
        code = self._child.wait()
        if code >= 0:
            return f"its process ended with {code}"
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"its process was ended by {name}{hint}"

    def stop(self) -> None:
        self.connection.close()
        self._child.kill()
        self._child.wait()


def _refill(processes: list[_Process], waiting: deque[list[Task]], work: Work, jobs: int) -> None:
    """Give tasks to each process that has none; start those that are not there yet."""
    while waiting and len(processes) < jobs:
        processes.append(_Process(work))
        processes[-1].give(waiting.popleft())
    for process in processes:
        if waiting and not process.lot:
            process.give(waiting.popleft())


def _ready(processes: Sequence[_Process]) -> list[_Process]:
    """Wait until a process that is at work has something to say, or has ended."""
    by_connection = {process.connection: process for process in processes if process.lot}
    return [by_connection[each] for each in wait(list(by_connection))]  # type: ignore[index]
