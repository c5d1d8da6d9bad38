"""How a process starts: Ctrl-C while modules load, warnings, little memory, no threads."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

import rnncli

COMMAND = "from rnncli.__main__ import main; main()"
TABLE = ("run", "--seq", "1,2", "--hidden", "2")


def python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


# At every tenth module a copy of the process gets the signal, and where attributes of a class
# are told their names: there Python makes another exception of the one that a handler raises.
CTRL_C_WHILE_LOADING = """
import os, signal, sys
from rnncli.__main__ import main
parent, modules, codes = os.getpid(), [], []
def chosen(code):
    if code.co_name == "exec_module":
        modules.append(code)
        return len(modules) % 10 == 0
    return code.co_name == "__set_name__" and "enum" not in code.co_filename
def interrupt(frame, event, _):
    if event != "call" or not chosen(frame.f_code):
        return
    child = os.fork()
    if child:
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return
    sys.setprofile(None)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.raise_signal(getattr(signal, name))
name = sys.argv.pop()
sys.setprofile(interrupt)
try:
    main()
finally:
    sys.setprofile(None)
    if os.getpid() == parent:
        print(*sorted(set(codes)), len(codes) > 20)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "codes"), [("SIGINT", "-2 130"), ("SIGTERM", "-15 143")])
def test_a_signal_while_modules_load_ends_without_a_traceback(name: str, codes: str) -> None:
    done = python(CTRL_C_WHILE_LOADING, *TABLE, name)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == f"{codes} True"


def test_nothing_is_loaded_before_ctrl_c_is_seen_to() -> None:
    script = "import sys; before = set(sys.modules); import rnncli.__main__\n"
    done = python(f"{script}print(*sorted(set(sys.modules) - before))")
    assert set(done.stdout.split()) <= {"rnncli", "rnncli.__main__", "_signal"}


# A thread's stack does not fit into the memory that is allowed.
WITHOUT_THREADS = """
import resource, sys, threading
resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
threading.stack_size(2**33)
try:
    threading.Thread(target=print).start()
    sys.exit("there are threads")
except RuntimeError:
    from rnncli.__main__ import main
    main()
"""


@pytest.mark.slow
def test_a_system_without_threads_computes_the_same(tmp_path: Path) -> None:
    batch = np.random.RandomState(0).normal(size=(6_000, 7, 2)).astype(np.float32)
    np.save(tmp_path / "batch.npy", batch)
    run = ("run", str(tmp_path / "batch.npy"), "--hidden", "16", "--init", "torch", "--last")
    done = python(WITHOUT_THREADS, *run, "--format", "csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == python(COMMAND, *run, "--format", "csv").stdout


LOADED = """
import sys
from rnncli.__main__ import main
try:
    main()
finally:
    print(*{"numpy", "llvmlite"} & sys.modules.keys())
"""


def test_the_version_is_told_without_numpy() -> None:
    assert python(LOADED, "--version").stdout == f"rnn {rnncli.__version__}\n\n"


def test_a_short_run_compiles_nothing() -> None:
    assert python(LOADED, *TABLE).stdout.splitlines()[-1] == "numpy"


# Megabytes on top of what Python itself takes; NumPy takes some hundred.
LITTLE_MEMORY = """
import resource, sys
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + int(sys.argv.pop()) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (most, most))
from rnncli.__main__ import main
main()
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc on this system")
@pytest.mark.parametrize("megabytes", ["2", "8", "24", "64"])
def test_no_memory_to_load_what_is_needed_is_one_line(megabytes: str) -> None:
    done = python(LITTLE_MEMORY, *TABLE, megabytes)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "error: " in done.stderr.lower()  # NumPy's library of products has words of its own
