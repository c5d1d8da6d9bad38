"""How a command ends where a pipe is closed; tests/cases/exits.md has the rest."""

import os

import pytest
from processes import Commands, commands, start_alone

__all__ = ["commands"]


@pytest.mark.parametrize(
    ("words", "unbuffered"),
    [
        ("run --seq 1,2 --hidden 4", False),
        ("run --seq 1,2 --hidden 4 --format csv", True),
        ("run --seq 1,2 --hidden 4 --format npy", False),
        ("run --help", False),
    ],
)
def test_a_pipe_closed_before_anything_is_written(
    commands: Commands, words: str, unbuffered: bool
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    start = start_alone if unbuffered else commands.start
    environment = commands.environment | {"PYTHONUNBUFFERED": "1"}
    with start(*words.split(), stdout=writing, env=environment) as process:
        os.close(writing)
        _, message = process.communicate()
    assert (process.returncode, message) == (0, b"")
