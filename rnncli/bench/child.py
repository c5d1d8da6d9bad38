"""A child process: it times a strategy or a peer on a case, and judges it.

Parent and child exchange pickles. A question is ``(function, case, steps)``: what to do, and with
how many of the first steps. The answer is a dict: ``result``, or ``note`` and ``failed``: why there
is none, and whether that is a failure, not a network that the candidate cannot express.
"""

import os
import pickle
import sys
import time
from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np

from rnncli.engine.run import run
from rnncli.verification.case import Case
from rnncli.verification.peers import PEERS, Unsupported, build
from rnncli.verification.steps import largest_step_error

# Seconds that one timing takes at least: fast runs are repeated, slow ones timed over their first
# steps.
SHORTEST = 0.05
# Rows of all sequences together that are judged, at most.
JUDGED = 100_000
# Libraries in whose batches all first steps lie together, then all second ones.
TIME_FIRST = ("onnxruntime",)


def serve(name: str) -> None:
    """Answer questions until standard input ends."""
    stdout, stderr = 1, 2
    with os.fdopen(os.dup(stdout), "wb") as out:
        os.dup2(stderr, stdout)  # what libraries print is no answer
        while True:
            try:
                function, *question = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            try:
                answer = {"result": (measure if function == "time" else judge)(name, *question)}
            # Whatever a library raises is no reason to lose the timings of the others.
            except Exception as error:
                failed = not isinstance(error, Unsupported)
                kind = f"{type(error).__name__}: " if failed else ""
                answer = {"note": f"{kind}{error}", "failed": failed}
            pickle.dump(answer, out)
            out.flush()


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

    if steps is None:  # as many as one timing needs
        most = case.x.shape[1]
        seconds(steps := min(most, 16))  # may compile, and start threads
        # The lesser of two: a stall in so short a run would count for many steps.
        while steps < most and min(seconds(steps), seconds(steps)) < SHORTEST:
            steps = min(most, steps * 4)
    repeats = ceil(SHORTEST / max(seconds(steps), 1e-9))  # after a pause that run is slow
    mean_steps = first_steps(case, steps).lengths.mean()  # some sequences may end before others
    return seconds(steps, repeats) * 1e6 / mean_steps, steps


def judge(name: str, case: Case, steps: int) -> float | None:
    """Return the largest step error of the first steps; None where states are hidden."""
    case = first_steps(case, min(steps, max(1, JUDGED // len(case.x))))
    ran = _build(name, case, all_layers=True)(case)
    return largest_step_error(case, ran if name in PEERS else ran.layers)


def first_steps(case: Case, steps: int) -> Case:
    """Cut a case to its first steps."""
    if steps >= case.x.shape[1]:
        return case
    x = np.ascontiguousarray(case.x[:, :steps])
    return case._replace(x=x, lengths=np.minimum(case.lengths, steps))


def _build(name: str, case: Case, **options: Any) -> Callable[[Case], Any]:
    """Build the network of a case; return a function that runs cases of it."""
    peer = build(name, case.network, case.precision) if name in PEERS else None
    options |= {"unroll": name, "precision": case.precision}

    def forward(case: Case) -> Any:
        lengths = None if (case.lengths == case.x.shape[1]).all() else case.lengths
        if peer:
            return peer(case.x, case.h0, lengths)
        return run(case.network, case.x, case.h0, lengths=lengths, **options)

    return forward
