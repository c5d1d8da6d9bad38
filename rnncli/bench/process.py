"""A process for one contender, which is stopped while others run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from rnncli.__main__ import BLAS_THREADS
from rnncli.bench.contender import Contender
from rnncli.engine.threads import usable_processors

# Processors are chosen before NumPy or a framework is loaded, for each counts them then.
_PROGRAM = """
import ctypes, json, os, signal, sys
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
kind, name, cpus, sys.path[:] = json.loads(sys.argv[1])
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, cpus)
from rnncli.bench.child import serve
from rnncli.bench.contender import Contender
serve(Contender(kind, name))
"""
# For systems where a process cannot choose its processors, and over what the user has set.
_THREADS = ("OMP_NUM_THREADS", *BLAS_THREADS)


def processors() -> list[list[int]]:
    """Give the sets of processors to time on: one, and all that this process may use."""
    usable = usable_processors()
    # The last: most systems handle interrupts on the first.
    return [usable[-1:], usable] if len(usable) > 1 else [usable]


class Process:
    """A process that runs a contender on some processors.

    It is a process group of its own, which Ctrl-C does not reach. If this
    process is killed, that one may be stopped and never learn of it: Linux
    is asked to end it then; other systems wake up such a group to hang up.

    Parameters
    ----------
    contender : Contender
    cpus : list of int
        Numbers of the processors.
    said : str
        File that takes what its libraries say on standard error.
    """

    def __init__(self, contender: Contender, cpus: Sequence[int], said: str) -> None:
        self.contender, self.threads = contender, len(cpus)
        self._said = said
        given = json.dumps([contender.kind, contender.name, list(cpus), sys.path])
        with open(said, "wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, given],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_environment(contender, len(cpus)),
                process_group=0,
            )

    def ask(self, **question: Any) -> None:
        """Wake it up and ask; one that has ended does not mind."""
        assert self._process.stdin
        self._process.send_signal(signal.SIGCONT)
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for its answer, then stop it: libraries' threads may go on spinning."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            return {"failed": self._last_words()}
        self._process.send_signal(signal.SIGSTOP)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """End it at once, whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # a question that was never read
                if pipe:
                    pipe.close()

    def _last_words(self) -> str:
        """Say how it ended by itself."""
        code = self._process.wait()
        if code < 0:
            return f"ended by signal {-code}"
        with open(self._said, errors="replace") as file:
            lines = file.read().split("\n")
        return next((line for line in reversed(lines) if line.strip()), f"ended with {code}")


def _environment(contender: Contender, threads: int) -> dict[str, str]:
    """Give the environment of a contender that may take so many threads."""
    if contender.kind == "peer":
        return os.environ | dict.fromkeys(_THREADS, str(threads))
    return dict.fromkeys(BLAS_THREADS, "1") | os.environ  # as `rnn run` has it
