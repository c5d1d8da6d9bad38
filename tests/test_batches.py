"""``rnn batch``: results as ``rnn run`` makes them, and what is made again."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batch_runs import NETWORK, Batch, counted, files, in_folder
from conftest import ROOT, SAMPLES, Rnn

import rnncli
import rnncli.cli.batch

__all__ = ["in_folder"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("{stem}.csv", NETWORK),
        ("{stem}.json", (*NETWORK, "--last")),
        ("{stem}.npy", ("--columns", "2", "--cell", "lstm", "--hidden", "8,4", "--init", "keras")),
        ("{stem}.txt", (*NETWORK, "--digits", "3")),
        ("{stem}.csv", ("--columns", "2", "--weights", str(SAMPLES / "sunspots.keras"))),
        ("{stem}.jsonl", (*NETWORK, "--passthrough")),
        ("{stem}.csv", ("--group-by", "time", "--hidden", "4", "--center", "auto")),
    ],
)
def test_outputs_are_those_of_run(
    batch: Batch, run_rnn: Rnn, name: str, options: tuple[str, ...]
) -> None:
    result = batch("in/*.csv", "-o", f"out/{name}", *options)
    assert (result.exit_code, result.stdout) == (0, "")
    for path in sorted(Path("in").iterdir()):
        output = name.format(stem=path.stem)
        alone = run_rnn("run", str(path), "-o", output, *options)
        assert alone.exit_code == 0
        assert Path("out", output).read_bytes() == Path(output).read_bytes()


def test_a_report_has_a_line_for_each(batch: Batch, tmp_path: Path) -> None:
    assert batch("in/*.csv", "-o", "out/{stem}.csv", "--hidden", "4").exit_code == 0
    lines = Path("out/rnn-batch.jsonl").read_text().splitlines()
    reported = [json.loads(line) for line in lines]
    assert [line["input"] for line in reported] == [f"{tmp_path}/in/{name}.csv" for name in "abc"]
    assert [line["output"] for line in reported] == [f"{tmp_path}/out/{name}.csv" for name in "abc"]
    assert [(line["status"], line["rows"]) for line in reported] == [
        ("done", 5),
        ("done", 6),
        ("done", 7),
    ]
    assert all(line["seconds"] >= 0 and not line["error"] for line in reported)
    assert all(line["notes"] == [reported[0]["notes"][0]] for line in reported)


def test_what_is_done_is_skipped(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("in/*.csv", "-o", "out/{stem}.csv", *NETWORK)
    assert counted(batch(*command)) == (3, 0, 0, 0)
    before, report = files("out"), Path("out/rnn-batch.jsonl").read_bytes()
    assert counted(batch(*command)) == (0, 3, 0, 0)
    assert files("out") == before
    assert Path("out/rnn-batch.jsonl").read_bytes() == report
    # The same files by other names, from another folder.
    monkeypatch.chdir("in")
    again = batch("*.csv", "-o", "../out/{stem}.csv", *NETWORK)
    assert counted(again) == (0, 3, 0, 0)
    assert counted(batch("*.csv", "-o", "../out/{stem}.csv", "--force", *NETWORK)) == (
        *(3, 0, 0, 0),
    )


def changed_input() -> None:
    with open("in/b.csv", "a") as file:
        file.write("9,1\n")


def touched_input() -> None:
    os.utime("in/b.csv", ns=(1, 1))


def removed_output() -> None:
    os.unlink("out/b.csv")


def replaced_weights() -> None:
    assert os.path.exists("net.npz")
    os.replace("other.npz", "net.npz")


def other_version() -> None:
    vars(rnncli.cli.batch)["__version__"] = "9.9"


WEIGHTS = ("--columns", "2", "--weights", "net.npz")


@pytest.mark.parametrize(
    ("options", "change", "added", "again"),
    [
        (NETWORK, changed_input, (), 1),
        (NETWORK, touched_input, (), 1),
        (NETWORK, removed_output, (), 1),
        (NETWORK, lambda: None, ("--seed", "2"), 3),
        (NETWORK, lambda: None, ("--activation", "relu"), 3),
        (NETWORK, lambda: None, ("--activation", "leaky_relu:0.1"), 3),
        (NETWORK, lambda: None, ("--no-header",), 3),
        (NETWORK, other_version, (), 3),
        (WEIGHTS, lambda: None, (), 0),
        (WEIGHTS, replaced_weights, (), 3),
        (WEIGHTS, lambda: os.utime("net.npz", ns=(1, 1)), (), 0),
    ],
)
def test_what_has_changed_is_run_again(
    batch: Batch,
    run_rnn: Rnn,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    change: Callable[[], Any],
    added: tuple[str, ...],
    again: int,
) -> None:
    monkeypatch.setattr(rnncli.cli.batch, "__version__", "9.8")
    for name, seed in (("net.npz", "1"), ("other.npz", "2")):
        assert run_rnn("weights", "--hidden", "4", "--seed", seed, "-o", name).exit_code == 0
    command = ("in/*.csv", "-o", "out/{stem}.csv", *options)
    assert counted(batch(*command)) == (3, 0, 0, 0)
    change()
    assert counted(batch(*command, *added)) == (again, 3 - again, 0, 0)
    assert counted(batch(*command, *added)) == (0, 3, 0, 0)
    alone = run_rnn("run", "in/b.csv", "-o", "b.csv", *options, *added)
    assert alone.exit_code == 0
    assert Path("out/b.csv").read_bytes() == Path("b.csv").read_bytes()


def test_weights_are_known_by_their_bytes(batch: Batch) -> None:
    os.mkdir("nets")
    for name, seed in (("net.npz", 1), ("nets/copy.npz", 1), ("nets/net.npz", 2)):
        rnncli.save(rnncli.seeded(1, 4, seed=seed), name)
    for name, again in (("net.npz", 3), ("nets/copy.npz", 0), ("nets/net.npz", 3)):
        command = ("in/*.csv", "-o", "out/{stem}.csv", "--columns", "2")
        assert counted(batch(*command, "--weights", name)) == (again, 3 - again, 0, 0)


def test_inputs_of_one_size_and_time_are_told_apart(batch: Batch) -> None:
    """A folder that is another one, with files of the same sizes and times, is another input."""
    os.mkdir("too")
    for folder, value in (("in", 1), ("too", 2)):
        Path(folder, "a.csv").write_text(f"value\n{value}\n")
        os.utime(f"{folder}/a.csv", ns=(10**18, 10**18))
    for folder in ("in", "too"):
        command = (f"{folder}/a.csv", "-o", "out/{stem}.csv", *NETWORK)
        assert counted(batch(*command)) == (1, 0, 0, 0)


def test_failures_are_named_and_the_rest_is_done(batch: Batch, run_rnn: Rnn) -> None:
    Path("in/b.csv").write_text("t,value\n1,2\n2,many\n")
    command = ("in/*.csv", "in/no.csv", "-o", "out/{stem}.csv", *NETWORK)
    result = batch(*command)
    assert (result.exit_code, result.stdout) == (1, "")
    *errors, last = result.stderr.splitlines()
    assert errors == [
        run_rnn("run", path, *NETWORK).stderr.rstrip("\n") for path in ("in/b.csv", "in/no.csv")
    ]
    assert last.startswith("2 done, 0 skipped, 2 failed, 12 rows, ")
    assert last.endswith(" s; out/rnn-batch.jsonl")
    assert sorted(files("out")) == ["a.csv", "c.csv", "rnn-batch.jsonl"]
    Path("in/b.csv").write_text("t,value\n1,2\n")
    result = batch(*command)
    assert (result.exit_code, counted(result)) == (1, (1, 2, 1, 0))


def test_an_error_without_a_file_names_it(batch: Batch) -> None:
    Path("in/b.csv").write_text("value\n1e38\n1e38\n")
    result = batch("in/*.csv", "-o", "out/{stem}.csv", *NETWORK, "--activation", "linear")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: in/b.csv: step 2, unit ")


def test_a_full_disk_ends_it(batch: Batch) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no disk that is full")
    os.mkdir("out")
    os.symlink("/dev/full", "out/b.csv")
    result = batch("in/*.csv", "-o", "out/{stem}.csv", *NETWORK)
    assert result.exit_code == 1
    error, last = result.stderr.splitlines()
    assert error == "Error: out/b.csv: No space left on device"
    assert last.startswith("1 done, 0 skipped, 1 failed, 1 not run, ")


@pytest.mark.slow
def test_many_failures_and_notes_are_shown_as_a_few(batch: Batch) -> None:
    for number in range(30):
        Path(f"in/n{number}.csv").write_text("value\nmany\n")
    result = batch("in/n*.csv", "-o", "out/{stem}.csv", *NETWORK)
    *errors, more, last = result.stderr.splitlines()
    assert len(errors) == 20
    assert all(f"Error: in/n{number}.csv:2: " in line for number, line in enumerate(errors))
    assert more == "Note: more have failed: out/rnn-batch.jsonl has all of them"
    assert last.startswith("0 done, 0 skipped, 30 failed, ")
    assert len(Path("out/rnn-batch.jsonl").read_text().splitlines()) == 30
    # A note that all files have comes once; of many that differ, the first ten.
    result = batch("in/[abc].csv", "-o", "two/{stem}.csv", "--hidden", "4")
    note, _ = result.stderr.splitlines()
    assert (
        note
        == "Note: in/a.csv: the features are the columns 'time', 'value': --columns chooses others"
    )
    for number in range(30):
        Path(f"in/n{number}.csv").write_text(f"value\n{number}\n{number + 1}\n")
    result = batch("in/n*.csv", "-o", "out/{stem}.csv", "--center", "auto", *NETWORK)
    *notes, more, _ = result.stderr.splitlines()
    assert notes == [f"Note: in/n{number}.csv: found --center {number}.5" for number in range(10)]
    assert more == "Note: there are more notes: out/rnn-batch.jsonl has all of them"


def test_a_dry_run_makes_nothing(batch: Batch) -> None:
    command = ("in/*.csv", "-o", "out/{stem}.csv", *NETWORK)
    result = batch(*command, "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [f"run   in/{n}.csv -> out/{n}.csv" for n in "abc"]
    assert os.listdir() == ["in"]
    assert batch(*command).exit_code == 0
    changed_input()
    result = batch(*command, "-n")
    words = [line.split()[0] for line in result.stdout.splitlines()]
    assert (result.exit_code, words) == (0, ["done", "run", "done"])


def test_names_that_control_a_terminal_are_escaped(batch: Batch) -> None:
    Path("in/x\x1b[31m.csv").write_text("value\nmany\n")
    dry = batch("in/x*.csv", "-o", "out/{stem}.csv", *NETWORK, "-n")
    wet = batch("in/x*.csv", "-o", "out/{stem}.csv", *NETWORK)
    assert (dry.exit_code, wet.exit_code) == (0, 1)
    assert "\x1b" not in dry.output + wet.output
    assert "in/x\\x1b[31m.csv" in dry.output
    assert "in/x\\x1b[31m.csv:2: " in wet.output
    wet = batch("in/a.csv", "-o", "o\x1b[31m", *NETWORK)
    assert wet.stderr.endswith(" s; o\\x1b[31m/rnn-batch.jsonl\n")


@pytest.mark.slow
@pytest.mark.usefixtures("batch")
@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_what_nobody_can_read_is_no_success(options: tuple[str, ...]) -> None:
    """A summary on a pipe that is closed, and results on standard output that is."""
    Path("in/b.csv").write_text("value\nmany\n")
    command = ("in/*.csv", "-o", "out", *NETWORK, *options)
    words = ["sh", "-c", '"$@" >&-', "sh", sys.executable, "-m", "rnncli", "batch", *command]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    reader, writer = os.pipe()
    if not options:
        os.close(reader)
    done = subprocess.run(words, env=environment, check=False, stderr=writer)
    os.close(writer)
    assert done.returncode == 1
    if options:
        with open(reader) as file:
            assert file.readlines()[-1] == "Error: standard output: closed\n"


@pytest.mark.parametrize(
    ("inputs", "output", "module", "message"),
    [
        ("*.parquet", "out/{stem}.csv", "pyarrow", "Parquet and Arrow need PyArrow: pip install "),
        ("*.csv", "out/{stem}.arrow", "pyarrow", "Parquet and Arrow need PyArrow: pip install 'r"),
        ("*.csv", "out/{stem}.pdf", "matplotlib", "figures need matplotlib: pip install 'rnncli["),
    ],
)
def test_what_no_task_can_do_without_is_said_once(
    batch: Batch,
    monkeypatch: pytest.MonkeyPatch,
    inputs: str,
    output: str,
    module: str,
    message: str,
) -> None:
    for name in "ab":
        Path(f"in/{name}.parquet").write_text("not read")
    monkeypatch.setitem(sys.modules, module, None)
    result = batch(f"in/{inputs}", "-o", output, *NETWORK)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {message}")
    assert result.stderr.count("\n") == 1
    assert os.listdir() == ["in"]
    # Others do without.
    result = batch("in/*", "-o", "out/{name}.csv", *NETWORK)
    assert counted(result) == (3, 0, 2, 0)


def test_what_killed_runs_left_is_removed(batch: Batch) -> None:
    os.mkdir("out")
    Path("out/.rnn-0123456789abcdef.tmp").write_text("half a resu")
    assert batch("in/*.csv", "-o", "out/{stem}.csv", *NETWORK).exit_code == 0
    assert sorted(files("out")) == ["a.csv", "b.csv", "c.csv", "rnn-batch.jsonl"]


@pytest.mark.parametrize("link", [False, True])
def test_a_file_that_is_read_is_never_removed(batch: Batch, link: bool) -> None:
    os.mkdir("out")
    path = "out/.rnn-0123456789abcdef.tmp"
    os.rename("in/a.csv", path)
    os.symlink(f"../{path}", "in/a.csv")
    for more in ((), ("--force",)):
        result = batch("in/a.csv" if link else path, "-o", "out/{stem}.csv", *NETWORK, *more)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert "has the name of a temporary file" in result.stderr
    assert os.listdir("out") == [os.path.basename(path)]


def test_a_result_that_could_not_be_renamed_is_never_removed(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says where it is."""

    def replace(source: str, target: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), source, None, target)

    command = ("in/a.csv", "-o", "out/{stem}.csv", *NETWORK)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        result = batch(*command)
    assert result.exit_code == 1
    kept = Path(result.stderr.splitlines()[0].partition("the result is in ")[2])
    assert batch(*command).exit_code == 0
    assert kept.read_bytes() == Path("out/a.csv").read_bytes()


def test_weights_that_change_meanwhile_are_not_taken(
    batch: Batch, run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seed in (("net.npz", "1"), ("other.npz", "2")):
        assert run_rnn("weights", "--hidden", "4", "--seed", seed, "-o", name).exit_code == 0
    real = vars(rnncli.cli.batch)["forward"]

    def forward(**given: Any) -> int:
        rows: int = real(**given)
        if given["files"] == ("in/b.csv",):
            replaced_weights()
        return rows

    monkeypatch.setattr(rnncli.cli.batch, "forward", forward)
    result = batch("in/*.csv", "-o", "out/{stem}.csv", *WEIGHTS)
    error, last = result.stderr.splitlines()
    assert error == (
        "Error: in/c.csv: net.npz: was changed since the batch began; run the same command again"
    )
    assert last.startswith("2 done, 0 skipped, 1 failed, ")
    assert not Path("out/c.csv").exists()
