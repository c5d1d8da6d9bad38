"""On a real pseudo-terminal: colour, width, shortened tables, progress."""

import io
import os
import pty
import re
import select
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
from processes import LIMIT, Commands, commands, read_terminal

from rnncli.cli import console, rnn
from rnncli.engine.rows import BLOCK_STEPS, Rows
from rnncli.readers.input import Input

__all__ = ["commands"]
TABLE = ("run", "--seq", "1,2,3", "--hidden", "4")


def test_a_terminal_gets_colour_unless_it_is_dumb(commands: Commands) -> None:
    coloured = commands.on_terminal(*TABLE, TERM="xterm-256color")
    assert "\x1b[36m" in coloured
    assert " rows" not in coloured  # short runs show no progress
    assert "\x1b[36m" not in commands.on_terminal(*TABLE, TERM="xterm-256color", NO_COLOR="1")
    shown = commands.on_terminal(*TABLE, COLUMNS="40")
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 40


@pytest.mark.parametrize("steps", [30, 31, BLOCK_STEPS + 3])
def test_a_long_table_on_a_terminal_notes_the_rows_that_it_leaves_out(
    commands: Commands, tmp_path: Path, steps: int
) -> None:
    """The last rows may be of two blocks."""
    path, rows = tmp_path / "states.txt", tmp_path / "x.csv"
    rows.write_text("1\n" * steps)
    command = ("run", str(rows), "--hidden", "1")
    table = commands.on_terminal(*command)
    shown = [row.split()[0] for row in table.splitlines()[4:] if row]
    note = f"Rows 11 to {steps - 10} are not shown ({steps - 20} steps): -o FILE.csv has all."
    if steps == 30:
        assert shown == [str(t) for t in range(31)]
    else:
        assert shown == [*map(str, range(11)), ":", *map(str, range(steps - 9, steps + 1)), "Rows"]
        assert note in table
    assert "Rows" not in commands.on_terminal(*command, "-o", str(path))
    whole = [row.split()[0] for row in path.read_text().splitlines() if re.match(r" *\d", row)]
    assert whole == [str(t) for t in range(steps + 1)]


def test_large_weights_on_a_terminal_note_the_rows_that_they_leave_out(commands: Commands) -> None:
    shown = commands.on_terminal("weights", "--hidden", "70")
    assert shown.count("Only the first and last 8 are shown: --json has all.") == 3
    assert len(re.findall(r"-?\d+\.\d+(?:e[-+]\d+)?", shown)) == 16 + 16 * 16 + 16


@pytest.mark.parametrize("form", ["npy", "pdf"])
def test_bytes_are_not_thrown_at_a_terminal(commands: Commands, form: str) -> None:
    assert commands.on_terminal(*TABLE, "--format", form).startswith(f"Error: {form} is not text")


def test_a_terminal_is_no_input(commands: Commands) -> None:
    assert commands.on_terminal("run", "--hidden", "4").startswith("Error: no input: give a FILE")


def test_verify_shows_what_it_compares_with_meanwhile(commands: Commands) -> None:
    shown = commands.on_terminal("verify", "--seq", "1,2", "--hidden", "2", TERM="xterm")
    assert "Comparing with a float64 loop and every way to unroll" in shown


def run_on_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: str, *command: str, stdin: bytes = b""
) -> str:
    """Run a command in this process with progress from the start; return what it shows."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
    monkeypatch.setattr(console, "SECONDS", -1)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLUMNS", raising=False)
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, int(columns)))
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        rnn.main([*command], standalone_mode=False)
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", read_terminal(master))


def test_a_long_run_shows_its_rows_and_its_share(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "x.csv"
    path.write_text("1\n2\n3\n")
    command = ("run", str(path), "--hidden", "2", "-o", str(tmp_path / "h.csv"))
    shown = run_on_terminal(monkeypatch, "80", *command)
    assert re.findall(r"\d+%.*?rows", shown) == ["100%, 0:00:00 left: 3 rows"]


def test_a_run_shows_a_line_before_its_first_block_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console, "SECONDS", 0)
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        blocks = (Rows(np.ones((3, 1))) for _ in range(1))
        for _ in console.watch(blocks, Input(["x"], iter(())), "h.csv"):
            assert select.select([master], [], [], LIMIT)[0]
            assert b"0 rows" in os.read(master, 4096)
    os.close(master)


@pytest.mark.parametrize("columns", ["40", "80"])
def test_a_batch_shows_its_files_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, columns: str
) -> None:
    """With a failure on a line of its own, and the rows of a file in this process."""
    for name, cell in {"a": "1", "b": "no", "c": "2", "d": "3"}.items():
        (tmp_path / f"{name}.csv").write_text(f"value\n{cell}\n")
    monkeypatch.chdir(tmp_path)
    command = ("batch", "?.csv", "-o", "o/{stem}.csv", "--hidden", "2", "-j", "1")
    text = run_on_terminal(monkeypatch, columns, *command)
    lines = re.split(r"[\r\n]+", text)
    assert "Error: b.csv:2: column 'value': not a number: 'no'" in lines
    ends = [line for line in lines if re.match(r"100%, 0:00:00 left: 4 of 4 files, 1 f", line)]
    assert ends
    assert max(map(len, ends)) <= int(columns)
    assert any(re.match(r"(100%, 0:00:00 left: )?[01] rows *$", line) for line in lines)
