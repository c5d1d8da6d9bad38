"""The tasks of a batch: their names, what makes one new, and what the report says of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Rnn

import rnncli
import rnncli.batches.batch
from rnncli.batches.batch import Outcome, names_of, open_report, read_report

COMMAND = ("batch", "in/*.csv", "-o", "out", "--hidden", "2", "-j", "1")


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in "ab":
        Path(f"in/{name}.csv").write_text("1\n2\n")


@pytest.mark.parametrize(
    ("path", "stem", "name", "folder"),
    [
        ("a.csv", "a", "a.csv", "."),
        ("in/a.b.csv.gz", "a.b", "a.b.csv.gz", "in"),
        ("in/log.csv.XZ", "log", "log.csv.XZ", "in"),
        ("../../x/./a.csv", "a", "a.csv", "x"),
        ("s3://bucket/in/a.parquet", "a", "a.parquet", "bucket/in"),
    ],
)
def test_a_template_names_parts_of_an_input(path: str, stem: str, name: str, folder: str) -> None:
    assert names_of(path) == {"stem": stem, "name": name, "dir": folder}


def test_another_version_runs_all_again(run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, done in (("9.8", 2), ("9.8", 0), ("9.9", 2)):
        monkeypatch.setattr(rnncli.batches.batch, "__version__", version)
        assert run_rnn(*COMMAND).stderr.startswith(f"{done} done, {2 - done} skipped, ")


CHANGES = {
    "an input": ("printf '3\\n' > in/b.csv", ("--hidden", "2", "--state", "s/{stem}.npz")),
    "an input that is made": ("mv in/none in/b.csv", ("--hidden", "2", "--state", "s/{stem}.npz")),
}


@pytest.mark.parametrize(("change", "options"), CHANGES.values(), ids=CHANGES)
def test_a_change_within_a_batch_is_noticed(
    run_rnn: Rnn, change: str, options: tuple[str, ...]
) -> None:
    """Here while the first output is written: it is a pipe that the reader leaves full."""
    if "none" in change:
        os.rename("in/b.csv", "in/none")
    Path("in/a.csv").write_text("1\n" * 10_000)
    Path("out").mkdir()
    os.mkfifo("out/a.csv")
    reader = f"exec 3< out/a.csv; {change}; cat <&3 > whole"
    with subprocess.Popen(["sh", "-c", reader]):
        result = run_rnn("batch", "in/a.csv", "in/b.csv", "-o", "out", "-j", "1", *options)
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


@pytest.mark.parametrize(
    "half", ["", "{", '{"input": "/x", "outp', '{"input": "/\\ud', line("/c", "done").rstrip()]
)
def test_the_last_whole_line_of_an_output_counts(tmp_path: Path, half: str) -> None:
    """A line that is cut off counts nothing, and is cut off."""
    path = tmp_path / "r.jsonl"
    assert read_report(str(path)) == ({}, 0)
    parts = [("/a", "done"), ("/b", "done"), ("/a", "failed"), ("/c", "failed"), ("/c", "done")]
    for text, known in (("", {}), ("".join(line(*part) for part in parts), {"/a": "", "/b": "x"})):
        path.write_text(text + half)
        with open_report(str(path)) as (done, add):
            assert done == (known and known | {"/c": "x"})
            add(Outcome("/in/\udcff", "/out/\udcff", "y", "done"))
        assert path.read_text().splitlines()[:-1] == text.splitlines()
        assert read_report(str(path))[0] == done | {"/out/\udcff": "y"}


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


@pytest.mark.parametrize("there", [True, False])
def test_a_report_is_one_batch_at_a_time(run_rnn: Rnn, there: bool) -> None:
    Path("out").mkdir()
    if there:
        assert run_rnn(*COMMAND).exit_code == 0
    with open_report("out/rnn-batch.jsonl"):
        result = run_rnn(*COMMAND)
        assert (result.exit_code, result.stderr) == (
            2,
            "Error: out/rnn-batch.jsonl: another batch is adding to it\n",
        )
    assert run_rnn(*COMMAND).exit_code == 0
