"""Tasks on a Dask cluster."""

import asyncio
import json
import logging
import os
import pickle
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import count, filterfalse
from math import ceil
from queue import Empty, SimpleQueue
from tempfile import NamedTemporaryFile
from threading import Thread, get_ident
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import numpy as np

from rnncli import __version__
from rnncli.batches.processes import Processes, Work, large_first, lots
from rnncli.batches.report import Outcome, failed
from rnncli.batches.tasks import Task
from rnncli.model.errors import InputError, check_installed, one_line
from rnncli.storage import is_url

if TYPE_CHECKING:
    from distributed import Client, Future

# Seconds that a scheduler has to answer.
SECONDS = 10
# A lot is at most so many tasks and bytes of their inputs, and there are so many for each thread.
MOST_TASKS, MOST_BYTES, LOTS = 200, 16 << 20, 10
# Seconds after which a worker gives back what it has not come to.
SECONDS_A_LOT = 3.0
# Lots that are on their way at once where there are few threads, or none yet.
FEWEST = 8
# Seconds without a result after which the workers are counted.
WAIT = 5.0
# Seconds after which a worker looks whether it has lots of a batch left.
LOOK = 2.0
_LOGGERS = ("distributed", "dask", "tornado", "asyncio")
_LOST = "the connection is lost, or the cluster was restarted: run the same command again"
_NO_WORKERS = "the cluster has no workers; waiting for one"

# What became of the tasks that a worker came to; or how it differs.
Answer = list[Outcome] | str
# In a worker: the processes of each batch and thread.
_kept: dict[tuple[str, int], Processes] = {}


class Here(NamedTuple):
    """What a worker must find as it is here.

    Parameters
    ----------
    versions : mapping
        Of rnncli and NumPy, by name.
    batch : str
        A name that no other batch has.
    folder : str
        What names of files are relative to.
    paths : sequence of str
        Files that are there.
    """

    versions: Mapping[str, str]
    batch: str
    folder: str
    paths: Sequence[str]


@contextmanager
def connected(address: str) -> Iterator["Client"]:
    """Connect to a cluster, and leave it at the end."""
    check_installed("dask")
    check_installed("distributed")
    import distributed

    with _quiet():
        client: Client = _answered(distributed.Client, _place(address), address)
        with closing(client):
            try:
                yield client
            except distributed.CancelledError:
                raise _refused(address, _LOST) from None


def _refused(address: str, reason: str) -> OSError:
    """Return the error that ends a batch which a cluster cannot do."""
    return OSError(None, reason, address)


def check_workers(
    client: "Client",
    address: str,
    paths: Sequence[str],
    note: Callable[[str], None],
) -> Here:
    """Check that workers have installed what is here, and that they see some files."""
    here = Here(_versions(), uuid4().hex, os.getcwd(), [*filterfalse(is_url, paths)])
    if not client.nthreads():
        note(f"{address}: {_NO_WORKERS}")
        client.submit(os.getpid, pure=False).result()  # some clusters grow when they have work
    found = client.run(difference, here, on_error="return")
    wrong = {worker: answer for worker, answer in found.items() if answer}
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    for worker, answer in wrong.items():
        raise _refused(address, f"the worker {worker}{more} {_reason(answer)}")
    return here


def difference(here: Here) -> str:
    """Return how this process differs from the one that the batch was started in; or nothing."""
    there = _versions()
    for name, version in here.versions.items():
        if there[name] != version:
            return f"has {name} {there[name]}, here it is {version}: install one version on all"
    for path in here.paths:
        if not os.path.exists(os.path.join(here.folder, path)):
            return f"does not see {path}: a cluster needs a file system that all share, or URLs"
    return ""


def _versions() -> dict[str, str]:
    return {"rnncli": __version__, "NumPy": np.__version__}


def _reason(answer: str | Exception) -> str:
    """Return what `difference` has answered, or what it means that it could not be called."""
    if isinstance(answer, str):
        return answer
    text = one_line(answer)
    if "No module named 'rnncli'" in text:
        return f"has no rnncli: pip install rnncli=={__version__} there"
    if "rnncli" in text:
        return f"has another rnncli, here it is {__version__}: install one version on all"
    return f"fails: {text}"


def run_on_cluster(
    tasks: Sequence[Task],
    work: Work,
    address: str,
    read: Sequence[str],
    note: Callable[[str], None],
) -> Generator[Outcome, None, None]:
    """Do tasks on a cluster; yield what becomes of each, as they end."""
    if not tasks:
        return
    with ExitStack() as stack:
        client = stack.enter_context(connected(address))
        outputs = [os.path.abspath(task.output) for task in tasks if not is_url(task.output)]
        # Files by which a worker is known to see the same folder.
        marks = [
            stack.enter_context(NamedTemporaryFile(prefix=".rnn-", dir=os.path.dirname(path))).name
            for path in outputs[:1]
        ]
        inputs = [task.input for task in tasks if os.path.exists(task.input)]
        here = check_workers(client, address, [*marks, *inputs[:1], *read], note)
        here = here._replace(paths=marks)
        found = stack.enter_context(closing(_Lots(client, address, tasks, work, here, note)))
        yield from found.outcomes()


