"""Batches on Dask clusters of this machine: the results, and what is done when things go wrong."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Rnn

from rnncli.batches import cluster

OPTIONS = ("--columns", "value", "--hidden", "3", "--unroll", "stepwise")
# A program that a process without rnncli is started with: a scheduler only passes tasks on.
NO_RNNCLI = """
import sys
class Finder:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] == "rnncli":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Finder)
"""
# What a worker that has another version of something is started with.
OTHER = {
    "no rnncli": NO_RNNCLI,
    "rnncli": "import rnncli; rnncli.__version__ = '9.9.9'",
    "NumPy": "import numpy; numpy.__version__ = '1.0.0'",
    "no files": "import os; os.path.exists = lambda path: False",
}

pytestmark = pytest.mark.slow


def until(condition: Callable[[], Any]) -> Any:
    """Wait until something is so, and return it."""
    end = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


class Cluster:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, folder: Path, program: str = NO_RNNCLI, **settings: str) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        self._environ, self._processes = os.environ | settings, list[subprocess.Popen[bytes]]()
        arguments = ("--no-dashboard", "--scheduler-file", str(self.file), "--port", "0")
        self._dask("scheduler", *arguments, PYTHONPATH=self._path(program))
        self.address: str = until(self._told)["address"]

    def _told(self) -> Any:
        with suppress(OSError, ValueError):
            return json.loads(self.file.read_text())

    def work(self, threads: int = 1, program: str = "") -> subprocess.Popen[bytes]:
        """Start a worker, with a program that runs before it."""
        options = ("--nthreads", str(threads), "--no-nanny", "--no-dashboard")
        return self._dask("worker", self.address, *options, PYTHONPATH=self._path(program))

    def _path(self, program: str) -> str:
        path = self.folder / f"path-{len(self._processes)}"
        path.mkdir()
        (path / "sitecustomize.py").write_text(program)
        return f"{path}{os.pathsep}{ROOT}"

    def _dask(self, name: str, *arguments: str, **environ: str) -> subprocess.Popen[bytes]:
        program = f"from distributed.cli.dask_{name} import main; main()"
        host = ("--host", "127.0.0.1")
        process = subprocess.Popen(
            [sys.executable, "-c", program, *host, *arguments],
            cwd=self.folder,
            env=self._environ | environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._processes.append(process)
        return process

    def close(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A worker with one thread, and one with two."""
    with closing(Cluster(tmp_path_factory.mktemp("two"))) as found:
        found.work()
        found.work(threads=2)
        yield found


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler that has no workers yet, and tries each task on no second one."""
    (tmp_path / "cluster").mkdir()
    settings = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    with closing(Cluster(tmp_path / "cluster", **settings)) as found:
        yield found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with inputs in which commands are run, as in its parents no worker is."""
    folder = tmp_path / "here"
    (folder / "in").mkdir(parents=True)
    for n in range(40):
        rows = "".join(f"{(n + t) % 7 - 3}\n" for t in range(n))
        (folder / "in" / f"{n}.csv").write_text(f"value\n{rows}")
    monkeypatch.chdir(folder)
    return folder


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a batch in a process of its own."""
    command = [sys.executable, "-m", "rnncli", "batch", *arguments, *OPTIONS]
    environ = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


def reader_of(fifo: Path) -> int | None:
    """Return the other process that has a named pipe open, or None."""
    for process in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            pid = int(process.name)
            if pid != os.getpid() and any(
                os.path.samefile(each, fifo) for each in (process / "fd").iterdir()
            ):
                return pid
    return None


def opened_by_reader(fifo: Path) -> int | None:
    """Open a named pipe to write to once it is being read."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def lines_of(report: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in report.read_text().splitlines()]


def check_results(run_rnn: Rnn, inputs: list[str], output: str) -> None:
    """Check that each result is that of a run, and in the report once."""
    for path in inputs:
        alone = run_rnn("run", path, *OPTIONS, "-o", f"alone{Path(output).suffix}")
        assert alone.exit_code == 0, alone.stderr
        written = Path(output.format(stem=Path(path).stem))
        assert written.read_bytes() == Path(f"alone{written.suffix}").read_bytes()
    names = Counter(item["output"] for item in lines_of(Path(output).parent / "rnn-batch.jsonl"))
    assert set(names.values()) == {1}
    assert len(names) == len(inputs)


@pytest.mark.parametrize("form", ["csv", "json", "npy"])
def test_a_result_is_that_of_a_run(form: str, two: Cluster, here: Path, run_rnn: Rnn) -> None:
    inputs = [f"in/{n}.csv" for n in range(1, 40)]
    output = f"out/{{stem}}.{form}"
    for address in (two.address, two.address.removeprefix("tcp://"), str(two.file)):
        run = run_rnn("batch", *inputs, *OPTIONS, "-o", output, "--scheduler", address)
        assert run.exit_code == 0, run.stderr
    assert "0 done, 39 skipped" in run.stderr
    check_results(run_rnn, inputs, output)
    assert sorted(path.suffix for path in (here / "out").iterdir()) == sorted(
        [f".{form}"] * 39 + [".jsonl"]
    )


