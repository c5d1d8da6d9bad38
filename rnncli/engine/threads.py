"""Two threads side by side, in which BLAS starts no threads of its own."""

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from typing import Any, TypeVar

import numpy as np

Job = TypeVar("Job")


def usable_processors() -> list[int]:
    """Return the numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


# A third thread would find Python's lock taken.
THREADS = min(2, len(usable_processors()))
_this = threading.local()


def may_start_a_thread() -> bool:
    """Whether this thread may start another, and there is a processor for it."""
    return THREADS > 1 and not hasattr(_this, "starts_none")


def may_share_products() -> bool:
    """Whether this thread may start another that multiplies: BLAS can be limited to one thread."""
    return may_start_a_thread() and _limit_blas() is not None


def start_no_threads() -> None:
    """Forbid this thread to start others, as it has one processor to itself."""
    _this.starts_none = True


def in_threads(work: Callable[[Job], Any], jobs: Sequence[Job]) -> None:
    """Do jobs, two at a time."""
    if len(jobs) < 2 or not may_start_a_thread():
        for job in jobs:
            work(job)
        return
    from concurrent.futures import ThreadPoolExecutor  # takes 5 ms

    def begin() -> None:
        start_no_threads()
        np.seterr(all="ignore")  # each thread has its own

    limited = (_limit_blas() or nullcontext)()
    with limited, ThreadPoolExecutor(THREADS, initializer=begin) as pool:
        for _ in pool.map(work, jobs):  # an error cancels the jobs that have not begun
            pass


@cache
def _limit_blas() -> Callable[[], AbstractContextManager[Any]] | None:
    """Return a context in which BLAS has one thread, as in the command; None if there is none."""
    number = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS")
    if number == "1" or len(usable_processors()) == 1:
        return nullcontext
    try:
        from threadpoolctl import ThreadpoolController
    except ModuleNotFoundError:
        return None
    return partial(ThreadpoolController().limit, limits=1, user_api="blas")