class _Lots:
    """The tasks of a batch, in lots that go to workers and come back."""

    def __init__(
        self,
        client: "Client",
        address: str,
        tasks: Sequence[Task],
        work: Work,
        here: Here,
        note: Callable[[str], None],
    ) -> None:
        self._client, self._address, self._note = client, address, note
        self._batch, self._call, self._sent = here.batch, (work, here), count()
        self._threads_seen, self._threads_due, self._is_idle = 0, 0.0, False
        self._ended: SimpleQueue[Future[Answer]] = SimpleQueue()
        most = ceil(len(tasks) / (LOTS * max(1, self._threads())))
        found = lots(large_first(tasks, MOST_BYTES), min(most, MOST_TASKS), MOST_BYTES)
        self._waiting = deque(found)
        self._alone: deque[list[Task]] = deque()
        self._tried: set[str] = set()
        self._running: dict[str, tuple[Future[Answer], list[Task]]] = {}

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what becomes of each task."""
        while self._waiting or self._alone or self._running:
            self._submit()
            future = self._next_ended()
            _, lot = self._running.pop(future.key)
            answer = self._answer(future)
            future.release()
            if isinstance(answer, Exception):
                yield from self._alone_or_failed(lot, answer)
                continue
            yield from answer
            done = {outcome.output for outcome in answer}
            rest = [task for task in lot if task.output not in done]
            self._waiting.extend(lots(rest, ceil(len(rest) / 2), MOST_BYTES))

    def close(self) -> None:
        """Cancel what is on its way, and leave nothing at the workers."""
        if self._client.status == "running":
            self._client.cancel([future for future, _ in self._running.values()])
            leaving = Thread(target=self._leave, daemon=True)
            leaving.start()
            leaving.join(SECONDS + 1)  # a worker that is stopped does not answer

    def _leave(self) -> None:
        with suppress(Exception):  # the connection is closed meanwhile
            self._client.run(leave, self._batch, on_error="ignore")

    def _submit(self) -> None:
        """Send lots on their way: a few for each thread, so that none waits for the next."""
        most = max(FEWEST, 2 * self._threads())
        while self._waiting and len(self._running) < most:
            self._send(self._waiting.popleft())
        if not self._running:
            self._send(self._alone.popleft())

    def _send(self, lot: list[Task]) -> None:
        key = f"rnn-batch-{self._batch}-{next(self._sent)}"
        future = self._client.submit(
            pickle.loads, pickle.dumps(_Call(lot, *self._call, SECONDS_A_LOT)), key=key
        )
        self._running[future.key] = future, lot
        future.add_done_callback(self._ended.put)

    def _next_ended(self) -> "Future[Answer]":
        """Wait until a lot has ended; note if there is no worker to wait for."""
        while True:
            try:
                return self._ended.get(timeout=WAIT)
            except Empty:
                was_idle, self._is_idle = self._is_idle, not self._threads()
                if self._is_idle and not was_idle:
                    self._note(f"{self._address}: {_NO_WORKERS}")

    def _threads(self) -> int:
        """Count the threads of all workers, not more than once a second."""
        if time.monotonic() > self._threads_due:
            with suppress(OSError):  # the connection is lost, which each future will say
                self._threads_seen = sum(self._client.nthreads().values())
            self._threads_due = time.monotonic() + 1
        return self._threads_seen

    def _answer(self, future: "Future[Answer]") -> list[Outcome] | Exception:
        """Return the answer of a worker."""
        from distributed import CancelledError

        try:
            answer: Answer = future.result()
        except CancelledError:
            raise
        except (ImportError, AttributeError) as error:
            what = f"the worker that came later {_reason(error)}"
            raise _refused(self._address, what) from error
        except Exception as error:
            return error
        if isinstance(answer, str):
            raise _refused(self._address, answer)
        return answer

    def _alone_or_failed(self, lot: Sequence[Task], error: Exception) -> Iterator[Outcome]:
        """Have each task of a lot that failed as a whole run alone; once, then it has failed."""
        killed = type(error).__name__ == "KilledWorker"
        how = "every worker that ran it ended (out of memory?)" if killed else one_line(error)
        for task in lot:
            if task.output in self._tried:
                yield failed(task, f"{task.input}: {how}")
            else:
                self._tried.add(task.output)
                self._alone.append([task])


class _Call:
    """A lot that is done where it is unpickled.

    The scheduler unpickles the function of a task, and need not have this package.
    """

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def __reduce__(self) -> tuple[Callable[..., Answer], tuple[Any, ...]]:
        return run_lot, self._arguments


def run_lot(tasks: Sequence[Task], work: Work, here: Here, seconds: float) -> Answer:
    """Do tasks in a process of their own: what a worker runs.

    There they have their own threads, folder and memory, whatever else the
    worker does; and they end at once when they are not wanted any more. None
    is begun so many seconds after the first has ended.
    """
    from distributed import get_worker

    worker = get_worker()
    if reason := difference(here):
        return f"the worker {worker.address} {reason}"
    check_wanted = _wanted_check(worker)
    place = here.batch, get_ident()
    if place not in _kept:
        _kept[place] = Processes(work, 1, here.folder if os.path.isdir(here.folder) else None)
        worker.loop.add_callback(end_unused, here.batch, worker)
    outcomes: list[Outcome] = []
    with suppress(NotWantedError):
        for outcome in _kept[place].run(tasks, seconds, check_wanted):
            outcomes.append(outcome)
    return outcomes


def _wanted_check(worker: Any) -> Callable[[], None]:
    """Return what raises a `NotWantedError` when nobody waits for this task of a worker."""
    key = worker.get_current_task()

    def check_wanted() -> None:
        task = worker.state.tasks.get(key)
        if task is None or task.state == "cancelled":
            raise NotWantedError

    return check_wanted


async def leave(batch: str, dask_worker: Any) -> None:
    """Wait until a worker is at no lot of a batch, and end its processes."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and _has_lots(dask_worker, batch):
        await asyncio.sleep(0.02)
    _end_processes(batch)


