"""``rnn bench``: it times right runs, says who fails, and leaves no process; never how fast."""

import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from processes import read_terminal, started_in

import rnncli
from rnncli.bench.race import Size, race, write_table
from rnncli.engine.threads import usable_processors

NAMES = ["auto", "stepwise", "fused"]
# Loaded by every Python of the command: no library to time but rnn, and two strategies.
TWO = """
import importlib.metadata as metadata
from rnncli.engine import unroll

def absent(name):
    raise metadata.PackageNotFoundError(name)

metadata.distribution = absent
fused = unroll.UNROLLS["fused"]
for name in [*unroll.UNROLLS]:
    if name not in ("stepwise", "fused"):
        del unroll.UNROLLS[name]
"""
WRONG = """
def wrong(cell, *others):
    weights = cell.weights._replace(b_h=cell.weights.b_h + cell.weights.b_h.dtype.type(0.01))
    return fused(cell.replaced(weights), *others)

unroll.STRATEGIES["fused"] = wrong
"""
BROKEN = """
def broken(*_):
    raise RuntimeError("it does not run")

unroll.STRATEGIES["fused"] = broken
"""


def patched(folder: Path, code: str) -> dict[str, str]:
    """The environment of a command in which Python runs this code first."""
    (folder / "patched").mkdir()
    (folder / "patched" / "sitecustomize.py").write_text(code)
    return os.environ | {"PYTHONPATH": f"{folder / 'patched'}:{ROOT}", "COLUMNS": "80"}


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., tuple[int, str, dict[str, list[str]]]]:
    """Run the command; return its exit code, what it wrote, and the row of each strategy."""

    def run(code: str, *arguments: object) -> tuple[int, str, dict[str, list[str]]]:
        command = [sys.executable, "-m", "rnncli", "bench", "--repeats", "1", *map(str, arguments)]
        environment = patched(tmp_path, code)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        rows = [line.split() for line in done.stdout.splitlines()]
        found = {row[0]: row[1:] for row in rows if row and row[0] in NAMES}
        return done.returncode, done.stdout, found

    return run


def test_a_right_run_has_a_small_step_error(bench: Any, tmp_path: Path) -> None:
    """The sequences have unlike lengths, and the model gives one row for each."""
    layers = rnncli.seeded(1, 3, 1, "torch", cell="lstm").layers
    network = rnncli.Network(*layers, rnncli.Dense(np.ones((3, 2))), last="state")
    rnncli.save(network, tmp_path / "w.npz")
    (tmp_path / "x.csv").write_text("k,v\na,1\na,2\nb,3\nb,4\nb,5\n")
    code, text, rows = bench(
        TWO, tmp_path / "x.csv", "--group-by", "k", "--weights", tmp_path / "w.npz"
    )
    assert code == 0
    assert list(rows) == NAMES
    assert all(0 < float(row[-1]) < 1 for row in rows.values())
    assert ", T = 3, N = 2 " in " ".join(text.split())
    assert re.search(f"^rnn .*, NumPy {np.__version__}", text, re.MULTILINE)
    assert "\ntorch: not installed: pip install 'rnncli[peers]'\n" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_wrong_run_has_a_large_step_error(bench: Any) -> None:
    _, _, rows = bench(TWO + WRONG, "--seq", "1,2,3,4,5,6", "--hidden", "4")
    assert float(rows["stepwise"][-1]) < 1
    assert float(rows["fused"][-1].replace(",", "")) > 100


def test_a_network_that_forgets_slowly_has_the_bias_of_its_title() -> None:
    size = Size(1, 1, 2, cell="gru", keeping="z")
    assert "b_z = 5" in size.title("float32")
    (cell,) = size.case(1, "float32").network.layers[0].cells
    assert (cell.weights.b_h == 5).tolist() == [True] * 2 + [False] * 4