def test_files_that_fail_are_named_and_the_rest_is_done(
    two: Cluster, here: Path, run_rnn: Rnn
) -> None:
    for n in (7, 9):
        (here / "in" / f"{n}.csv").write_text("value\n1\nno number\n")
    run = run_rnn("batch", "in/*.csv", *OPTIONS, "-o", "out", "--scheduler", two.address)
    assert run.exit_code == 1
    assert "38 done, 0 skipped, 2 failed" in run.stderr
    assert "Error: in/7.csv:3: column 'value': not a number: 'no number'\n" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("lacks", OTHER)
def test_a_worker_that_differs_is_refused(
    lacks: str, alone: Cluster, here: Path, run_rnn: Rnn
) -> None:
    alone.work(program=OTHER[lacks])
    run = run_rnn("batch", "in/*.csv", *OPTIONS, "-o", "out", "--scheduler", alone.address)
    assert run.exit_code == 1
    *_, error = run.stderr.splitlines()
    assert error.startswith(f"Error: {alone.address}: the worker tcp://127.0.0.1:")
    expected = {
        "no rnncli": "has no rnncli: pip install rnncli==",
        "rnncli": "has rnncli 9.9.9, here it is ",
        "NumPy": "has NumPy 1.0.0, here it is ",
        "no files": f"does not see {here}/out/.rnn-",
    }
    assert expected[lacks] in error
    assert not list((here / "out").glob("*.csv"))


def test_a_worker_that_comes_later_is_looked_at_too(alone: Cluster, here: Path) -> None:
    os.mkfifo(here / "in" / "pipe.csv")
    alone.work()
    names = ["in/pipe.csv", *(f"in/{n}.csv" for n in range(1, 40))]
    with started(*names, "-o", "out", "--scheduler", alone.address) as batch:
        pipe = until(lambda: opened_by_reader(here / "in" / "pipe.csv"))
        alone.work(program=OTHER["NumPy"])
        assert batch.stderr
        stderr = batch.stderr.read()
        os.close(pipe)
    assert batch.returncode == 1
    assert "has NumPy 1.0.0, here it is " in stderr
    assert "Traceback" not in stderr


@pytest.mark.usefixtures("here")
def test_workers_are_waited_for(alone: Cluster, run_rnn: Rnn) -> None:
    with started("in/1.csv", "in/2.csv", "-o", "out", "--scheduler", alone.address) as batch:
        assert batch.stderr
        note = batch.stderr.readline()
        assert note == f"Note: {alone.address}: the cluster has no workers; waiting for one\n"
        alone.work()
        assert "2 done, 0 skipped" in batch.stderr.read()
    assert batch.returncode == 0
    check_results(run_rnn, ["in/1.csv", "in/2.csv"], "out/{stem}.csv")


@contextmanager
def at_a_pipe(address: str, here: Path) -> Iterator[tuple[Any, int, int]]:
    """Start a batch; return it when one of its inputs is being read, by whom, and its other end."""
    fifo = here / "in" / "pipe.csv"
    os.mkfifo(fifo)
    names = [f"in/{n}.csv" for n in range(1, 20)]
    with started("in/pipe.csv", *names, "-o", "out", "--scheduler", address) as batch:
        pipe = until(lambda: opened_by_reader(fifo))
        try:
            yield batch, until(lambda: reader_of(fifo)), pipe
        finally:
            with suppress(OSError):
                os.close(pipe)


def test_ctrl_c_ends_what_is_run_on_the_cluster(two: Cluster, here: Path, run_rnn: Rnn) -> None:
    with at_a_pipe(two.address, here) as (batch, reader, _):
        batch.send_signal(signal.SIGINT)
        stderr = batch.stderr.read()
        assert batch.wait() == 130
        assert not os.path.exists(f"/proc/{reader}")
    assert stderr.startswith("Note: ")
    assert "Traceback" not in stderr
    assert not list((here / "out").glob(".rnn-*"))
    run = run_rnn("batch", "in/1.csv", *OPTIONS, "-o", "out", "--scheduler", two.address)
    assert run.exit_code == 0


def test_ctrl_c_waits_for_no_worker_that_is_stopped(alone: Cluster, here: Path) -> None:
    worker = alone.work()
    with at_a_pipe(alone.address, here) as (batch, _, _):
        worker.send_signal(signal.SIGSTOP)
        batch.send_signal(signal.SIGINT)
        assert until(lambda: batch.poll()) == 130
        assert "Traceback" not in batch.stderr.read()


