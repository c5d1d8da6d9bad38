"""The processes in which ``rnn bench`` times: what each answers, and that none is left."""

import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_bench import AUTO, SEQ, STRATEGIES
from test_terminal import everything

from rnncli.bench.candidates import Candidate
from rnncli.bench.cases import Size, save_case
from rnncli.bench.process import Process, processors
from rnncli.bench.race import race

PEER = Candidate("peer", "torch")
LINUX = pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="no /proc")


@contextmanager
def process_of(candidate: Candidate, cpus: list[int], folder: Path) -> Iterator[Process]:
    with closing(Process(candidate, str(folder), cpus)) as process:
        yield process


@pytest.fixture
def no_longer_than_a_minute() -> Iterator[None]:
    """Turn a wait that never ends into a failure."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it goes on"))
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
@pytest.mark.usefixtures("no_longer_than_a_minute")
@pytest.mark.parametrize("cpus", processors(PEER), ids=len)
def test_a_process_is_stopped_once_it_has_answered(tmp_path: Path, cpus: list[int]) -> None:
    save_case(str(tmp_path), Size(5, 1, 2).case(1, "float32"))
    with process_of(AUTO, cpus, tmp_path) as process:
        pid = process._child.pid
        for _ in range(2):
            process.ask("time", 5)
            assert process.answer()["result"][1] == 5
            stopped = os.waitid(os.P_PID, pid, os.WSTOPPED)
            assert stopped
            assert stopped.si_status == signal.SIGSTOP
        if hasattr(os, "sched_getaffinity"):
            assert os.sched_getaffinity(pid) == set(cpus)
            assert process.threads == len(cpus)


@pytest.mark.parametrize("kind", ["strategy", "peer"])
def test_strategies_run_as_rnn_run_does_and_peers_with_all_threads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VECLIB_MAXIMUM_THREADS", "2")
    given: dict[str, str] = {}

    def start(*_: Any, env: dict[str, str], **__: Any) -> None:
        given.update(env)

    monkeypatch.setattr(subprocess, "Popen", start)
    Process(Candidate(kind, "auto"), str(tmp_path), [0, 1, 2])
    threads = {name: count for name, count in given.items() if name.endswith("_THREADS")}
    expected = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "VECLIB_MAXIMUM_THREADS": "2"}
    if kind == "peer":
        expected = dict.fromkeys(["OMP_NUM_THREADS", *expected], "3")
    assert threads == expected


def test_a_process_that_ends_by_itself(tmp_path: Path) -> None:
    killed = {"note": "ended by signal 9", "failed": True}
    with process_of(AUTO, processors(AUTO)[0], tmp_path) as process:
        os.kill(process._child.pid, signal.SIGKILL)
        for _ in range(2):
            process.ask("time", 1)
            assert process.answer() == killed
    with process_of(AUTO, processors(AUTO)[0], tmp_path) as process:
        process.ask("time", 1)
        assert process.answer()["note"].startswith("InputError: ")  # no case is there
    assert process._child.returncode == -signal.SIGKILL


def test_a_process_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with process_of(AUTO, processors(AUTO)[0], tmp_path) as process:
        process.ask("time", 1)
        note = process.answer()["note"]
    assert note.startswith("ModuleNotFoundError: No module named")


def test_what_libraries_print_is_no_answer() -> None:
    program = (
        "from rnncli.bench import process\n"
        "process.answer = lambda *_: print('noise') or {'n': 1}\n"
        "process.serve(process.Candidate('strategy', 'auto'), '.')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input="[]\n[]\n", capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ('{"n": 1}\n{"n": 1}\n', 0)
    assert "noise" in done.stderr


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


@pytest.mark.slow
@LINUX
@pytest.mark.usefixtures("no_longer_than_a_minute")
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
    candidates = [AUTO, Candidate("strategy", "stepwise")]
    race(lambda _: case, candidates, 2, look)
    assert len(seen) == 2 * len(candidates) + len(candidates)
    (cpus,) = processors(AUTO)
    assert all(found == [len(cpus)] * len(candidates) for found in seen)


@pytest.mark.slow
@LINUX
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_nothing_is_left_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    running = []

    def interrupt(line: str) -> None:
        if line.startswith("round 2"):
            running.extend(descended(tmp_path))
            raise error

    case = Size(5, 1, 2).case(1, "float32")
    with pytest.raises(error):
        race(lambda _: case, [AUTO], 3, interrupt)
    assert len(running) == 1
    assert descended(tmp_path) == []
    assert os.listdir(tmp_path) == []


# The command, with no peers wherever it runs, and more rounds than anyone waits for.
COMMAND = """
import rnncli.bench.candidates as candidates
candidates.version = lambda _: None
from rnncli.__main__ import main
main()
"""


@contextmanager
def racing(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the command, and wait until it says on its terminal that it is timing."""
    master, slave = pty.openpty()
    arguments = ("bench", *SEQ, "--repeats", "1000000")
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=slave,
        env=os.environ | {"TMPDIR": str(folder)},
    ) as process:
        os.close(slave)
        try:
            shown = b""
            while b"round 2 of" not in shown:
                shown += os.read(master, 4096)
            assert b"case 1 of 1, round 1 of 1000000: --unroll auto, " in shown
            # A terminal that nobody reads fills up, and holds a process up that writes to it.
            reader = threading.Thread(target=everything, args=[master])
            reader.start()
            yield process
        finally:
            process.kill()
        reader.join()


@pytest.mark.slow
@LINUX
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_nothing_is_left_after_a_signal(tmp_path: Path, number: int, code: int) -> None:
    with racing(tmp_path) as process:
        process.send_signal(number)
        assert process.wait() == code
    assert descended(tmp_path) == []
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@LINUX
def test_no_process_is_left_after_a_kill(tmp_path: Path) -> None:
    """Most of them are stopped then, and cannot see that nobody asks any more."""
    with racing(tmp_path) as process:
        children = [os.pidfd_open(pid) for pid in descended(tmp_path) if pid != process.pid]
        assert len(children) == len(STRATEGIES)
        process.kill()
        process.wait()
    waiting = select.poll()
    for descriptor in children:
        waiting.register(descriptor, select.POLLIN)
    running = set(children)
    while running:
        ended = {descriptor for descriptor, _ in waiting.poll(60_000)}
        assert ended
        for descriptor in ended:
            waiting.unregister(descriptor)
            os.close(descriptor)
        running -= ended
