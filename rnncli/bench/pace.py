"""How much of a case is run for one timing, and how often."""

import time
from collections.abc import Callable
from math import ceil, floor, log10
from typing import NamedTuple

import numpy as np

from rnncli.verify.case import Case

# A timing takes at least so many seconds; what is faster is repeated within it.
SHORTEST = 0.05
# And at most about so many; what is slower is timed over the first steps.
LONGEST = 2.0

_FEW_STEPS = 16
_GROWTH = 4


class Pace(NamedTuple):
    """What one timing consists of.

    Parameters
    ----------
    steps : int
        How many of the first steps are run.
    repeats : int
        How often.
    """

    steps: int
    repeats: int = 1


def warmed(seconds: Callable[[int], float], most: int) -> Pace:
    """Run more and more steps until a timing is long enough, and set the pace by the last.

    Libraries compile, start threads and take memory when they first run;
    afterwards the processor is at its speed.

    Parameters
    ----------
    seconds : callable
        Runs so many steps and gives the seconds that it took.
    most : int
        Steps that there are.
    """
    steps = min(most, _FEW_STEPS)
    seconds(steps)  # may compile, which says nothing of the time that steps take
    # The lesser of two: a stall in so short a run would count for many steps.
    while (took := min(seconds(steps), seconds(steps))) < SHORTEST and steps < most:
        steps = min(most, steps * _GROWTH)
    if steps == most:
        return Pace(_within(steps, took, most), ceil(max(1, SHORTEST / max(took, 1e-9))))
    return Pace(_within(steps, took, most))


def first_steps(case: Case, steps: int) -> Case:
    """Cut a case to its first steps."""
    if steps >= case.x.shape[1]:
        return case
    x = np.ascontiguousarray(case.x[:, :steps])
    return case._replace(x=x, lengths=np.minimum(case.lengths, steps))


def timed(run: Callable[[], object], repeats: int) -> float:
    """Give the seconds that a run takes, the mean of several."""
    begin = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - begin) / repeats


def _within(steps: int, took: float, most: int) -> int:
    """Count the steps that take no longer than the longest timing; a round number if not all."""
    affordable = steps * LONGEST / max(took, 1e-9)
    if affordable >= most:
        return most
    digit = int(10 ** floor(log10(max(1, affordable))))
    return max(1, int(affordable) // digit * digit)
