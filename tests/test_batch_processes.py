"""The processes of a batch: that they start, that a death costs no result, that none is left."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncli.batches.processes import Work, run_in_processes
from rnncli.batches.report import DONE, FAILED, Outcome
from rnncli.batches.tasks import Task
from rnncli.engine.threads import may_start_a_thread


@pytest.fixture(autouse=True)
def no_longer_than_a_minute() -> Iterator[None]:
    """Turn a wait that never ends into a failure."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it goes on"))
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def tasks_of(count: int, folder: object = "") -> list[Task]:
    return [Task(f"{i}.csv", f"{folder}/{i}", {}) for i in range(count)]


def run(tasks: Sequence[Task], work: Work, jobs: int) -> list[Outcome]:
    """The outcomes, in the order of the tasks; each task has one."""
    outcomes = {outcome.output: outcome for outcome in run_in_processes(tasks, work, jobs)}
    assert len(outcomes) == len(tasks)
    return [outcomes[task.output] for task in tasks]


def do(task: Task, said: object = "") -> Outcome:
    return Outcome(task.input, task.output, task.made_of, DONE, notes=(str(said),))


def tell_process(task: Task) -> Outcome:
    return do(task, os.getpid())


def tell_all(task: Task) -> Outcome:
    """Tell whether there may be threads, what says so, and what an overflow warns of."""
    variables = [os.environ.get(f"{name}_NUM_THREADS") for name in ("OPENBLAS", "MKL")]
    return do(task, (may_start_a_thread(), *variables, float(np.float32(3e38) * np.float32(10))))


def die(how: str) -> None:
    if how == "leave":
        sys.exit(3)
    if how == "complain":
        os.write(2, b"before\nout of\x1b[31m luck\n\n")
        os._exit(4)
    os.kill(os.getpid(), signal.SIGRTMIN + 1 if how == "SIGRTMIN" else signal.Signals[how])


def die_at_some(task: Task, inputs: Sequence[str], how: str, times: int) -> Outcome:
    """Die at the first attempts at some tasks."""
    attempts = f"{task.output}.attempts"
    with open(attempts, "a") as file:
        file.write("x")
    if task.input in inputs and os.path.getsize(attempts) <= times:
        die(how)
    return do(task)


def attempts(folder: Path) -> list[int]:
    return [len(Path(folder, f"{i}.attempts").read_text()) for i in range(len(os.listdir(folder)))]


@pytest.mark.parametrize(("count", "jobs"), [(1, 1), (3, 5), (200, 3)])
def test_every_task_is_done_once(count: int, jobs: int) -> None:
    outcomes = run(tasks_of(count), tell_process, jobs)
    assert [outcome.input for outcome in outcomes] == [f"{i}.csv" for i in range(count)]
    pids = {outcome.notes for outcome in outcomes}
    assert 1 <= len(pids) <= min(count, jobs)
    assert (str(os.getpid()),) not in pids


def test_a_task_at_which_its_process_dies_has_a_second_try(tmp_path: Path) -> None:
    bad = ["0.csv", "20.csv", "21.csv", "99.csv"]
    work = partial(die_at_some, inputs=bad, how="SIGKILL", times=1)
    assert {outcome.status for outcome in run(tasks_of(100, tmp_path), work, 2)} == {DONE}
    assert attempts(tmp_path) == [1 + (f"{i}.csv" in bad) for i in range(100)]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("SIGKILL", "was ended by SIGKILL (out of memory?)"),
        ("SIGRTMIN", f"was ended by signal {signal.SIGRTMIN + 1}"),
        ("leave", "ended with 3"),
        ("complain", "ended with 4: out of\\x1b[31m luck"),
    ],
)
def test_a_task_at_which_two_processes_die_fails_alone(tmp_path: Path, how: str, said: str) -> None:
    work = partial(die_at_some, inputs=["5.csv"], how=how, times=9)
    outcomes = run(tasks_of(20, tmp_path), work, 2)
    assert outcomes.pop(5) == Outcome(
        "5.csv", f"{tmp_path}/5", "", FAILED, error=f"5.csv: tried twice: its process {said}"
    )
    assert {outcome.status for outcome in outcomes} == {DONE}
    assert attempts(tmp_path) == [1 + (i == 5) for i in range(20)]


def test_a_process_takes_one_thread_unless_a_user_says_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    expected = str((False, "1", "3", np.inf))
    assert {outcome.notes for outcome in run(tasks_of(1), tell_all, 2)} == {(expected,)}


@pytest.mark.parametrize("can", [0, 1])
@pytest.mark.parametrize("refuse", ["fork", "load"])
def test_a_batch_goes_on_with_as_many_processes_as_can_be_started(
    monkeypatch: pytest.MonkeyPatch, can: int, refuse: str
) -> None:
    start, started = subprocess.Popen, list[int]()

    def start_some(command: list[str], **options: Any) -> Any:
        started.append(1)
        if len(started) <= can:
            return start(command, **options)
        if refuse == "load":
            return start([sys.executable, "-c", "raise MemoryError"], **options)
        raise BlockingIOError(errno.EAGAIN, "Too many processes")

    monkeypatch.setattr(subprocess, "Popen", start_some)
    if can:
        assert len({outcome.notes for outcome in run(tasks_of(100), tell_process, 3)}) == 1
    else:
        reason = "Too many processes" if refuse == "fork" else ".*: MemoryError"
        with pytest.raises(OSError, match=f"no process can be started: {reason}"):
            run(tasks_of(100), tell_process, 3)
    assert len(started) == (can + 1 if refuse == "fork" else 3)
