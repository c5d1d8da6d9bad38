"""One log in parts on a cluster: to the bit what one run over the rows in order gives."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, Rnn

from rnncli.batches.cluster import Ended, check_workers, connected
from rnncli.batches.log import cut, open_log, part_of
from rnncli.batches.log.pieces import Log, Piece
from rnncli.batches.report import DONE, Outcome
from rnncli.batches.shuffle import run_parts
from rnncli.batches.tasks import Task
from rnncli.readers import Layout

from .test_cluster import OTHER, Cluster, until

pytestmark = pytest.mark.slow

NETWORK = ("--hidden", "3", "--unroll", "stepwise")
READING = ("--group-by", "sensor", "--columns", "value")
KEYS = ["", "7", "07", "ä, b", 'q"t', "line", *(f"s{i}" for i in range(14))]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with connected("local", 2) as client:
        yield client.scheduler.address


def write_rows(path: Path, rows: Sequence[tuple[int, str, float]], *, header: bool = True) -> Path:
    if path.suffix == ".csv":
        with open(path, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerows([("time", "sensor", "value"), *rows] if header else rows)
    else:
        columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
        types = pa.timestamp("us"), pa.string(), pa.float64()
        arrays = [pa.array(each, kind) for each, kind in zip(columns, types, strict=True)]
        pq.write_table(pa.table(arrays, ["time", "sensor", "value"]), path, row_group_size=17)
    return path


def drawn(count: int, seed: int = 1) -> list[tuple[int, str, float]]:
    random = np.random.default_rng(seed)
    keys, values = random.integers(0, len(KEYS), count), random.standard_normal(count).round(3)
    return [(9 + i, KEYS[k], float(v)) for i, (k, v) in enumerate(zip(keys, values, strict=True))]


def rows_in(paths: Sequence[Path]) -> list[list[str]]:
    """The rows of CSV files with one header, by key and step."""
    found = []
    for path in paths:
        with open(path, encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        assert head[:2] == ["sensor", "t"]
        found += rows
    return sorted(found, key=lambda row: (row[0], int(row[1])))


@pytest.mark.parametrize("extension", ["csv", "parquet"])
def test_parts_are_what_one_run_gives(
    extension: str, cluster: str, run_rnn: Rnn, tmp_path: Path
) -> None:
    """Also with files out of order, one of them empty, and more parts than keys in some."""
    rows = drawn(300)
    for i, some in enumerate((rows[200:], rows[:90], [], rows[90:200])):
        write_rows(tmp_path / f"log-{i}.{extension}", some)
    one = write_rows(tmp_path / f"sorted.{extension}", rows)
    assert run_rnn("run", one, *READING, *NETWORK, "-o", tmp_path / "one.csv").exit_code == 0
    output = tmp_path / "out" / "{part}.csv"
    options = ("-o", output, *READING, *NETWORK, "--order-by", "time", "--scheduler", cluster)
    log = str(tmp_path / f"log-*.{extension}")
    result = run_rnn("batch", log, *options, "--parts", 12)
    assert (result.exit_code, result.stdout) == (0, ""), result.stderr
    assert result.stderr.startswith("12 done, 0 skipped, 0 failed, 300 rows")
    parts = sorted((tmp_path / "out").glob("*.csv"))
    assert [path.name for path in parts] == [f"part-{i:02}-of-12.csv" for i in range(12)]
    assert rows_in(parts) == rows_in([tmp_path / "one.csv"])
    for number, path in enumerate(parts):
        assert {part_of(row[:1], 12) for row in rows_in([path])} <= {number}
    again = run_rnn("batch", log, *options)  # as many parts as there are
    assert again.stderr.startswith("0 done, 12 skipped, 0 failed, 0 rows")
    parts[3].unlink()
    assert run_rnn("batch", log, *options).stderr.startswith("1 done, 11 skipped")
    assert rows_in(parts) == rows_in([tmp_path / "one.csv"])
    os.utime(tmp_path / f"log-1.{extension}", (1, 1))
    assert run_rnn("batch", log, *options).stderr.startswith("12 done, 0 skipped")


def test_rows_stay_as_they_come_without_an_order(
    cluster: str, run_rnn: Rnn, tmp_path: Path
) -> None:
    rows = drawn(200, seed=2)
    paths = [
        write_rows(tmp_path / f"{i}.csv", some, header=False)
        for i, some in enumerate((rows[120:], rows[:120]))
    ]
    options = ("--group-by", "2", "--columns", "3", *NETWORK)
    assert run_rnn("run", *paths, *options, "-o", tmp_path / "one.csv").exit_code == 0
    output = tmp_path / "{part}.out"
    result = run_rnn(
        "batch", *paths, "-o", output, "--format", "csv", *options, "--scheduler", cluster
    )
    assert result.exit_code == 0, result.stderr
    parts = sorted(tmp_path.glob("*.out"))
    assert len(parts) == 2  # one for each worker
    found = [row for path in parts for row in path.read_text().splitlines()[1:]]
    assert sorted(found) == sorted((tmp_path / "one.csv").read_text().splitlines()[1:])


def test_parquet_is_passed_through_with_its_types(
    cluster: str, run_rnn: Rnn, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "log.parquet", drawn(100))
    result = run_rnn(
        *("batch", path, "-o", tmp_path / "out/{part}.parquet", *READING, *NETWORK),
        *("--passthrough", "--scheduler", cluster, "--parts", 2),
    )
    assert result.exit_code == 0, result.stderr
    tables = [pq.read_table(each) for each in sorted((tmp_path / "out").glob("*.parquet"))]
    whole = pa.concat_tables(tables).sort_by("time")
    assert whole.select(["time", "sensor", "value"]).equals(pq.read_table(path).sort_by("time"))


def test_states_go_on_from_night_to_night(cluster: str, run_rnn: Rnn, tmp_path: Path) -> None:
    rows = drawn(240, seed=3)
    nights = [
        write_rows(tmp_path / "monday.csv", rows[:130]),
        write_rows(tmp_path / "tuesday.csv", rows[130:]),
    ]
    for path in nights:
        state = ("--state", tmp_path / "one.npz", "-o", tmp_path / f"{path.stem}.one.csv")
        assert run_rnn("run", path, *READING, *NETWORK, *state).exit_code == 0
    states = ("--state", tmp_path / "s" / "{part}.npz", "--scheduler", cluster)
    common = (*READING, *NETWORK, *states)
    for path in nights:
        output = tmp_path / path.stem / "{part}.csv"
        result = run_rnn("batch", path, "-o", output, *common, "--parts", 3)
        assert result.exit_code == 0, result.stderr
        found = rows_in(sorted((tmp_path / path.stem).glob("*.csv")))
        assert found == rows_in([tmp_path / f"{path.stem}.one.csv"])
    output = tmp_path / "wednesday" / "{part}.csv"
    other = run_rnn("batch", nights[0], "-o", output, *common, "--parts", 4)
    assert other.exit_code == 2
    assert "of a run with 3 parts, this one has 4; give --parts 3" in other.stderr
    unsaid = run_rnn("batch", nights[0], "-o", output, *common)
    assert (unsaid.exit_code, "give --parts N" in unsaid.stderr) == (2, True)


def test_no_state_counts_a_log_twice_of_which_a_row_is_mended(
    cluster: str, run_rnn: Rnn, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "log.csv", drawn(60))
    sound = path.read_text()
    lines = sound.split("\n")
    lines[16] = f'1,"{lines[16].split(",")[1]}",oops\r'
    path.write_text("\n".join(lines), newline="")

    def again(output: str, *options: str) -> tuple[int, str]:
        result = run_rnn(
            *("batch", path, "-o", tmp_path / output / "{part}.csv", "--scheduler", cluster),
            *(*READING, *NETWORK, "--parts", 2, *options),
        )
        return result.exit_code, result.stderr

    state = str(tmp_path / "{part}.npz")
    code, told = again("in-place", "--state", state)
    assert (code, "1 done, 0 skipped, 1 failed" in told) == (1, True)
    before = {each: each.read_bytes() for each in tmp_path.glob("*.npz")}
    path.write_text(sound, newline="")
    for shown_only in ((), ("--dry-run",)):
        code, told = again("in-place", "--state", state, *shown_only)
        assert (code, told.count("\n")) == (2, 1)
        assert "--state-in and --state-out can be run again" in told
    assert before == {each: each.read_bytes() for each in tmp_path.glob("*.npz")}
    code, told = again("in-place", "--state", state, "--missing", "zero")
    assert code == 2
    assert "has not done all parts, and whose log, options or version of rnn have changed" in told
    assert again("apart", "--state-out", str(tmp_path / "tue-{part}.npz"))[0] == 0
    assert again("in-place", "--state", state, "--force")[0] == 0


def test_an_error_names_the_file_and_the_row(cluster: str, run_rnn: Rnn, tmp_path: Path) -> None:
    rows = drawn(60)
    write_rows(tmp_path / "log-0.csv", rows[30:])
    path = write_rows(tmp_path / "log-1.csv", rows[:30])
    lines = path.read_text().split("\n")
    lines[16] = f'1,"{lines[16].split(",")[1]}",oops\r'
    path.write_text("\n".join(lines), newline="")
    result = run_rnn(
        *("batch", tmp_path / "log-*.csv", "-o", tmp_path / "out/{part}.csv", "--scheduler"),
        *(cluster, *READING, *NETWORK, "--order-by", "time", "--parts", 2),
    )
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {path}:17: column 'value': not a number: 'oops'\n")
    assert "1 done, 0 skipped, 1 failed" in result.stderr
    path.write_text("\n".join([*lines[:5], '1,"x"y,2', *lines[5:]]), newline="")
    result = run_rnn(
        *("batch", tmp_path / "log-*.csv", "-o", tmp_path / "out/{part}.csv", "--scheduler"),
        *(cluster, *READING, *NETWORK, "--parts", 2),
    )
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {path}:6: not CSV")
    assert result.stderr.count("\n") == 1


def test_an_error_in_a_table_names_the_file_and_the_row(
    cluster: str, run_rnn: Rnn, tmp_path: Path
) -> None:
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for path, times, last in zip(paths, ([7, 8, 9], [1, 3, 2]), (1.0, None), strict=True):
        table = pa.table({"time": times, "sensor": ["x"] * 3, "value": [1.0, 2.0, last]})
        pq.write_table(table, path, row_group_size=1)
    result = run_rnn(
        *("batch", *paths, "-o", tmp_path / "{part}.csv", *READING, *NETWORK),
        *("--order-by", "time", "--scheduler", cluster, "--parts", 1),
    )
    assert result.exit_code == 1
    assert f"Error: {paths[1]}: row 3, column 'value': not a finite number: nan" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "{part}.csv"], "give --group-by COLUMN"),
        (["-o", "{part}.csv", "--group-by", "sensor"], "give the --scheduler of a cluster"),
        (["-o", "{stem}.csv", "--parts", "2"], "--parts is for one log in parts"),
        (["-o", "{{part}}.csv", "--order-by", "time"], "--order-by is for one log in parts"),
        (
            ["-o", "{part}.csv", *READING, "--scheduler", "local", "--scale", "auto"],
            "--center and --scale auto would differ from part to part",
        ),
        (
            ["-o", "{stem}-{part}.csv", *READING, "--scheduler", "local"],
            "{stem} is none of {part}",
        ),
        (
            ["-o", "{part}.csv", *READING, "--scheduler", "local", "--order-by", "tiem"],
            "no column 'tiem'; there are 'time', 'sensor', 'value' (or 1 to 3)",
        ),
        (
            ["-o", "{part}.csv", *READING, "--scheduler", "local", "--order-by", "1-2"],
            "'1-2' is 2 columns; --order-by takes one",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    options: list[str], message: str, run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(Path("log.csv"), drawn(3))
    result = run_rnn("batch", "log.csv", *options, "--hidden", "3")
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
    assert os.listdir(tmp_path) == ["log.csv"]


def test_files_of_one_kind_and_columns(run_rnn: Rnn, tmp_path: Path) -> None:
    text = write_rows(tmp_path / "a.csv", drawn(3))
    table = write_rows(tmp_path / "b.parquet", drawn(3))
    options = ("-o", tmp_path / "{part}.csv", *READING, *NETWORK, "--scheduler", "local")
    result = run_rnn("batch", text, table, *options)
    assert f"{table}: is Parquet or Arrow, and {text} is text" in result.stderr
    result = run_rnn("batch", text, text, *options)
    assert (result.exit_code, f"{text}: is given twice" in result.stderr) == (2, True)
    result = run_rnn("batch", tmp_path / "none.csv", *options)
    assert (result.exit_code, "none.csv: cannot be read" in result.stderr) == (2, True)


def test_a_file_that_cannot_be_read_on_is_named(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    path = write_rows(tmp_path / "log.csv", drawn(3))
    options = ("-o", tmp_path / "{part}.csv", *READING, *NETWORK, "--scheduler", "local")
    for function in ("cut", "open_log"):
        monkeypatch.setattr(f"rnncli.batches.log.{function}", broken)
        result = run_rnn("batch", path, *options)
        assert result.exit_code == 2
        assert f"{path}: cannot be read: {os.strerror(errno.EIO)}" in result.stderr


def test_what_is_added_while_a_log_is_cut_is_read_by_the_next_batch(
    cluster: str, run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_and_grown(log: Log, path: str) -> tuple[list[Piece], int]:
        found = cut(log, path)
        with open(path, "a") as file:
            file.write("99,x,1\n")
        return found

    path = write_rows(tmp_path / "log.csv", drawn(30))
    options = ("-o", tmp_path / "{part}.csv", *READING, *NETWORK, "--scheduler", cluster)
    monkeypatch.setattr("rnncli.batches.log.pieces.PIECE_BYTES", 100)
    with monkeypatch.context() as patch:
        patch.setattr("rnncli.batches.log.cut", cut_and_grown)
        first = run_rnn("batch", path, *options, "--parts", 1)
    assert first.stderr.startswith("1 done, 0 skipped, 0 failed, 30 rows")
    assert run_rnn("batch", path, *options).stderr.startswith("1 done, 0 skipped, 0 failed, 31")


def test_parts_elsewhere_are_as_many_as_there_are(run_rnn: Rnn, tmp_path: Path) -> None:
    path, url = write_rows(tmp_path / "log.csv", drawn(3)), "memory://parts/{part}.csv"
    with fsspec.open(url.format(part="part-1-of-3"), "wb") as file:
        file.write(b"sensor,t,h_0\n")
    options = ("-o", url, *READING, *NETWORK, "--scheduler", "local", "--dry-run")
    report = ("--report", tmp_path / "report.jsonl")
    assert run_rnn("batch", path, *options, *report).stdout.count("run") == 3
    result = run_rnn("batch", path, *options, *report, "--parts", 2)
    assert result.exit_code == 2
    assert "part-1-of-3.csv: is of a run with 3 parts, this one has 2" in result.stderr


def killed_in_a_piece(folder: str) -> None:
    """Have a worker die where it divides its second piece."""
    from rnncli.batches import shuffle

    divide, done = vars(shuffle)["divided"], []

    def divided(*given: Any) -> Any:
        done.append(given)
        if len(done) == 2 and not os.path.exists(os.path.join(folder, "killed")):
            open(os.path.join(folder, "killed"), "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return divide(*given)

    vars(shuffle)["divided"] = divided


def dying(task: Task, folder: str) -> Outcome:
    """Copy the file of a part; kill the worker that waits for the second one."""
    rows = Path(task.input).read_text()
    if os.listdir(folder) and not os.path.exists(os.path.join(folder, "killed")):
        open(os.path.join(folder, "killed"), "w").close()
        os.kill(os.getppid(), signal.SIGKILL)
    Path(task.output).write_text(rows)
    return Outcome(task.input, task.output, "", DONE, rows.count("\n") - 1)


@pytest.mark.parametrize("when", ["in a piece", "in a part"])
def test_a_worker_that_is_killed_loses_and_doubles_nothing(when: str, tmp_path: Path) -> None:
    rows = drawn(400)
    for i in range(8):
        write_rows(tmp_path / f"log-{i}.csv", rows[i * 50 : i * 50 + 50])
    paths = sorted(map(str, tmp_path.glob("log-*.csv")))
    layout = Layout(np.dtype(np.float32), columns=["value"], group_by=["sensor"])
    log = open_log(paths[0], layout, "time")
    pieces = [piece for path in paths for piece in cut(log, path)[0]]
    out = tmp_path / "out"
    out.mkdir()
    parts = [f"p{i}" for i in range(4)]
    tasks = [Task(part, str(out / part), {}) for part in parts]
    with connected("local", 2) as client:
        before = set(client.run(os.getpid).values())
        if when == "in a piece":
            client.run(partial(killed_in_a_piece, str(out)))
            (out / "none").touch()
        work = partial(dying, folder=str(out))
        here = check_workers(client, "local", paths, print)
        ended = Ended(client, "local", print)
        outcomes = list(run_parts(log, pieces, parts, tasks, work, client, here, ended))
        assert len(before & set(client.run(os.getpid).values())) < 2
    assert (out / "killed").exists()
    assert sorted(outcome.input for outcome in outcomes) == parts
    assert [outcome.error for outcome in outcomes] == [""] * 4
    found = [
        [int(row.split(",")[0]) for row in (out / part).read_text().splitlines()[1:]]
        for part in parts
    ]
    assert all(times == sorted(times) for times in found)
    assert sorted(time for times in found for time in times) == [time for time, _, _ in rows]


def test_a_missing_extra_is_named(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_rows(tmp_path / "log.csv", drawn(3))
    monkeypatch.setitem(sys.modules, "dask.dataframe", None)
    output = tmp_path / "{part}.csv"
    result = run_rnn("batch", path, "-o", output, *READING, *NETWORK, "--scheduler", "local")
    assert result.exit_code == 1
    assert result.stderr.endswith("needs Dask, pandas and PyArrow: pip install 'rnncli[cluster]'\n")


def test_workers_need_not_be_in_the_folder_of_the_batch(
    cluster: str, run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(Path("log.csv"), drawn(20))
    assert run_rnn("weights", "--inputs", 1, *NETWORK[:2], "-o", "net.npz").exit_code == 0
    options = (*READING, "--weights", "net.npz", "--scheduler", cluster, "--state", "{part}.npz")
    result = run_rnn("batch", "log.csv", "-o", "out/{part}.csv", *options, "--parts", 1)
    assert (result.exit_code, result.stderr[:6]) == (0, "1 done")
    assert sorted(os.listdir("out")) == ["part-0-of-1.csv", "rnn-batch.jsonl"]


def test_a_report_has_a_line_for_each_part(cluster: str, run_rnn: Rnn, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "log.csv", drawn(50))
    options = ("-o", tmp_path / "{part}-{seed}.csv", *READING, *NETWORK, "--sweep", "seed=1 2")
    result = run_rnn("batch", path, *options, "--scheduler", cluster, "--parts", 2, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["rows"] == 100
    lines = (tmp_path / "rnn-batch.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert [
        os.path.basename(each["output"]) for each in sorted(told, key=lambda each: each["output"])
    ] == [f"part-{part}-of-2-{seed}.csv" for part in range(2) for seed in (1, 2)]
    for seed in (1, 2):
        one = tmp_path / f"{seed}.csv"
        assert run_rnn("run", path, *READING, *NETWORK, "--seed", seed, "-o", one).exit_code == 0
        assert rows_in(sorted(tmp_path.glob(f"part-*-{seed}.csv"))) == rows_in([one])


# What a program does before it is `rnn`: at first, all workers have ended.
ALL_ENDED = """
import os
from rnncli.batches import cluster
check = cluster.check_workers

