"""The processes in which ``rnn bench`` times: what each answers, and that none is left."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import read_terminal
from test_bench import TWO, patched

from rnncli.bench.race import Size, race
from rnncli.engine.threads import usable_processors

LINUX = pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="no /proc")


def descended(folder: Path) -> list[int]:
    """Processes whose temporary files go to a folder, but this one."""
    mark = f"TMPDIR={folder}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            try:
                variables = Path("/proc", entry, "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in variables:
                found.append(int(entry))
    return found


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
            pids = descended(tmp_path)
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
    assert descended(tmp_path / "temporary") == []
    assert os.listdir(tmp_path / "temporary") == []


@LINUX
def test_no_process_is_left_after_a_kill(tmp_path: Path) -> None:
    """Most of them are stopped then, and cannot see that nobody asks any more."""
    with racing(tmp_path) as process:
        assert len(descended(tmp_path / "temporary")) == 4
        process.kill()
        process.wait()
    end = time.monotonic() + 60
    while descended(tmp_path / "temporary"):
        assert time.monotonic() < end
        time.sleep(0.01)