def children_of(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for each in threads for child in (each / "children").read_text().split()]


def test_no_process_of_a_killed_client_stays(alone: Cluster, here: Path) -> None:
    """Not the one at a task, nor one that waits for more of them."""
    worker = alone.work(threads=2)
    with at_a_pipe(alone.address, here) as (batch, _, _):
        report = here / "out" / "rnn-batch.jsonl"
        until(lambda: report.exists() and len(lines_of(report)) == 19)
        assert len(children_of(worker.pid)) == 2
        batch.kill()
        until(lambda: not children_of(worker.pid))


def end(*processes: int) -> None:
    """Kill processes, and wait until they read and write no more."""
    for pid in processes:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(os.path.exists(f"/proc/{pid}/fd/0") for pid in processes))


def test_a_killed_worker_loses_nothing(here: Path, tmp_path: Path, run_rnn: Rnn) -> None:
    with ExitStack() as stack:
        both = stack.enter_context(closing(Cluster(tmp_path)))
        both.work()
        both.work()
        batch, reader, pipe = stack.enter_context(at_a_pipe(both.address, here))
        end(parent_of(reader), reader)
        until(lambda: reader_of(here / "in" / "pipe.csv"))
        os.write(pipe, b"value\n1\n2\n")
        os.close(pipe)
        stderr = batch.stderr.read()
    assert batch.returncode == 0, stderr
    assert "20 done, 0 skipped, 0 failed" in stderr
    (here / "in" / "pipe.csv").unlink()
    (here / "in" / "pipe.csv").write_text("value\n1\n2\n")
    check_results(
        run_rnn, ["in/pipe.csv", *(f"in/{n}.csv" for n in range(1, 20))], "out/{stem}.csv"
    )


def test_a_file_that_takes_every_worker_along_fails_alone(alone: Cluster, here: Path) -> None:
    alone.work()
    with at_a_pipe(alone.address, here) as (batch, reader, _):
        end(parent_of(reader), reader)
        alone.work()
        again = until(lambda: reader_of(here / "in" / "pipe.csv"))
        end(parent_of(again), again)
        alone.work()
        stderr = batch.stderr.read()
    assert batch.returncode == 1
    assert "Error: in/pipe.csv: every worker that ran it ended (out of memory?)\n" in stderr
    assert "19 done, 0 skipped, 1 failed" in stderr


def test_a_scheduler_that_ends_is_one_line(here: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        found = stack.enter_context(closing(Cluster(tmp_path)))
        found.work()
        batch, _, _ = stack.enter_context(at_a_pipe(found.address, here))
        found.close()
        stderr = batch.stderr.read()
    assert batch.returncode == 1
    *_, error = stderr.splitlines()
    assert error.startswith(f"Error: {found.address}: the connection is lost")
    assert "Traceback" not in stderr


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("silent", [False, True])
def test_an_address_that_does_not_answer(
    silent: bool, run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "SECONDS", 0.5)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if silent:
            server.listen()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        run = run_rnn("batch", "in/*.csv", *OPTIONS, "-o", "out", "--scheduler", address)
    assert run.exit_code == 1
    assert run.stderr == f"Error: {address}: no Dask scheduler answers there within 0.5 s\n"


@pytest.mark.parametrize(
    ("address", "content"),
    [
        *(("", ""), ("tcp://:::", ""), ("one:", ""), ("abc://one:1", ""), ("none.json", "")),
        *(("a.json", "{}"), ("a.json", "[]"), ("a.json", '{"address": 5}')),
    ],
)
def test_what_is_no_address(address: str, content: str, here: Path, run_rnn: Rnn) -> None:
    (here / "a.json").write_text(content)
    run = run_rnn("batch", "in/*.csv", *OPTIONS, "-o", "out", "--scheduler", address)
    assert run.exit_code == 2
    what = "cannot be read: No such file" if address == "none.json" else "no "
    assert run.stderr.startswith(f"Error: {address}: {what}" if address else "Error: ")
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.usefixtures("here")
def test_processes_of_this_machine_are_none_of_a_cluster(run_rnn: Rnn) -> None:
    run = run_rnn(
        "batch", "in/*.csv", *OPTIONS, "-o", "out", "-j", "2", "--scheduler", "tcp://127.0.0.1:1"
    )
    assert run.exit_code == 2
    assert "Error: -j is for this machine, and tcp://127.0.0.1:1 is a cluster" in run.stderr


def test_dask_that_is_missing_is_told_how_to_install(
    here: Path, run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    run = run_rnn("batch", "in/*.csv", *OPTIONS, "-o", "out", "--scheduler", "one:1")
    assert run.exit_code == 1
    assert run.stderr == "Error: a cluster needs Dask: pip install 'rnncli[cluster]'\n"
    assert not list((here / "out").glob("*.csv"))
