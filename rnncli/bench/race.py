"""Candidates, which are strategies or peers, in turn: while one runs, all others are stopped."""

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from statistics import median
from typing import Any

from rnncli.__main__ import BLAS_THREADS
from rnncli.engine.threads import usable_processors
from rnncli.engine.unroll import UNROLLS, why_unavailable
from rnncli.verification.case import Case
from rnncli.verification.peers import PEERS, REQUIREMENT, version

# The child chooses its processors before it loads NumPy or a framework, which count them then.
_PROGRAM = """
import ctypes, json, os, signal, sys
if sys.platform == "linux":  # a stopped child would not learn that its parent was killed
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
name, cpus, sys.path[:] = json.loads(sys.argv[1])
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, cpus)
from rnncli.bench.child import serve
serve(name)
"""


class Racer:
    """A candidate in a process and a group of its own, which Ctrl-C does not reach."""

    steps: int | None = None  # how many of the first steps are timed
    step_error: float | None = None  # the largest of one run
    note = ""  # why it was not timed
    failed = False  # whether that is a failure, not a network that it cannot express

    def __init__(self, name: str, cpus: list[int]) -> None:
        self.name, self.threads = name, len(cpus)
        self.rounds: list[float] = []  # microseconds a step
        environment = dict.fromkeys(BLAS_THREADS, "1") | os.environ  # as `rnn run` has it
        if name in PEERS:
            environment |= dict.fromkeys(("OMP_NUM_THREADS", *BLAS_THREADS), str(len(cpus)))
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, json.dumps([name, cpus, sys.path])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            process_group=0,
        )

    def ask(self, function: str, case: Case, steps: int | None) -> None:
        """Continue the process and ask it, unless it has ended."""
        if not self.note and self._child.stdin:
            self._child.send_signal(signal.SIGCONT)
            with suppress(BrokenPipeError):
                pickle.dump((function, case, steps), self._child.stdin)
                self._child.stdin.flush()

    def answer(self) -> Any:
        """Wait for the result, then stop the process: a library's threads may go on spinning."""
        if self.note or not self._child.stdout:
            return None
        try:
            result, self.note, self.failed = pickle.load(self._child.stdout)
        except (EOFError, pickle.UnpicklingError):  # a code under 0 is the signal
            result, self.note, self.failed = None, f"ended with {self._child.wait()}", True
        self._child.send_signal(signal.SIGSTOP)
        return result

    def close(self) -> None:
        """Kill the process."""
        self._child.kill()
        self._child.communicate()  # closes its pipes


def find_candidates(wanted: Sequence[str], precision: str) -> tuple[list[str], dict[str, str]]:
    """Find every strategy and the wanted peers that can run here, and what the others lack."""
    lacking = {name: why_unavailable(name, precision) for name in ("auto", *UNROLLS)}
    for peer in wanted or PEERS:
        lacking[peer] = "" if version(peer) else f"not installed: {REQUIREMENT}"
        if wanted and lacking[peer]:
            raise ValueError(f"peer {peer}: {lacking[peer]}")
    names = [name for name, what in lacking.items() if not what]
    return names, {name: what for name, what in lacking.items() if what}


def race(
    case_of: Callable[[int], Case],
    names: Sequence[str],
    rounds: int,
    show: Callable[[str], None],
) -> list[Racer]:
    """Time candidates on the same weights and input, in rounds; a slow spell slows all of one.

    A peer is timed on one processor and on all: a library decides once how many threads it takes.
    `show` takes a line that names what is done next.
    """
    usable = usable_processors()
    one = [usable[-1:]] if len(usable) > 1 else []  # most systems handle interrupts on the first
    with ExitStack() as stack:
        racers = [
            stack.enter_context(closing(Racer(name, cpus)))
            for name in names
            for cpus in ([*one, usable] if name in PEERS else [usable])
        ]
        show("starting")
        case = case_of(1)
        for racer in racers:  # all load their libraries side by side, which does not count
            racer.ask("time", case, 1)
        for racer in racers:
            racer.answer()
        for number in range(1, rounds + 1):
            case = case_of(number)
            for racer in racers:
                threads = f"{racer.threads} thread{'s' * (racer.threads > 1)}"
                show(f"round {number} of {rounds}: {racer.name}, {threads}")
                racer.ask("time", case, racer.steps)
                if result := racer.answer():
                    microseconds, racer.steps = result
                    racer.rounds.append(microseconds)
        best = []
        for name in names:  # one that failed, or the faster one
            attempts = [each for each in racers if each.name == name]
            racer = min(attempts, key=lambda each: (not each.note, median(each.rounds or [0.0])))
            show(f"step error: {racer.name}")
            racer.ask("judge", case, racer.steps)
            racer.step_error = racer.answer()
            best.append(racer)
    return best
