"""Commands that are killed, stopped or run at once: whole files, no key lost, no row twice."""

import errno
import fcntl
import json
import os
import select
import signal
import subprocess
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from conftest import NIGHTLY, ROOT, Rnn
from processes import LIMIT, Commands, Stage, commands, stage, start_alone, started_in

from rnncli.model.errors import InputError
from rnncli.states.format import load_state
from rnncli.storage import writing

__all__ = ["commands", "stage"]
RUN = ("run", "--group-by", "k", "--hidden", "2", "--format", "jsonl", "--unroll", "stepwise")


def steps(state: Path) -> dict[str, int]:
    """Steps that each key in a state file has had; none without the file."""
    if not state.exists():
        return {}
    found = load_state(str(state))
    return {" ".join(key): int(t) for key, t in zip(found.keys, found.t, strict=True)}


def visible(folder: Path) -> dict[str, bytes]:
    """Files of a folder, but for temporary ones."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
def test_a_run_that_ends_at_any_moment_leaves_whole_files(
    stage: Stage, tmp_path: Path, number: str
) -> None:
    """The output is renamed before the state; only a kill leaves temporary files."""
    (tmp_path / "x.csv").write_text("k,v\na,1\nb,2\na,3\n")
    run = (*RUN, "x.csv", "-o", "out", "--state", "s")
    assert stage.run(tmp_path, *run) == 0
    old = visible(tmp_path)
    assert stage.run(tmp_path, *run) == 0
    new = visible(tmp_path)
    killed = signal.Signals[number]
    code = -killed if number == "SIGKILL" else 128 + killed
    seen = []
    for moment in count(1, 1 if number == "SIGKILL" else 3):
        for name, content in old.items():
            (tmp_path / name).write_bytes(content)
        ended = stage.run(tmp_path, *run, number=killed, moment=moment)
        left = visible(tmp_path)
        assert left.keys() == old.keys()
        seen.append((left["out"] == new["out"], left["s"] == new["s"]))
        for name in ("out", "s"):
            assert left[name] in (old[name], new[name])
        if not ended:
            break
        assert ended == code
        if number != "SIGKILL":  # a lock that stays is empty, and holds nothing up
            assert set(os.listdir(tmp_path)) <= {*old, ".s.rnn"}
    assert moment > 10
    assert [pair for n, pair in enumerate(seen) if pair != seen[n - 1] or not n] == [
        (False, False),
        (True, False),
        (True, True),
    ]


def test_a_log_is_never_behind_its_state(stage: Stage, tmp_path: Path) -> None:
    """With --follow, killed at any moment: the state is that of rows in the file."""
    (tmp_path / "x.csv").write_text("k,v\na,1\na,2\na,3\n")
    run = (*RUN, "-", "--follow", "-o", "log", "--state", "s")
    whole, states = tmp_path / "whole", []
    for moment in count(1):
        folder = tmp_path / str(moment)
        folder.mkdir()
        ended = stage.run(folder, *run, moment=moment, stdin=str(tmp_path / "x.csv"))
        log = (folder / "log").read_text() if (folder / "log").exists() else ""
        states.append(steps(folder / "s").get("a", 0))
        assert log.count("\n") >= states[-1]
        if not ended:
            break
    whole.mkdir()
    assert stage.run(whole, *run, stdin=str(tmp_path / "x.csv")) == 0
    assert (whole / "log").read_text() == log
    assert sorted(set(states)) == [0, 1, 2, 3]


def check(out: Path, whole: Path) -> None:
    """Check that a batch has the outputs and the states of a whole one, and no other file."""
    assert set(os.listdir(out)) == set(os.listdir(whole))
    for path in whole.iterdir():
        if path.suffix == ".npz":  # the task that left it is another
            assert steps(out / path.name) == steps(path)
        elif path.suffix == ".csv":
            assert (out / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("state", [False, True], ids=["outputs", "states"])
def test_a_batch_that_is_killed_at_any_moment_goes_on(
    stage: Stage, tmp_path: Path, state: bool
) -> None:
    """No output is half, no input counted twice, and nothing is left of the killed one."""
    command = ["batch", "in/a.csv", "in/b.csv", "-o", "out/{stem}.csv", "--hidden", "2", "-j", "1"]
    command += ["--state", "out/{stem}.npz"] if state else []

    def folder(name: str) -> Path:
        for n, stem in enumerate("ab"):
            (tmp_path / name / "in").mkdir(parents=True, exist_ok=True)
            (tmp_path / name / "in" / f"{stem}.csv").write_text("1\n" * (5 + n))
        return tmp_path / name

    stage.run(folder("whole"), *command)
    whole = visible(tmp_path / "whole" / "out")
    for moment in count(1):
        out = folder(str(moment)) / "out"
        ended = stage.run(out.parent, *command, moment=moment)
        left = visible(out) if out.exists() else {}
        report = out / "rnn-batch.jsonl"
        lines = report.read_text().splitlines() if report.exists() else []
        assert {Path(json.loads(line)["output"]).name for line in lines} <= set(left)
        assert all(left[name] == whole[name] for name in left if name.endswith(".csv"))
        if not ended:
            break
        assert ended == -signal.SIGKILL
        if lines:  # as where the power fails
            os.truncate(report, report.stat().st_size - (0, 1, 20)[moment % 3])
        assert stage.run(out.parent, *command) == 0
        check(out, tmp_path / "whole" / "out")
    assert moment > 12


@pytest.mark.linux("/proc")
@pytest.mark.parametrize(
    ("jobs", "number", "code"),
    [
        ("1", signal.SIGINT, 130),
        ("2", signal.SIGINT, 130),
        ("2", signal.SIGHUP, 129),
        ("2", signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_a_signal_ends_all_processes_of_a_batch(
    tmp_path: Path, jobs: str, number: int, code: int
) -> None:
    """As a terminal sends it, to all of them, silently; the next batch does the rest.

    It cannot end before: its last input is a pipe that nobody has opened.
    """
    inputs = 12
    (tmp_path / "in").mkdir()
    for n in range(inputs):
        (tmp_path / "in" / f"{n:02}.csv").write_text("1\n")
    last = tmp_path / "in" / f"{inputs - 1}.csv"
    last.unlink()
    os.mkfifo(last)
    command = ("batch", f"{tmp_path}/in/*.csv", "-o", tmp_path / "out", "--hidden", "2", "-j", jobs)
    variables = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    report = tmp_path / "out" / "rnn-batch.jsonl"
    with start_alone(*command, env=variables, process_group=0) as process:
        wait_until(process, report, 5)
        # SIGKILL comes to the batch alone: its processes end with it.
        (os.kill if number == signal.SIGKILL else os.killpg)(process.pid, number)
        _, message = process.communicate(timeout=LIMIT)
    assert (process.returncode, message) == (code, b"")
    recorded = lines_of(report)
    last.unlink()
    last.write_text("1\n")
    wait_for(started_in(tmp_path))
    names = {f"{n:02}.csv" for n in range(inputs)}
    left = {name for name in os.listdir(tmp_path / "out") if name[0] != "."}
    assert left <= {report.name, *names}
    assert number == signal.SIGKILL or left == set(os.listdir(tmp_path / "out"))
    with start_alone(*command) as process:
        _, message = process.communicate(timeout=LIMIT)
    assert message.decode().startswith(f"{inputs - recorded} done, {recorded} skipped, 0 failed")


def wait_until(process: "subprocess.Popen[bytes]", report: Path, lines: int) -> None:
    """Wait for a batch to have recorded so many results, or to have ended."""
    while process.poll() is None and lines_of(report) < lines:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.002)


def lines_of(report: Path) -> int:
    return report.read_bytes().count(b"\n") if report.exists() else 0


def wait_for(pids: list[int]) -> None:
    """Wait until processes have ended that are not this one's children."""
    for pid in pids:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            waiting = select.poll()
            waiting.register(descriptor, select.POLLIN)
            assert waiting.poll(LIMIT * 1000)
            os.close(descriptor)


