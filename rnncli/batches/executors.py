"""Executors of tasks: processes of this machine, or a Dask cluster.

A process imports this module before NumPy, whose threads are numbered as it loads.
"""

import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future, ProcessPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from multiprocessing import Pipe, get_context
from threading import Thread
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rnncli import __version__
from rnncli.__main__ import prepare
from rnncli.model.errors import InputError, check_installed, one_line

if TYPE_CHECKING:
    from rnncli.batches.batch import Outcome, Task

Work = Callable[["Task"], "Outcome"]
Group = Sequence["Task"]
# Functions that submit a group, each for one group at a time, and the exception of a death.
Pool = tuple[Sequence[Callable[[Group], "Future[list[Outcome]]"]], type[Exception]]

# Seconds that a scheduler has to answer.
ANSWER = 10
# The most groups that a cluster has at once, and the most bytes of networks with them.
GROUPS, BYTES = 1000, 1 << 28
_LOST = "the connection is lost, or the cluster was restarted: run the same command again"
# The work of a process of a batch.
_work: list[Work] = []


class _Process:
    """An executor of one process; another process takes the place of one that dies."""

    def __init__(self, *arguments: Any) -> None:
        context = get_context("spawn")
        self._start = partial(ProcessPoolExecutor, 1, context, _begin, arguments)
        self.executor = self._start()

    def submit(self, group: Group) -> "Future[list[Outcome]]":
        """Submit a group; a new process neither runs the program again nor takes Ctrl-C."""
        program = sys.modules["__main__"]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            with suppress(BrokenExecutor):
                return self.executor.submit(_run_in_process, group)
            self.executor.shutdown()
            self.executor = self._start()
            return self.executor.submit(_run_in_process, group)
        finally:
            sys.modules["__main__"] = program
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def in_processes(work: Work, jobs: int) -> Iterator[Pool]:
    """Run tasks in processes, each with its own executor: the death of one breaks no other.

    The processes end when `ours` is closed, at the latest with this process.
    """
    (soft, hard), files = resource.getrlimit(resource.RLIMIT_NOFILE), 256 + 12 * jobs
    if soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, hard), hard))
    alive, ours = Pipe(duplex=False)
    processes = [_Process(alive, pickle.dumps(work)) for _ in range(jobs)]
    try:
        yield [process.submit for process in processes], BrokenExecutor
    finally:
        ours.close()
        for process in processes:
            process.executor.shutdown(cancel_futures=True)
        alive.close()


def _begin(alive: Any, work: bytes) -> None:
    prepare()

    def end() -> None:
        alive.poll(None)
        os._exit(1)

    Thread(target=end, daemon=True).start()
    _work.append(pickle.loads(work))


def _run_in_process(group: Group) -> "list[Outcome]":
    return _run(_work[0], group)


def _run(work: Work, group: Group) -> "list[Outcome]":
    from rnncli.engine.threads import start_no_threads

    start_no_threads()
    return [*map(work, group)]


@contextmanager
def on_cluster(work: Work, address: str, seen: str, note: Callable[[str], None]) -> Iterator[Pool]:
    """Run tasks on a Dask cluster; every worker has to see the file `seen`."""
    check_installed("distributed")
    from distributed import Client, KilledWorker

    is_file = address.endswith(".json")
    if is_file and not os.path.exists(address):
        raise InputError(address, "cannot be read: No such file or directory")
    scheduler: dict[str, Any] = {"scheduler_file" if is_file else "address": address}
    try:
        client = Client(**scheduler, timeout=ANSWER, set_as_default=False, name="rnn")
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


class _Call(tuple[Any, ...]):
    """A function and its arguments; unpickling calls it.

    So a scheduler needs no rnncli, and the error of a worker without rnncli says so.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return self[0], self[1:]


def _versions() -> str:
    import numpy as np

    return f"rnncli {__version__} with NumPy {np.__version__}"


def _run_on_worker(work: bytes, seen: str, needed: str, group: Group) -> "list[Outcome]":
    if (installed := _versions()) != needed:
        raise RuntimeError(f"it has {installed}, here it is {needed}: install one version on all")
    if seen and not os.path.exists(seen):
        raise RuntimeError(f"it does not see {seen}: share a file system, or give URLs")
    return _run(pickle.loads(work), group)
