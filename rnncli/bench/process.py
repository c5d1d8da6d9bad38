"""A child process for each candidate, which is stopped while others run.

Parent and child exchange lines of JSON. A question is ``[method, steps]``: a
method of `Candidate`, and how many of the first steps it runs. The answer is
``{"result"}``, or ``{"note", "failed"}``: why there is no result, and whether
that is a failure, not a network that the candidate cannot express.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

from rnncli.__main__ import BLAS_THREADS
from rnncli.bench.candidates import Candidate
from rnncli.bench.cases import load_case
from rnncli.engine.threads import usable_processors
from rnncli.verification.peers import Unsupported

# The child chooses its processors before it loads NumPy or a framework, which count them then.
_PROGRAM = """
import ctypes, json, os, signal, sys
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
kind, name, folder, cpus, sys.path[:] = json.loads(sys.argv[1])
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, cpus)
from rnncli.bench.candidates import Candidate
from rnncli.bench.process import serve
serve(Candidate(kind, name), folder)
"""


def processors(candidate: Candidate) -> list[list[int]]:
    """Return the sets of processors to time on: all, which a peer may be slower on than on one."""
    usable = usable_processors()
    if candidate.kind == "strategy" or len(usable) == 1:
        return [usable]
    return [usable[-1:], usable]  # most systems handle interrupts on the first


class Process:
    """A process that runs a candidate on some processors; what libraries print goes to a file.

    It is a process group of its own, which Ctrl-C does not reach. A stopped
    child would not learn that this process was killed: Linux is asked to
    kill it too; other systems continue such a group to hang it up.
    """

    def __init__(self, candidate: Candidate, folder: str, cpus: list[int]) -> None:
        self.threads = len(cpus)
        self.label = f"{candidate.label}, {len(cpus)} thread{'s' * (len(cpus) > 1)}"
        argument = json.dumps([*candidate, folder, cpus, sys.path])
        self._errors = os.path.join(folder, f"{candidate.name}-{len(cpus)}.txt")
        with open(self._errors, "wb") as stderr:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, argument],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=_environment(candidate, len(cpus)),
                process_group=0,
            )

    def ask(self, method: str, steps: int | None) -> None:
        """Continue the process and ask it, unless it has ended."""
        assert self._child.stdin
        self._child.send_signal(signal.SIGCONT)
        with suppress(BrokenPipeError):
            self._child.stdin.write(f"{json.dumps([method, steps])}\n".encode())
            self._child.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the answer, then stop the process: a library's threads may go on spinning."""
        assert self._child.stdout
        line = self._child.stdout.readline()
        if not line.endswith(b"\n"):
            return {"note": self._last_words(), "failed": True}
        self._child.send_signal(signal.SIGSTOP)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Kill the process."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            with suppress(OSError):  # a question that was never read
                if pipe:
                    pipe.close()

    def _last_words(self) -> str:
        code = self._child.wait()
        if code < 0:
            return f"ended by signal {-code}"
        with open(self._errors, errors="replace") as file:
            lines = file.read().split("\n")
        return next((line for line in reversed(lines) if line.strip()), f"ended with {code}")


def _environment(candidate: Candidate, threads: int) -> dict[str, str]:
    if candidate.kind == "strategy":
        return dict.fromkeys(BLAS_THREADS, "1") | os.environ  # as `rnn run` has it
    # For systems where a process cannot choose its processors, and over what the user has set.
    return os.environ | dict.fromkeys(("OMP_NUM_THREADS", *BLAS_THREADS), str(threads))


def serve(candidate: Candidate, folder: str) -> None:
    """Answer questions until standard input ends; this is what a child does."""
    stdout, stderr = 1, 2
    with os.fdopen(os.dup(stdout), "w") as out:
        os.dup2(stderr, stdout)  # what libraries print is no answer
        for line in sys.stdin:
            print(json.dumps(answer(candidate, folder, *json.loads(line))), file=out, flush=True)


def answer(candidate: Candidate, folder: str, method: str, steps: int | None) -> dict[str, Any]:
    """Answer one question; nothing is kept for the next."""
    try:
        return {"result": getattr(candidate, method)(load_case(folder), steps)}
    except Unsupported as error:
        return {"note": str(error), "failed": False}
    # Whatever a library raises is no reason to lose the timings of the others.
    except Exception as error:
        return {"note": f"{type(error).__name__}: {error}", "failed": True}
