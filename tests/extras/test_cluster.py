"""Batches on a Dask cluster of this machine: the results of runs, and nothing lost."""

import gc
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import GUIDE, ROOT, SAMPLES, Rnn
from distributed import Client, LocalCluster

from rnncli.batches import executors

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
# A task whose worker has died is tried by no other one.
SETTINGS = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}


def until(condition: Callable[[], Any]) -> Any:
    """Wait until something is so, and return it."""
    end = time.monotonic() + 180
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


class Cluster:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        self.workers: list[subprocess.Popen[bytes]] = []
        self._names = itertools.count()
        arguments = ("--no-dashboard", "--scheduler-file", str(self.file), "--port", "0")
        self._scheduler = self._dask("scheduler", *arguments, program=NO_RNNCLI)
        self.address: str = until(self._read_file)["address"]
        self._client = Client(self.address, set_as_default=False)

    def have(self, *threads: int) -> list[subprocess.Popen[bytes]]:
        """Replace all workers by new ones, with so many threads each."""
        for process in self.workers:
            process.kill()
            process.wait()
        self.workers.clear()
        for number in threads:
            self.work(number)
        until(lambda: len(self._client.nthreads()) == len(threads))
        return [*self.workers]

    def work(self, threads: int = 1, program: str = "") -> None:
        """Start a worker, with a program that runs before it, and wait until it is known.

        A worker that ends as it starts, or is not known within a minute, is started again.
        """
        for _ in range(3):
            name = f"worker-{next(self._names)}"
            options = ("--nthreads", str(threads), "--name", name, "--no-nanny", "--no-dashboard")
            process = self._dask("worker", self.address, *options, program=program)
            end = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < end:
                workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
                if any(worker["name"] == name for worker in workers):
                    self.workers.append(process)
                    return
                time.sleep(0.01)
            process.kill()
            process.wait()
        raise AssertionError((self.folder / "log").read_text())

    def _read_file(self) -> Any:
        with suppress(OSError, ValueError):
            return json.loads(self.file.read_text())

    def _dask(self, name: str, *arguments: str, program: str) -> subprocess.Popen[bytes]:
        path = self.folder / os.urandom(4).hex()
        path.mkdir()
        (path / "sitecustomize.py").write_text(program)
        start = f"from distributed.cli.dask_{name} import main; main()"
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-c", start, "--host", "127.0.0.1", *arguments],
                cwd=self.folder,
                env=os.environ | SETTINGS | {"PYTHONPATH": f"{path}{os.pathsep}{ROOT}"},
                stdout=log,
                stderr=log,
            )

    def close(self) -> None:
        self._client.close()
        for process in (*self.workers, self._scheduler):
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with closing(Cluster(tmp_path_factory.mktemp("cluster"))) as found:
        yield found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with inputs in which commands are run, as in its parents no worker is."""
    (tmp_path / "in").mkdir()
    for n in range(20):
        rows = "".join(f"{(n + t) % 7 - 3}\n" for t in range(n))
        (tmp_path / "in" / f"{n}.csv").write_text(f"value\n{rows}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def started(*arguments: str) -> Iterator[Any]:
    """Start a batch in a process of its own."""
    command = [sys.executable, "-m", "rnncli", "batch", *arguments, "-o", "out", *OPTIONS]
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


@contextmanager
def at_a_pipe(address: str) -> Iterator[tuple[Any, int, int]]:
    """Start a batch; return it when one of its inputs is being read, by whom, and its other end."""
    fifo = Path("in/pipe.csv")
    os.mkfifo(fifo)

    def opened_by_reader() -> int | None:
        with suppress(OSError):
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        return None

    names = [f"in/{n}.csv" for n in range(1, 20)]
    with started("in/pipe.csv", *names, "--scheduler", address) as batch:
        pipe = until(opened_by_reader)
        try:
            yield batch, until(lambda: reader_of(fifo)), pipe
        finally:
            with suppress(OSError):
                os.close(pipe)


def end_of(batch: Any) -> str:
    """Wait until a batch ends, and return what it said."""
    until(lambda: batch.poll() is not None)
    return str(batch.stderr.read())


def end(*processes: int) -> None:
    """Kill processes, and wait until they read and write no more."""
    for pid in processes:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(os.path.exists(f"/proc/{pid}/fd/0") for pid in processes))


def check_results(run_rnn: Rnn, inputs: list[str]) -> None:
    """Check that each result is that of a run, and in the report once, and nothing else there."""
    for path in inputs:
        assert run_rnn("run", path, *OPTIONS, "-o", "alone.csv").exit_code == 0
        assert Path("out", Path(path).name).read_bytes() == Path("alone.csv").read_bytes()
    items = map(json.loads, Path("out/rnn-batch.jsonl").read_text().splitlines())
    names = Counter(Path(item["output"]).name for item in items if item["status"] == "done")
    assert names == Counter(map(os.path.basename, inputs))
    assert set(os.listdir("out")) == {*names, "rnn-batch.jsonl"}


def test_results_equal_runs_and_faults_are_named(
    cluster: Cluster, here: Path, run_rnn: Rnn
) -> None:
    """By each form of the address; a finished file is skipped."""
    cluster.have(1, 2)
    (here / "in" / "7.csv").write_text("value\n1\nno number\n")
    counts = ("19 done, 0 skipped", "0 done, 19 skipped", "0 done, 19 skipped")
    addresses = (cluster.address, cluster.address.removeprefix("tcp://"), str(cluster.file))
    for address, count in zip(addresses, counts, strict=True):
        run = run_rnn("batch", "in/*.csv", *OPTIONS, "-o", "out", "--scheduler", address)
        assert (run.exit_code, run.stderr.count("\n")) == (1, 2)
        assert f"{count}, 1 failed" in run.stderr
        assert (
            f"Error: {here}/in/7.csv:3: column 'value': not a number: 'no number'\n" in run.stderr
        )
    check_results(run_rnn, [f"in/{n}.csv" for n in range(20) if n != 7])


DIFFERENT = {
    NO_RNNCLI: "No module named 'rnncli'",
    "import rnncli; rnncli.__version__ = '9.9.9'": "it has rnncli 9.9.9 with NumPy",
    "import numpy; numpy.__version__ = '1.0.0'": " with NumPy 1.0.0, here it is rnncli",
    "import os; os.path.exists = lambda path: False": "it does not see ",
}


def test_a_worker_that_differs_is_refused(cluster: Cluster, here: Path, run_rnn: Rnn) -> None:
    for program, words in DIFFERENT.items():
        cluster.have()
        cluster.work(program=program)
        run = run_rnn("batch", "in/*.csv", *OPTIONS, "-o", "out", "--scheduler", cluster.address)
        assert (run.exit_code, run.stderr.count("\n")) == (1, 1)
        assert run.stderr.startswith(f"Error: {cluster.address}: a worker differs: ")
        assert words in run.stderr
        assert not list(here.glob("out/*.csv"))


@pytest.mark.usefixtures("here")
def test_workers_are_waited_for(cluster: Cluster, run_rnn: Rnn) -> None:
    cluster.have()
    with started("in/1.csv", "in/2.csv", "--scheduler", cluster.address) as batch:
        note = batch.stderr.readline()
        assert note == f"Note: {cluster.address}: the cluster has no workers; waiting for one\n"
        cluster.work()
        assert "2 done, 0 skipped" in end_of(batch)
    assert batch.returncode == 0
    check_results(run_rnn, ["in/1.csv", "in/2.csv"])


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("stopped", [False, True])
def test_ctrl_c_takes_back_what_is_not_begun(cluster: Cluster, stopped: bool) -> None:
    """And waits for no worker."""
    (worker,) = cluster.have(1)
    with at_a_pipe(cluster.address) as (batch, *_):
        if stopped:
            worker.send_signal(signal.SIGSTOP)
        batch.send_signal(signal.SIGINT)
        assert end_of(batch) == ""
        assert batch.returncode == 130
    worker.kill()


def test_a_killed_worker_loses_nothing(cluster: Cluster, here: Path, run_rnn: Rnn) -> None:
    cluster.have(1, 1)
    fifo = here / "in" / "pipe.csv"
    with at_a_pipe(cluster.address) as (batch, reader, pipe):
        end(reader)
        until(lambda: reader_of(fifo))
        os.write(pipe, b"value\n1\n2\n")
        os.close(pipe)
        stderr = end_of(batch)
    assert batch.returncode == 0, stderr
    assert "20 done, 0 skipped, 0 failed" in stderr
    fifo.unlink()
    fifo.write_text("value\n1\n2\n")
    check_results(run_rnn, ["in/pipe.csv", *(f"in/{n}.csv" for n in range(1, 20))])


def test_a_file_that_takes_every_worker_along_fails_alone(cluster: Cluster, here: Path) -> None:
    cluster.have(1)
    with at_a_pipe(cluster.address) as (batch, reader, _):
        end(reader)
        cluster.work()
        again = until(lambda: reader_of(here / "in" / "pipe.csv"))
        end(again)
        cluster.work()
        stderr = end_of(batch)
    assert batch.returncode == 1
    assert "in/pipe.csv: the process that ran it has died twice (out of memory?)\n" in stderr
    assert "19 done, 0 skipped, 1 failed" in stderr


def test_a_scheduler_that_ends_is_one_line(here: Path) -> None:
    with ExitStack() as stack:
        mine = stack.enter_context(closing(Cluster(here)))
        mine.have(1)
        batch, _, _ = stack.enter_context(at_a_pipe(mine.address))
        mine.close()
        stderr = end_of(batch)
    assert batch.returncode == 1
    *_, error = stderr.splitlines()
    assert error.startswith(f"Error: {mine.address}: the connection is lost")
    assert "Traceback" not in stderr


def test_a_wrong_address_is_one_line(
    here: Path, run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "ANSWER", 0.5)
    for number, content in enumerate(["{}", "[]", '{"address": 5}']):
        (here / f"{number}.json").write_text(content)
    files = ("none.json", "0.json", "1.json", "2.json")
    addresses = ("tcp://:::", "abc://one:1", "localhost:1", "none", "tcp://", *files)
    for address in ("", *addresses, "tls://one:1", "one:1 -j 2"):
        run = run_rnn(
            "batch", "in/*.csv", *OPTIONS, "-o", "out", "--scheduler", *address.split(" ")
        )
        assert (run.exit_code, run.stderr.count("\n")) == (2, 1), address
        start = f"{address}: " if address in addresses else ""
        assert run.stderr.startswith(f"Error: {start}")
    clients = [each for each in gc.get_objects() if isinstance(each, Client)]
    assert "connecting" not in [client.status for client in clients]
    monkeypatch.setitem(sys.modules, "distributed", None)
    run = run_rnn("batch", "in/*.csv", *OPTIONS, "-o", "out", "--scheduler", "one:1")
    assert (run.exit_code, run.stderr.count("\n")) == (1, 1)
    assert "pip install 'rnncli[cluster]'" in run.stderr
    assert not list(here.glob("out/*.csv"))


@pytest.mark.filterwarnings("default")
def test_the_recipe_gives_the_run_over_the_sorted_log(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One log of many keys, in files of any order."""
    (recipe,) = re.findall(r"```python\n(.*?)```", GUIDE["clusters"], re.DOTALL)
    monkeypatch.chdir(tmp_path)
    rng, n = np.random.default_rng(0), 500
    sensors, minutes = rng.integers(0, 20, n).astype(str), rng.permutation(n)
    log = pd.DataFrame({"sensor": sensors, "time": minutes, "temperature": rng.normal(size=n)})
    Path("log").mkdir()
    for part in range(4):
        log[part::4].to_parquet(f"log/{part}.parquet")
    log.sort_values("time").to_parquet("sorted.parquet")
    Path("model.keras").symlink_to(SAMPLES / "sunspots.keras")
    with LocalCluster(n_workers=2, processes=False, dashboard_address=":0") as local:
        Path("scheduler.json").write_text(json.dumps({"address": local.scheduler_address}))
        exec(recipe, {})
    options = ("--group-by", "sensor", "--columns", "temperature", "--weights", "model.keras")
    run = run_rnn("run", "sorted.parquet", *options, "--passthrough", "-o", "run.parquet")
    assert run.exit_code == 0, run.stderr
    ours, expected = (
        pd.read_parquet(path).sort_values("time", ignore_index=True)
        for path in ("scored", "run.parquet")
    )
    assert ours["sensor"].tolist() == expected["sensor"].tolist()
    atol = 1e-6 * expected["y_0"].abs().max()
    np.testing.assert_allclose(ours["y_0"], expected["y_0"], rtol=0, atol=atol)
