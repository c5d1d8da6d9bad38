"""Temporary files of killed runs are removed, and those of runs that go on are not."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rnncli.storage.local import remove_left, writing

# Begins a file, says so, and waits for a line before it ends it.
WRITER = """
import sys
from rnncli.storage.local import writing
with writing(sys.argv[1]) as file:
    file.write("whole\\n")
    file.flush()
    print(flush=True)
    sys.stdin.readline()
"""


@contextmanager
def writer(path: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()


def left(folder: Path) -> list[Path]:
    return sorted(folder.glob(".rnn-*.tmp"))


@pytest.mark.slow
def test_what_a_killed_writer_left_is_removed_and_that_of_a_living_one_stays(
    tmp_path: Path,
) -> None:
    with writer(tmp_path / "killed.csv") as killed, writer(tmp_path / "living.csv") as living:
        assert len(left(tmp_path)) == 2
        remove_left(str(tmp_path))
        assert len(left(tmp_path)) == 2
        kill(killed)
        remove_left(str(tmp_path))
        assert len(left(tmp_path)) == 1
        living.communicate("\n")
        assert living.returncode == 0
    assert os.listdir(tmp_path) == ["living.csv"]
    assert (tmp_path / "living.csv").read_text() == "whole\n"


def test_a_file_that_is_removed_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run removes what is left between the creation of a file and its lock."""
    lock, locks = fcntl.flock, list[int]()

    def remove_and_lock(file: int, kind: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        remove_left(str(tmp_path))
        assert not left(tmp_path)
        monkeypatch.setattr(fcntl, "flock", count_and_lock)
        lock(file, kind)

    def count_and_lock(file: int, kind: int) -> None:
        locks.append(kind)
        lock(file, kind)

    monkeypatch.setattr(fcntl, "flock", remove_and_lock)
    with writing(str(tmp_path / "out.csv")) as file:
        assert locks == [fcntl.LOCK_SH]
        file.write("whole\n")
    assert os.listdir(tmp_path) == ["out.csv"]
    assert (tmp_path / "out.csv").read_text() == "whole\n"


def test_a_file_that_was_made_again_is_not_removed_by_a_lock_on_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two other runs find the same file: the second locks it when the first has removed it."""
    path = tmp_path / f".rnn-{'0' * 16}.tmp"
    path.write_text("left\n")
    lock = fcntl.flock

    def replace_and_lock(file: int, kind: int) -> None:
        path.unlink()
        path.write_text("made again\n")
        lock(file, kind)

    monkeypatch.setattr(fcntl, "flock", replace_and_lock)
    remove_left(str(tmp_path))
    assert path.read_text() == "made again\n"


def test_nothing_is_removed_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(None, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with writing(str(tmp_path / "out.csv")) as file:
        remove_left(str(tmp_path))
        file.write("whole\n")
    assert (tmp_path / "out.csv").read_text() == "whole\n"


def test_only_such_files_are_removed(tmp_path: Path) -> None:
    mine = [".rnn-mine.tmp", f"rnn-{'0' * 16}.tmp", f".rnn-{'0' * 16}.tmp~", "x.tmp"]
    for name in mine:
        (tmp_path / name).touch()
    (tmp_path / f".rnn-{'1' * 16}.tmp").symlink_to("x.tmp")
    (tmp_path / f".rnn-{'2' * 16}.tmp").mkdir()
    (tmp_path / f".rnn-{'3' * 16}.tmp").touch()
    before = set(os.listdir(tmp_path))
    remove_left(str(tmp_path))
    assert before - set(os.listdir(tmp_path)) == {f".rnn-{'3' * 16}.tmp"}


def test_a_file_is_renamed_while_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.replace

    def remove_and_rename(source: str, target: str) -> None:
        remove_left(str(tmp_path))
        rename(source, target)

    monkeypatch.setattr(os, "replace", remove_and_rename)
    with writing(str(tmp_path / "out.csv")) as file:
        file.write("whole\n")
    assert (tmp_path / "out.csv").read_text() == "whole\n"
