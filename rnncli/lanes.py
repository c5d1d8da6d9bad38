"""Work in lanes: two threads side by side, as NumPy lets threads run beside each other."""

import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil
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

_thread = threading.local()


def in_lanes(work: Callable[[Part], Found], parts: Sequence[Part]) -> list[Found]:
    """Do parts of a work, two at a time; in a lane one after the other."""
    if min(LANES, len(parts)) < 2 or getattr(_thread, "is_lane", False):
        return list(map(work, parts))
    from concurrent.futures import ThreadPoolExecutor  # 8 ms that most runs do not need

    def in_lane(part: Part) -> Found:
        _thread.is_lane = True
        with np.errstate(all="ignore"):  # each thread has its own
            return work(part)

    with ThreadPoolExecutor(LANES) as pool:
        return list(pool.map(in_lane, parts))


def rows_for_lanes(H: int) -> int:
    """Count the fewest states at a step that are worth two lanes."""
    return ceil(WORK / (H * (H + BESIDE)))


def parts_for(N: int, H: int) -> int:
    """Count the parts that steps of N states are best cut into: one, or some a lane."""
    if rows_for_lanes(H) > N:
        return 1
    return LANES * ceil(N * H / (LANES * VALUES))


def shares(count: int, parts: int) -> list[slice]:
    """Cut a row of things into as many parts, or fewer, none of them empty."""
    edges = [count * part // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges) if start < stop]
