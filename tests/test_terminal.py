"""On a real pseudo-terminal: colour, width, progress."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rnncli.cli import progress, rnn
from rnncli.engine.stream import Block

RNN = (sys.executable, "-m", "rnncli")


def on_terminal(*arguments: str, **variables: str) -> str:
    """What a terminal of 80 columns shows of a command."""
    master, slave = pty.openpty()
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment |= {"TERM": "xterm-256color", "COLUMNS": "80"} | variables
    with subprocess.Popen(
        [*RNN, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment
    ) as process:
        os.close(slave)
        shown = everything(master)
    assert process.returncode in (0, 2)
    return shown


def everything(master: int) -> str:
    """Read a terminal until its other side is closed."""
    shown = b""
    try:
        while piece := os.read(master, 4096):
            shown += piece
    except OSError:  # the other side is closed, on Linux
        pass
    os.close(master)
    return shown.decode()


TABLE = ("run", "--seq", "1,2,3", "--hidden", "4")


@pytest.mark.slow
def test_a_terminal_gets_colour() -> None:
    assert "\x1b[36m" in on_terminal(*TABLE)


@pytest.mark.slow
def test_no_color_and_dumb_terminals_get_none() -> None:
    assert "\x1b[36m" not in on_terminal(*TABLE, NO_COLOR="1")
    assert "\x1b" not in on_terminal(*TABLE, TERM="dumb")


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["40", "80"])
def test_a_table_keeps_to_the_width(columns: str) -> None:
    shown = on_terminal(*TABLE, COLUMNS=columns, TERM="dumb")
    assert max(map(len, shown.splitlines())) <= int(columns)


@pytest.mark.slow
def test_a_terminal_alone_shortens_a_table(tmp_path: Path) -> None:
    command = ("run", "--seq", ",".join("1" * 50), "--hidden", "1")
    note = "Rows 11 to 40 are not shown (30 steps): -o FILE.csv has all."
    assert note in on_terminal(*command, TERM="dumb")
    assert on_terminal(*command, "-o", str(tmp_path / "states.txt")) == ""
    rows = (tmp_path / "states.txt").read_text().splitlines()[4:]
    assert [row.split()[0] for row in rows] == [str(t) for t in range(51)]


@pytest.mark.slow
def test_nothing_to_read_at_a_terminal_is_an_error_at_once() -> None:
    assert on_terminal("run", "--hidden", "4").startswith("Error: no input: give a FILE")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["npy", "png", "pdf", "parquet"])
def test_bytes_are_not_thrown_at_a_terminal(form: str) -> None:
    assert on_terminal(*TABLE, "--format", form).startswith(f"Error: {form} is not text")


@pytest.mark.slow
def test_short_runs_show_no_progress() -> None:
    assert "a second" not in on_terminal(*TABLE, "-o", os.devnull, "--format", "csv")


def blocks() -> Iterator[Block]:
    for t in range(1, 4):
        yield Block(np.array([t]), np.ones((1, 1)), np.ones((1, 2)))


@pytest.mark.parametrize("share", [0.25, None])
def test_progress_of_long_runs(monkeypatch: pytest.MonkeyPatch, share: float | None) -> None:
    monkeypatch.setattr(progress, "SECONDS", -1)
    master, slave = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        passed = list(progress.with_progress(blocks(), lambda _: share, quiet=False))
        assert [int(block.t[0]) for block in passed] == [1, 2, 3]
    shown = everything(master)
    assert re.search(r"3 rows, [\d,]+ a second", shown)
    assert set(re.findall(r"\d+%", shown)) == ({"25%"} if share else set())


@pytest.mark.slow
def test_verify_says_what_it_compares_with_meanwhile() -> None:
    shown = on_terminal("verify", "--seq", "1,2", "--hidden", "2")
    assert "Comparing with a float64 loop and every way to unroll" in shown


@pytest.mark.parametrize("columns", ["40", "80"])
def test_progress_of_a_batch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, columns: str) -> None:
    """Files and time left, with a failure on a line of its own; the runs show none of theirs."""
    for name, cell in {"a": "1", "b": "no", "c": "2", "d": "3"}.items():
        (tmp_path / f"{name}.csv").write_text(f"value\n{cell}\n")
    monkeypatch.setattr(progress, "SECONDS", -1)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.chdir(tmp_path)
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        command = ["batch", "?.csv", "-o", "o/{stem}.csv", "--hidden", "2", "-j", "1"]
        assert rnn.main(command, standalone_mode=False) == 1
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", everything(master))
    lines = re.split(r"[\r\n]+", text)
    assert "Error: b.csv:2: column 'value': not a number: 'no'" in lines
    ends = [line for line in lines if "4 of 4 files, 1 failed" in line]
    assert ends
    assert all(re.search(r"\d:\d\d:\d\d|-:--:--", line) for line in ends)
    assert max(map(len, ends)) <= int(columns)
    assert " row" not in text.replace("3 rows, ", "")
