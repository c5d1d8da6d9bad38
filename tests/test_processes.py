"""Commands in processes of their own, with what every system has: files, locks, kills, streams."""

import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from conftest import NIGHTLY, ROOT, SAMPLES, TOPICS
from transcripts import Session, is_same, read_sessions

from rnncli.states.format import load_state
from rnncli.storage import writing

LIMIT = 120
KILLS = 50 if NIGHTLY else 5
RUN = ("run", "--group-by", "k", "--hidden", "2", "--format", "jsonl", "--unroll", "stepwise")


def start(folder: Path, *words: object, **options: Any) -> "subprocess.Popen[bytes]":
    """Start a command in a folder; its standard streams are pipes."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONUTF8"}
    variables["COLUMNS"] = "80"
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    options = {"cwd": folder, "env": variables | {"PYTHONPATH": str(ROOT)}, **pipes, **options}
    return subprocess.Popen([sys.executable, "-m", "rnncli", *map(str, words)], **options)


def rnn(folder: Path, *words: object, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """Run a command; return its exit code and what it wrote."""
    with start(folder, *words) as process:
        out, message = process.communicate(stdin, LIMIT)
    return process.returncode, out, message.decode()


def steps(state: Path) -> dict[str, int]:
    """Steps that each key in a state file has had."""
    saved = load_state(str(state))
    return {" ".join(key): int(t) for key, t in zip(saved.keys, saved.t, strict=True)}


# A command that needs no Bash: `rnn`, or the ends of a file, into a file or cut by head or tail.
_ENDS = r"(?:head|tail) (?:-n )?[-+]?\d+"
PLAIN = re.compile(rf"(?:rnn [^|>;$&]+|{_ENDS} \S+)(?: > \S+)?(?: \| {_ENDS})?\n")
SESSIONS = [
    session
    for path in (ROOT / "README.md", *sorted(TOPICS.glob("*.md")))
    for session in read_sessions(path)
    if all(PLAIN.fullmatch(example.command) for example in session.examples)
]


def run_plain(folder: Path, command: str) -> str:
    """Run a command that needs no Bash; return its output."""
    command, _, ends = command.partition(" | ")
    command, _, file = command.partition(" > ")
    program, *words = shlex.split(command)
    if program == "rnn":
        _, out, message = rnn(folder, *words)
        text = out.decode() + message
    else:
        text, ends = (folder / words[-1]).read_text(encoding="utf-8"), command
        ends = ends.rpartition(" ")[0]
    if file:
        (folder / file.strip()).write_text(text, encoding="utf-8", newline="\n")
        return ""
    lines = text.splitlines(keepends=True)
    if ends:
        count = int(ends.split()[-1].lstrip("-"))
        lines = lines[:count] if "head" in ends else lines[count - 1 if "+" in ends else -count :]
    return "".join(lines)


def test_most_commands_of_the_readme_need_no_bash() -> None:
    assert sum(session.path.stem == "README" for session in SESSIONS) >= 5
    text = "".join(example.command for session in SESSIONS for example in session.examples)
    # `batch`, `help` and `weights` have tests of their own.
    assert {"explain", "inspect", "run", "verify"} <= {*re.findall(r"rnn (\w+)", text)}


@pytest.mark.parametrize("session", SESSIONS, ids=[session.id for session in SESSIONS])
def test_the_guide_gives_the_same_numbers(session: Session, tmp_path: Path) -> None:
    shutil.copytree(SAMPLES, tmp_path / "sample_data")
    for example in session.examples:
        assert is_same(run_plain(tmp_path, example.command), example.output), example.command


def test_help_and_weights(tmp_path: Path) -> None:
    code, out, _ = rnn(tmp_path, "help", "state")
    assert (code, out.decode().splitlines()[0]) == (0, "# State files")
    code, out, message = rnn(tmp_path, "weights", "--hidden", "4", "-o", "w.npz")
    assert (code, out) == (0, b""), message
    code, out, message = rnn(tmp_path, "run", "--seq", "1,2,3", "-w", "w.npz", "--format", "csv")
    assert (code, out.splitlines()[3][:11]) == (0, b"3,-0.948892"), message


def test_results_in_a_pipe_are_utf8_with_plain_line_ends(tmp_path: Path) -> None:
    (tmp_path / "é.csv").write_bytes("k,v\nß,1\n".encode())
    options = ("--group-by", "k", "--hidden", "2", "--format", "csv")
    code, out, message = rnn(tmp_path, "run", "é.csv", *options)
    assert (code, message) == (0, "")
    assert out.startswith("k,t,h_0,h_1\nß,1,-0.8".encode())
    assert out.count(b"\n") == 2
    assert b"\r" not in out
    drawn = rnn(tmp_path, "run", "--seq", "1,2", "--hidden", "1", "--format", "plot")[1]
    assert "│".encode() in drawn
    assert b"\\u" not in drawn


def test_bytes_pass_through_standard_streams(tmp_path: Path) -> None:
    command = ("run", "--hidden", "2", "--format", "npy")
    csv, npy = b"1\n10\n26\n13\n", tmp_path / "x.npy"
    code, out, message = rnn(tmp_path, *command, stdin=csv)
    assert (code, message, out[:6]) == (0, "", b"\x93NUMPY")
    assert rnn(tmp_path, *command, "-o", npy, stdin=csv) == (0, b"", "")
    assert npy.read_bytes() == out
    again = rnn(tmp_path, *command, stdin=out)
    assert (again[0], again[2], len(again[1])) == (0, "", len(out))


def test_a_pipe_that_is_closed_ends_a_run_quietly(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1\n" * 200_000)
    with start(tmp_path, "run", "x.csv", "--hidden", "2", "--format", "csv") as process:
        assert process.stdout
        assert process.stdout.readline().rstrip() == b"t,h_0,h_1"
        process.stdout.close()
        process.stdout = None
        _, message = process.communicate(timeout=LIMIT)
    assert (process.returncode, message) == (0, b"")


def test_a_batch_of_two_processes(tmp_path: Path) -> None:
    """Patterns are expanded by the command; the same command does the rest."""
    folder = tmp_path / "in" / "sub"
    folder.mkdir(parents=True)
    for n in range(6):
        (folder / f"{n}.csv").write_text("1\n" * (n + 1))
    pattern, output = os.path.join("in", "**", "*.csv"), os.path.join("out", "{dir}", "{stem}.csv")
    command = ("batch", pattern, "-o", output, "--hidden", "2", "-j", "2")
    code, out, message = rnn(tmp_path, *command)
    assert (code, out) == (0, b"")
    assert message.startswith("6 done, 0 skipped, 0 failed, 21 rows")
    assert rnn(tmp_path, *command)[2].startswith("0 done, 6 skipped")
    names = os.listdir(tmp_path / "out" / "in" / "sub")
    assert sorted(names) == [f"{n}.csv" for n in range(6)]


def kill_at_random(folder: Path, command: tuple[str, ...], whole: float) -> Iterator[None]:
    """Kill a command at moments of its run, or let it end."""
    draw = random.Random(1)
    for _ in range(KILLS):
        with start(folder, *command) as process:
            try:
                process.wait(draw.uniform(0.3, 1) * whole)
            except subprocess.TimeoutExpired:
                process.kill()
            process.communicate(timeout=LIMIT)
        yield


def test_a_run_that_is_killed_leaves_whole_files(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("k,v\n" + "a,1\nb,2\nc,3\n" * 20)
    command, begin = (*RUN, "x.csv", "-o", "out", "--state", "s"), time.monotonic()
    assert rnn(tmp_path, *command) == (0, b"", "")
    before = 20
    for _ in kill_at_random(tmp_path, command, time.monotonic() - begin):
        counts = steps(tmp_path / "s")
        assert counts.keys() == {*"abc"}
        assert {*counts.values()} in ({before}, {before + 20})
        before = counts["a"]
        items = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
        assert len(items) == 60
        assert items[-1]["t"] in (before, before + 20)  # the output comes first
    assert rnn(tmp_path, *command) == (0, b"", "")
    assert steps(tmp_path / "s")["a"] == before + 20
    assert {*os.listdir(tmp_path)} == {"x.csv", "out", "s"}


def test_a_batch_that_is_killed_leaves_whole_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for n in range(40):
        (tmp_path / "in" / f"{n}.csv").write_text("1\n" * 20)
    command = ("batch", "in/*.csv", "-o", "out/{stem}.csv", "--hidden", "2", "-j", "2")
    begin = time.monotonic()
    assert rnn(tmp_path, *command)[0] == 0
    whole = time.monotonic() - begin
    content = (tmp_path / "out" / "0.csv").read_bytes()
    for _ in kill_at_random(tmp_path, command, whole):
        for path in (tmp_path / "out").glob("[0-9]*.csv"):
            assert path.read_bytes() == content
            path.unlink()
    code, _, message = rnn(tmp_path, *command)
    assert (code, " 0 failed" in message) == (0, True)
    expected = {"rnn-batch.jsonl", *(f"{n}.csv" for n in range(40))}
    assert {*os.listdir(tmp_path / "out")} == expected


def test_two_runs_at_once_lose_no_key(tmp_path: Path) -> None:
    rounds = 20 if NIGHTLY else 3
    for n in range(rounds):
        started = [start(tmp_path, *RUN, "--state", "s") for _ in range(2)]
        for run, process in enumerate(started):
            assert process.stdin
            process.stdin.write(f"k,v\n{n}.{run},1\n{n}.{run},2\n".encode())
            process.stdin.close()
            process.stdin = None  # or it would be flushed once more
        for process in started:
            with process:
                out, message = process.communicate(timeout=LIMIT)
            assert (process.returncode, out.count(b"\n")) == (0, 2), message
    names = [f"{n}.{run}" for n in range(rounds) for run in range(2)]
    assert steps(tmp_path / "s") == dict.fromkeys(names, 2)
    assert os.listdir(tmp_path) == ["s"]


def test_a_second_writer_is_refused_and_a_reader_is_waited_for(tmp_path: Path) -> None:
    output, words = tmp_path / "out.csv", ("run", "--seq", "1", "--hidden", "2", "-o", "out.csv")
    output.write_text("old\n")
    with output.open() as reader:
        with writing(str(output)) as file:
            file.write("new\n")
            message = "Error: out.csv: another run is writing it\n"
            assert rnn(tmp_path, *words) == (2, b"", message)
            assert reader.read() == "old\n"
            timer = Timer(0.2, reader.close)
            timer.start()
        timer.join()
    assert output.read_text() == "new\n"
    assert os.listdir(tmp_path) == ["out.csv"]


KEYS = [name for name in ("SIGINT", "SIGBREAK") if hasattr(signal, name)]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_interrupts_ends_with_130(key: str) -> None:
    raising = f"module.topic_text = lambda *_: signal.raise_signal(signal.{key})"
    load = "from rnncli.cli import rnn; module = import_module('rnncli.cli.help')"
    program = f"import signal; from importlib import import_module; {load}; {raising}; rnn()"
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, "help"]
    done = subprocess.run(command, env=variables, capture_output=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
