"""Threads: two side by side, with BLAS on one thread each, as its own would take the processors."""

import os
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import nullcontext
from functools import cache
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

Job = TypeVar("Job")
Item = TypeVar("Item")


def usable_processors() -> list[int]:
    """Return the numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


# A third thread would find Python's lock taken.
THREADS = min(2, len(usable_processors()))
# Multiplications in a product of 32 rows that OpenBLAS leaves to one thread (interface/gemm.c).
ONE_THREAD = 8192
# Seconds that an end waits for a thread to leave.
SECONDS_TO_LEAVE = 1.0
_this = threading.local()


def may_start_a_thread() -> bool:
    """Whether there is a processor for another thread, and this thread may start one."""
    return THREADS > 1 and not hasattr(_this, "starts_none")


def start_no_threads() -> None:
    """Forbid this thread to start others: its process has one processor to itself."""
    _this.starts_none = True


def in_threads(work: Callable[[Job], Any], jobs: Sequence[Job]) -> None:
    """Do jobs in this thread and in another one, each taking the next."""
    numbers, errors = iter(range(len(jobs))), list[BaseException]()

    def run() -> None:
        for number in numbers:
            work(jobs[number])

    if len(jobs) < 2 or not may_start_a_thread():
        run()
        return
    controller = None if _blas_has_one_thread() else _controller()
    with controller.limit(limits=1, user_api="blas") if controller else nullcontext():
        _this.starts_none, thread = True, _thread(run, errors.append)
        try:
            thread.start()
            run()
        finally:
            del _this.starts_none
            list(numbers)  # the other thread takes no more
            if thread.is_alive():
                thread.join()
    if errors:
        raise errors[0]


def ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Pass items on; a thread makes the next one, in memory of its own, while one is in use."""
    wanted: SimpleQueue[bool] = SimpleQueue()
    made: SimpleQueue[tuple[Item] | BaseException] = SimpleQueue()

    def run() -> None:
        while wanted.get():
            made.put((next(items),))

    if not may_start_a_thread():
        yield from items
        return
    thread = _thread(run, made.put)
    try:
        thread.start()
        wanted.put(True)
        while not isinstance(item := made.get(), BaseException):
            wanted.put(True)
            yield item[0]
        if not isinstance(item, StopIteration):
            raise item
    finally:
        wanted.put(False)
        # While Python ends no other thread runs, nor leaves.
        if thread.is_alive() and not sys.is_finalizing():
            thread.join(SECONDS_TO_LEAVE)


def _thread(work: Callable[[], None], fail: Callable[[BaseException], None]) -> threading.Thread:
    """Make a thread that starts no others; `fail` takes its exception, or an iterator's end."""

    def run() -> None:
        _this.starts_none = True
        try:
            with np.errstate(all="ignore"):  # each thread has its own
                work()
        except BaseException as error:
            fail(error)

    return threading.Thread(target=run, daemon=True)  # a long product does not hold up the end


@cache
def _controller() -> Any:
    try:
        from threadpoolctl import ThreadpoolController
    except ModuleNotFoundError:
        return None
    return ThreadpoolController()


def _blas_has_one_thread() -> bool:
    """Whether BLAS was loaded with one thread, as the command has it."""
    number = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS")
    return number == "1" or len(usable_processors()) == 1


def leaves_processors(multiplications: int) -> bool:
    """Whether a product of so many multiplications a row leaves the other processors to threads."""
    return multiplications <= ONE_THREAD or _blas_has_one_thread() or _controller() is not None
