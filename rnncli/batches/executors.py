"""Executors of tasks: processes of this machine, or a Dask cluster.

A process imports this module before NumPy, whose threads are numbered as it loads.
"""

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any

from rnncli import __version__
from rnncli.__main__ import prepare
from rnncli.batches.tasks import Outcome, Task
from rnncli.model.errors import InputError, check_installed, one_line

Group = Sequence[Task]
Work = Callable[[Group], list[Outcome]]
# Functions that submit a group, each for one group at a time, and the exception of a death.
Pool = tuple[Sequence[Callable[[Group], Future[list[Outcome]]]], type[Exception]]

# Seconds that a scheduler has to answer.
ANSWER = 10
# The most groups that a cluster has at once, and the most bytes of networks with them.
GROUPS, BYTES = 1000, 1 << 28
_LOST = "the connection is lost, or the cluster was restarted: run the same command again"
# The program of a process of a batch, which finds modules where this one does.
_PROGRAM = "import sys; sys.path[:] = {}; from rnncli.batches.executors import serve; serve()"


class _DiedError(Exception):
    """The process that ran a group has ended."""


class _Process:
    """A process that runs groups, one at a time; another takes the place of one that dies.

    It ends with the pipe that groups come from, at the latest with this process. A process of
    `multiprocessing` has another one beside it, which reports semaphores after a signal.
    """

    def __init__(self, work: bytes) -> None:
        self._work, self._thread = work, ThreadPoolExecutor(1)
        self._process: subprocess.Popen[bytes] | None = None

    def submit(self, group: Group) -> Future[list[Outcome]]:
        """Submit a group; a new process does not take Ctrl-C."""
        content = pickle.dumps(group)
        if self._process is None or self._process.poll() is not None:
            self._process = _start()
            content = self._work + content
        return self._thread.submit(_send, self._process, content)

    def end(self) -> None:
        """End the process."""
        if self._process:
            self._process.kill()  # which ends the thread's wait
        self._thread.shutdown(cancel_futures=True)
        if self._process:
            _end(self._process)


def _start() -> subprocess.Popen[bytes]:
    """Start a process that does not take Ctrl-C."""
    command, pipe = [sys.executable, "-c", _PROGRAM.format(sys.path)], subprocess.PIPE
    try:
        if sys.platform == "win32":
            how = subprocess.CREATE_NO_WINDOW  # without the console, which sends Ctrl-C
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, creationflags=how)
        else:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:
                process = subprocess.Popen(command, stdin=pipe, stdout=pipe)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
    except OSError as error:
        raise OSError(error.errno, error.strerror, "a process of the batch") from error
    return process


def _send(process: subprocess.Popen[bytes], content: bytes) -> list[Outcome]:
    """Send a group to a process, and return its outcomes."""
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(content)
        process.stdin.flush()
        outcomes: list[Outcome] = pickle.load(process.stdout)
    except (OSError, EOFError, pickle.UnpicklingError) as error:
        _end(process)
        raise _DiedError from error
    return outcomes


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # what was not sent is flushed
            pipe.close()  # type: ignore[union-attr]


@contextmanager
def in_processes(work: Work, jobs: int) -> Iterator[Pool]:
    """Run tasks in processes, each with its own executor: the death of one breaks no other."""
    _allow_files(256 + 4 * jobs)
    content = pickle.dumps(work)
    processes = [_Process(content) for _ in range(jobs)]
    try:
        yield [process.submit for process in processes], _DiedError
    finally:
        for process in processes:
            process.end()


def _allow_files(count: int) -> None:
    """Raise the limit of open files; Windows has none that matters."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < count:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


def serve() -> None:
    """Run the groups that come from standard input; end at once where it ends."""
    prepare()
    received, sent = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    for stream in (0, 1):  # of the libraries that a task calls
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    groups = SimpleQueue[Group]()

    def receive() -> None:
        try:
            while True:
                groups.put(pickle.load(received))
        finally:
            os._exit(1)

    try:
        work = pickle.load(received)
        Thread(target=receive, daemon=True).start()
        while True:
            pickle.dump(_run(work, groups.get()), sent)
            sent.flush()
    except (OSError, EOFError, pickle.UnpicklingError):  # the batch has ended
        os._exit(1)


def _run(work: Work, group: Group) -> list[Outcome]:
    from rnncli.engine.threads import start_no_threads

    start_no_threads()
    return work(group)


@contextmanager
def on_cluster(work: Work, address: str, seen: str, note: Callable[[str], None]) -> Iterator[Pool]:
    """Run tasks on a Dask cluster; every worker has to see the file `seen`."""
    check_installed("distributed")
    from distributed import Client, KilledWorker

    try:
        scheduler = _find_scheduler(address)
        client = Client(scheduler, timeout=ANSWER, set_as_default=False, name="rnn")
    except FileNotFoundError as error:
        raise InputError(address, f"cannot be read: {error.strerror}") from error
    except Exception as error:
        what = f"no Dask scheduler answers there: {one_line(error)}"
        raise InputError(
            address, what, "give tcp://host:8786, or a scheduler's .json file"
        ) from error
    with closing(client):
        if not client.nthreads():
            note(f"{address}: the cluster has no workers; waiting for one")
        executor, content = client.get_executor(pure=False), pickle.dumps(work)

        def submit(group: Group) -> Any:
            call = _Call((_run_on_worker, content, seen, _versions(), group))
            return executor.submit(pickle.loads, pickle.dumps(call))

        try:
            yield [submit] * min(GROUPS, BYTES // len(content) + 8), KilledWorker
        except CancelledError as error:
            raise OSError(None, _LOST, address) from error
        except (ImportError, AttributeError, RuntimeError) as error:  # of another rnncli, or none
            raise OSError(None, f"a worker differs: {one_line(error)}", address) from error
        finally:
            executor.shutdown(wait=False)


def _find_scheduler(address: str) -> str:
    """Return the address of a scheduler that answers; a `Client` that fails ends badly later."""
    from distributed import Security
    from distributed.comm import connect
    from distributed.utils import LoopRunner

    if address.endswith(".json"):
        with open(address, "rb") as file:
            address = json.load(file)["address"]

    async def greet() -> None:
        how = Security().get_connection_args("client")
        (await connect(address, timeout=ANSWER, **how)).abort()

    LoopRunner().run_sync(greet)
    return address


class _Call(tuple[Any, ...]):
    """A function and its arguments; unpickling calls it.

    So a scheduler needs no rnncli, and the error of a worker without rnncli says so.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return self[0], self[1:]


def _versions() -> str:
    import numpy as np

    return f"rnncli {__version__} with NumPy {np.__version__}"


def _run_on_worker(work: bytes, seen: str, needed: str, group: Group) -> list[Outcome]:
    if (installed := _versions()) != needed:
        raise RuntimeError(f"it has {installed}, here it is {needed}: install one version on all")
    if seen and not os.path.exists(seen):
        raise RuntimeError(f"it does not see {seen}: share a file system, or give URLs")
    return _run(pickle.loads(work), group)
