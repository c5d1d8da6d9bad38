"""Threads: two side by side, and BLAS on one so that they have the processors.

NumPy lets go of Python's lock within a call, so two threads run beside each
other as long as their calls are long. BLAS's own threads would take the
processors away from them.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain, islice, pairwise
from math import ceil
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

from rnncli.model.cells import Cell

Part = TypeVar("Part")
Found = TypeVar("Found")


def usable_processors() -> list[int]:
    """Return the numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


# A third thread would find Python's lock taken.
THREADS = min(2, len(usable_processors()))
# Seconds that an end waits for threads to leave.
SECONDS_TO_LEAVE = 1.0

# Multiplications in a product that OpenBLAS leaves to one thread
# (interface/gemm.c). Beyond, two threads would queue for BLAS's, and those go
# on spinning, on the processor that a thread needs, when the product is done.
ONE_THREAD = 262_144
# Rows of a product that is so small.
FEW = 32
# Values of the states of a thread at one step: more, and they leave the cache.
VALUES = 81_920
# Fewest multiplications at one step that are worth two threads: of fewer,
# NumPy's calls are so short that the threads wait for Python's lock.
WORK = 3_000_000
# How many times as many calls a step of a cell with gates takes.
CALLS = 4
# What a value costs beside its product, in multiplications.
BESIDE = 32
# What OpenBLAS answers where its threads are its own, and not OpenMP's (cblas.h).
PTHREADS = 1

_here = threading.local()


def in_threads(work: Callable[[Part], Found], parts: Sequence[Part]) -> list[Found]:
    """Do the parts of some work, two at a time; within a thread one after the other.

    A failure, or Ctrl-C, is raised once the threads have done the parts that
    they have begun, or after a second. Where the system has no thread left,
    or no room for its stack, the parts are done without.
    """
    if len(parts) < 2 or not may_start_a_thread():
        return list(map(work, parts))
    numbers = iter(range(len(parts)))  # of both threads: each takes the next one
    done: SimpleQueue[tuple[int, Found] | BaseException] = SimpleQueue()

    def target() -> None:
        _here.starts_none = True
        try:
            with np.errstate(all="ignore"):  # each thread has its own
                for number in numbers:
                    done.put((number, work(parts[number])))
        except BaseException as failure:  # it is raised where the results are awaited
            done.put(failure)

    # Daemons, so that a thread in a long product holds up no end of the process.
    threads = [threading.Thread(target=target, daemon=True) for _ in range(THREADS)]
    try:
        if not sum(map(_started, threads)):
            return list(map(work, parts))
        return _collected(done, len(parts))
    finally:
        deque(numbers, maxlen=0)  # no thread takes another part
        for thread in filter(threading.Thread.is_alive, threads):
            thread.join(SECONDS_TO_LEAVE)


def ahead(items: Iterator[Found]) -> Generator[Found, None, None]:
    """Pass items on, the next one made in a thread while one is made use of.

    An item must not lie where the one before does. A failure is raised where
    its item is awaited. Where no thread can be started, each item is made when
    it is awaited.
    """
    wanted: SimpleQueue[bool] = SimpleQueue()
    made: SimpleQueue[tuple[Found] | BaseException] = SimpleQueue()

    def target() -> None:
        _here.starts_none = True
        try:
            with np.errstate(all="ignore"):  # each thread has its own
                while wanted.get():
                    made.put((next(items),))
        except BaseException as failure:  # or the end: it is raised where the item is awaited
            made.put(failure)

    thread = threading.Thread(target=target, daemon=True)
    first = list(islice(items, 1))
    try:
        if not first or not may_start_a_thread() or not _started(thread):
            yield from chain(first, items)
            return
        wanted.put(True)
        yield first.pop()
        while not isinstance(found := made.get(), StopIteration):
            if isinstance(found, BaseException):
                raise found
            wanted.put(True)
            yield found[0]
    finally:
        wanted.put(False)
        # While Python ends no other thread runs, nor leaves.
        if thread.is_alive() and not sys.is_finalizing():
            thread.join(SECONDS_TO_LEAVE)


