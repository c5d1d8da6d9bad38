"""Contenders in turn: while one runs, all others are stopped."""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import Any

from rnncli.bench.contender import Contender
from rnncli.bench.files import save_case
from rnncli.bench.process import Process, processors
from rnncli.bench.results import Timing
from rnncli.verify.case import Case


def race(
    case_of: Callable[[int], Case],
    contenders: Sequence[Contender],
    rounds: int,
    saying: Callable[[str], None] = lambda _: None,
) -> list[Timing]:
    """Time contenders on the same weights and input.

    Each is timed on one processor and on all, in a process of its own for
    each: a library decides once how many threads it takes. In every round
    all are timed one after the other, so that what slows the machine for a
    while slows all of them. ONNX Runtime's threads spin for some time after
    a run: whoever is not being timed is stopped.

    Parameters
    ----------
    case_of : callable
        Gives the case of a round, counted from 1.
    contenders : sequence of Contender
    rounds : int
    saying : callable
        Takes a line that says what is about to be done, before each timing.

    Returns
    -------
    list of Timing
        In the order of the contenders.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="rnn-bench-"))
        lanes = _started(stack, folder, contenders)
        saved = None
        for round_ in range(1, rounds + 1):
            case = case_of(round_)
            if case is not saved:
                save_case(folder, case)
                saved = case
            if round_ == 1:
                saying("starting")
                _warm(lanes, folder)
            for lane in lanes:
                saying(f"round {round_} of {rounds}: {lane.label}")
                lane.time(folder)
        timings = [_together([each for each in lanes if each.of(one)]) for one in contenders]
        del case, saved
        return [_judged(timing, lanes, folder, saying) for timing in timings]


class Lane:
    """A contender on one set of processors, and what it has shown so far.

    Parameters
    ----------
    process : Process
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        self.microseconds: list[float] = []
        self.steps: int | None = None
        self.note, self.failed = "", False

    @property
    def label(self) -> str:
        """Contender and threads, in words."""
        threads = self.process.threads
        return f"{self.process.contender.label}, {threads} thread{'s' * (threads > 1)}"

    def of(self, contender: Contender) -> bool:
        """Tell whether it is a contender's."""
        return self.process.contender == contender

    def time(self, folder: str) -> None:
        """Time it once more, over as many steps as the first time."""
        if self.note:
            return
        self.process.ask(do="time", folder=folder, steps=self.steps)
        answer = self.answer()
        if not self.note:
            self.microseconds.append(answer["microseconds"])
            self.steps = answer["steps"]

    def answer(self) -> dict[str, Any]:
        """Take the answer to a question; one that could not be answered is the last."""
        answer = self.process.answer()
        self.failed = "failed" in answer
        self.note = answer.get("failed") or answer.get("cannot") or ""
        if self.note:
            self.process.end()
        return answer


def _started(stack: ExitStack, folder: str, contenders: Sequence[Contender]) -> list[Lane]:
    lanes = []
    for number, contender in enumerate(contenders):
        for cpus in processors():
            said = os.path.join(folder, f"{number}.{len(cpus)}.txt")
            process = Process(contender, cpus, said)
            stack.callback(process.end)
            lanes.append(Lane(process))
    return lanes


def _warm(lanes: Sequence[Lane], folder: str) -> None:
    """Let all load their libraries, side by side: nothing is timed yet."""
    for lane in lanes:
        lane.process.ask(do="warm", folder=folder)
    for lane in lanes:
        lane.answer()


def _together(lanes: Sequence[Lane]) -> Timing:
    """Put together what a contender shows on different numbers of threads."""
    contender = lanes[0].process.contender
    for lane in lanes:
        if lane.note:
            return Timing(contender, note=lane.note, failed=lane.failed)
    return Timing(
        contender,
        {lane.process.threads: lane.microseconds for lane in lanes},
        {lane.process.threads: lane.steps or 0 for lane in lanes},
    )


def _judged(
    timing: Timing, lanes: Sequence[Lane], folder: str, saying: Callable[[str], None]
) -> Timing:
    """Add the step error of the last round's case, as it is run on the best number of threads."""
    if not timing.rounds:
        return timing
    (lane,) = (
        each
        for each in lanes
        if each.of(timing.contender) and each.process.threads == timing.threads
    )
    saying(f"step error: {lane.label}")
    lane.process.ask(do="judge", folder=folder, steps=timing.steps[timing.threads])
    answer = lane.answer()
    if lane.note:
        return Timing(timing.contender, note=lane.note, failed=lane.failed)
    return timing._replace(step_error=answer["step_error"])
