"""A child process: it times a strategy or a peer on the case in a folder, and judges it.

Parent and child exchange lines of JSON. A question is ``[function, steps]``: what to do, and with
how many of the first steps. The answer is ``{"result"}``, or ``{"note", "failed"}``: why there is
none, and whether that is a failure, not a network that the candidate cannot express.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from math import ceil, floor, log10
from typing import Any

import numpy as np

from rnncli.bench.cases import first_steps, load_case
from rnncli.engine.run import run
from rnncli.verification.case import Case
from rnncli.verification.peers import PEERS, Unsupported, build
from rnncli.verification.steps import largest_step_error

# One timing takes at least the first and about at most the second, in
# seconds: fast runs are repeated, slow ones timed over their first steps.
SHORTEST, LONGEST = 0.05, 0.1
# Rows of all sequences together that are judged, at most.
JUDGED = 100_000
# Libraries in whose batches all first steps lie together, then all second ones.
TIME_FIRST = ("onnxruntime",)


def serve(name: str, folder: str) -> None:
    """Answer questions until standard input ends."""
    stdout, stderr = 1, 2
    with os.fdopen(os.dup(stdout), "w") as out:
        os.dup2(stderr, stdout)  # what libraries print is no answer
        for line in sys.stdin:
            print(json.dumps(answer(name, folder, *json.loads(line))), file=out, flush=True)


def answer(name: str, folder: str, function: str, steps: int | None) -> dict[str, Any]:
    """Answer one question; nothing is kept for the next."""
    act: Callable[..., Any] = measure if function == "time" else judge
    try:
        return {"result": act(name, load_case(folder), steps)}
    except Unsupported as error:
        return {"note": str(error), "failed": False}
    # Whatever a library raises is no reason to lose the timings of the others.
    except Exception as error:
        return {"note": f"{type(error).__name__}: {error}", "failed": True}


def measure(name: str, case: Case, steps: int | None) -> tuple[float, int]:
    """Return microseconds a step of all sequences together, and how many steps were timed."""
    forward = _build(name, case)

    def seconds(steps: int, repeats: int = 1) -> float:
        first = first_steps(case, steps)
        if name in TIME_FIRST:  # as who uses the library has them
            x = np.ascontiguousarray(first.x.swapaxes(0, 1)).swapaxes(0, 1)
            first = first._replace(x=x)
        begin = time.perf_counter()
        for _ in range(repeats):
            forward(first)
        return (time.perf_counter() - begin) / repeats

    steps = steps or affordable_steps(seconds, case.x.shape[1])
    repeats = ceil(SHORTEST / max(seconds(steps), 1e-9))  # after a pause that run is slow
    # Some sequences may end before others.
    mean_steps = first_steps(case, steps).lengths.mean()
    return seconds(steps, repeats) * 1e6 / mean_steps, steps


def affordable_steps(seconds: Callable[[int], float], most: int) -> int:
    """Run more and more steps until their time is known; return as many as one timing allows.

    Libraries compile, start threads and take memory when they first run;
    afterwards the processor is at its speed.
    """
    steps = min(most, 16)
    seconds(steps)  # may compile, which says nothing of the time that steps take
    # The lesser of two: a stall in so short a run would count for many steps.
    while (took := min(seconds(steps), seconds(steps))) < SHORTEST and steps < most:
        steps = min(most, steps * 4)
    affordable = int(max(1, min(most, steps * LONGEST / max(took, 1e-9))))
    digit = 1 if affordable == most else 10 ** floor(log10(affordable))
    return affordable // digit * digit


def judge(name: str, case: Case, steps: int) -> float | None:
    """Return the largest step error of the first steps; None where states are hidden."""
    case = first_steps(case, min(steps, max(1, JUDGED // len(case.x))))
    ran = _build(name, case, all_layers=True)(case)
    return largest_step_error(case, ran if name in PEERS else ran.layers)


def _build(name: str, case: Case, **options: Any) -> Callable[[Case], Any]:
    """Build the network of a case; return a function that runs cases of it."""
    if name in PEERS:
        forward: Callable[..., Any] = build(name, case.network, case.precision)
    else:
        forward = partial(run, case.network, unroll=name, precision=case.precision, **options)

    def run_case(case: Case) -> Any:
        equal = (case.lengths == case.x.shape[1]).all()
        return forward(case.x, case.h0, lengths=None if equal else case.lengths)

    return run_case