def test_a_failure_is_said_and_the_others_are_timed(bench: Any) -> None:
    code, text, rows = bench(TWO + BROKEN, "--seq", "1,2,3,4,5,6", "--hidden", "4")
    assert (code, list(rows)) == (1, ["auto", "stepwise"])
    assert "\nfused: RuntimeError: it does not run\n" in text


def test_the_table_beside_libraries() -> None:
    def timing(name: str, *rounds: float, **more: Any) -> Any:
        values = {"steps": 10**6, "step_error": 0.125, "note": "", **more}
        return SimpleNamespace(name=name, threads=2, rounds=rounds, **values)

    out = StringIO()
    timings = [
        timing("parallel", 0.02, 0.021, 0.019),
        timing("stepwise", 9, 8, 7, steps=600_000),
        timing("torch", 4, 2, 3, step_error=np.inf),
        timing("onnxruntime", 0.1, 0.16, 123),
        timing("keras", 0.01, note="Keras has no clip"),
    ]
    write_table(out, "a title", 10**6, timings)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    rows = {line.split()[-7]: line.split()[-6:] for line in lines if len(line.split()) >= 7}
    assert rows["parallel"] == ["0.0200", "0.0190", "0.0210", "2", "8.00", "0.12"]
    assert rows["onnxruntime"] == ["0.160", "0.100", "123", "2", "1.00", "0.12"]
    assert rows["torch"][-1] == "inf"
    assert lines[-3:] == [
        "Ratio: how many times faster than onnxruntime.",
        "stepwise: the first 600,000 steps.",
        "keras: Keras has no clip",
    ]


# Processes: what each answers, and that none is left.

LINUX = pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="no /proc")


def state_of(pid: int) -> str:
    """Letter of a process's state: T where it is stopped."""
    return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]


@LINUX
def test_all_are_processes_of_their_own_and_stopped_between_timings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    seen: list[list[int]] = []

    def look(line: str) -> None:
        if line != "starting":
            pids = started_in(tmp_path)
            seen.append(sorted(len(os.sched_getaffinity(pid)) for pid in pids))
            while any(state_of(pid) != "T" for pid in pids):
                time.sleep(0.001)

    case = Size(5, 1, 2).case(1, "float32")
    candidates = ["auto", "stepwise"]
    race(lambda _: case, candidates, 2, look)
    assert len(seen) == 2 * len(candidates) + len(candidates)
    cpus = len(usable_processors())
    assert all(found == [cpus] * len(candidates) for found in seen)


@contextmanager
def racing(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the command, and wait until it says on its terminal that it is timing."""
    master, slave = pty.openpty()
    arguments = ("bench", "--seq", "1,2,3", "--hidden", "4", "--repeats", "1000000")
    environment = patched(folder, TWO)
    temporary = folder / "temporary"
    temporary.mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "rnncli", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=slave,
        env=environment | {"TMPDIR": str(temporary)},
    ) as process:
        os.close(slave)
        try:
            shown = b""
            while b"round 2 of" not in shown:
                shown += os.read(master, 4096)
            assert b"case 1 of 1, round 1 of 1000000: auto, " in shown
            # A terminal that nobody reads fills up, and holds a process up that writes to it.
            reader = threading.Thread(target=read_terminal, args=[master])
            reader.start()
            yield process
        finally:
            process.kill()
        reader.join()


@LINUX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_nothing_is_left_after_a_signal(tmp_path: Path, number: int, code: int) -> None:
    with racing(tmp_path) as process:
        process.send_signal(number)
        assert process.wait() == code
    assert started_in(tmp_path / "temporary") == []
    assert os.listdir(tmp_path / "temporary") == []


@LINUX
def test_no_process_is_left_after_a_kill(tmp_path: Path) -> None:
    """Most of them are stopped then, and cannot see that nobody asks any more."""
    with racing(tmp_path) as process:
        assert len(started_in(tmp_path / "temporary")) == 4
        process.kill()
        process.wait()
    end = time.monotonic() + 60
    while started_in(tmp_path / "temporary"):
        assert time.monotonic() < end
        time.sleep(0.01)
