"""Processors: which there are for this process, and how many threads a product takes."""

import os
from collections.abc import MutableMapping

# Where OpenBLAS, MKL and Accelerate, one of which NumPy has its products from,
# find their numbers of threads while they are loaded.
PRODUCT_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def usable_processors() -> list[int]:
    """Give the numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def leave_processors_to_lanes(environment: MutableMapping[str, str]) -> None:
    """Let a product take one thread, unless these settings say how many; before NumPy is loaded.

    Of two processes whose products take all processors each waits for the
    other at every step. Lanes (`rnncli.lanes`) do not.
    """
    for name in PRODUCT_THREADS:
        environment.setdefault(name, "1")


def products_take_one() -> bool:
    """Tell whether a product takes one thread, as OpenBLAS finds it when it is loaded."""
    number = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS")
    return number == "1" or len(usable_processors()) == 1
