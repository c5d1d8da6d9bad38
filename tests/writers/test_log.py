"""`--follow`: rows as they come, a log to which they are added, and a state never ahead of it."""

import errno
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import Rnn
from processes import LIMIT, Commands, commands, start_alone

from rnncli.cli import rnn
from rnncli.states.format import load_state

__all__ = ["commands"]
BARE = ("run", "-", "--unroll", "stepwise")
FOLLOW = (*BARE, "--follow", "--hidden", "2")
KEYED = ("--group-by", "k")


class Coming(io.RawIOBase):
    """Standard input, one line at a time; `look` is called before each."""

    def __init__(self, lines: str, look: Callable[[int], None]) -> None:
        self.lines = lines.splitlines(keepends=True)
        self.look = look
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not len(buffer):  # Click finds out so whether these are bytes
            return 0
        self.look(self.given)
        line = "".join(self.lines[self.given : self.given + 1]).encode()
        self.given += 1
        buffer[: len(line)] = line
        return len(line)


def follow(output: Path, stdin: Any, *options: object) -> Result:
    words = [*FOLLOW, "-o", str(output), *map(str, options)]
    return CliRunner().invoke(rnn, words, input=stdin)


@pytest.fixture(params=["csv", "jsonl"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"log.{request.param}"


def whole(run_rnn: Rnn, log: Path, lines: str, *options: str) -> str:
    return run_rnn(*FOLLOW, "--format", log.suffix[1:], *options, stdin=lines).stdout


def states(path: Path) -> dict[tuple[str, ...], tuple[int, list[float]]]:
    """Steps and state of each sequence in a state file."""
    state = load_state(str(path))
    return {
        tuple(key): (int(t), h)
        for key, t, h in zip(state.keys, state.t, state.arrays["h"].tolist(), strict=True)
    }


@pytest.mark.parametrize(("form", "header"), [("csv", 1), ("jsonl", 0)])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_run_that_is_stopped_has_answered_each_line(
    run_rnn: Rnn, tmp_path: Path, form: str, header: int, name: str
) -> None:
    """Its state is that of a run over these lines."""
    options = ("--format", form, "--state")
    number, shown = signal.Signals[name], b""
    with start_alone(*FOLLOW, *options, tmp_path / "stopped") as process:
        assert process.stdin
        assert process.stdout
        for line in range(3):
            process.stdin.write(f"{line}\n".encode())
            process.stdin.flush()
            # This blocks for ever if the answer waits for more input.
            shown += b"".join(process.stdout.readline() for _ in range(1 + header * (not line)))
        process.send_signal(number)
        rest, message = process.communicate(timeout=LIMIT)
    assert (process.returncode, rest, message) == (128 + number, b"", b"")
    ended = run_rnn(*BARE, "--hidden", "2", *options, str(tmp_path / "ended"), stdin="0\n1\n2\n")
    assert shown.decode() == ended.stdout
    assert states(tmp_path / "stopped") == states(tmp_path / "ended")


def test_a_reader_that_goes_leaves_the_state_of_the_rows_that_it_was_sent(
    commands: Commands, run_rnn: Rnn, tmp_path: Path
) -> None:
    run, state = (*KEYED, "--format", "csv", "--state"), tmp_path / "ended"
    with commands.start(*FOLLOW, *run, state) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"k,v\na,1\nb,2\n")
        process.stdin.flush()
        for _ in range(3):
            process.stdout.readline()
        process.stdout.close()
        _, message = process.communicate(b"c,3\na,4\n", LIMIT)
    assert (process.returncode, message) == (0, b"")
    run_rnn(*FOLLOW, *run, str(tmp_path / "whole"), stdin="k,v\na,1\nb,2\n")
    assert states(state) == states(tmp_path / "whole")


ENDS = {
    "a bad line": ("a,x,1\n", 2, "not a number: 'x'"),
    "a bad line of a new key": ("c,,1\n", 2, "empty; expected a number"),
    "an overflow of a new key": ("c,3.4028e38,3.4028e38\n", 1, "overflow"),
    "Ctrl-C": ("", 130, ""),
}
SOUND = "k,v,w\na,1,1\nb,2,2\na,3,3\n"


@pytest.mark.parametrize(("line", "code", "message"), ENDS.values(), ids=ENDS)
def test_a_run_that_fails_leaves_the_state_of_the_rows_before(
    run_rnn: Rnn, tmp_path: Path, line: str, code: int, message: str
) -> None:
    """The next run goes on from there; without --follow nothing is left."""
    state, output = tmp_path / "ended", tmp_path / "log.csv"
    # The weights of unit 1 differ in sign, so that the largest float32 overflows.
    wide = [*BARE, *KEYED, "--columns", "v,w", "--precision", "tf32", "--hidden", "3"]
    wide += ["--cell", "rnn" if code == 1 else "lstm", "--format", "csv"]

    def stop(number: int) -> None:
        if number == 4 and code == 130:
            raise KeyboardInterrupt

    run = (*wide, "--follow", "--state", str(state), "-o", str(output))
    done = CliRunner().invoke(rnn, run, input=Coming(f"{SOUND}{line}a,5,5\n", stop))  # type: ignore[arg-type]
    assert done.exit_code == code
    assert message in done.stderr
    before = run_rnn(*wide, "--state", str(tmp_path / "whole"), stdin=SOUND).stdout
    assert output.read_text() == before
    assert states(state) == states(tmp_path / "whole")
    rest = "k,v,w\nb,4,4\na,5,5\n"
    assert run_rnn(*run, stdin=rest).exit_code == 0
    assert output.read_text() == run_rnn(*wide, stdin=SOUND + rest[6:]).stdout
    kept = state.read_bytes()
    assert run_rnn(*wide, "--state", str(state), stdin=f"{SOUND}a,x,1\n").exit_code == 2
    assert run_rnn(*wide, "--follow", "--state", str(state), stdin="k,v,w\na,x,1\n").exit_code == 2
    assert state.read_bytes() == kept


def test_rows_are_in_the_file_as_they_come(run_rnn: Rnn, log: Path) -> None:
    seen = []
    expected = [whole(run_rnn, log, "1\n2\n3\n"[: 2 * n]) for n in range(1, 4)]
    stdin = Coming("1\n2\n3\n", lambda _: seen.append(log.read_text() if log.exists() else ""))
    assert follow(log, stdin).exit_code == 0
    assert [text for n, text in enumerate(seen) if text not in seen[:n]] == ["", *expected]
    assert log.read_text() == expected[-1]


@pytest.mark.parametrize("options", [KEYED, (*KEYED, "--passthrough"), ("--all-layers",)])
def test_rows_of_every_kind_go_on(run_rnn: Rnn, log: Path, options: tuple[str, ...]) -> None:
    """Cut at any byte, a log loses its last row alone; a first line is begun again."""
    text = 'k,v\n"a ""b""\n\n, c",1\n' if KEYED[0] in options else "v\n1\n"
    first = whole(run_rnn, log, text, *options)
    header = first.index("\n") + 1 if log.suffix == ".csv" else 0
    for end in range(0, len(first), 1 + len(first) // 40):
        log.write_text(first.splitlines()[0][:end])
        assert follow(log, text, *options).exit_code == 0
        assert log.read_text().startswith(first)
        log.write_text(first + first[header:][:end])
        done = follow(log, text, *options)
        assert done.exit_code == 0
        expected = first + first[header:] * (1 + (end >= len(first) - header))
        assert log.read_text() == expected
        assert ("which is cut off" in done.stderr) == (0 < end < len(first) - header)


@pytest.mark.parametrize(
    "old", ["k,t,h_0,h_1\na,1,0.5,0.5\n", '{"a": [1, 2]}', "[" * 200_000, "ö\x1b]0;title\x07\n"]
)
def test_other_files_are_left_alone(log: Path, old: str) -> None:
    log.write_text(old, encoding="latin-1")
    done = follow(log, "1\n", "--state", log.parent / "s")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: {log}: its first line is ")
    assert "\x1b" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert log.read_text(encoding="latin-1") == old
    assert os.listdir(log.parent) == [log.name]


def test_a_log_is_of_one_run_at_a_time(run_rnn: Rnn, log: Path) -> None:
    """Another neither adds to it nor takes its place."""
    others = []

    def run_others(line: int) -> None:
        if line == 2:
            result = run_rnn("run", "--seq", "1", "--hidden", "2", "-o", str(log))
            others.extend([follow(log, "5\n"), result])

    assert follow(log, Coming("1\n2\n3\n", run_others)).exit_code == 0
    for done in others:
        assert (done.exit_code, done.stderr) == (2, f"Error: {log}: another run is writing it\n")
    assert log.read_text() == whole(run_rnn, log, "1\n2\n3\n")


@pytest.mark.parametrize(("lost", "named"), [("log", "log"), ("", "log"), (".s.rnn", "s")])
def test_an_output_that_may_be_lost_leaves_no_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str, named: str
) -> None:
    """The message names the file that is lost; the empty name is the folder."""
    monkeypatch.setattr("rnncli.writers.log._SECONDS", -1)
    log, state = tmp_path / "log", tmp_path / "s"
    fsync = os.fsync

    def full(number: int) -> None:
        if os.path.samestat(os.fstat(number), os.stat(tmp_path / lost)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(number)

    monkeypatch.setattr(os, "fsync", full)
    for text in ("1\n2\n", "1\nx\n"):
        done = follow(log, text, "--format", "csv", "--state", state)
        message = f"Error: {tmp_path / named}: No space left on device\n"
        assert (done.exit_code, done.stderr, state.exists()) == (1, message, False)


@pytest.mark.parametrize("way", ["removed", "replaced", "moved"])
def test_a_log_that_is_gone_leaves_no_state(tmp_path: Path, way: str) -> None:
    log, state = tmp_path / "log.csv", tmp_path / "s"

    def take_away(given: int) -> None:
        if given == 1 and way == "removed":
            log.unlink()
        elif given == 1 and way == "replaced":
            (tmp_path / "other").write_text("other")
            (tmp_path / "other").replace(log)
        elif given == 1:
            log.rename(tmp_path / "moved")

    done = follow(log, Coming("1\n2\n3\n", take_away), "--state", state)
    lost = way != "moved"
    assert (done.exit_code, state.exists()) == (int(lost), not lost)
    assert ("was removed or replaced while rows were added" in done.stderr) == lost


def test_links_pipes_and_devices(run_rnn: Rnn, tmp_path: Path) -> None:
    csv = ("--format", "csv")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "log.csv")
    for _ in range(2):
        assert follow(link, "1\n", *csv).exit_code == 0
    assert (tmp_path / "log.csv").read_text().count("\n") == 3
    assert link.is_symlink()
    assert follow(Path("/dev/null"), "1\n", *csv).exit_code == 0
    expected = run_rnn(*FOLLOW, *csv, stdin="1\n").stdout
    assert follow(Path("/dev/fd/1"), "1\n", *csv).stdout == expected
    reading, writing = os.pipe()
    assert follow(Path(f"/dev/fd/{writing}"), "1\n", *csv).exit_code == 0
    os.close(writing)
    with open(reading) as pipe:
        assert pipe.read() == expected
