"""Several runs on one state file: one after the other, and nothing of any is lost."""

import errno
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import Rnn
from test_exits import KILLS, rnn, start

RUN = ("run", "--group-by", "k", "--hidden", "2", "--format", "jsonl", "--state")
# A hang is a failure.
LIMIT = 60
FOLLOW = ("run", "-", "--follow", *RUN[1:])


def counts(run_rnn: Rnn, state: Path) -> dict[str, int]:
    """Steps that each key in a state file has had."""
    result = run_rnn("run", *RUN[1:-1], "--last", "--state-in", str(state), stdin="k,v\n")
    assert result.exit_code == 0, result.output
    items = map(json.loads, result.stdout.splitlines())
    return {item["key"]["k"]: item["t"] for item in items}


def follow(state: Path, key: str) -> subprocess.Popen[bytes]:
    """Start a run that has the state file as long as its input is open, after one row."""
    process = start(*FOLLOW, str(state))
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"k,v\n{key},1\n".encode())
    process.stdin.flush()
    assert process.stdout.readline()
    return process


def whole(state: Path, text: str) -> subprocess.Popen[bytes]:
    """Start a run, and give it all of its input."""
    process = start(*RUN, str(state))
    assert process.stdin
    process.stdin.write(text.encode())
    process.stdin.close()
    process.stdin = None  # or it would be flushed once more
    return process


@pytest.mark.slow
def test_runs_at_once_keep_all_keys(run_rnn: Rnn, tmp_path: Path) -> None:
    state = tmp_path / "s"
    processes = [whole(state, f"k,v\n{key},1\n{key},2\n") for key in "abcd"]
    assert [process.wait() for process in processes] == [0] * 4
    for process in processes:
        out, message = process.communicate()
        assert out.count(b"\n") == 2
        assert message in (b"", waits(state).encode())
    assert counts(run_rnn, state) == dict.fromkeys("abcd", 2)
    assert os.listdir(tmp_path) == ["s"]


