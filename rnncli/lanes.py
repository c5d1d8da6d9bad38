"""Work in lanes: two threads side by side, as NumPy lets threads run beside each other."""

import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil
from queue import SimpleQueue
from typing import TypeVar

import numpy as np

from rnncli.processors import usable_processors

Part = TypeVar("Part")
Found = TypeVar("Found")

# Threads; a third would find Python's lock taken.
LANES = min(2, len(usable_processors()))
# Values of the states of a lane at one step: more, and they leave the cache.
VALUES = 81_920
# Fewest multiplications at one step that are worth two lanes: of fewer, NumPy's
# calls are so short that the lanes wait for Python's lock.
WORK = 3_000_000
# What a value costs beside its product, in multiplications.
BESIDE = 32

# Seconds that an end waits for lanes to leave.
PATIENCE = 1.0

_here = threading.local()


class _Left(BaseException):
    """Nobody waits for this lane any more."""


def in_lanes(work: Callable[[Part], Found], parts: Sequence[Part]) -> list[Found]:
    """Do parts of a work, two at a time; in a lane one after the other.

    A failure, or Ctrl-C, is raised at once; lanes that still run leave at
    their next block (`stay_in_lane`).
    """
    if min(LANES, len(parts)) < 2 or hasattr(_here, "ended"):
        return list(map(work, parts))
    numbers, ended = iter(range(len(parts))), threading.Event()
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
        for thread in lanes:
            thread.start()
        return _collected(done, len(parts))
    finally:
        ended.set()
        for thread in filter(threading.Thread.is_alive, lanes):
            thread.join(PATIENCE)


def stay_in_lane() -> None:
    """Go on, unless nobody waits for this lane any more: then leave it. No lane is never left."""
    ended = getattr(_here, "ended", None)
    if ended and ended.is_set():
        raise _Left


def _collected(done: "SimpleQueue[tuple[int, Found] | BaseException]", count: int) -> list[Found]:
    """Wait for what is found of each part, or for a failure."""
    found: dict[int, Found] = {}
    while len(found) < count:
        each = done.get()
        if isinstance(each, BaseException):
            raise each
        found[each[0]] = each[1]
    return [found[number] for number in range(count)]


def rows_for_lanes(H: int) -> int:
    """Count the fewest states at a step that are worth two lanes."""
    return ceil(WORK / (H * (H + BESIDE)))


def parts_for(N: int, H: int) -> int:
    """Count the parts that steps of N states are best cut into: one, or some a lane."""
    if rows_for_lanes(H) > N:
        return 1
    return LANES * ceil(N * H / (LANES * VALUES))


def shares(count: int, parts: int) -> list[slice]:
    """Cut a row of things into `parts` parts, or fewer, none of them empty."""
    edges = [count * part // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges) if start < stop]
