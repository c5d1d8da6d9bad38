"""Executors of tasks: processes of this machine, or a Dask cluster.

A process imports this module before NumPy, whose threads are numbered as it loads.
"""

import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import lru_cache, partial
from multiprocessing import Pipe, get_context
from threading import Thread
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from rnncli import __version__
from rnncli.__main__ import prepare
from rnncli.model.errors import InputError, check_installed, one_line

if TYPE_CHECKING:
    from distributed import Client

    from rnncli.batches.tasks import Outcome, Task

Work = Callable[["Task"], "Outcome"]
Group = Sequence["Task"]

# Seconds that a scheduler has to answer.
ANSWER = 10
# Files that this process opens, and those for each process of a batch.
FILES, FILES_EACH = 256, 12
# Groups that are at a cluster at once, and bytes of networks with them.
GROUPS, BYTES = 1000, 1 << 28
_LOST = "the connection is lost, or the cluster was restarted: run the same command again"
# How a process of a batch runs a task.
_work: list[Work] = []


class Pool(NamedTuple):
    """Executors, each with one group at a time; one may be there many times."""

    executors: Sequence[Executor]
    run: Callable[[Group], "list[Outcome]"]  # what they call
    most: int  # tasks in a group
    death: type[Exception] = BrokenExecutor  # is raised where the process of a group has died
    renew: Callable[[Executor], Executor] = lambda executor: executor


class _Process(ProcessPoolExecutor):
    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        """Start a process that does not run the program again, and that Ctrl-C does not reach."""
        program = sys.modules["__main__"]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            return super().submit(function, *arguments, **options)
        finally:
            sys.modules["__main__"] = program
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def in_processes(work: Work, jobs: int, count: int) -> Iterator[Pool]:
    """Run so many tasks in processes, each behind an executor of its own, which breaks alone.

    They end once `ours` is closed, at the latest by the end of this process.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < (files := FILES + FILES_EACH * jobs):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, hard), hard))
    alive, ours = Pipe(duplex=False)
    arguments, started = (alive, pickle.dumps(work)), list[Executor]()

    def start() -> Executor:
        started.append(_Process(1, get_context("spawn"), _begin, arguments))
        return started[-1]

    def renew(broken: Executor) -> Executor:
        broken.shutdown()
        return start()

    try:
        yield Pool(
            [start() for _ in range(jobs)], _run_in_process, count // (4 * jobs), renew=renew
        )
    finally:
        ours.close()
        for executor in started:
            executor.shutdown(cancel_futures=True)
        alive.close()


def _begin(alive: Any, work: bytes) -> None:
    prepare()
    Thread(target=_end_with, args=[alive], daemon=True).start()
    _work.append(pickle.loads(work))


def _end_with(alive: Any) -> None:
    with suppress(EOFError, OSError):
        alive.recv()
    os._exit(1)


def _run_in_process(group: Group) -> "list[Outcome]":
    from rnncli.engine.threads import start_no_threads

    start_no_threads()
    return [*map(_work[0], group)]


class _Call(NamedTuple):
    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


class _Unpickling(Executor):
    """Has calls made by unpickling: a scheduler needs no rnncli, a worker without it says so."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, function: Any, /, *arguments: Any, **_: Any) -> Future[Any]:
        call = pickle.dumps(_Call(function, arguments))
        return self._executor.submit(pickle.loads, call)


@contextmanager
def on_cluster(
    work: Work, count: int, address: str, seen: str, note: Callable[[str], None]
) -> Iterator[Pool]:
    """Run so many tasks on a Dask cluster, all of whose workers have to see the file `seen`."""
    check_installed("distributed")
    from distributed import KilledWorker

    content = pickle.dumps(work)
    run = partial(_run_on_worker, content, seen, _versions())
    with closing(_connect(address)) as client:
        threads = sum(client.nthreads().values())
        if not threads:
            note(f"{address}: the cluster has no workers; waiting for one")
        executor = client.get_executor(pure=False)
        groups = min(GROUPS, BYTES // len(content) + 8)
        size = count // (4 * max(threads, 1))
        try:
            yield Pool([_Unpickling(executor)] * groups, run, size, KilledWorker)
        except CancelledError as error:
            raise OSError(None, _LOST, address) from error
        except (ImportError, AttributeError, RuntimeError) as error:  # of another rnncli, or none
            raise OSError(None, f"a worker differs: {one_line(error)}", address) from error
        finally:
            executor.shutdown(wait=False)


def _connect(address: str) -> "Client":
    """Connect to a scheduler in a thread: another server at its port may never answer."""
    from distributed import Client

    if address.endswith(".json") and not os.path.exists(address):
        raise InputError(address, "cannot be read: No such file or directory")
    answer: Future[Client] = Future()

    def connect() -> None:
        key = "scheduler_file" if address.endswith(".json") else "address"
        try:
            found = Client(**{key: address}, timeout=ANSWER, set_as_default=False, name="rnn")
            answer.set_result(found)
        except Exception as error:
            answer.set_exception(error)

    Thread(target=connect, daemon=True).start()
    try:
        return answer.result(ANSWER + 1)
    except OSError as error:
        what = f"no Dask scheduler answers there within {ANSWER} s"
        raise OSError(None, what, address) from error
    except Exception as error:
        hint = "give tcp://host:8786, or a scheduler's .json file"
        raise InputError(address, f"no Dask scheduler: {one_line(error)}", hint) from error


def _versions() -> dict[str, str]:
    import numpy as np

    return {"rnncli": __version__, "NumPy": np.__version__}


def _run_on_worker(work: bytes, seen: str, needed: dict[str, str], group: Group) -> "list[Outcome]":
    from rnncli.engine.threads import start_no_threads

    for name, version in _versions().items():
        if version != needed[name]:
            what = f"it has {name} {version}, here it is {needed[name]}"
            raise RuntimeError(f"{what}: install one version on all")
    if seen and not os.path.exists(seen):
        raise RuntimeError(f"it does not see {seen}: share a file system, or give URLs")
    start_no_threads()
    return [*map(_unpickle(work), group)]


@lru_cache(maxsize=1)
def _unpickle(work: bytes) -> Work:
    run: Work = pickle.loads(work)
    return run
