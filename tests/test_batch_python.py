"""`rnncli.batch`: what ``rnn batch`` does, from Python."""

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

NETWORK = rnncli.seeded(2, 4)


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
            {"columns": 2, "h0": np.full(2, 0.5), "header": False},
            "--columns 2 --h0 0.5,0.5 --no-header",
        ),
        (
            {"columns": [2], "null_values": ["NA"], "center": (0.5,), "scale": 2},
            "--columns 2 --null-value NA --center 0.5 --scale 2",
        ),
    ],
)
def test_options_are_those_of_the_command(
    run_rnn: Rnn, options: dict[str, Any], words: str
) -> None:
    network = rnncli.seeded(1, 2)
    rnncli.save(network, "net.npz")
    summary = rnncli.batch("in/*.csv", network, Path("ours/{stem}.csv"), jobs=1, **options)
    assert (summary.done, summary.failed, summary.failures) == (3, 0, [])
    command = ("batch", "in/*.csv", "-o", "theirs", "-w", "net.npz", "-j", "1", *words.split())
    assert run_rnn(*command).exit_code == 0
    ours, theirs = files("ours"), files("theirs")
    assert ours.pop("rnn-batch.jsonl") != theirs.pop("rnn-batch.jsonl")
    assert ours == theirs
    inputs: list[str | Path] = [Path("in/a.csv"), "in/b.csv"]
    again = rnncli.batch(inputs, network, "ours/{stem}.csv", jobs=1, **options)
    assert (again.done, again.skipped, again.rows) == (0, 2, 0)
    rnncli.run(network, [[1]])
    path = rnncli.batch(inputs, "net.npz", "ours/{stem}.csv", jobs=1, **options)
    assert (path.done, path.skipped) == (0, 2)
    other = rnncli.batch(inputs, rnncli.seeded(1, 2, seed=2), "ours", jobs=1, **options)
    assert (other.done, other.skipped) == (2, 0)


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
        (NETWORK, {"state": "s/{stem}", "force": True}, ValueError, "`force` and `state`"),
        (NETWORK, {"last": True, "no_last": True}, ValueError, "`last` and `no_last`: give one"),
        (NETWORK, {"state": "-"}, ValueError, "`state` -: a state is a file, not a stream"),
        ("no.npz", {}, rnncli.InputError, "no.npz: cannot be read: No such file"),
        (3, {}, ValueError, "network: expected a Network, or the name of a file, got 3"),
    ],
)
def test_wrong_options(
    network: Any, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as raised:
        rnncli.batch("in/*.csv", network, "out/{stem}.csv", **options)
    assert isinstance(raised.value, kind)
    assert message in str(raised.value)


def test_wrong_inputs() -> None:
    assert rnncli.batch([], NETWORK, "out").done == 0
    assert not Path("out").exists()
    for inputs, message in (("in", "in: a folder"), ("in/*.txt", "matches no file")):
        with pytest.raises(rnncli.InputError, match=message):
            rnncli.batch(inputs, NETWORK, "out/{stem}.csv")


def test_a_thread_can_run_one() -> None:
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
