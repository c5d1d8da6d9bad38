"""How a process starts: Ctrl-C while modules load, little memory, no threads, nothing heavy."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

TABLE = ("run", "--seq", "1,2", "--hidden", "2")


def python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


# At every twentieth module a copy of the process gets the signal.
CTRL_C_WHILE_LOADING = """
import os, signal, sys
from rnncli.__main__ import main
parent, modules, codes = os.getpid(), [], []
os.environ["FORCE_COLOR"] = "1"  # Rich is loaded after signals are handled
def interrupt(frame, event, _):
    if event != "call" or frame.f_code.co_name != "exec_module":
        return
    modules.append(frame)
    if len(modules) % 20:
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
        print(*sorted(set(codes)), len(codes) > 10)
"""


@pytest.mark.parametrize(("name", "codes"), [("SIGINT", "-2 130"), ("SIGTERM", "-15 143")])
def test_a_signal_while_modules_load_ends_without_a_traceback(name: str, codes: str) -> None:
    done = python(CTRL_C_WHILE_LOADING, *TABLE, name)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == f"{codes} True"


LOADED = """
import sys
before = set(sys.modules)
from rnncli.__main__ import main
print(*sorted(set(sys.modules) - before))
try:
    main()
finally:
    heavy = {"numpy", "llvmlite", "fsspec", "asyncio", "rich", "matplotlib", "pyarrow", "dask"}
    print(*sorted((heavy | {"rnncli.storage.remote"}) & sys.modules.keys()))
"""


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["--version"], ""),
        ([*TABLE, "--format", "csv"], "numpy"),
        ([*TABLE, "-o", "out.csv", "--state", "s"], "numpy"),
    ],
)
def test_nothing_is_loaded_that_is_not_needed(tmp_path: Path, words: list[str], heavy: str) -> None:
    """Until Ctrl-C is handled, only `_signal` is loaded."""
    words = [str(tmp_path / word) if word in ("out.csv", "s") else word for word in words]
    first, *_, last = python(LOADED, *words).stdout.splitlines()
    assert set(first.split()) <= {"rnncli", "rnncli.__main__", "_signal"}
    assert last == heavy


# Megabytes on top of what Python itself takes; NumPy takes some hundred.
LITTLE_MEMORY = """
import resource, sys
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + int(sys.argv.pop()) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (most, most))
from rnncli.__main__ import main
main()
"""


@pytest.mark.linux("/proc")
@pytest.mark.parametrize("megabytes", ["2", "24"])
def test_no_memory_to_load_what_is_needed_is_one_line(megabytes: str) -> None:
    done = python(LITTLE_MEMORY, *TABLE, megabytes)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "error: " in done.stderr.lower()  # NumPy's library of products has words of its own
