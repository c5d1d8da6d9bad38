"""How a process ends: closed pipes, Ctrl-C, full disks, and what becomes of old files."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from rnncli.engine.state import load_state

RNN = (sys.executable, "-m", "rnncli")
# .ci/run asks for more.
KILLS = int(os.environ.get("RNN_KILLS", "12"))
LINES = "".join(f"{i % 7}\n" for i in range(300_000)).encode()


class Done(NamedTuple):
    """A process that has ended."""

    code: int
    out: str
    err: str


def rnn(*arguments: str, stdin: bytes = b"", **options: Any) -> Done:
    process = start(*arguments, **options)
    out, err = process.communicate(stdin)
    return Done(process.returncode, (out or b"").decode(), err.decode())


def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.Popen(
        [*RNN, *arguments], stdin=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


@pytest.mark.slow
def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_bytes(LINES)
    process = start("run", str(tmp_path / "long.csv"), "--hidden", "4", "--format", "csv")
    assert process.stdout is not None
    assert process.stdout.readline() == b"t,h_0,h_1,h_2,h_3\n"
    process.stdout.close()
    _, message = process.communicate()
    assert (process.returncode, message) == (0, b"")


@pytest.mark.slow
def test_a_large_array_into_a_closed_pipe(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_bytes(LINES)
    process = start("run", str(tmp_path / "long.csv"), "--hidden", "4", "--format", "npy")
    assert process.stdout is not None
    assert process.stdout.read(6) == b"\x93NUMPY"
    process.stdout.close()
    _, message = process.communicate()
    assert (process.returncode, message) == (0, b"")


@pytest.mark.slow
@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize(
    "command",
    [
        *(("run", "--seq", "1,2", "--format", form) for form in ("table", "json", "csv", "npy")),
        ("weights",),
        ("run", "--help"),
    ],
)
def test_a_pipe_closed_before_anything_is_written(command: tuple[str, ...], buffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        environment = os.environ | {"PYTHONUNBUFFERED": buffered}
        done = rnn(*command, "--hidden", "4", stdout=writing, env=environment)
    finally:
        os.close(writing)
    assert (done.code, done.err) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_polite_kill_cleans_up(tmp_path: Path, number: signal.Signals) -> None:
    output = tmp_path / "old.csv"
    output.write_text("old\n")
    process = start("run", "--hidden", "4", "-o", str(output))
    assert process.stdin is not None
    process.stdin.write(LINES)
    process.send_signal(number)
    _, message = process.communicate()
    assert (process.returncode, message) == (128 + number, b"")
    assert os.listdir(tmp_path) == ["old.csv"]


def test_ctrl_c_while_loading() -> None:
    # Sent at once: it arrives while Python or NumPy load, or before that.
    process = start("run", "--hidden", "4")
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode in (130, -signal.SIGINT)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
@pytest.mark.parametrize("form", ["table", "json", "csv", "npy"])
def test_a_full_disk_on_standard_output(form: str) -> None:
    with open("/dev/full", "wb") as full:
        done = rnn("run", "--seq", "1,2", "--hidden", "4", "--format", form, stdout=full)
    assert done.err == "Error: standard output: No space left on device\n"
    assert done.code == 1


@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path: Path) -> None:
    import resource

    output = tmp_path / "old.csv"
    output.write_text("old\n")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = rnn("run", "--hidden", "4", "-o", str(output), stdin=LINES, preexec_fn=limit)
    assert (done.code, done.err) == (1, f"Error: {output}: File too large\n")
    assert output.read_text() == "old\n"
    assert os.listdir(tmp_path) == ["old.csv"]


@pytest.mark.slow
def test_closed_standard_streams() -> None:
    run = ("run", "--hidden", "2")
    done = rnn(*run, "--seq", "1", preexec_fn=lambda: os.close(1))
    assert (done.code, done.err) == (1, "Error: standard output: closed\n")
    done = rnn(*run, "--seq", "x", preexec_fn=lambda: os.close(2))
    assert (done.code, done.out, done.err) == (2, "", "")
    done = rnn(*run, preexec_fn=lambda: os.close(0))
    assert done.code == 2
    assert done.err.startswith("Error: no input: give a FILE or --seq 1,2,3, or pipe")


@pytest.mark.slow
def test_an_output_file_is_replaced_whole(tmp_path: Path) -> None:
    output, link = tmp_path / "states.csv", tmp_path / "link.csv"
    output.write_text("old\n" * 1000)
    output.chmod(0o640)
    link.symlink_to(output)
    done = rnn("run", "--seq", "1,2", "--hidden", "1", "-o", str(link))
    assert (done.code, done.err) == (0, "")
    assert output.read_text().splitlines()[0] == "t,h_0"
    assert len(output.read_text().splitlines()) == 3
    assert stat.S_IMODE(output.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link.csv", "states.csv"]


@pytest.mark.slow
def test_standard_output_by_its_names(tmp_path: Path) -> None:
    run = ("run", "--seq", "1", "--hidden", "1", "--format", "csv")
    expected = rnn(*run).out
    assert expected.startswith("t,h_0\n1,")
    for name in ("-", "/dev/stdout"):
        with open(tmp_path / "log", "wb") as log:
            log.write(b"before\n")
            log.flush()
            rnn(*run, "-o", name, stdout=log)
        assert (tmp_path / "log").read_text() == "before\n" + expected


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_follow_answers_each_line_at_once(form: str) -> None:
    process = start("run", "-", "--follow", "--hidden", "2", "--format", form)
    assert process.stdin is not None
    assert process.stdout is not None
    header = 1 if form == "csv" else 0
    for line in (b"1\n", b"2\n", b"3\n"):
        process.stdin.write(line)
        process.stdin.flush()
        # Blocks for ever if the answer waits for more input.
        answer = [process.stdout.readline() for _ in range(1 + header)]
        header = 0
        assert answer[-1]
    process.send_signal(signal.SIGINT)
    rest, message = process.communicate()
    assert (process.returncode, rest, message) == (130, b"", b"")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_follow_that_is_stopped_leaves_its_state(tmp_path: Path, number: signal.Signals) -> None:
    run = ("run", "-", "--follow", "--hidden", "2", "--format", "jsonl", "--state")
    process = start(*run, str(tmp_path / "stopped"))
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"1\n2\n")
    process.stdin.flush()
    lines = [process.stdout.readline() for _ in range(2)]
    process.send_signal(number)
    rest, message = process.communicate()
    assert (process.returncode, rest, message) == (128 + number, b"", b"")
    whole = rnn(*run, str(tmp_path / "ended"), stdin=b"1\n2\n")
    assert b"".join(lines).decode() == whole.out
    stopped, ended = (load_state(str(tmp_path / name)) for name in ("stopped", "ended"))
    assert stopped is not None
    assert ended is not None
    assert [stopped.t.tolist(), stopped.arrays["h"].tolist()] == [
        ended.t.tolist(),
        ended.arrays["h"].tolist(),
    ]


# A signal comes once the third key has its number, before its row is a step.
THIRD_KEY = """
import signal
from rnncli.readers import Keys
number, calls = Keys.number, []
def interrupted(self, keys):
    found = number(self, keys)
    calls.append(keys)
    if len(calls) == 3:
        signal.raise_signal(signal.SIGINT)
    return found
