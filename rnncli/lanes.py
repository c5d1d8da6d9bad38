"""Work in lanes: two threads side by side, as NumPy lets threads run beside each other."""

import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from queue import SimpleQueue
from typing import TypeVar

import numpy as np

from rnncli.processors import usable_processors

Part = TypeVar("Part")
Found = TypeVar("Found")

# Threads; a third would find Python's lock taken.
LANES = min(2, len(usable_processors()))
# Seconds that an end waits for lanes to leave.
SECONDS_TO_LEAVE = 1.0

_here = threading.local()


class _Left(BaseException):
    """Nobody waits for this lane any more."""


def in_lanes(work: Callable[[Part], Found], parts: Sequence[Part]) -> list[Found]:
    """Do the parts of some work, two at a time; in a lane one after the other.

    A failure, or Ctrl-C, is raised at once; lanes that still run leave at
    their next block (`stay_in_lane`). Where the system has no thread left, or
    no room for its stack, the parts are done without.
    """
    if min(LANES, len(parts)) < 2 or hasattr(_here, "ended"):
        return list(map(work, parts))
    numbers = iter(range(len(parts)))  # of both lanes: each takes the next one
    ended = threading.Event()
    done: SimpleQueue[tuple[int, Found] | BaseException] = SimpleQueue()

    def lane() -> None:
        _here.ended = ended
        try:
            with np.errstate(all="ignore"):  # each thread has its own
                for number in numbers:
                    done.put((number, work(parts[number])))
        except BaseException as failure:  # it is raised where the lanes are awaited
            done.put(failure)

    # Daemons, so that a lane in a long product holds up no end of the process.
    lanes = [threading.Thread(target=lane, daemon=True) for _ in range(LANES)]
    try:
        if not sum(map(_started, lanes)):
            return list(map(work, parts))
        return _collected(done, len(parts))
    finally:
        ended.set()
        for thread in filter(threading.Thread.is_alive, lanes):
            thread.join(SECONDS_TO_LEAVE)


def stay_in_lane() -> None:
    """Leave the lane that this code runs in, if any, once nobody waits for it any more."""
    ended = getattr(_here, "ended", None)
    if ended and ended.is_set():
        raise _Left


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


def shares(count: int, parts: int) -> list[slice]:
    """Cut a row of things into `parts` parts, or fewer, none of them empty."""
    edges = [count * part // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges) if start < stop]
