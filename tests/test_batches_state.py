"""State files of a batch: no input is counted twice, whenever a batch is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_runs import NETWORK, Batch, counted, files, in_folder
from conftest import ROOT, Rnn

import rnncli.cli.batch

__all__ = ["in_folder"]
COMMAND = ("in/*.csv", "-o", "out/{stem}.csv", "--state", "s/{stem}.npz", *NETWORK)
# A batch that ends itself before, or after, it has renamed something for so many times.
KILLED = """
import os, signal, sys
when, times = sys.argv[1], int(sys.argv[2])
real = os.replace
def replace(*names):
    global times
    times -= 1
    if when == "after":
        real(*names)
    if not times:
        os.kill(os.getpid(), signal.SIGKILL)
    if when == "before":
        real(*names)
os.replace = replace
from rnncli.cli import rnn
rnn(["batch", "-j", "1", *sys.argv[3:]])
"""


def steps(path: str) -> int:
    with np.load(path) as state:
        return int(state["t"][0])


def test_states_are_those_of_run(batch: Batch, run_rnn: Rnn) -> None:
    """The numbers and the bytes, but for the task that left them."""
    assert batch(*COMMAND).exit_code == 0
    for name in "abc":
        alone = ("run", f"in/{name}.csv", "--state", f"{name}.npz", *NETWORK, "-o", "x.csv")
        assert run_rnn(*alone).exit_code == 0
        with np.load(f"s/{name}.npz") as ours, np.load(f"{name}.npz") as theirs:
            assert ours["h"].tobytes() == theirs["h"].tobytes()
            assert ours["t"].tobytes() == theirs["t"].tobytes()
            ours_about, theirs_about = str(ours["about"]), str(theirs["about"])
        assert '"task"' not in theirs_about
        begin, _, task = ours_about.partition(', "task": "')
        assert theirs_about == begin + "}"
        assert len(task) == len('0123456789abcdef0123-0123456789abcdef0123"}')


def test_the_next_files_go_on(batch: Batch, run_rnn: Rnn) -> None:
    assert batch(*COMMAND).exit_code == 0
    Path("in/b.csv").write_text("value\n3\n2\n")
    assert counted(batch(*COMMAND)) == (1, 2, 0, 0)
    assert [steps(f"s/{name}.npz") for name in "abc"] == [5, 8, 7]
    # Another run goes on from such a state, and leaves one that no task has left.
    alone = ("run", "in/b.csv", "--state", "s/b.npz", *NETWORK, "-o", "x.csv")
    assert run_rnn(*alone).exit_code == 0
    assert steps("s/b.npz") == 10
    assert b'"task"' not in Path("s/b.npz").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("times", [3, 4])
def test_a_batch_that_was_killed_counts_nothing_twice(
    batch: Batch, run_rnn: Rnn, when: str, times: int
) -> None:
    """Of b.csv the output is renamed third and the state fourth."""
    command = [sys.executable, "-c", KILLED, when, str(times), *COMMAND]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(Path("out/rnn-batch.jsonl").read_text().splitlines()) == 1
    assert counted(batch(*COMMAND)) == (2, 1, 0, 0)
    assert counted(batch(*COMMAND)) == (0, 3, 0, 0)
    assert [steps(f"s/{name}.npz") for name in "abc"] == [5, 6, 7]
    for name in "abc":
        assert run_rnn("run", f"in/{name}.csv", *NETWORK, "-o", "x.csv").exit_code == 0
        assert Path(f"out/{name}.csv").read_bytes() == Path("x.csv").read_bytes()
    assert not list(Path().rglob("*.tmp"))


def test_an_output_that_is_gone_is_not_made_from_a_state_that_has_it(batch: Batch) -> None:
    assert batch(*COMMAND).exit_code == 0
    os.unlink("out/b.csv")
    result = batch(*COMMAND)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == (
        "Error: in/b.csv: s/b.npz has counted it, and out/b.csv is gone "
        "(--force runs it again, from that state)"
    )
    assert steps("s/b.npz") == 6
    assert counted(batch("in/b.csv", *COMMAND[1:], "--force")) == (1, 0, 0, 0)
    assert steps("s/b.npz") == 12


@pytest.mark.slow
def test_states_in_and_out(batch: Batch) -> None:
    """They can be run again, and are if the state to start from has changed."""
    assert batch(*COMMAND).exit_code == 0
    states = ("--state-in", "s/{stem}.npz", "--state-out", "t/{stem}.npz")
    one_night = ("in/*.csv", "-o", "night/{stem}.csv", *states, *NETWORK)
    for again in (3, 0):
        result = batch(*one_night)
        assert counted(result) == (again, 3 - again, 0, 0)
        assert [steps(f"t/{name}.npz") for name in "abc"] == [10, 12, 14]
    os.utime("s/b.npz", ns=(1, 1))
    os.unlink("night/c.csv")
    result = batch(*one_night)
    assert counted(result) == (2, 1, 0, 0)
    assert [steps(f"t/{name}.npz") for name in "abc"] == [10, 12, 14]


@pytest.mark.parametrize("other", [["--digits", "3"], ["--no-header"]])
def test_no_state_counts_an_input_again_with_other_options(batch: Batch, other: list[str]) -> None:
    assert batch(*COMMAND).exit_code == 0
    before = files("s")
    again = batch(*COMMAND, *other)
    assert (again.exit_code, "0 done, 0 skipped, 3 failed" in again.stderr) == (1, True)
    what = "has counted this input with other options, or in another version of rnn"
    hint = "remove it to begin anew; --force counts the input again"
    assert again.stderr.startswith(f"Error: in/a.csv: s/a.npz: {what}; {hint}\n")
    assert files("s") == before
    assert batch(*COMMAND, *other, "--force").exit_code == 0
    assert [steps(f"s/{name}.npz") for name in "abc"] == [10, 12, 14]


def test_another_name_for_the_states_is_another_task(batch: Batch) -> None:
    assert batch(*COMMAND).exit_code == 0
    command = [word.replace("s/{stem}", "t/{stem}") for word in COMMAND]
    assert counted(batch(*command)) == (3, 0, 0, 0)
    assert [steps(f"t/{name}.npz") for name in "abc"] == [5, 6, 7]


@pytest.mark.parametrize("there", [True, False])
def test_an_input_that_changes_meanwhile_is_not_counted_for_what_it_was(
    batch: Batch, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """The next batch has it as it is then, and would count it again."""
    real = vars(rnncli.cli.batch)["forward"]
    command = ("in/a.csv", "in/b.csv", *COMMAND[1:])
    if not there:
        os.unlink("in/b.csv")

    def forward(**given: Any) -> int:
        Path("in/b.csv").write_text("value\n3\n2\n")
        rows: int = real(**given)
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(rnncli.cli.batch, "forward", forward)
        result = batch(*command)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == (
        "Error: in/b.csv: was changed since the batch began; run the same command again"
    )
    assert counted(batch(*command)) == (1, 1, 0, 0)
    assert [steps(f"s/{name}.npz") for name in "ab"] == [5, 2]


def test_one_state_to_start_from_serves_all(batch: Batch) -> None:
    assert batch(*COMMAND).exit_code == 0
    result = batch("in/*.csv", "-o", "o/{stem}.csv", "--state-in", "s/a.npz", *NETWORK)
    assert counted(result) == (3, 0, 0, 0)
    assert Path("o/a.csv").read_text().splitlines()[1].startswith("6,")
