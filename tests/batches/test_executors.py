"""The processes of a batch: that they start, that a death costs no result, that none is left."""

import os
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from rnncli.batches.batch import run_in_pool
from rnncli.batches.executors import in_processes
from rnncli.batches.tasks import Outcome, Task
from rnncli.engine.threads import may_start_a_thread


@pytest.fixture(autouse=True)
def no_longer_than_a_minute() -> Iterator[None]:
    """Turn a wait that never ends into a failure."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it goes on"))
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def run(work: "partial[Outcome]", count: int, jobs: int, folder: object = "") -> list[Outcome]:
    """The outcomes, in the order of the tasks; each task has one."""
    tasks = [Task(f"{i}.csv", f"{folder}/{i}") for i in range(count)]
    work_of_group = partial(do_each, work)
    found = [each for each in run_in_pool(tasks, in_processes(work_of_group, jobs)) if each]
    outcomes = {outcome.output: outcome for outcome in found}
    assert len(outcomes) == len(found) == count
    return [outcomes[task.output] for task in tasks]


def do_each(work: "partial[Outcome]", tasks: Sequence[Task]) -> list[Outcome]:
    return [*map(work, tasks)]


def do(task: Task, said: object = "") -> Outcome:
    return Outcome(task.input, task.output, task.digest, "done", notes=(str(said),))


def tell_process(task: Task) -> Outcome:
    return do(task, os.getpid())


def tell_all(task: Task) -> Outcome:
    """Return whether there may be threads, the settings for them, and an overflow."""
    variables = [os.environ.get(f"{name}_NUM_THREADS") for name in ("OPENBLAS", "MKL")]
    return do(task, (may_start_a_thread(), *variables, float(np.float32(3e38) * np.float32(10))))


def die_at_some(task: Task, inputs: list[str], how: str, times: int) -> Outcome:
    """Die at the first attempts at some tasks."""
    attempts = f"{task.output}.attempts"
    with open(attempts, "a") as file:
        file.write("x")
    if task.input in inputs and os.path.getsize(attempts) <= times:
        if how == "leave":
            os._exit(3)
        os.kill(os.getpid(), signal.Signals[how])
    return do(task)


@pytest.mark.parametrize(("count", "jobs"), [(1, 1), (3, 5), (200, 3)])
def test_every_task_is_done_once(count: int, jobs: int) -> None:
    outcomes = run(partial(tell_process), count, jobs)
    assert [outcome.input for outcome in outcomes] == [f"{i}.csv" for i in range(count)]
    pids = {outcome.notes for outcome in outcomes}
    assert 1 <= len(pids) <= min(count, jobs)
    assert (str(os.getpid()),) not in pids


def test_tasks_whose_process_dies_have_a_second_try(tmp_path: Path) -> None:
    """The tasks that went out with it may have been done; no others."""
    work = partial(die_at_some, inputs=["0.csv", "20.csv", "99.csv"], how="SIGKILL", times=1)
    assert {outcome.status for outcome in run(work, 100, 2, tmp_path)} == {"done"}
    tries = [len((tmp_path / f"{i}.attempts").read_text()) for i in range(100)]
    assert [tries[i] for i in (0, 20, 99)] == [2, 2, 2]
    assert set(tries) == {1, 2}
    assert sum(tries) <= 100 + 3 * 12


@pytest.mark.parametrize("how", ["SIGKILL", "leave"])
def test_a_task_at_which_two_processes_die_fails_alone(tmp_path: Path, how: str) -> None:
    work = partial(die_at_some, inputs=["5.csv"], how=how, times=9)
    outcomes = run(work, 20, 2, tmp_path)
    failed = outcomes.pop(5)
    error = "5.csv: the process that ran it has died twice (out of memory?)"
    assert failed == Outcome("5.csv", f"{tmp_path}/5", "", "failed", error=error)
    assert {outcome.status for outcome in outcomes} == {"done"}


def test_a_process_takes_one_thread_unless_a_user_says_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    expected = str((False, "1", "3", np.inf))
    assert {outcome.notes for outcome in run(partial(tell_all), 1, 2)} == {(expected,)}


def test_processes_end_with_the_batch() -> None:
    tasks = [Task(f"{i}.csv", f"{i}") for i in range(40)]
    outcomes = run_in_pool(tasks, in_processes(partial(do_each, partial(tell_process)), 2))
    pid = next(int(outcome.notes[0]) for outcome in outcomes if outcome)
    outcomes.close()
    assert not os.path.exists(f"/proc/{pid}")