Keys.number = interrupted
from rnncli.__main__ import main
main()
"""


@pytest.mark.slow
def test_a_state_holds_the_keys_that_have_a_step(tmp_path: Path) -> None:
    path = str(tmp_path / "state.npz")
    follow = ("run", "-", "--follow", "--group-by", "k", "--hidden", "2", "--state", path)
    command = [sys.executable, "-c", THIRD_KEY, *follow, "--format", "jsonl"]
    done = subprocess.run(command, input=b"k,v\na,1\nb,1\nc,1\n", capture_output=True, check=False)
    assert (done.returncode, done.stdout.count(b"\n"), done.stderr) == (130, 2, b"")
    state = load_state(path)
    assert state
    assert (list(state.keys), state.t.tolist()) == ([("a",), ("b",)], [1, 1])


@pytest.mark.slow
def test_follow_gives_what_a_whole_run_gives() -> None:
    run = ("run", "--hidden", "2", "--format", "csv", "--unroll", "stepwise")
    assert rnn(*run, "--follow", stdin=LINES[:400]).out == rnn(*run, stdin=LINES[:400]).out


@pytest.mark.slow
def test_a_closed_pipe_leaves_the_state_alone(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_bytes(LINES)
    run = ("run", str(tmp_path / "long.csv"), "--hidden", "4", "--format", "csv")
    process = start(*run, "--state", str(tmp_path / "s"))
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    _, message = process.communicate()
    assert process.returncode == 0
    assert message.decode() == (
        f"Note: {tmp_path / 's'}: no state was left: the reader of the output closed it "
        "before the end\n"
    )
    assert os.listdir(tmp_path) == ["long.csv"]


@pytest.mark.slow
def test_kills_never_leave_half_a_file(tmp_path: Path) -> None:
    values, output, state = (tmp_path / name for name in ("x.csv", "h.csv", "s"))
    values.write_bytes(LINES[:60_000])
    run = ("run", str(values), "--hidden", "2", "-o", str(output), "--state", str(state))
    rnn(*run)
    rows = output.read_text().count("\n")
    random = np.random.RandomState(0)
    for _ in range(KILLS):
        process = start(*run)
        try:
            process.wait(timeout=random.uniform(0, 0.4))
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        assert output.read_text().count("\n") == rows
        saved = load_state(str(state))
        assert saved is not None
        assert saved.t[0] % (rows - 1) == 0
        # The output is replaced first, the state then: never the other way round.
        last = int(output.read_text().splitlines()[-1].split(",")[0])
        assert last - saved.t[0] in (0, rows - 1)


@pytest.mark.slow
def test_standard_output_is_blamed_only_where_writing_to_it_failed(tmp_path: Path) -> None:
    def in_a_removed_folder() -> None:
        os.mkdir(tmp_path / "gone")
        os.chdir(tmp_path / "gone")
        os.rmdir(tmp_path / "gone")

    def with_an_input_that_is_for_writing() -> None:
        os.dup2(os.open(tmp_path / "w", os.O_WRONLY | os.O_CREAT), 0)

    done = rnn("run", "--seq", "1", "--hidden", "2", "-o", "a.csv", preexec_fn=in_a_removed_folder)
    assert (done.code, done.err) == (2, "Error: a.csv: No such file or directory\n")
    done = rnn("run", "-", "--hidden", "2", preexec_fn=with_an_input_that_is_for_writing)
    assert done.code == 2
    assert done.err == "Error: standard input: cannot be read: Bad file descriptor\n"