async def end_unused(batch: str, worker: Any) -> None:
    """End the processes of a batch once a worker has no lots of it: its client may be gone."""
    while _has_lots(worker, batch):
        await asyncio.sleep(LOOK)
    _end_processes(batch)


def _has_lots(worker: Any, batch: str) -> bool:
    return any(batch in str(key) for key in worker.state.tasks)


def _end_processes(batch: str) -> None:
    for place in [place for place in _kept if place[0] == batch]:
        _kept.pop(place).close()


class NotWantedError(Exception):
    """Nobody waits for a lot any more."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Dask logs and warns of from the terminal: an error says what it comes to."""
    logging.getLogger("asyncio")
    known = list(logging.root.manager.loggerDict)
    loggers = [logging.getLogger(name) for name in known if name.split(".")[0] in _LOGGERS]
    kept = [(logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [logging.NullHandler()], False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, (handlers, propagate) in zip(loggers, kept, strict=True):
            logger.handlers, logger.propagate = handlers, propagate


def _place(address: str) -> str:
    """Return the address of a scheduler, which may stand in a file."""
    from distributed.comm import get_address_host_port

    place = address
    try:
        if address.endswith(".json"):
            with open(address, encoding="utf-8") as file:
                place = json.load(file)["address"]
        get_address_host_port(place, strict=False)
    except OSError as error:
        raise InputError(address, f"cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        hint = "give tcp://host:8786, or a scheduler's .json file"
        raise InputError(address, "no address of a Dask scheduler", hint) from error
    if place.startswith("tls://"):
        _check_certificates(place)
    return place


def _check_certificates(address: str) -> None:
    """Check that Dask has certificates: a client without them ends late, and not in one line."""
    from distributed import Security

    hint = "set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, ...__CLIENT__CERT and ...__CLIENT__KEY"
    try:
        found = Security().get_connection_args("client")["ssl_context"]
    except OSError as error:
        what = f"the certificates that Dask is configured with: {error.strerror or error}"
        raise InputError(address, what, hint) from error
    if found is None:
        raise InputError(address, "Dask is configured with no certificates", hint)


def _answered(connect: Callable[..., "Client"], place: str, address: str) -> "Client":
    """Connect to a scheduler in a thread: something else at its port might never answer."""
    answers: SimpleQueue[Client | Exception] = SimpleQueue()

    def target() -> None:
        try:
            answers.put(connect(place, timeout=SECONDS, set_as_default=False, name="rnn"))
        except Exception as error:
            answers.put(error)

    Thread(target=target, daemon=True).start()
    try:
        answer = answers.get(timeout=SECONDS + 1)
    except Empty:
        answer = OSError()
    if isinstance(answer, OSError):
        raise _refused(address, f"no Dask scheduler answers there within {SECONDS} s") from answer
    if isinstance(answer, Exception):
        raise _refused(address, one_line(answer)) from answer
    return answer
