"""`rnn batch` and `rnncli.batch`: the tasks, what makes one new, and the report of them."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, Rnn

import rnncli
import rnncli.batches.batch
from rnncli.batches.batch import make_resolver, names_of, open_report, read_report
from rnncli.batches.tasks import Outcome
from rnncli.pipeline import return_built

NETWORK = rnncli.seeded(2, 4)
COMMAND = ("batch", "in/*.csv", "-o", "out", "--hidden", "2", "-j", "1")


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder with three inputs: in/a.csv, b and c."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("in")
    for name in "abc":
        Path(f"in/{name}.csv").write_text("time,value\n1,0.5\n2,0.25\n")


def files(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_the_library_does_what_the_command_does(run_rnn: Rnn) -> None:
    network = rnncli.seeded(1, 2)
    rnncli.save(network, "net.npz")
    options: dict[str, Any] = {"columns": [2], "null_values": ["NA"], "header": False, "jobs": 1}
    options |= {"h0": np.full(2, 0.5), "center": (0.5,), "scale": 2}
    summary = rnncli.batch("in/*.csv", network, Path("ours/{stem}.csv"), **options)
    assert (summary.done, summary.failed, summary.failures) == (3, 0, [])
    words = "--columns 2 --null-value NA --no-header -j 1 --h0 0.5,0.5 --center 0.5 --scale 2"
    command = ("batch", "in/*.csv", "-o", "theirs", "-w", "net.npz", *words.split())
    assert run_rnn(*command).exit_code == 0
    ours, theirs = files("ours"), files("theirs")
    assert ours.pop("rnn-batch.jsonl") != theirs.pop("rnn-batch.jsonl")
    assert ours == theirs
    inputs: list[str | Path] = [Path("in/a.csv"), "in/b.csv"]
    again = rnncli.batch(inputs, network, "ours/{stem}.csv", **options)
    assert (again.done, again.skipped, again.rows) == (0, 2, 0)
    path = rnncli.batch(inputs, "net.npz", "ours/{stem}.csv", **options)
    assert (path.done, path.skipped) == (0, 2)
    other = rnncli.batch(inputs, rnncli.seeded(1, 2, seed=2), "ours", **options)
    assert (other.done, other.skipped) == (2, 0)


def test_an_input_that_changes_while_it_is_read_leaves_no_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def append_a_row(*arguments: Any) -> Any:
        with open("in/a.csv", "a") as file:
            file.write("3,1\n")
        return build(*arguments)

    build = return_built
    monkeypatch.setattr(rnncli.batches.batch, "return_built", append_a_row)
    options: dict[str, Any] = {"jobs": 1, "state": "s/{stem}.npz"}
    summary = rnncli.batch("in/a.csv", NETWORK, "out", **options)
    (failure,) = summary.failures
    assert failure.error.startswith("in/a.csv: was changed while it was read")
    assert not os.listdir("s")


@pytest.mark.posix("names with a slash")
def test_failures_are_returned_and_outcomes_are_called_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("in/b.csv").write_text("time,value\n1,many\n")
    outcomes: list[Any] = []
    summary = rnncli.batch("in/*.csv", NETWORK, "out", callback=outcomes.append, jobs=1)
    assert (summary.done, summary.failed) == (2, 1)
    assert [outcome for outcome in outcomes if outcome.error] == summary.failures
    (failure,) = summary.failures
    assert (failure.input, failure.status) == ("in/b.csv", "failed")
    assert failure.error.startswith("in/b.csv:2: column 'value': not a number: 'many'")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("network", "options", "kind", "message"),
    [
        (NETWORK, {"hiden": 3}, TypeError, "unexpected keyword argument 'hiden'"),
        (NETWORK, {"jobs": 0}, ValueError, "jobs: expected a whole number from 1 up, got 0"),
        (NETWORK, {"jobs": 2, "scheduler": "x:1"}, ValueError, "jobs: is for this machine"),
        (NETWORK, {"digits": 99}, ValueError, "is not a whole number from 0 to 20"),
        (NETWORK, {"state_in": "s"}, ValueError, "`state_in` and `state_out` are for one run"),
        ("no.npz", {}, rnncli.InputError, "no.npz: cannot be read: No such file"),
        (3, {}, ValueError, "network: expected a Network, or the name of a file, got 3"),
    ],
)
def test_wrong_options_raise(
    network: Any, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as raised:
        rnncli.batch("in/*.csv", network, "out/{stem}.csv", **options)
    assert message in str(raised.value)


def test_inputs_may_be_none_but_not_lacking() -> None:
    assert rnncli.batch([], NETWORK, "out").done == 0
    assert not Path("out").exists()
    with pytest.raises(rnncli.InputError, match="matches no file"):
        rnncli.batch("in/*.txt", NETWORK, "out/{stem}.csv")


def test_a_thread_can_run_a_batch() -> None:
    failures: list[Any] = []

    def work() -> None:
        inputs = ["in/a.csv", "in/no.csv"]
        failures.extend(rnncli.batch(inputs, NETWORK, "out", jobs=1).failures)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [failure.input for failure in failures] == ["in/no.csv"]


def test_a_program_needs_no_guard() -> None:
    """Processes are started, and the program is not run by them."""
    Path("program.py").write_text(
        "import rnncli\n"
        "print('once')\n"
        "net = rnncli.seeded(1, 4)\n"
        "print(rnncli.batch('in/*.csv', net, 'out', columns=['value'], jobs=2).done)\n"
        "rnncli.batch('in/no.csv', net, 'out', jobs=1)\n"
        "print('still')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "once\n3\nstill\n", "")


@pytest.mark.parametrize(
    ("path", "stem", "name", "folder"),
    [
        ("in/a.b.csv.gz", "a.b", "a.b.csv.gz", "in"),
        ("../../x/./log.csv.XZ", "log", "log.csv.XZ", "x"),
        ("s3://bucket/in/a.parquet", "a", "a.parquet", "bucket/in"),
    ],
)
def test_a_template_names_an_input(path: str, stem: str, name: str, folder: str) -> None:
    assert names_of(path) == {"stem": stem, "name": name, "dir": folder}


def test_links_are_followed_as_by_realpath(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x.csv").touch()
    (tmp_path / "folder").symlink_to("a/b")
    (tmp_path / "a" / "b" / "file").symlink_to("../x.csv")
    (tmp_path / "gone").symlink_to("a/none.csv")
    monkeypatch.chdir(tmp_path / "a")
    follow = make_resolver()
    names = [
        "x.csv",
        "./x.csv",
        "../folder/file",
        "../folder/../x.csv",
        "b/none",
        "../gone",
        "..",
        "b/",
    ]
    for name in names * 2:
        for path in (name, str(tmp_path / "a" / name)):
            assert follow(path) == os.path.realpath(path)
    assert follow("s3://bucket/x.csv") == "s3://bucket/x.csv"


def test_another_version_runs_all_again(run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, done in (("9.8", 3), ("9.8", 0), ("9.9", 3)):
        monkeypatch.setattr(rnncli.batches.batch, "__version__", version)
        assert f"{done} done, {3 - done} skipped, " in run_rnn(*COMMAND).stderr


@pytest.mark.posix("a pipe with a name")
@pytest.mark.parametrize("change", ["echo 3 > in/b.csv", "mv in/none in/b.csv"])
def test_a_change_within_a_batch_is_noticed(run_rnn: Rnn, change: str) -> None:
    """Here while the first output is written: it is a pipe that the reader leaves full."""
    if "none" in change:
        os.rename("in/b.csv", "in/none")
    Path("in/a.csv").write_text("1\n" * 10_000)
    Path("out").mkdir()
    os.mkfifo("out/a.csv")
    reader = f"exec 3< out/a.csv; {change}; cat <&3 > whole"
    command = ("batch", "in/a.csv", "in/b.csv", *COMMAND[2:], "--state", "s/{stem}.npz")
    with subprocess.Popen(["sh", "-c", reader]):
        result = run_rnn(*command)
    error, last = result.stderr.splitlines()
    assert error.startswith("Error: in/b.csv: ")
    assert error.endswith("was changed since the batch began; run the same command again")
    assert last.startswith("1 done, 0 skipped, 1 failed, ")
    assert sorted(os.listdir("out")) == ["a.csv", "rnn-batch.jsonl"]
    assert Path("whole").read_text().count("\n") == 10_001


@pytest.mark.parametrize(("extension", "module"), [("arrow", "pyarrow"), ("pdf", "matplotlib")])
def test_a_package_that_all_outputs_need_is_asked_for_once(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, extension: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = run_rnn("batch", "in/*.csv", "-o", f"out/{{stem}}.{extension}", *COMMAND[4:])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "pip install 'rnncli[" in result.stderr
    assert os.listdir() == ["in"]


def line(output: str, status: str, made_of: str = "x") -> str:
    return json.dumps(Outcome("/in", output, made_of, status)._asdict()) + "\n"


@pytest.mark.posix("names with a slash")
@pytest.mark.parametrize("half", ["", "{", '{"input": "/\\ud', line("/c", "done").rstrip()])
def test_the_last_whole_line_of_an_output_counts(tmp_path: Path, half: str) -> None:
    """A line that is cut off counts nothing, and is cut off."""
    path = tmp_path / "r.jsonl"
    assert read_report(str(path)) == ({}, 0)
    lines = [("/a", "done"), ("/b", "done"), ("/a", "failed"), ("/c", "failed"), ("/c", "done")]
    for text, known in (("", {}), ("".join(line(*each) for each in lines), {"/a": "", "/b": "x"})):
        path.write_text(text + half)
        with open_report(str(path), make_resolver()) as (done, add):
            assert {name: made_of for name, (made_of, _) in done.items()} == (
                known and known | {"/c": "x"}
            )
            add(Outcome("/in/\udcff", "/out/\udcff", "y", "done"))
        assert path.read_text().splitlines()[:-1] == text.splitlines()
        assert read_report(str(path))[0] == done | {"/out/\udcff": ("y", 0)}


@pytest.mark.posix("names with a slash")
@pytest.mark.parametrize("text", ["t,value\n1,2\n", "[]", '{"input":1}\n'])
def test_a_file_that_is_no_report_is_left_as_it_is(run_rnn: Rnn, text: str) -> None:
    report = Path("out/rnn-batch.jsonl")
    report.parent.mkdir()
    report.write_text(text)
    for more in ((), ("--dry-run",), ("--force",)):
        result = run_rnn(*COMMAND, *more)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert "out/rnn-batch.jsonl: not the report of a batch" in result.stderr
    assert report.read_text() == text
    assert list(report.parent.iterdir()) == [report]


@pytest.mark.posix("names with a slash")
@pytest.mark.parametrize("there", [True, False])
def test_a_report_belongs_to_one_batch_at_a_time(run_rnn: Rnn, there: bool) -> None:
    Path("out").mkdir()
    if there:
        assert run_rnn(*COMMAND).exit_code == 0
    with open_report("out/rnn-batch.jsonl", make_resolver()):
        result = run_rnn(*COMMAND)
    assert result.exit_code == 2
    assert result.stderr == "Error: out/rnn-batch.jsonl: another batch is adding to it\n"
    assert run_rnn(*COMMAND).exit_code == 0