def follow(commands: Commands, state: Path, key: str) -> "subprocess.Popen[bytes]":
    """Start a run that has the state file as long as its input is open, after one row."""
    process = commands.start(*RUN, "-", "--follow", "--state", state)
    feed(process, f"k,v\n{key},1\n")
    assert process.stdout
    assert process.stdout.readline()
    return process


def feed(process: "subprocess.Popen[bytes]", text: str) -> None:
    assert process.stdin
    process.stdin.write(text.encode())
    process.stdin.flush()


def whole_run(commands: Commands, state: Path, text: str) -> "subprocess.Popen[bytes]":
    """Start a run, and give it all of its input."""
    process = commands.start(*RUN, "--state", state)
    feed(process, text)
    assert process.stdin
    process.stdin.close()
    process.stdin = None  # or it would be flushed once more
    return process


WAITS = "Note: {}: another run has it; waiting until that has ended\n"


@pytest.mark.parametrize(("rounds", "runs"), [(1, 6), (200 if NIGHTLY else 20, 2)])
def test_runs_at_once_keep_all_keys(
    commands: Commands, tmp_path: Path, rounds: int, runs: int
) -> None:
    """Now and then one of them finds what a killed run has left."""
    state = tmp_path / "s"
    for n in range(rounds):
        if n % 3 == 2:
            (tmp_path / ".s.rnn").write_bytes(b"left" * n)
        keys = [f"{n}.{run}" for run in range(runs)]
        processes = [whole_run(commands, state, f"k,v\n{key},1\n{key},2\n") for key in keys]
        for process in processes:
            out, message = process.communicate(timeout=LIMIT)
            assert (process.returncode, out.count(b"\n")) == (0, 2)
            assert message.decode() in ("", WAITS.format(state))
        assert os.listdir(tmp_path) == ["s"]
    names = [f"{n}.{run}" for n in range(rounds) for run in range(runs)]
    assert sorted(steps(state).items()) == sorted(dict.fromkeys(names, 2).items())


