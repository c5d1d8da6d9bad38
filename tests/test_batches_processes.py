"""The processes of a batch: that they start, that a death costs no result, that none is left."""

import errno
import os
import resource
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_bench_processes import LINUX, descended, no_longer_than_a_minute

from rnncli.batches import processes
from rnncli.batches.processes import MOST_BYTES, Work, lots, run_in_processes
from rnncli.batches.report import DONE, FAILED, Outcome
from rnncli.batches.tasks import Task
from rnncli.engine.threads import may_start_a_thread

__all__ = ["no_longer_than_a_minute"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_longer_than_a_minute")]
NONE = "no process can be started"


def tasks_of(count: int, folder: object = "") -> list[Task]:
    return [Task(f"{i}.csv", f"{folder}/{i}", {}) for i in range(count)]


def of_sizes(*sizes: int) -> list[Task]:
    return [Task(f"{i}.csv", f"{i}", {}, size=size) for i, size in enumerate(sizes)]


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


def print_and_interrupt(task: Task) -> Outcome:
    os.system("echo noise; echo noise >&2")
    os.kill(os.getpid(), signal.SIGINT)
    return do(task)


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


def return_what_cannot_be_sent(task: Task) -> Outcome:
    return do(task)._replace(error=lambda: None) if task.input == "1.csv" else do(task)  # type: ignore[arg-type]


def die_when_told(task: Task) -> Outcome:
    """Die once at the first task, as soon as something is written to a pipe."""
    if task.input == "0.csv" and os.path.exists(task.output):
        with open(task.output) as pipe:
            pipe.read()
        os.unlink(task.output)
        die("SIGKILL")
    return do(task, os.getpid())


def attempts(folder: Path) -> list[int]:
    return [len(Path(folder, f"{i}.attempts").read_text()) for i in range(len(os.listdir(folder)))]


def test_lots_keep_the_order_and_are_of_few_tasks_or_bytes() -> None:
    found = lots(of_sizes(1, 1, 1, 5, 2, 3, 9), 2, 5)
    assert [[task.size for task in lot] for lot in found] == [[1, 1], [1], [5], [2, 3], [9]]
    assert list(lots([], 2, 5)) == []


@pytest.mark.parametrize(("count", "jobs"), [(1, 1), (3, 2), (3, 5), (200, 1), (200, 3)])
def test_every_task_is_done_once(count: int, jobs: int) -> None:
    outcomes = run(tasks_of(count), tell_process, jobs)
    assert [outcome.input for outcome in outcomes] == [f"{i}.csv" for i in range(count)]
    pids = {outcome.notes for outcome in outcomes}
    assert 1 <= len(pids) <= min(count, jobs)
    assert (str(os.getpid()),) not in pids


def test_there_may_be_nothing_to_do() -> None:
    assert run([], do, 2) == []


def test_large_inputs_come_first() -> None:
    tasks = of_sizes(1, 2 * MOST_BYTES, 3 * MOST_BYTES, MOST_BYTES // 2, 3)
    inputs = [outcome.input for outcome in run_in_processes(tasks, do, 1)]
    assert inputs == ["2.csv", "1.csv", "0.csv", "3.csv", "4.csv"]


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


def test_an_outcome_that_cannot_be_sent_is_a_failure() -> None:
    ok, failed = run(tasks_of(2), return_what_cannot_be_sent, 2)
    assert (ok.status, failed.status) == (DONE, FAILED)
    begin = "1.csv: tried twice: its process ended with 1: "
    assert failed.error.startswith(begin)
    assert "pickle" in failed.error.removeprefix(begin)


def test_one_that_dies_while_it_is_idle_is_replaced_and_no_task_blamed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "0")
    outcomes = run_in_processes(tasks_of(2, tmp_path), die_when_told, 2)
    idle = int(next(outcomes).notes[0])
    os.kill(idle, signal.SIGKILL)
    os.waitid(os.P_PID, idle, os.WEXITED | os.WNOWAIT)
    (tmp_path / "0").write_text("now")
    (last,) = outcomes
    assert (last.input, last.status) == ("0.csv", DONE)
    assert last.notes != (str(idle),)


def test_something_can_be_done_while_tasks_take_their_time(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "0")

    def write() -> None:
        with suppress(OSError):  # nobody reads it yet, or no longer
            os.close(os.open(tmp_path / "0", os.O_WRONLY | os.O_NONBLOCK))

    (outcome,) = run_in_processes(tasks_of(1, tmp_path), read, 1, write)
    assert outcome.status == DONE


def read(task: Task) -> Outcome:
    with open(task.output) as pipe:
        pipe.read()
    return do(task)


def test_nothing_is_given_to_one_that_has_died() -> None:
    process = processes._Process(do)
    assert process.receive() is None
    assert process.ready
    process._child.kill()
    os.waitid(os.P_PID, process._child.pid, os.WEXITED | os.WNOWAIT)
    assert not process.give(tasks_of(1))
    assert not process.lot
    with pytest.raises(EOFError):
        process.receive()
    assert process.ended() == "its process was ended by SIGKILL (out of memory?)"


@LINUX
def test_one_that_is_stopped_holds_up_its_own_tasks_alone(tmp_path: Path) -> None:
    """It goes on where it was."""
    os.mkfifo(tmp_path / "0")
    with closing(run_in_processes(tasks_of(40, tmp_path), stop_at_the_first, 2)) as outcomes:
        others = [next(outcomes) for _ in range(35)]  # it has 5 of the 40
        assert "0.csv" not in {outcome.input for outcome in others}
        stopped = int((tmp_path / "0.pid").read_text())
        assert os.waitid(os.P_PID, stopped, os.WSTOPPED)
        os.kill(stopped, signal.SIGCONT)
        rest = list(outcomes)
    assert {outcome.notes for outcome in rest} == {(str(stopped),)}
    assert len({outcome.input for outcome in others + rest}) == 40


def stop_at_the_first(task: Task) -> Outcome:
    if task.input == "0.csv":
        Path(f"{task.output}.pid").write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
    return do(task, os.getpid())


@LINUX
@pytest.mark.parametrize("count", [1, 100])
def test_none_is_left_when_a_batch_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Neither at its end nor before, be it running, stopped or dead."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with closing(run_in_processes(tasks_of(100), tell_process, 3)) as outcomes:
        for _ in range(count):
            next(outcomes)
        pids = descended(tmp_path)
        assert len(pids) == 3
        os.kill(pids[0], signal.SIGSTOP)
        os.kill(pids[1], signal.SIGKILL)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)  # a zombie is there
    assert os.listdir(tmp_path) == []


