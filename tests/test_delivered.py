"""A run with --follow leaves the state of the rows that it has delivered, however it ends."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Rnn
from test_exits import rnn, start

from rnncli.cli import states as states_module
from rnncli.engine.state import load_state, save_state

BARE = ("run", "-", "--group-by", "k", "--format", "csv", "--unroll", "stepwise")
RUN = (*BARE, "--hidden", "2")
# Two inputs: the weights of unit 1 differ in sign, so that the largest float32 overflows.
WIDE = ("--hidden", "3", "--columns", "v,w", "--precision", "tf32")
# A hang is a failure.
LIMIT = 60


def states(path: Path) -> dict[tuple[str, ...], tuple[int, list[float]]]:
    """Steps and state of each sequence in a state file."""
    state = load_state(str(path))
    assert state
    return {
        tuple(key): (int(t), values.tolist())
        for key, t, values in zip(
            state.keys, state.t, np.concatenate([*state.arrays.values()], axis=1), strict=True
        )
    }


def after(path: Path, text: str, *options: str) -> dict[tuple[str, ...], tuple[int, list[float]]]:
    """What a whole run leaves."""
    hidden = () if "--hidden" in options else ("--hidden", "2")
    done = rnn(*BARE, *hidden, *options, "--state", str(path), stdin=text.encode())
    assert done.code == 0, done.err
    return states(path)


ENDS = {
    "a bad line": ("a,x,1\n", 2, "not a number: 'x'"),
    "a bad line of a new key": ("c,,1\n", 2, "empty; expected a number"),
    "too few cells": ("a\n", 2, "expected as many cells"),
    "an overflow": ("a,3.4028e38,3.4028e38\n", 1, "overflow"),
    "an overflow of a new key": ("c,3.4028e38,3.4028e38\n", 1, "overflow"),
}
SOUND = "k,v,w\na,1,1\nb,2,2\na,3,3\n"


@pytest.mark.slow
@pytest.mark.parametrize(("line", "code", "message"), ENDS.values(), ids=ENDS)
def test_a_failure_leaves_the_state_of_what_came_before(
    tmp_path: Path, line: str, code: int, message: str
) -> None:
    ended = ("--state", str(tmp_path / "ended"))
    text = SOUND + line + "a,5,5\n"
    done = rnn(*BARE, *WIDE, "--follow", *ended, stdin=text.encode())
    assert (done.code, done.out.count("\n")) == (code, 4)
    assert message in done.err
    expected = after(tmp_path / "whole", SOUND, *WIDE)
    assert states(tmp_path / "ended") == expected


@pytest.mark.slow
def test_a_failure_at_the_first_line_leaves_the_state_as_it_was(tmp_path: Path) -> None:
    state = tmp_path / "s"
    before = after(state, "k,v\na,1\n")
    assert rnn(*RUN, "--follow", "--state", str(state), stdin=b"k,v\na,x\n").code == 2
    assert states(state) == before
    assert rnn(*RUN, "--follow", "--state", str(tmp_path / "t"), stdin=b"k,v\na,x\n").code == 2
    assert os.listdir(tmp_path) == ["s"]


@pytest.mark.slow
def test_an_output_that_is_not_kept_leaves_no_state(tmp_path: Path) -> None:
    """Without --follow nothing is delivered until all is."""
    state = tmp_path / "s"
    before = after(state, "k,v\na,1\n")
    assert rnn(*RUN, "--state", str(state), stdin=b"k,v\na,1\na,x\n").code == 2
    assert states(state) == before


@pytest.mark.slow
def test_a_state_is_never_ahead_of_a_file(tmp_path: Path) -> None:
    """Whether a failed run leaves the rows in its output or not, the state is theirs."""
    state, output = tmp_path / "s", tmp_path / "out.csv"
    files = ("--follow", "--state", str(state), "-o", str(output))
    assert rnn(*RUN, *files, stdin=b"k,v\na,1\n").code == 0
    assert rnn(*RUN, *files, stdin=b"k,v\na,2\na,x\n").code == 2
    last = output.read_text().splitlines()[-1]
    ((steps, _),) = states(state).values()
    assert last.startswith(f"a,{steps},")


@pytest.mark.slow
def test_a_reader_that_goes_leaves_the_state_of_what_it_was_sent(tmp_path: Path) -> None:
    process = start(*RUN, "--follow", "--state", str(tmp_path / "ended"))
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"k,v\na,1\nb,2\n")
    process.stdin.flush()
    for _ in range(3):
        process.stdout.readline()
    process.stdout.close()
    _, message = process.communicate(b"c,3\na,4\n", LIMIT)
    assert (process.returncode, message) == (0, b"")
    assert states(tmp_path / "ended") == after(tmp_path / "whole", "k,v\na,1\nb,2\n")


def test_a_state_that_is_left_meanwhile_is_not_ahead_of_the_output(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left every second, here after each row."""
    output, left = tmp_path / "out.csv", []
    save = save_state

    def saved(file: Any, state: Any) -> None:
        left.append((int(state.t.sum()), output.read_text().count("\n") - 1))
        save(file, state)

    monkeypatch.setattr(states_module, "_SECONDS", -1.0)
    monkeypatch.setattr(states_module, "save_state", saved)
    files = ("--follow", "--state", str(tmp_path / "s"), "-o", str(output))
    assert run_rnn(*RUN, *files, stdin="k,v\na,1\nb,2\na,3\n").exit_code == 0
    assert left == [(1, 1), (2, 2), (3, 3), (3, 3)]


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_state_goes_on_from_what_was_delivered(run_rnn: Rnn, tmp_path: Path, cell: str) -> None:
    run, state = (*RUN, "--cell", cell, "--states"), ("--state", str(tmp_path / "s"))
    failed = rnn(*run, "--follow", *state, stdin=b"k,v\na,1\nb,2\nb,x\n")
    rest = rnn(*run, *state, "--no-header", stdin=b"k,v\na,3\nb,4\n")
    whole = run_rnn(*run, stdin="k,v\na,1\nb,2\na,3\nb,4\n").stdout
    assert failed.out + rest.out == whole
