"""`--follow -o FILE`: a log, to which rows are added as they come."""

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import Rnn

from rnncli.cli import rnn

FOLLOW = ("run", "-", "--follow", "--hidden", "2", "--unroll", "stepwise")
HEADER = "t,h_0,h_1\n"


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


def follow(output: Path, stdin: Any, *options: str) -> Result:
    return CliRunner().invoke(rnn, [*FOLLOW, "-o", str(output), *options], input=stdin)


@pytest.fixture(params=["csv", "jsonl"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"log.{request.param}"


def whole(run_rnn: Rnn, log: Path, lines: str, *options: str) -> str:
    return run_rnn(*FOLLOW, "--format", log.suffix[1:], *options, stdin=lines).stdout


def test_rows_are_in_the_file_as_they_come(run_rnn: Rnn, log: Path) -> None:
    seen = []
    expected = [whole(run_rnn, log, "1\n2\n3\n"[: 2 * n]) for n in range(1, 4)]
    stdin = Coming("1\n2\n3\n", lambda _: seen.append(log.read_text() if log.exists() else ""))
    assert follow(log, stdin).exit_code == 0
    assert [text for n, text in enumerate(seen) if text not in seen[:n]] == ["", *expected]
    assert log.read_text() == expected[-1]


def test_a_second_run_adds_to_the_first(run_rnn: Rnn, log: Path, tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "s"))
    for lines in ("1\n2\n", "3\n", "", "4\n"):
        follow(log, lines, *state)
    assert log.read_text() == whole(run_rnn, log, "1\n2\n3\n4\n")


def test_no_header_twice_or_at_all(run_rnn: Rnn, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.touch()
    for lines in ("1\n", "2\n"):
        assert follow(log, lines, "--no-header").exit_code == 0
    rows = "".join(whole(run_rnn, log, lines, "--no-header") for lines in ("1\n", "2\n"))
    assert log.read_text() == rows
    assert "t" not in rows


KEYED = ("--group-by", "k")


@pytest.mark.parametrize("options", [KEYED, (*KEYED, "--passthrough"), ("--all-layers",), ()])
def test_rows_of_every_kind_go_on(run_rnn: Rnn, log: Path, options: tuple[str, ...]) -> None:
    lines = 'k,v\n"a ""b"", c",1\n'
    if not options or options == ("--all-layers",):
        lines = "v\n1\n"
    expected = whole(run_rnn, log, lines, *options)
    for _ in range(2):
        assert follow(log, lines, *options).exit_code == 0
    begin = expected.index("\n") + 1 if log.suffix == ".csv" else 0
    assert log.read_text() == expected + expected[begin:]


@pytest.mark.parametrize(
    ("old", "options"),
    [
        ("t,h_0,h_1,h_2\n1,0.5,0.5,0.5\n", ()),
        ("k,t,h_0,h_1\na,1,0.5,0.5\n", ()),
        ("1,0.5,0.5\n", ()),
        ("1,0.5\n", ("--no-header",)),
        ('{"t": 1, "x": [1.0, 2.0], "h": [0.5, 0.5]}\n', ()),
        ('{"key": {"k": "a"}, "t": 1, "x": [1.0], "h": [0.5, 0.5]}\n', ()),
        ('{"t": 1, "x": [1.0], "h": [0.5, 0.5], "layers": [[0.5, 0.5]]}\n', ()),
        ("my notes, no line end", ()),
        ('{"x": [1.0], "t": 1, "h": [0.', ()),
        ("[" * 100_000, ()),
        ("ö\x1b]0;title\x07\n", ()),
    ],
)
def test_other_files_are_left_alone(
    log: Path, tmp_path: Path, old: str, options: tuple[str, ...]
) -> None:
    if log.suffix == ".jsonl" and "--no-header" in options:
        pytest.skip("an option of CSV")
    log.write_text(old, encoding="latin-1")
    done = follow(log, "1\n", *options, "--state", str(tmp_path / "s"))
    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: {log}: its first line is ")
    assert done.stderr.endswith("; --follow adds to a file: give -o another one\n")
    assert "\x1b" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert log.read_text(encoding="latin-1") == old
    assert os.listdir(tmp_path) == [log.name]


@pytest.mark.slow
def test_an_unfinished_line_is_cut_off(run_rnn: Rnn, log: Path) -> None:
    first, both = (whole(run_rnn, log, lines) for lines in ("1\n", "1\n1\n"))
    row = both[len(first) :]
    for end in range(1, len(row)):
        half = row[:end].rstrip("\n")
        log.write_text(first + half)
        done = follow(log, "1\n")
        assert done.exit_code == 0
        assert done.stderr == f"Note: {log}: ended within a line, which is cut off: {half!r}\n"
        begin = first.index("\n") + 1 if log.suffix == ".csv" else 0
        assert log.read_text() == first + first[begin:]


def test_a_header_without_a_line_end(run_rnn: Rnn, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text(HEADER[:-1])
    assert follow(log, "1\n").exit_code == 0
    assert log.read_text() == whole(run_rnn, log, "1\n")


def test_what_came_before_a_failure_stays(run_rnn: Rnn, log: Path) -> None:
    expected = whole(run_rnn, log, "1\n2\n")

    def stop(line: int) -> None:
        if line == 2:
            raise KeyboardInterrupt

    assert follow(log, Coming("1\n2\n3\n", stop)).exit_code == 130
    assert log.read_text() == expected
    log.unlink()
    assert follow(log, "1\n2\nx\n").exit_code == 2
    assert log.read_text() == expected


def test_one_run_at_a_time(log: Path) -> None:
    other = []

    def run_another(line: int) -> None:
        if line == 2:
            other.append(follow(log, "5\n"))

    assert follow(log, Coming("1\n2\n3\n", run_another)).exit_code == 0
    (done,) = other
    assert (done.exit_code, done.stderr) == (2, f"Error: {log}: another run is adding to it\n")
    assert log.read_text().count("\n") == (4 if log.suffix == ".csv" else 3)


def test_links_pipes_and_devices(run_rnn: Rnn, tmp_path: Path) -> None:
    csv = ("--format", "csv")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "log.csv")
    for _ in range(2):
        assert follow(link, "1\n", *csv).exit_code == 0
    assert (tmp_path / "log.csv").read_text().count("\n") == 3
    assert link.is_symlink()
    assert follow(Path("/dev/null"), "1\n", *csv).exit_code == 0
    assert (
        follow(Path("/dev/fd/1"), "1\n", *csv).stdout == run_rnn(*FOLLOW, *csv, stdin="1\n").stdout
    )
    reading, writing = os.pipe()
    assert follow(Path(f"/dev/fd/{writing}"), "1\n2\n", *csv).exit_code == 0
    os.close(writing)
    with open(reading) as pipe:
        assert pipe.read().count("\n") == 3


def test_the_log_is_on_the_disk_before_the_state(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(number: int) -> None:
        done.append((os.readlink(f"/proc/self/fd/{number}"), log.read_text().count("\n")))
        fsync(number)

    def recorded_replace(source: str, target: str) -> None:
        done.append((target, -1))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    state = str(tmp_path / "s")
    assert follow(log, "1\n2\n", "--state", state).exit_code == 0
    rows = log.read_text().count("\n")
    steps = [step for step in done if step[0] in (str(log), state)]
    assert steps == [(str(log), rows), (state, -1)]
    assert (str(tmp_path), rows) in done[: done.index((state, -1))]


@pytest.mark.slow
def test_a_first_line_that_is_cut_short_is_begun_again(run_rnn: Rnn, log: Path) -> None:
    expected = whole(run_rnn, log, "1\n")
    first = expected.splitlines()[0]
    for end in range(1, len(first) + 1):
        log.write_text(first[:end])
        done = follow(log, "1\n")
        assert (done.exit_code, log.read_text()) == (0, expected)
        cut = f"ended within a line, which is cut off: {first[:end]!r}"
        assert done.stderr == f"Note: {log}: {cut}\n"


@pytest.mark.slow
def test_rows_with_line_ends_in_their_cells_are_cut_whole(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    text = 'note,v\n"a, ""b""\n\nc",1\n"d\ne",2\n'
    options = ("--columns", "v", "--passthrough")
    assert follow(log, text, *options).exit_code == 0
    both = log.read_text()
    first = both[: both.index('"d\n')]
    for end in range(len(first), len(both)):
        log.write_text(both[:end])
        done = follow(log, 'note,v\n"d\ne",2\n', *options)
        assert done.exit_code == 0
        assert log.read_text().startswith(first + '"d\ne",2,')


@pytest.mark.parametrize("what", ["file", "folder"])
def test_an_output_that_may_be_lost_leaves_no_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    log, state = tmp_path / "log.csv", tmp_path / "s"
    fsync = os.fsync

    def full(number: int) -> None:
        if os.path.samestat(os.fstat(number), os.stat(log if what == "file" else tmp_path)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(number)

    monkeypatch.setattr(os, "fsync", full)
    for text in ("1\n2\n", "1\nx\n"):
        done = follow(log, text, "--state", str(state))
        note, error = done.stderr.splitlines()
        assert note == f"Note: {state}: no state was left: the output may be lost"
        assert (done.exit_code, error) == (1, f"Error: {log}: No space left on device")
        assert not state.exists()


@pytest.mark.parametrize("way", ["removed", "replaced", "moved"])
def test_a_log_that_is_gone_leaves_no_state(tmp_path: Path, log: Path, way: str) -> None:
    state = tmp_path / "s"

    def take_away(given: int) -> None:
        if given == 1 and way == "removed":
            log.unlink()
        elif given == 1 and way == "replaced":
            (tmp_path / "other").write_text("other")
            (tmp_path / "other").replace(log)
        elif given == 1:
            log.rename(tmp_path / "moved")

    done = follow(log, Coming("1\n2\n3\n", take_away), "--state", str(state))
    lost = way != "moved"
    assert (done.exit_code, state.exists()) == (int(lost), not lost)
    message = f"Error: {log}: was removed or replaced while rows were added to it\n"
    assert done.stderr.endswith(message if lost else "")


def test_a_result_does_not_take_the_place_of_a_log(run_rnn: Rnn, log: Path) -> None:
    messages = []

    def write_there(_: int) -> None:
        if log.exists():
            done = run_rnn("run", "--seq", "1", "--hidden", "2", "-o", str(log))
            messages.append((done.exit_code, done.stderr))

    follow(log, Coming("1\n2\n", write_there))
    assert set(messages) == {(2, f"Error: {log}: another run is adding to it\n")}
