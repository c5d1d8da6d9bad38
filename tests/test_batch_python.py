"""`rnncli.batch`: what ``rnn batch`` does, from Python."""

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


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder with three inputs: in/a.csv, b and c."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("in")
    for name in "abc":
        Path(f"in/{name}.csv").write_text("time,value\n1,0.5\n2,0.25\n")


def files(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"hidden": (8, 4), "columns": ["value"], "last": True},
            "--hidden 8,4 --columns value --last",
        ),
        (
            {"hidden": np.int64(2), "columns": [2], "h0": np.zeros(2), "header": False},
            "--hidden 2 --columns 2 --h0 0,0 --no-header",
        ),
        (
            {"hidden": [4, 4], "group_by": ["time"], "activation": ["relu", "tanh"], "digits": 3},
            "--hidden 4,4 --group-by time --activation relu --activation tanh --digits 3",
        ),
        (
            {"hidden": 4, "columns": 2, "null_value": ["NA"], "no_last": True, "center": (0.5,)},
            "--hidden 4 --columns 2 --null-value NA --no-last --center 0.5",
        ),
    ],
)
def test_options_are_those_of_the_command(
    run_rnn: Rnn, options: dict[str, Any], words: str
) -> None:
    summary = rnncli.batch("in/*.csv", Path("ours/{stem}.csv"), jobs=1, **options)
    assert (summary.done, summary.failed, summary.failures) == (3, 0, [])
    command = ("batch", "in/*.csv", "-o", "theirs/{stem}.csv", "-j", "1", *words.split())
    assert run_rnn(*command).exit_code == 0
    ours, theirs = files("ours"), files("theirs")
    assert ours.pop("rnn-batch.jsonl") != theirs.pop("rnn-batch.jsonl")
    assert ours == theirs
    again = rnncli.batch([Path("in/a.csv"), "in/b.csv"], "ours/{stem}.csv", jobs=1, **options)
    assert (again.done, again.skipped, again.rows) == (0, 2, 0)


def test_the_names_of_columns_are_taken_as_they_are() -> None:
    Path("in/a.csv").write_text('"a,b","say ""x""",c\n1,2,3\n')
    given: dict[str, Any] = {"columns": ["a,b", 'say "x"'], "hidden": 4}
    assert rnncli.batch("in/a.csv", "out/{stem}.json", jobs=1, **given).failures == []
    assert json.loads(Path("out/a.json").read_text())["model"]["columns"] == ["a,b", 'say "x"']


def test_it_prints_nothing_unless_it_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in/b.csv").write_text("time,value\n1,many\n")
    for verbose in (False, True):
        summary = rnncli.batch("in/*.csv", "out", hidden=4, verbose=verbose, jobs=1, force=True)
        assert (summary.done, summary.failed, summary.not_run) == (2, 1, 0)
        (failure,) = summary.failures
        assert failure["input"] == "in/b.csv"
        shown = capsys.readouterr()
        note, error = "Note: in/a.csv: the features are", f"Error: {failure['error']}\n"
        assert shown.out == ""
        assert (note in shown.err, error in shown.err) == (verbose, verbose)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"hiden": 3}, TypeError, "unexpected keyword argument 'hiden'; did you mean 'hidden'?"),
        ({"hidden": 4, "follow": True}, TypeError, "unexpected keyword argument 'follow'"),
        ({"hidden": 4, "jobs": 0}, ValueError, "'0' is not a whole number from 1 up"),
        ({}, ValueError, "no network: give --hidden H or --weights FILE"),
        ({"weights": "no.npz"}, rnncli.InputError, "no.npz: cannot be read: No such file"),
        ({"weights": rnncli.seeded(1, 2)}, TypeError, "a path or numbers, got Network(RNN 2)"),
        ({"hidden": 4, "columns": object}, TypeError, "expected text, a path or numbers, got "),
    ],
)
def test_wrong_options(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as raised:
        rnncli.batch("in/*.csv", "out/{stem}.csv", **options)
    assert type(raised.value) is kind
    assert message in str(raised.value)


def test_wrong_inputs() -> None:
    assert rnncli.batch([], "out", hidden=4).done == 0
    assert not Path("out").exists()
    for inputs, message in (("in", "in: a folder"), ("in/*.txt", "matches no file")):
        with pytest.raises(rnncli.InputError, match=message):
            rnncli.batch(inputs, "out/{stem}.csv", hidden=4)


def test_a_thread_can_run_one_beside_others(capsys: pytest.CaptureFixture[str]) -> None:
    """Another thread can print meanwhile; a missing file closes nothing."""
    failures: list[Any] = []

    def work() -> None:
        inputs = [*(f"in/{name}.csv" for name in "abc"), "in/no.csv"]
        failures.extend(rnncli.batch(inputs, "out", hidden=4, jobs=1).failures)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        sys.stderr.write("beside\n")
        thread.join(0.001)
    assert [failure["input"] for failure in failures] == ["in/no.csv"]
    shown = capsys.readouterr()
    assert set(shown.err.splitlines()) == {"beside"}
    assert not any("beside" in path.read_text() for path in Path("out").iterdir())


def test_a_program_needs_no_guard() -> None:
    """Processes are started, and the program is not run by them."""
    Path("program.py").write_text(
        "import rnncli\n"
        "print('once')\n"
        "print(rnncli.batch('in/*.csv', 'out', hidden=4, columns=['value'], jobs=2).done)\n"
        "rnncli.batch('in/no.csv', 'out', hidden=4, jobs=1)\n"
        "print('still')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "once\n3\nstill\n", "")
