"""A child process: it times a strategy or a peer on the first steps of a case, and judges it.

A question is a pickle of ``(function, case, steps)``, an answer one of ``(result, note, failed)``.
The note tells why there is no result; `failed` is False if a peer merely lacks something.
"""

import os
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from math import ceil

from rnncli.model.arrays import Floats
from rnncli.verification.case import Case
from rnncli.verification.peers import PEERS, Unsupported, build
from rnncli.verification.steps import largest_step_error

SHORTEST = 0.05  # seconds of a timing: fast runs are repeated, slow ones cut to some steps
JUDGED = 100_000  # rows of all sequences together, at most


def serve(name: str) -> None:
    """Answer questions until standard input ends."""
    stdout, stderr = 1, 2
    with os.fdopen(os.dup(stdout), "wb") as out:
        os.dup2(stderr, stdout)  # libraries may print
        while True:
            try:
                function, *question = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            result, note, failed = None, "", False
            try:
                result = (measure if function == "time" else judge)(name, *question)
            except Unsupported as error:
                note = str(error)
            except Exception as error:  # the others are timed all the same
                note, failed = f"{type(error).__name__}: {error}", True
            pickle.dump((result, note, failed), out)
            out.flush()


def measure(name: str, case: Case, steps: int | None) -> tuple[float, int]:
    """Return microseconds a step of all sequences together, and how many steps were timed."""
    forward = _build(name, case)

    def seconds(steps: int, repeats: int = 1) -> float:
        first = first_steps(case, steps)
        begin = time.perf_counter()
        for _ in range(repeats):
            forward(first)
        return (time.perf_counter() - begin) / repeats

    if steps is None:  # as many as one timing needs
        most = int(case.groups.lengths.max())
        steps = most if name == "auto" else min(most, 16)  # `auto` chooses by their number
        seconds(steps)  # may compile, and start threads
        # The lesser of two: a stall in so short a run would count for many steps.
        while steps < most and min(seconds(steps), seconds(steps)) < SHORTEST:
            steps = min(most, steps * 4)
    repeats = ceil(SHORTEST / max(seconds(steps), 1e-9))  # after a pause that run is slow
    mean_steps = first_steps(
        case, steps
    ).groups.lengths.mean()  # some sequences may end before others
    return seconds(steps, repeats) * 1e6 / mean_steps, steps


def judge(name: str, case: Case, steps: int) -> float | None:
    """Return the largest step error of the first steps; None where states are hidden."""
    case = first_steps(case, min(steps, max(1, JUDGED // len(case.h0))))
    return largest_step_error(case, _build(name, case)(case))


def first_steps(case: Case, steps: int) -> Case:
    """Cut a case to its first steps."""
    return case.choose(case.steps <= steps)


def _build(name: str, case: Case) -> Callable[[Case], Sequence[Floats]]:
    """Build the network of a case; return a function that gives the outputs of all its layers."""
    if name in PEERS:
        peer = build(name, case.network, case.precision)
        return lambda case: peer(case.x, case.groups, case.h0)
    return lambda case: case.run(name)[0]
