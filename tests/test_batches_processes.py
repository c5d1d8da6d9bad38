"""The processes of a batch: that they start, that a death costs no result, that none is left."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_bench_processes import no_longer_than_a_minute

from rnncli.batches.processes import Work, run_in_processes
from rnncli.batches.report import DONE, FAILED, Outcome
from rnncli.batches.tasks import Task
from rnncli.engine.threads import may_start_a_thread

__all__ = ["no_longer_than_a_minute"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_longer_than_a_minute")]
NONE = "no process can be started"


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


def tell_variables(task: Task) -> Outcome:
    names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return do(task, {name: os.environ.get(name) for name in names})


def tell_threads(task: Task) -> Outcome:
    return do(task, may_start_a_thread())


def overflow(task: Task) -> Outcome:
    return do(task, np.float32(3e38) * np.float32(10))


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


@pytest.mark.parametrize(("count", "jobs"), [(1, 1), (3, 2), (3, 5), (200, 1), (200, 3)])
def test_every_task_is_done_once(count: int, jobs: int) -> None:
    outcomes = run(tasks_of(count), tell_process, jobs)
    assert [outcome.input for outcome in outcomes] == [f"{i}.csv" for i in range(count)]
    pids = {outcome.notes for outcome in outcomes}
    assert 1 <= len(pids) <= min(count, jobs)
    assert (str(os.getpid()),) not in pids


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV", "leave"])
def test_a_task_at_which_its_process_dies_has_a_second_try(tmp_path: Path, how: str) -> None:
    bad = ["0.csv", "20.csv", "21.csv", "99.csv"]
    work = partial(die_at_some, inputs=bad, how=how, times=1)
    assert {outcome.status for outcome in run(tasks_of(100, tmp_path), work, 2)} == {DONE}
    assert attempts(tmp_path) == [1 + (f"{i}.csv" in bad) for i in range(100)]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("SIGKILL", "was ended by SIGKILL (out of memory?)"),
        ("SIGSEGV", "was ended by SIGSEGV"),
        ("SIGTERM", "was ended by SIGTERM"),
        ("SIGHUP", "was ended by SIGHUP"),
        ("SIGRTMIN", f"was ended by signal {signal.SIGRTMIN + 1}"),
        ("leave", "ended with 3"),
        ("complain", "ended with 4: out of\\x1b[31m luck"),
    ],
)
def test_one_that_dies_twice_fails_and_the_others_lose_nothing(
    tmp_path: Path, how: str, said: str
) -> None:
    work = partial(die_at_some, inputs=["5.csv"], how=how, times=9)
    outcomes = run(tasks_of(20, tmp_path), work, 2)
    assert outcomes.pop(5) == Outcome(
        "5.csv", f"{tmp_path}/5", "", FAILED, error=f"5.csv: tried twice: its process {said}"
    )
    assert {outcome.status for outcome in outcomes} == {DONE}
    assert attempts(tmp_path) == [1 + (i == 5) for i in range(20)]


def test_a_process_has_no_second_thread_and_nothing_to_say_of_an_overflow() -> None:
    assert {outcome.notes for outcome in run(tasks_of(2), tell_threads, 2)} == {("False",)}
    assert {outcome.notes for outcome in run(tasks_of(2), overflow, 2)} == {("inf",)}


def test_products_take_one_thread_unless_a_user_says_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    expected = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "3"}
    assert {outcome.notes for outcome in run(tasks_of(1), tell_variables, 2)} == {(str(expected),)}


@pytest.mark.parametrize("can", [0, 1, 2])
@pytest.mark.parametrize("refuse", ["fork", "load"])
def test_a_batch_goes_on_with_as_many_as_can_be_started(
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
        pids = {outcome.notes for outcome in run(tasks_of(100), tell_process, 4)}
        assert 1 <= len(pids) <= can
    else:
        reason = "Too many processes" if refuse == "fork" else ".*: MemoryError"
        with pytest.raises(OSError, match=f"{NONE}: {reason}"):
            run(tasks_of(100), tell_process, 4)
    assert len(started) == (can + 1 if refuse == "fork" else 4)
