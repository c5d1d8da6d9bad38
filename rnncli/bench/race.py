"""The race: strategies and peers run in turn, each in a process; the others are stopped."""

import json
import os
import pickle
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from math import floor, log10
from statistics import median
from typing import Any, NamedTuple, TextIO

import numpy as np

from rnncli import __version__
from rnncli.__main__ import BLAS_THREADS
from rnncli.engine.threads import usable_processors
from rnncli.engine.unroll import UNROLLS, why_unavailable
from rnncli.model.errors import InputError, printable
from rnncli.model.seeds import seeded
from rnncli.verification.case import Case, case_of_batch
from rnncli.verification.peers import PEERS, REQUIREMENT, version
from rnncli.writers.grid import Column, draw

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


class Size(NamedTuple):
    """A default case: T steps, I features, H units and N sequences, weights drawn as by PyTorch."""

    T: int
    I: int
    H: int
    N: int = 1
    cell: str = "rnn"
    keeping: str = ""  # a gate with a bias of 5: the network forgets slowly, as trained ones do

    def title(self, precision: str) -> str:
        """Describe the case in one line."""
        size = f"T = {self.T:,}, N = {self.N:,}, I = {self.I}, H = {self.H}"
        bias = f", b_{self.keeping} = 5" if self.keeping else ""
        return f"{self.cell.upper()}: {size}, {precision}, init torch{bias}"

    def case(self, seed: int, precision: str) -> Case:
        """Draw the weights and a normal input, both from a seed."""
        network = seeded(self.I, self.H, seed, "torch", cell=self.cell)
        if self.keeping:
            (cell,) = network.layers[0].cells
            gate = cell.gate_names.index(self.keeping)
            cell.weights.b_h[gate * self.H : (gate + 1) * self.H] = 5
        x = np.random.RandomState(seed).standard_normal((self.N, self.T, self.I))
        return case_of_batch(network, x, precision=precision)


SIZES = (
    Size(1_000_000, 1, 4),
    Size(20_000, 64, 256),
    Size(50, 4, 16, 10_000),
    Size(100_000, 8, 64, cell="lstm"),
    Size(50_000, 8, 64, cell="lstm", keeping="f"),
    Size(256, 64, 256, 64, cell="lstm"),
    Size(50_000, 8, 64, cell="gru", keeping="z"),
    Size(50, 4, 16, 10_000, cell="gru"),
)


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
        except (EOFError, pickle.UnpicklingError):  # a negative code is a signal
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
            raise InputError(f"peer {peer}", lacking[peer])
    names = [name for name, what in lacking.items() if not what]
    return names, {name: what for name, what in lacking.items() if what}


def race(
    case_of: Callable[[int], Case], names: Sequence[str], rounds: int, show: Callable[[str], None]
) -> list[Racer]:
    """Time candidates in rounds on the same weights and input; a slow spell slows a whole round.

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
        for name in names:  # the one that failed, or the faster one
            attempts = [each for each in racers if each.name == name]
            racer = min(attempts, key=lambda each: (not each.note, median(each.rounds or [0.0])))
            show(f"step error: {racer.name}")
            racer.ask("judge", case, racer.steps)
            racer.step_error = racer.answer()
            best.append(racer)
    return best


def write_machine(out: TextIO, absent: Mapping[str, str]) -> None:
    """Write the machine and the versions, and why candidates are absent."""
    processor = platform.processor() or platform.machine()
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        processor = models[0] if models else processor
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    peers = [f"{name} {installed}" for name in PEERS if (installed := version(name))]
    lines = [
        f"{processor}, {len(usable_processors())} usable, {platform.system()} {platform.machine()}",
        f"rnn {__version__}, Python {platform.python_version()}, NumPy {np.__version__}",
        f"BLAS: {blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        f"Peers: {', '.join(peers) or 'none'}",
        *(f"{name}: {what}" for name, what in absent.items()),
    ]
    out.write("\n".join(lines) + "\n")
    out.flush()


def write_table(out: TextIO, title: str, T: int, timings: Sequence[Racer]) -> None:
    """Draw a row for each candidate that was timed on a case of T steps, then write the notes."""
    timed = [each for each in timings if not each.note]
    medians = {each.name: median(each.rounds) for each in timed}
    columns = {
        "µs a step": [_digits(each) for each in medians.values()],
        "min": [_digits(min(each.rounds)) for each in timed],
        "max": [_digits(max(each.rounds)) for each in timed],
        "threads": [str(each.threads) for each in timed],
    }
    notes = []
    if peers := [name for name in medians if name in PEERS]:
        fastest = min(peers, key=lambda name: medians[name])
        columns["ratio"] = [_digits(medians[fastest] / each) for each in medians.values()]
        notes.append(f"Ratio: how many times faster than {fastest}.")
    errors = [each.step_error for each in timed]
    columns["step error"] = ["" if error is None else f"{error:.2g}" for error in errors]
    short = [each for each in timed if each.steps not in (None, T)]
    notes += [f"{each.name}: the first {each.steps:,} steps." for each in short]
    notes += [f"{each.name}: {each.note}" for each in timings if each.note]
    out.write("\n")
    draw(out, title, [Column("", [*medians])], [Column(*each) for each in columns.items()])
    out.writelines(f"{printable(line)}\n" for line in (["", *notes] if notes else []))
    out.flush()


def _digits(value: float) -> str:
    """Write three digits, or all before the point."""
    return f"{value:.{max(0, 2 - floor(log10(value)))}f}"
