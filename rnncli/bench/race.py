"""Candidates in turn, a process each: while one runs, all others are stopped.

A candidate is the name of a strategy of ``rnn run``, or of a peer.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from rnncli.__main__ import BLAS_THREADS
from rnncli.bench.cases import save_case
from rnncli.engine.threads import usable_processors
from rnncli.engine.unroll import UNROLLS, missing
from rnncli.verification.case import Case
from rnncli.verification.peers import PEERS, REQUIREMENT, version

# The child chooses its processors before it loads NumPy or a framework, which count them then.
_PROGRAM = """
import ctypes, json, os, signal, sys
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
name, folder, cpus, sys.path[:] = json.loads(sys.argv[1])
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, cpus)
from rnncli.bench.child import serve
serve(name, folder)
"""


class Racer:
    """A candidate in a process of its own; what libraries print goes to a file.

    It is a process group of its own, which Ctrl-C does not reach. A stopped
    child would not learn that this process was killed: Linux is asked to
    kill it too; other systems continue such a group to hang it up.
    """

    steps: int | None = None  # how many of the first steps are timed
    step_error: float | None = None  # the largest of one run
    note = ""  # why it was not timed
    failed = False  # whether that is a failure, not a network that it cannot express

    def __init__(self, name: str, folder: str, cpus: list[int]) -> None:
        self.name, self.label, self.threads = name, label(name), len(cpus)
        self.rounds: list[float] = []  # microseconds a step
        environment = dict.fromkeys(BLAS_THREADS, "1") | os.environ  # as `rnn run` has it
        if name in PEERS:
            # For systems where a process cannot choose its processors, and over what is set.
            environment |= dict.fromkeys(("OMP_NUM_THREADS", *BLAS_THREADS), str(len(cpus)))
        self._errors = os.path.join(folder, f"{name}-{len(cpus)}.txt")
        with open(self._errors, "wb") as stderr:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, json.dumps([name, folder, cpus, sys.path])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
                process_group=0,
            )

    def ask(self, function: str, steps: int | None) -> None:
        """Continue the process and ask it, unless it has ended."""
        if self.note:
            return
        assert self._child.stdin
        self._child.send_signal(signal.SIGCONT)
        with suppress(BrokenPipeError):
            self._child.stdin.write(f"{json.dumps([function, steps])}\n".encode())
            self._child.stdin.flush()

    def answer(self) -> Any:
        """Wait for the result, then stop the process: a library's threads may go on spinning."""
        if self.note:
            return None
        assert self._child.stdout
        line = self._child.stdout.readline()
        if line.endswith(b"\n"):
            self._child.send_signal(signal.SIGSTOP)
            found = json.loads(line)
            self.note, self.failed = found.get("note", ""), found.get("failed", False)
            return found.get("result")
        code, self.failed = self._child.wait(), True
        with open(self._errors, errors="replace") as file:
            lines = [line for line in file.read().split("\n") if line.strip()]
        self.note = f"ended by signal {-code}" if code < 0 else [f"ended with {code}", *lines][-1]
        return None

    def close(self) -> None:
        """Kill the process."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            with suppress(OSError):  # a question that was never read
                if pipe:
                    pipe.close()


def label(name: str) -> str:
    """Name a candidate in results: strategies by their option."""
    return name if name in PEERS else f"`unroll` {name}"


def find_candidates(wanted: Sequence[str], precision: str) -> tuple[list[str], dict[str, str]]:
    """Find every strategy and the wanted peers that can run here, and what the others lack."""
    lacking = {name: missing(name, precision) for name in ("auto", *UNROLLS)}
    for peer in dict.fromkeys(wanted or PEERS):
        lacking[peer] = "" if version(peer) else f"not installed: {REQUIREMENT}"
        if wanted and lacking[peer]:
            raise ValueError(f"peer {peer} is {lacking[peer]}")
    absent = {label(name): what for name, what in lacking.items() if what}
    return [name for name, what in lacking.items() if not what], absent


def processors(name: str) -> Iterator[list[int]]:
    """Yield the sets of processors to time on: one, on which a peer may be faster, and all."""
    usable = usable_processors()
    if name in PEERS and len(usable) > 1:
        yield usable[-1:]  # most systems handle interrupts on the first
    yield usable


def race(
    case_of: Callable[[int], Case],
    names: Sequence[str],
    rounds: int,
    show: Callable[[str], None] = lambda _: None,
) -> list[Racer]:
    """Time candidates on the same weights and input, in rounds counted from 1.

    A peer is timed on one processor and on all, in a process of its own for
    each: a library decides once how many threads it takes. In every round
    all are timed one after the other, so that a slow spell of the machine
    slows all of them. ONNX Runtime's threads spin for some time after a
    run: all but the one that is timed are stopped. `show` takes a line that
    names what is done next.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="rnn-bench-"))
        racers = [
            stack.enter_context(closing(Racer(name, folder, cpus)))
            for name in names
            for cpus in processors(name)
        ]
        for number in range(1, rounds + 1):
            save_case(folder, case_of(number))
            if number == 1:  # all load their libraries side by side, which does not count
                show("starting")
                for racer in racers:
                    racer.ask("time", 1)
                for racer in racers:
                    racer.answer()
            for racer in racers:
                threads = f"{racer.threads} thread{'s' * (racer.threads > 1)}"
                show(f"round {number} of {rounds}: {racer.label}, {threads}")
                racer.ask("time", racer.steps)
                if result := racer.answer():
                    microseconds, racer.steps = result
                    racer.rounds.append(microseconds)
        best = []
        for name in names:  # one that failed, or the faster one
            own = [each for each in racers if each.name == name]
            racer = min(own, key=lambda each: (not each.note, median(each.rounds or [0.0])))
            show(f"step error: {racer.label}")
            racer.ask("judge", racer.steps)
            racer.step_error = racer.answer()
            best.append(racer)
    return best