def may_start_a_thread() -> bool:
    """Whether there is a processor for another thread, and this is no such thread."""
    return THREADS > 1 and not hasattr(_here, "starts_none")


def start_no_threads() -> None:
    """Have this thread start no others: its process has one processor to itself."""
    _here.starts_none = True


def blocks(T: int, steps: int) -> Iterator[slice]:
    """Cut T steps into blocks."""
    return (slice(start, min(start + steps, T)) for start in range(0, T, steps))


def shares(count: int, parts: int) -> list[slice]:
    """Cut `count` neighbours into `parts` parts, or fewer, none of them empty."""
    edges = [count * part // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges) if start < stop]


def parts_for(N: int, cells: Sequence[Cell]) -> int:
    """Count the parts that N rows of states are best cut into: one, or some a thread."""
    if not cells or not all(map(leaves_processors, cells)):
        return 1
    if min(map(rows_for_threads, cells)) > N:
        return 1
    widest: int = max(cell.weights.W_xh.shape[1] for cell in cells)
    return THREADS * ceil(N * widest / (THREADS * VALUES))


def rows_for_threads(cell: Cell) -> int:
    """Count the fewest rows of states that are worth two threads."""
    rows, width = cell.weights.W_hh.shape
    enough, work = WORK, width * (rows + BESIDE)
    if not cell.sums_alone:  # its inputs are multiplied step by step too
        enough, work = WORK * CALLS, work + cell.weights.W_xh.size
    return ceil(enough / int(work))


def leaves_processors(cell: Cell) -> bool:
    """Whether the products of a cell take one thread, and so leave the other processors."""
    I, width = cell.weights.W_xh.shape
    return _blas.alone or max(I + 1, len(cell.weights.W_hh)) * width * FEW <= ONE_THREAD


class _Blas:
    """How many threads BLAS takes, in this process.

    Attributes
    ----------
    alone : bool
        Whether a product takes one thread.
    """

    def __init__(self) -> None:
        # As OpenBLAS reads them when it is loaded.
        number = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS")
        self.alone = self._always = number == "1" or len(usable_processors()) == 1
        self._lock, self._users, self._before = threading.Lock(), 0, 0

    @contextmanager
    def on_one_thread(self) -> Iterator[None]:
        """Set OpenBLAS to one thread until the last block that asks for it has ended.

        Other libraries, and an OpenBLAS whose threads are OpenMP's, which
        counts them for each thread that calls it, are left alone.
        """
        set_threads = None if self._always else _openblas_threads()
        if set_threads is None:
            yield
            return
        with self._lock:
            if not self._users:
                self._before = openblas("get_num_threads")()
                set_threads(1)
                self.alone = True
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self.alone = False
                    set_threads(self._before)


_blas = _Blas()
blas_on_one_thread = _blas.on_one_thread


@cache
def openblas(function: str) -> Any:
    """Return a function of the OpenBLAS that NumPy has its products from; None without one."""
    try:
        import ctypes

        # A library's functions are found through the module that is linked with it.
        module = ctypes.CDLL(sys.modules["numpy._core._multiarray_umath"].__file__)
    except (ImportError, KeyError, OSError):
        return None
    for prefix in ("scipy_", ""):  # by how NumPy was built
        for suffix in ("64_", ""):
            if found := getattr(module, f"{prefix}openblas_{function}{suffix}", None):
                return found
    return None


def _openblas_threads() -> Callable[[int], Any] | None:
    """Return what sets the number of OpenBLAS's threads, where those are its own."""
    kind = openblas("get_parallel")
    return openblas("set_num_threads") if kind and kind() == PTHREADS else None


def _started(thread: threading.Thread) -> bool:
    """Start a thread, if the system has one."""
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def _collected(done: "SimpleQueue[tuple[int, Found] | BaseException]", count: int) -> list[Found]:
    """Wait for what is found of each part, or for a failure."""
    found: dict[int, Found] = {}
    while len(found) < count:
        each = done.get()
        if isinstance(each, BaseException):
            raise each
        found[each[0]] = each[1]
    return [found[number] for number in range(count)]
