"""The report of a batch: what it says is done, and which files it is."""

import json
from pathlib import Path

import pytest
from batch_runs import NETWORK, Batch, in_folder

from rnncli.batches.report import Outcome, Report, done_before

__all__ = ["in_folder"]


def line(output: str, status: str, made_of: str = "x") -> str:
    return json.dumps(Outcome("/in", output, made_of, status)._asdict()) + "\n"


def test_the_last_line_counts(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    assert done_before(str(path)) == {}
    path.write_text(
        line("/a", "done")
        + line("/b", "done")
        + line("/a", "failed")
        + line("/c", "failed")
        + line("/c", "done", "y")
        + '{"input": "no'
    )
    assert done_before(str(path)) == {"/a": "", "/b": "x", "/c": "y"}


@pytest.mark.parametrize(
    "half", ["", "{", '{"input": "/x", "outp', '{"input": "/\\ud', line("/c", "done").rstrip()]
)
def test_a_line_that_is_cut_off_is_ended(tmp_path: Path, half: str) -> None:
    path = tmp_path / "r.jsonl"
    for before in ("", line("/a", "done")):
        path.write_text(before + half)
        with Report.opened(str(path)) as report:
            assert list(report.done) == ["/a"] * bool(before)
            report.add(Outcome("/in/b", "/b", "y", "done"))
        lines = path.read_text().splitlines()
        assert lines == [*before.splitlines(), lines[-1]]
        assert done_before(str(path)) == dict.fromkeys(["/a"] * bool(before), "x") | {"/b": "y"}


@pytest.mark.parametrize(
    "text",
    [
        *("t,value\n1,2\n", '{"t": 1, "h": [0.5]}\n', "[]", "\n", "\0\0", '{"input":1}\n'),
        line("/a", "done") + '{"input": "' + "x" * (1 << 20) + '"}\n',
    ],
    ids=lambda text: repr(text[:9]),
)
def test_another_file_is_left_as_it_is(batch: Batch, text: str) -> None:
    report = Path("out/rnn-batch.jsonl")
    report.parent.mkdir()
    report.write_text(text)
    command = ("in/*.csv", "-o", "out/{stem}.csv", *NETWORK)
    for more in ((), ("--dry-run",), ("--force",)):
        result = batch(*command, *more)
        assert (result.exit_code, result.stderr) == (
            2,
            "Error: out/rnn-batch.jsonl: not the report of a batch; give -o another folder\n",
        )
    assert report.read_text() == text
    assert list(report.parent.iterdir()) == [report]


def test_a_name_that_is_no_utf_8_is_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "r.jsonl")
    with Report.opened(path) as report:
        report.add(Outcome("/in/\udcff", "/out/\udcff", "y", "done"))
    assert done_before(path) == {"/out/\udcff": "y"}