def checked(client, *given):
    here = check(client, *given)
    client.run(os._exit, 1, on_error="ignore")
    return here

cluster.check_workers = checked
from rnncli.__main__ import main
main()
"""


@pytest.mark.parametrize("differs", [False, True])
def test_a_worker_that_comes_later_is_waited_for_and_looked_at(
    differs: bool, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "log.csv", drawn(20))
    options = ("--parts", "2", "-o", str(tmp_path / "{part}.csv"))
    errors = tmp_path / "stderr"
    with closing(Cluster(tmp_path, program="")) as found, errors.open("w") as stderr:
        first = found.work()
        command = [sys.executable, "-c", ALL_ENDED, "batch", str(path), *options]
        with subprocess.Popen(
            [*command, *READING, *NETWORK, "--scheduler", found.address],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=stderr,
        ) as batch:
            try:
                first.wait()
                if not differs:
                    until(lambda: f"{found.address}: the cluster has no wor" in errors.read_text())
                found.work(program=OTHER["rnncli"] if differs else "")
                until(lambda: batch.poll() is not None)
            finally:
                batch.kill()
    told = errors.read_text()
    assert batch.returncode == differs, told
    assert ("has rnncli 9.9.9, here it is " if differs else "2 done") in told


def test_a_scheduler_without_this_program_is_told(run_rnn: Rnn, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "log.csv", drawn(20))
    options = ("--parts", 2, "-o", tmp_path / "{part}.csv", *READING, *NETWORK)
    with closing(Cluster(tmp_path)) as found:
        found.work()
        result = run_rnn("batch", path, *options, "--scheduler", found.address)
    assert result.exit_code == 1
    assert f"Error: {found.address}: the scheduler has no rnncli: pip install" in result.stderr
    assert result.stderr.count("Error: ") == 1


@pytest.mark.parametrize("lacks", ["pandas", "pyarrow"])
def test_a_worker_that_lacks_what_parts_need_is_told(
    lacks: str, run_rnn: Rnn, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "log.csv", drawn(20))
    options = ("--parts", 2, "-o", tmp_path / "{part}.csv", *READING, *NETWORK)
    with closing(Cluster(tmp_path, program="")) as found:
        worker = found.work(program=f"import sys; sys.modules[{lacks!r}] = None")
        result = run_rnn("batch", path, *options, "--scheduler", found.address)
        assert worker.poll() is None
    assert result.exit_code == 1
    assert f"has no {lacks}: pip install 'rnncli[cluster]' there" in result.stderr


@pytest.mark.parametrize(
    "times",
    [
        [str(2**64 - 60 + i) for i in range(60)],
        [f"1700000000.{i:09}" for i in range(60)],
        [f"9999-12-31T{14 + i % 2 * 2}:{i:02}:00+0{i % 2 * 2}:00" for i in range(60)],
    ],
    ids=["beyond 63 bits", "nanoseconds", "beyond the year 2262"],
)
def test_no_two_times_are_one(times: list[str], cluster: str, run_rnn: Rnn, tmp_path: Path) -> None:
    rows = [(time, "x", f"{i % 7 - 3}") for i, time in enumerate(times)]
    for name, some in (("one", rows), ("log", rows[::-1])):
        lines = [",".join(row) for row in (("time", "sensor", "value"), *some)]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines))
    one, part = tmp_path / "run.csv", tmp_path / "part-0-of-1.csv"
    assert run_rnn("run", tmp_path / "one.csv", *READING, *NETWORK, "-o", one).exit_code == 0
    result = run_rnn(
        *("batch", tmp_path / "log.csv", "-o", tmp_path / "{part}.csv", *READING, *NETWORK),
        *("--order-by", "time", "--parts", 1, "--scheduler", cluster),
    )
    assert result.exit_code == 0, result.stderr
    assert rows_in([part]) == rows_in([one])


@pytest.mark.parametrize(
    "times",
    [
        ["9:59", "10:00"],
        ["2024-1-9", "2024-1-10"],
        ["9,999", "10,000"],
        ["2024-01-01T12:00:00+02:00", "2024-01-01T11:00:00"],
    ],
)
def test_what_may_be_no_order_is_told(
    times: list[str], cluster: str, run_rnn: Rnn, tmp_path: Path
) -> None:
    """As text, the second is before the first."""
    path = tmp_path / "log.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [("time", "sensor", "value"), *((time, "x", 1) for time in times)]
        )
    result = run_rnn(
        *("batch", path, "-o", tmp_path / "{part}.csv", *READING, *NETWORK),
        *("--order-by", "time", "--parts", 1, "--scheduler", cluster),
    )
    assert "column 'time'" in result.stderr


@pytest.mark.parametrize(
    "kind", [pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_types_of_a_table_are_kept(
    kind: pa.DataType, cluster: str, run_rnn: Rnn, tmp_path: Path
) -> None:
    keys = pa.array(["x", "y", "x"]).cast(kind)
    table = pa.table({"time": [1, 2, 3], "sensor": keys, "value": [1.0, 2.0, 3.0]})
    path, one = tmp_path / "log.arrow", tmp_path / "one.parquet"
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)
    options = (*READING, *NETWORK, "--passthrough")
    assert run_rnn("run", path, *options, "-o", one).exit_code == 0
    result = run_rnn(
        *("batch", path, "-o", tmp_path / "{part}.parquet", *options),
        *("--order-by", "time", "--parts", 1, "--scheduler", cluster),
    )
    assert result.exit_code == 0, result.stderr
    assert pq.read_table(tmp_path / "part-0-of-1.parquet").equals(pq.read_table(one))


@pytest.mark.parametrize("other", ["./log.csv", "link.csv", "absolute"])
def test_no_file_is_counted_twice_by_two_names(
    other: str, run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_rows(tmp_path / "log.csv", drawn(3))
    Path("link.csv").symlink_to("log.csv")
    second = path if other == "absolute" else other
    options = (*READING, *NETWORK, "--scheduler", "local", "--dry-run")
    result = run_rnn("batch", "log.csv", second, "-o", "{part}.csv", *options)
    assert (result.exit_code, "is given twice" in result.stderr) == (2, True)
