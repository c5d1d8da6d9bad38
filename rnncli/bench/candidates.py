"""Who is timed: every strategy, and the same network in other libraries."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil, floor, log10
from typing import Any, NamedTuple

from rnncli.bench.cases import first_steps, steps_together
from rnncli.engine.run import run
from rnncli.engine.unroll import UNROLLS, missing
from rnncli.verification.case import Case
from rnncli.verification.peers import PEERS, build, requirement, version
from rnncli.verification.steps import largest_step_error

# One timing takes at least the first and about at most the second, in
# seconds: fast runs are repeated, slow ones timed over their first steps.
SHORTEST, LONGEST = 0.05, 0.1
# Rows of all sequences together that are judged, at most.
JUDGED = 100_000
# Libraries in whose batches all first steps lie together, then all second ones.
TIME_FIRST = ("onnxruntime",)


class Candidate(NamedTuple):
    """A strategy of ``rnn run``, or a peer, which raises `Unsupported` where it lacks something."""

    kind: str
    name: str

    @property
    def label(self) -> str:
        """Its name in results: strategies by their option."""
        return f"`unroll` {self.name}" if self.kind == "strategy" else self.name

    def runner(self, case: Case, *, all_layers: bool = False) -> Callable[[Case], Any]:
        """Build the network of a case, and return a function that runs cases of it."""
        options: dict[str, Any] = {"precision": case.precision, "all_layers": all_layers}
        if self.kind == "peer":
            forward: Callable[..., Any] = build(self.name, case.network, **options)
        else:
            forward = partial(run, case.network, unroll=self.name, **options)

        def run_case(case: Case) -> Any:
            equal = (case.lengths == case.x.shape[1]).all()
            return forward(case.x, case.h0, lengths=None if equal else case.lengths)

        return run_case

    def time(self, case: Case, steps: int | None = None) -> tuple[float, int]:
        """Return microseconds a step of all sequences together, and how many steps were timed."""
        run = self.runner(case)

        def seconds(steps: int, repeats: int = 1) -> float:
            first = first_steps(case, steps)
            if self.name in TIME_FIRST:  # as who uses the library has them
                first = first._replace(x=steps_together(first.x))
            begin = time.perf_counter()
            for _ in range(repeats):
                run(first)
            return (time.perf_counter() - begin) / repeats

        steps = steps or affordable_steps(seconds, case.x.shape[1])
        repeats = ceil(SHORTEST / max(seconds(steps), 1e-9))  # after a pause that run is slow
        # Some sequences may end before others.
        mean_steps = first_steps(case, steps).lengths.mean()
        return seconds(steps, repeats) * 1e6 / mean_steps, steps

    def judge(self, case: Case, steps: int) -> float | None:
        """Return the largest step error of the first steps; None where states are hidden."""
        case = first_steps(case, min(steps, max(1, JUDGED // len(case.x))))
        return largest_step_error(case, self.runner(case, all_layers=True)(case).layers)


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


def find_candidates(
    wanted: Sequence[str] = (), precision: str = "float32"
) -> tuple[list[Candidate], dict[str, str]]:
    """Return every strategy and the wanted peers that can run here, and what the others lack."""
    strategies = [Candidate("strategy", name) for name in ("auto", *UNROLLS)]
    peers = [Candidate("peer", name) for name in dict.fromkeys(wanted or PEERS)]
    lacking = {each.label: missing(each.name, precision) for each in strategies}
    for peer in peers:
        if version(peer.name) is None:
            lacking[peer.label] = f"not installed: {requirement(peer.name)}"
            if wanted:
                raise ValueError(f"peer {peer.name} is {lacking[peer.label]}")
    absent = {label: what for label, what in lacking.items() if what}
    return [each for each in (*strategies, *peers) if each.label not in absent], absent