@LINUX
def test_ctrl_c_while_one_is_started_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits until the process is known."""
    start, pids = subprocess.Popen, list[int]()

    def start_and_interrupt(command: list[str], **options: Any) -> Any:
        child = start(command, **options)
        pids.append(child.pid)
        # To this thread, as to the command, which has no other one then.
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        return child

    monkeypatch.setattr(subprocess, "Popen", start_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tasks_of(100), do, 3)
    (pid,) = pids
    assert not os.path.exists(f"/proc/{pid}")


def test_what_a_task_writes_is_no_noise_and_ctrl_c_is_not_its(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert {outcome.status for outcome in run(tasks_of(4), print_and_interrupt, 2)} == {DONE}
    assert capfd.readouterr() == ("", "")


def test_a_process_has_no_second_thread_and_nothing_to_say_of_an_overflow() -> None:
    assert {outcome.notes for outcome in run(tasks_of(2), tell_threads, 2)} == {("False",)}
    assert {outcome.notes for outcome in run(tasks_of(2), overflow, 2)} == {("inf",)}


def test_products_take_one_thread_unless_a_user_says_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    expected = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "3"}
    assert {outcome.notes for outcome in run(tasks_of(1), tell_variables, 2)} == {(str(expected),)}


def test_none_that_can_load_the_package_ends_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and not once for each task."""
    monkeypatch.setattr(sys, "path", [sysconfig.get_path("stdlib")])
    with pytest.raises(OSError, match=f"{NONE}: .* No module named 'rnncli'") as raised:
        run(tasks_of(100), do, 3)
    assert raised.value.filename == sys.executable


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


def test_a_batch_goes_on_with_the_descriptors_that_there_are() -> None:
    most, before = 100, resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        while stack.enter_context(open(os.devnull)).fileno() < most:
            pass
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most + 8, before[1]))
        outcomes = run(tasks_of(400), tell_process, 100)
    assert {outcome.status for outcome in outcomes} == {DONE}
    assert len({outcome.notes for outcome in outcomes}) < 8
