"""Compiled loops and their library in a process: missing or broken, threads, forks, Ctrl-C."""

import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from conftest import ROOT, RUNNABLE, Rnn

import rnncli
from rnncli.engine.compiled.code import lacks, this_machine
from rnncli.engine.unroll import auto

needed = pytest.mark.skipif("compiled" not in RUNNABLE, reason="needs the extra `fast`")

MISSING = "needs llvmlite: pip install -U 'rnncli[fast]'"


def fail() -> None:
    raise OSError("GLIBC\n2.99")


@pytest.fixture(params=["none", "broken"])
def message(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Remove llvmlite or replace it by a broken one; return the reason for that."""
    package = binding = None
    if request.param == "broken":
        package, binding = ModuleType("llvmlite"), ModuleType("llvmlite.binding")
        vars(binding)["initialize_native_target"] = fail
        vars(package)["binding"] = binding
    monkeypatch.setitem(sys.modules, "llvmlite", package)
    monkeypatch.setitem(sys.modules, "llvmlite.binding", binding)
    for cached in (lacks, this_machine):
        cached.cache_clear()
    yield "llvmlite" if package is None else "GLIBC 2.99"
    for cached in (lacks, this_machine):
        cached.cache_clear()


def runs(how: str) -> bytes:
    network = rnncli.seeded(1, 4, seed=1)
    return rnncli.run(network, np.ones((50, 1), "f"), unroll=how).h.tobytes()


def test_without_it_auto_takes_what_numpy_has(
    monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    monkeypatch.setattr(auto, "COMPILATION", -1.0)  # any run would be worth it
    assert message in lacks()
    assert runs("auto") == runs("projected")


def test_to_ask_for_it_is_refused_and_verify_goes_without(run_rnn: Rnn, message: str) -> None:
    result = run_rnn("run", "--seq", "1,2", "--hidden", "4", "--unroll", "compiled")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: unroll compiled: {MISSING} (")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    result = run_rnn("verify", "-", "--hidden", "4", stdin="1\n2\n3\n")
    assert result.exit_code == 0
    shown = " ".join(result.output.split())
    assert "--unroll compiled: " in shown
    assert MISSING in shown


def python(script: str) -> str:
    """Run in a process of its own, in which a warning is an error, and return what is printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


THREADS = """
import sys, threading
import numpy as np
import rnncli
networks = [rnncli.seeded(1, 1 + n % 4, seed=n, cell="lstm", init="torch") for n in range(8)]
x = np.random.RandomState(0).normal(size=(5_000, 1)).astype("f")
found, together = [None] * 8, threading.Barrier(8)
def work(n):
    together.wait()
    found[n] = rnncli.run(networks[n], x, unroll="compiled").h
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
assert "llvmlite" not in sys.modules
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for h, network in zip(found, networks, strict=True):
    assert h.tobytes() == rnncli.run(network, x, unroll="compiled").h.tobytes()
    assert np.abs(h - rnncli.run(network, x, unroll="stepwise").h).max() < 1e-5
"""

FORKS = """
import multiprocessing
import numpy as np
import rnncli
x = np.ones((100, 1), "f")
def run(H):
    return rnncli.run(rnncli.seeded(1, H, seed=H), x, unroll="compiled").h.tobytes()
before = [run(H) for H in (4, 5)]
with multiprocessing.get_context("fork").Pool(2) as pool:  # one loop that is there, one that is not
    assert pool.map(run, [4, 6]) == [before[0], run(6)]
"""

# Steps that would take hours, in an address space that would not hold an array of their inputs.
CTRL_C = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.unroll import Compiled
import rnncli
network = rnncli.seeded(2, 1, seed=1)
(cell,) = network.layers[0].cells
compiled = Compiled(cell, PRECISIONS["float32"])
state, statm = (np.zeros((1, 1), "f"),), Path("/proc/self/statm")
def run(T, x):
    out = np.lib.stride_tricks.as_strided(np.zeros((1, 1, 1), "f"), (T, 1, 1), (0, 4, 4))
    compiled(x, state, (out,))
x = np.ones((1, 1, 2), "f")
run(40_000, np.broadcast_to(x, (40_000, 1, 2)))
if statm.exists():
    most = int(statm.read_text().split()[0]) * resource.getpagesize() + 2**26
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
signal.signal(signal.SIGALRM, signal.default_int_handler)
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    run(10**12, np.broadcast_to(x, (10**12, 1, 2)))
    sys.exit("it ended")
except KeyboardInterrupt:
    pass
"""


@needed
@pytest.mark.parametrize("script", [THREADS, FORKS, CTRL_C], ids=["threads", "forks", "Ctrl-C"])
def test_in_a_process_of_its_own(script: str) -> None:
    assert python(script) == ""