@pytest.mark.slow
def test_kills_lose_no_key_of_other_runs(run_rnn: Rnn, tmp_path: Path) -> None:
    state, random, ended = tmp_path / "s", np.random.RandomState(0), []
    for number in range(KILLS // 4):
        runs = {f"{number}-{n}": whole(state, f"k,v\n{number}-{n},1\n") for n in range(3)}
        victim = runs[f"{number}-{random.randint(3)}"]
        try:
            victim.wait(timeout=random.uniform(0, 1))
        except subprocess.TimeoutExpired:
            victim.kill()
        for key, process in runs.items():
            process.communicate()
            assert process.returncode == 0 or process is victim
            ended += [key] if process.returncode == 0 else []
    found = counts(run_rnn, state)  # a run can be killed once its state is left, too
    assert [found.get(key) for key in ended] == [1] * len(ended)


def waits(state: Path) -> str:
    return f"Note: {state}: another run has it; waiting until that has ended\n"


@pytest.mark.slow
@pytest.mark.parametrize("there_before", [False, True])
@pytest.mark.parametrize("by_link", [False, True])
def test_a_second_run_waits_and_says_so(
    run_rnn: Rnn, tmp_path: Path, there_before: bool, by_link: bool
) -> None:
    state, name = tmp_path / "s", tmp_path / ("link" if by_link else "s")
    if by_link:
        name.symlink_to("s")
    if there_before:
        run_rnn(*RUN, str(state), stdin="k,v\nz,1\n")
    first = follow(state, "a")
    second = whole(name, "k,v\na,3\nb,1\n")
    assert second.stderr
    assert second.stderr.readline().decode() == waits(name)
    first.communicate(b"a,2\n", LIMIT)
    second.communicate(timeout=LIMIT)
    assert (first.returncode, second.returncode) == (0, 0)
    assert counts(run_rnn, state) == {"a": 3, "b": 1} | ({"z": 1} if there_before else {})
    assert set(os.listdir(tmp_path)) == {"s", name.name}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_waits_can_be_stopped(tmp_path: Path, number: signal.Signals) -> None:
    first = follow(tmp_path / "s", "a")
    second = whole(tmp_path / "s", "k,v\nb,1\n")
    assert second.stderr
    assert second.stderr.readline()
    second.send_signal(number)
    assert second.communicate(timeout=LIMIT) == (b"", b"")
    assert second.returncode == 128 + number
    first.communicate(timeout=LIMIT)
    assert first.returncode == 0
    assert os.listdir(tmp_path) == ["s"]


@pytest.mark.slow
def test_a_lock_goes_with_a_killed_run(run_rnn: Rnn, tmp_path: Path) -> None:
    first = follow(tmp_path / "s", "a")
    first.kill()
    first.communicate()
    second = rnn(*RUN, str(tmp_path / "s"), stdin=b"k,v\nb,1\n")
    assert (second.code, second.err) == (0, "")
    assert counts(run_rnn, tmp_path / "s") == {"b": 1}
    assert os.listdir(tmp_path) == ["s"]


@pytest.mark.slow
def test_reading_and_writing_alone_do_not_wait(run_rnn: Rnn, tmp_path: Path) -> None:
    """A state is replaced whole, so that whoever only reads it needs no lock."""
    state = tmp_path / "s"
    run_rnn(*RUN, str(state), stdin="k,v\na,1\n")
    first = follow(state, "a")
    second = rnn(*RUN[:-1], "--state-in", str(state), stdin=b"k,v\na,1\n")
    third = rnn(*RUN[:-1], "--state-out", str(tmp_path / "t"), stdin=b"k,v\na,1\n")
    assert (second.err, third.err) == ("", "")
    assert [json.loads(done.out)["t"] for done in (second, third)] == [2, 1]
    first.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("change", ["replaced", "written", "removed", "made"])
def test_a_state_that_another_program_changed_is_left(
    run_rnn: Rnn, tmp_path: Path, change: str
) -> None:
    state, other = tmp_path / "s", tmp_path / "other"
    run_rnn(*RUN, str(other), stdin="k,v\nz,1\n")
    if change != "made":
        run_rnn(*RUN, str(state), stdin="k,v\na,1\n")
    process = follow(state, "a")
    if change == "written":
        state.write_bytes(other.read_bytes())
    elif change == "removed":
        state.unlink()
    else:
        shutil.copy(other, tmp_path / "copy")
        os.replace(tmp_path / "copy", state)
    out, message = process.communicate(b"a,2\n")
    assert process.returncode == 1
    assert message.decode().startswith(f"Error: {state}: changed by another program")
    assert message.count(b"\n") == 1
    assert out.count(b"\n") == 1
    if change != "removed":
        assert state.read_bytes() == other.read_bytes()
    assert set(os.listdir(tmp_path)) <= {"s", "other"}


@pytest.mark.slow
def test_the_output_of_a_run_whose_state_changed_is_kept(run_rnn: Rnn, tmp_path: Path) -> None:
    state, output = tmp_path / "s", tmp_path / "out.jsonl"
    run_rnn(*RUN, str(state), stdin="k,v\na,1\n")
    process = start("run", "-", *RUN[1:], str(state), "-o", str(output), stdout=subprocess.DEVNULL)
    assert process.stdin
    # More than a pipe holds: what comes after it is written once the state has been read.
    process.stdin.write(b"k,v\n" + b"a,1\n" * 100_000)
    state.unlink()
    _, message = process.communicate()
    assert process.returncode == 1
    assert b"changed by another program" in message
    assert output.read_text().count("\n") == 100_000


def test_a_file_system_without_locks(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", unsupported)
    result = run_rnn(*RUN, str(tmp_path / "s"), stdin="k,v\na,1\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: {tmp_path / 's'}: cannot be locked there (No locks available): "
        "give --state-in and --state-out, which need no lock\n"
    )
    assert os.listdir(tmp_path) == []
