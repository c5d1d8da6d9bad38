"""How a command ends where a pipe is closed; tests/cases/exits.md has the rest."""

import os
from pathlib import Path

import pytest
from conftest import Rnn
from processes import Commands, commands, start_alone

from rnncli import pipeline

__all__ = ["commands"]


@pytest.mark.parametrize(
    ("words", "unbuffered", "code"),
    [
        ("run --seq 1,2 --hidden 4", False, 0),
        ("run --seq 1,2 --hidden 4 --format csv", True, 0),
        ("run --seq 1,2 --hidden 4 --format npy", False, 0),
        ("run --help", False, 0),
        ("verify", False, 0),
        ("verify --seq 1,2 --hidden 4 --atol 0", False, 1),
    ],
)
def test_a_pipe_closed_before_anything_is_written(
    commands: Commands, words: str, unbuffered: bool, code: int
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    start = start_alone if unbuffered else commands.start
    environment = commands.environment | {"PYTHONUNBUFFERED": "1"}
    with start(*words.split(), stdout=writing, env=environment) as process:
        os.close(writing)
        _, message = process.communicate()
    assert (process.returncode, message) == (code, b"")


@pytest.mark.parametrize("error", [ValueError("no axis 7"), KeyError("h")])
def test_a_mistake_in_the_program_is_not_the_users(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    """One line that says so, exit code 1; the traceback where it is asked for."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(pipeline, "cut_blocks", fail)
    (tmp_path / "x.csv").write_text("1\n")
    batch = ("batch", tmp_path / "x.csv", "-o", tmp_path / "o", "--hidden", "1")
    for command in (("run", "--seq", "1", "--hidden", "1"), batch):
        done = run_rnn(*command)
        line = done.stderr.splitlines()[0]
        assert done.exit_code == 1
        assert "a mistake in rnn, not in its input" in line
        assert f"({type(error).__name__}: {error}, at pipeline.py:" in line
        assert "Traceback" not in done.stderr
        monkeypatch.setenv("RNN_TRACEBACK", "1")
        asked = run_rnn(*command)
        monkeypatch.delenv("RNN_TRACEBACK")
        assert asked.exit_code == 1
        assert asked.stderr.startswith("Traceback (most recent call last):")
