"""Work in lanes: two threads side by side, as NumPy lets threads run beside each other."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import TypeVar

import numpy as np

Part = TypeVar("Part")
Found = TypeVar("Found")

# Threads; a third finds Python's lock taken.
LANES = 2
# States of a lane at one step. Fewer, and NumPy's calls are so short that the
# lanes wait for Python's lock; more, and they leave the cache.
VALUES = 81_920


def in_lanes(work: Callable[[Part], Found], parts: Sequence[Part]) -> list[Found]:
    """Do parts of a work, two at a time."""
    if len(parts) < 2:
        return list(map(work, parts))
    from concurrent.futures import ThreadPoolExecutor  # 8 ms that most runs do not need

    def quietly(part: Part) -> Found:
        with np.errstate(all="ignore"):  # each thread has its own
            return work(part)

    with ThreadPoolExecutor(LANES) as pool:
        return list(pool.map(quietly, parts))


def parts_for(values: int) -> int:
    """Count the parts that so many states a step are best cut into: one, or some a lane."""
    return 1 if values < VALUES else LANES * ceil(values / (LANES * VALUES))
