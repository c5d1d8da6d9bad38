"""Batches on a cluster that the command starts itself: the results, and what a kill leaves."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from conftest import ROOT, Rnn

KILLS = int(os.environ.get("RNN_KILLS", "3"))
OPTIONS = ("--columns", "value", "--hidden", "3", "--unroll", "stepwise")
FILES = 60

pytestmark = pytest.mark.slow


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_rnn: Rnn) -> dict[str, bytes]:
    """What a run makes of each input of the folder that commands are run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "in").mkdir()
    found = {}
    for n in range(FILES):
        rows = "".join(f"{(n + t) % 7 - 3}\n" for t in range(50 + n))
        Path(f"in/{n}.csv").write_text(f"value\n{rows}")
        assert run_rnn("run", f"in/{n}.csv", *OPTIONS, "-o", "one.csv").exit_code == 0
        found[f"{n}.csv"] = Path("one.csv").read_bytes()
    return found


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "rnncli", "batch", "in/*.csv", *OPTIONS, *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


def children(pid: int) -> list[int]:
    text = ""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return list(map(int, text.split()))


def all_below(pid: int) -> list[int]:
    return [each for child in children(pid) for each in (child, *all_below(child))]


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def check_results(expected: dict[str, bytes], folder: Path) -> None:
    """Check that all outputs are whole and right, each is in the report once, and no other file."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    report = [json.loads(line) for line in found.pop("rnn-batch.jsonl").splitlines() if line]
    assert found == expected
    done = Counter(item["output"] for item in report if item["status"] == "done")
    assert len(done) == len(expected)
    assert set(done.values()) == {1}


def test_a_cluster_is_started_and_ended(expected: dict[str, bytes], tmp_path: Path) -> None:
    with started("-o", "out", "--scheduler", "local", "-j", "2") as batch:
        assert batch.stderr
        stderr = batch.stderr.read()
    assert batch.returncode == 0
    assert stderr.startswith("60 done, 0 skipped, 0 failed")
    assert len(stderr.splitlines()) == 1
    check_results(expected, tmp_path / "out")
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_kill_loses_nothing(seed: int, expected: dict[str, bytes], tmp_path: Path) -> None:
    chosen, report = random.Random(seed), tmp_path / "out" / "rnn-batch.jsonl"
    lines = chosen.randrange(FILES // 2)
    with started("-o", "out", "--scheduler", "local", "-j", "2") as batch:
        until(lambda: report.exists() and report.read_bytes().count(b"\n") >= lines)
        until(lambda: batch.poll() is not None or len(all_below(batch.pid)) > 2)
        there = [batch.pid, *all_below(batch.pid)]
        with suppress(ProcessLookupError):  # it was quicker
            os.kill(chosen.choice(there), signal.SIGKILL)
        assert batch.stderr
        stderr = batch.stderr.read()
    assert "Traceback" not in stderr
    until(lambda: not any(map(alive, there)))
    with started("-o", "out", "-j", "2") as batch:
        assert batch.wait() == 0
    check_results(expected, tmp_path / "out")
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.usefixtures("expected")
def test_a_cluster_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__PRELOAD", "['none_such']")
    with started("-o", "out", "--scheduler", "local") as batch:
        assert batch.stderr
        stderr = batch.stderr.read()
    assert batch.returncode == 1
    assert stderr.startswith("Error: local: no cluster can be started here: ")
    assert len(stderr.splitlines()) == 1
    assert "none_such" in stderr
