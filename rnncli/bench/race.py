"""Candidates in turn: while one runs, all others are stopped."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from rnncli.bench.candidates import Candidate
from rnncli.bench.cases import save_case
from rnncli.bench.process import Process, processors
from rnncli.verification.case import Case


@dataclass
class Timing:
    """How fast a candidate is, or why it was not timed, and whether it failed.

    `rounds` are microseconds a step, `steps` how many were timed, both by the
    number of threads; `step_error` is the largest of one run.
    """

    candidate: Candidate
    rounds: dict[int, list[float]] = field(default_factory=dict)
    steps: dict[int, int] = field(default_factory=dict)
    step_error: float | None = None
    note: str = ""
    failed: bool = False

    @property
    def threads(self) -> int:
        """The number of threads with the smallest median."""
        return min(self.rounds, key=lambda threads: median(self.rounds[threads]))

    @property
    def best(self) -> list[float]:
        """The rounds on that many threads."""
        return self.rounds[self.threads]

    @property
    def median(self) -> float:
        """The median of the best rounds, in microseconds a step."""
        return median(self.best)


def fastest_peer(timings: Sequence[Timing]) -> Timing | None:
    """Return the peer with the smallest median; None if no peer was timed."""
    peers = [each for each in timings if each.candidate.kind == "peer" and not each.note]
    return min(peers, key=lambda timing: timing.median, default=None)


def race(
    case_of: Callable[[int], Case],
    candidates: Sequence[Candidate],
    rounds: int,
    show: Callable[[str], None] = lambda _: None,
) -> list[Timing]:
    """Time candidates on the same weights and input, in rounds counted from 1.

    A peer is timed on one processor and on all, in a process of its own for
    each: a library decides once how many threads it takes. In every round
    all are timed one after the other, so that a slow spell of the machine
    slows all of them. ONNX Runtime's threads spin for some time after a
    run: all but the one that is timed are stopped. `show` takes a line that
    names what is done next.
    """
    timings = [Timing(candidate) for candidate in candidates]
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="rnn-bench-"))
        processes = [
            (timing, stack.enter_context(closing(Process(timing.candidate, folder, cpus))))
            for timing in timings
            for cpus in processors(timing.candidate)
        ]
        for round_ in range(1, rounds + 1):
            save_case(folder, case_of(round_))
            if round_ == 1:
                show("starting")
                _load_libraries(processes)
            for timing, process in processes:
                show(f"round {round_} of {rounds}: {process.label}")
                _time(timing, process)
        for timing, process in processes:
            if not timing.note and process.threads == timing.threads:
                show(f"step error: {process.label}")
                process.ask("judge", timing.steps[timing.threads])
                timing.step_error = _result(timing, process)
    return timings


def _load_libraries(processes: Sequence[tuple[Timing, Process]]) -> None:
    """Run one step in all processes, side by side: its time does not count."""
    for _, process in processes:
        process.ask("time", 1)
    for timing, process in processes:
        _result(timing, process)


def _time(timing: Timing, process: Process) -> None:
    """Time a candidate once more, over as many steps as the first time."""
    if timing.note:
        return
    process.ask("time", timing.steps.get(process.threads))
    if result := _result(timing, process):
        microseconds, timing.steps[process.threads] = result
        timing.rounds.setdefault(process.threads, []).append(microseconds)


def _result(timing: Timing, process: Process) -> Any:
    """Wait for a result; where there is none, note why and end the process."""
    answer = process.answer()
    if "note" in answer:
        process.close()
        if not timing.note:
            timing.note, timing.failed = answer["note"], answer["failed"]
    return answer.get("result")
