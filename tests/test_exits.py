"""How a command ends where a pipe is closed; tests/cases/exits.md has the rest."""

import os

import pytest
from processes import Commands, commands, start_alone

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
