"""How a command ends where a pipe is closed; tests/cases/exits.md has the rest."""

import ast
import os
import re
from pathlib import Path

import pytest
from conftest import ROOT
from processes import Commands, commands, start_alone

__all__ = ["commands"]


@pytest.mark.parametrize(
    ("words", "unbuffered"),
    [
        ("run --seq 1,2 --hidden 4", False),
        ("run --seq 1,2 --hidden 4 --format csv", False),
        ("run --seq 1,2 --hidden 4 --format csv", True),
        ("run --seq 1,2 --hidden 4 --format npy", False),
        ("run --seq 1,2 --hidden 4 --json", False),
        ("weights --hidden 4", False),
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


@pytest.mark.parametrize(
    "path",
    [path for name in ("readers", "engine") for path in (ROOT / "rnncli" / name).glob("*.py")],
    ids=lambda path: path.stem,
)
def test_only_the_command_line_has_options_in_its_messages(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.search(r"(?<!\S)--[a-z]", node.value), f"{path}:{node.lineno}"
