"""Tasks on a Dask cluster: one that runs somewhere, or one that is started here."""

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rnncli import __version__
from rnncli.batches.processes import Work, lots
from rnncli.batches.report import Outcome
from rnncli.batches.tasks import Task
from rnncli.model.errors import InputError, one_line

if TYPE_CHECKING:
    from distributed import Client

# The address that starts a cluster on this machine.
LOCAL = "local"
# Seconds that a scheduler has to answer.
SECONDS = 10
# Tasks that a worker is given at once: a hundred that take a millisecond each hide what Dask takes.
MOST_TASKS, MOST_BYTES = 100, 1 << 20
# A cluster in a process of its own: what it and its workers log goes nowhere, and it ends when
# this process has ended, however that was.
_PROGRAM = """
import sys, tempfile
from distributed import LocalCluster
with (
    tempfile.TemporaryDirectory(prefix="rnn-", ignore_cleanup_errors=True) as folder,
    LocalCluster(
        n_workers=int(sys.argv[1]),
        threads_per_worker=1,
        dashboard_address=None,
        local_directory=folder,
    ) as cluster,
):
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
"""


class Here(NamedTuple):
    """What a worker must find as it is here.

    Parameters
    ----------
    versions : mapping
        Of what decides about results, by name.
    paths : sequence of str
        Files that are there.
    """

    versions: Mapping[str, str]
    paths: Sequence[str] = ()


@contextmanager
def connected(address: str, jobs: int) -> Iterator["Client"]:
    """Connect to a cluster, and leave it at the end.

    Parameters
    ----------
    address : str
        ``tcp://host:port``, ``tls://host:port``, ``host:port``, a file that a
        scheduler has written, or ``local`` to start a cluster here.
    jobs : int
        How many workers that one has.

    Raises
    ------
    ImportError
        Dask is not installed.
    InputError
        It is no address.
    OSError
        No scheduler answers there.
    """
    try:
        import distributed
    except ModuleNotFoundError as error:
        if error.name not in ("dask", "distributed"):
            raise
        raise ImportError("a cluster needs Dask: pip install 'rnncli[cluster]'") from None
    started = _started_here(jobs) if address == LOCAL else nullcontext(_place(address))
    with _quiet(), started as place:
        client: Client = _answered(distributed.Client, place, address)
        with closing(client):
            yield client


def refused(address: str, reason: str) -> OSError:
    """Return the error that ends a batch which a cluster cannot do."""
    return OSError(None, reason, address)


def check_workers(
    client: "Client", address: str, paths: Sequence[str], note: Callable[[str], None]
) -> Here:
    """Check that what is installed on all workers is what is here, and that they see some files.

    Parameters
    ----------
    client : Client
    address : str
        Of the cluster, for messages.
    paths : sequence of str
        Files that are there.
    note : callable
        Is told if there is no worker yet, before one is waited for.

    Raises
    ------
    OSError
        It is not, or they do not.
    """
    here = Here({"rnncli": __version__, "NumPy": np.__version__}, paths)
    if not client.nthreads():
        note(f"{address}: the cluster has no workers yet; waiting for one")
        client.submit(os.getpid, pure=False).result()  # some clusters grow when they have work
    found = client.run(difference, here, on_error="return")
    check_differences(address, found)
    return here


def difference(here: Here) -> str:
    """Return how this process differs from the one that the batch was started in; or nothing."""
    there = {"rnncli": __version__, "NumPy": np.__version__}
    for name, version in here.versions.items():
        if there[name] != version:
            return f"has {name} {there[name]}, here it is {version}: install one version on all"
    for path in here.paths:
        if not os.path.exists(path):
            return f"does not see {path}: a cluster needs a file system that all share, or URLs"
    return ""


def check_differences(address: str, found: Mapping[str, str | Exception]) -> None:
    """Check what workers have answered, by their addresses.

    Raises
    ------
    OSError
        One of them is not as it should be.
    """
    wrong = {worker: _reason(answer) for worker, answer in found.items() if answer}
    for worker, reason in wrong.items():
        others = len(wrong) - 1
        more = f" (and {others} more)" if others else ""
        raise refused(address, f"the worker {worker}{more} {reason}")


def _reason(answer: str | Exception) -> str:
    if isinstance(answer, str):
        return answer
    if isinstance(answer, ModuleNotFoundError) and answer.name == "rnncli":
        return f"has no rnncli: pip install rnncli=={__version__} there"
    if isinstance(answer, ImportError | AttributeError):
        return f"has another rnncli, here it is {__version__}: install one version on all"
    return f"fails: {one_line(answer)}"


def run_on_cluster(
    tasks: Sequence[Task],
    work: Work,
    address: str,
    jobs: int = 1,
    note: Callable[[str], None] = print,
) -> Iterator[Outcome]:
    """Do tasks on a cluster; yield what becomes of each, as they end."""
    from distributed import as_completed

    with connected(address, jobs) as client:
        check_workers(client, address, (), note)
        futures = [
            client.submit(run_lot, lot, work, pure=False, retries=2)
            for lot in lots(tasks, MOST_TASKS, MOST_BYTES)
        ]
        for future in as_completed(futures, loop=client.loop):
            yield from future.result()
            future.release()


def run_lot(tasks: Sequence[Task], work: Work) -> list[Outcome]:
    """Do tasks one after the other: what a worker runs."""
    return list(map(work, tasks))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Dask logs and warns of from the terminal: an error says what it comes to."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
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


@contextmanager
def _started_here(jobs: int) -> Iterator[str]:
    """Start a cluster of so many processes on this machine, and return its address."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _PROGRAM, str(jobs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for this process, which ends that one
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdin
    assert process.stdout
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise refused(LOCAL, "the cluster could not be started")
        yield address
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


def _place(address: str) -> str:
    """Return the address of a scheduler, which may stand in a file."""
    from distributed.comm import get_address_host_port

    hint = f"give tcp://host:8786, a scheduler's .json file, or {LOCAL}"
    if address.endswith(".json"):
        try:
            with open(address, encoding="utf-8") as file:
                address = json.load(file)["address"]
        except FileNotFoundError as error:
            raise InputError(address, str(error.strerror)) from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(address, "no file of a Dask scheduler", hint) from error
    try:
        get_address_host_port(address, strict=False)
    except ValueError as error:
        raise InputError(address, "no address of a Dask scheduler", hint) from error
    return address


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
        raise refused(address, f"no Dask scheduler answers there within {SECONDS} s") from answer
    if isinstance(answer, Exception):
        raise refused(address, one_line(answer)) from answer
    return answer