@pytest.mark.parametrize("by_link", [False, True])
def test_a_second_run_waits_and_says_so(commands: Commands, tmp_path: Path, by_link: bool) -> None:
    state, name = tmp_path / "s", tmp_path / ("link" if by_link else "s")
    if by_link:
        name.symlink_to("s")
    first = follow(commands, state, "a")
    second = whole_run(commands, name, "k,v\na,3\nb,1\n")
    assert second.stderr
    assert second.stderr.readline().decode() == WAITS.format(name)
    # Who only reads, or only writes, does not wait.
    alone = commands.rnn(*RUN, "--state-out", tmp_path / "other", stdin="k,v\na,1\n")
    assert (alone.code, alone.err) == (0, "")
    first.communicate(b"a,2\n", LIMIT)
    second.communicate(timeout=LIMIT)
    assert (first.returncode, second.returncode) == (0, 0)
    assert steps(state) == {"a": 3, "b": 1}
    assert set(os.listdir(tmp_path)) == {"s", name.name, "other"}


def test_a_lock_goes_with_a_killed_run(commands: Commands, tmp_path: Path) -> None:
    """A run that waits for it can be stopped meanwhile."""
    state = tmp_path / "s"
    with start_alone(*RUN, "-", "--follow", "--state", state) as first:
        feed(first, "k,v\na,1\n")
        assert first.stdout
        assert first.stdout.readline()
        with start_alone(*RUN, "--state", state) as second:
            assert second.stderr
            assert second.stderr.readline().decode() == WAITS.format(state)
            second.send_signal(signal.SIGINT)
            assert second.communicate(timeout=LIMIT) == (b"", b"")
        assert second.returncode == 130
        first.kill()
    done = commands.rnn(*RUN, "--state", state, stdin="k,v\nb,1\n")
    assert (done.code, done.err) == (0, "")
    assert steps(state) == {"b": 1}
    assert os.listdir(tmp_path) == ["s"]


@pytest.mark.parametrize("change", ["replaced", "written", "removed", "made"])
def test_a_state_that_another_program_changed_is_left(
    commands: Commands, tmp_path: Path, change: str
) -> None:
    """The rows that are out stay."""
    state, other = tmp_path / "s", tmp_path / "other"
    commands.rnn(*RUN, "--state", other, stdin="k,v\nz,1\n")
    content = other.read_bytes()
    if change != "made":
        commands.rnn(*RUN, "--state", state, stdin="k,v\na,1\n")
    process = follow(commands, state, "a")
    if change == "written":
        state.write_bytes(content)
    elif change == "removed":
        state.unlink()
    else:
        other.replace(state)
    out, message = process.communicate(b"a,2\n", LIMIT)
    assert (process.returncode, out.count(b"\n"), message.count(b"\n")) == (1, 1, 1)
    assert message.decode().startswith(f"Error: {state}: changed by another program")
    assert change == "removed" or state.read_bytes() == content
    assert set(os.listdir(tmp_path)) <= {"s", "other"}


def test_a_file_system_without_locks(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", unsupported)
    result = run_rnn(*RUN, "--state", str(tmp_path / "s"), stdin="k,v\na,1\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: {tmp_path}/s: No locks available\n"
    assert os.listdir(tmp_path) == []
    out = tmp_path / "out.csv"
    with writing(str(out)) as one, writing(str(out)) as other:
        one.write("one\n")
        other.write("other\n")
    assert out.read_text() == "one\n"
    assert os.listdir(tmp_path) == ["out.csv"]


def test_a_hard_link_at_the_name_of_a_new_file_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "planted").touch()
    os.link(tmp_path / "planted", tmp_path / ".x.csv.rnn")
    with writing(str(tmp_path / "x.csv")) as file:
        file.write("whole")
    assert (tmp_path / "planted").read_text() == ""
    assert (tmp_path / "x.csv").read_text() == "whole"
    assert sorted(os.listdir(tmp_path)) == ["planted", "x.csv"]


@pytest.mark.parametrize("name", ["é" * 127, "x" * 255, "x" * 200])
@pytest.mark.parametrize("locks", [True, False])
def test_a_name_of_any_length_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, locks: bool
) -> None:
    """A second writer is refused, where the file system has locks."""
    if not locks:

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
    path = str(tmp_path / name)
    for text in ("one", "two"):
        with writing(path) as file:
            file.write(text)
            if locks:
                with pytest.raises(InputError, match="another run"), writing(path):
                    pass
        assert (tmp_path / name).read_text() == text
        assert os.listdir(tmp_path) == [name]


def test_a_new_file_that_another_run_takes_for_a_left_one_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run opens it between its creation and its lock."""
    lock, locks = fcntl.flock, list[int]()

    def write_and_lock(file: int, kind: int) -> None:
        locks.append(kind)
        if len(locks) == 1:
            with writing(str(tmp_path / "x.csv")) as other:
                other.write("other")
        lock(file, kind)

    monkeypatch.setattr(fcntl, "flock", write_and_lock)
    with writing(str(tmp_path / "x.csv")) as file:
        file.write("whole")
    assert len(locks) == 3
    assert (tmp_path / "x.csv").read_text() == "whole"
    assert os.listdir(tmp_path) == ["x.csv"]
