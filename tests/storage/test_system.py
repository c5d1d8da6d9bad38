"""Systems that differ from this one, as their calls answer; Windows and macOS are not run here."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest
from conftest import ROOT, Rnn

from rnncli.model.errors import InputError
from rnncli.storage import ReplacementOnWindows, check_writable, is_url, system

Refuse = Callable[..., Any]


@pytest.fixture
def on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "WINDOWS", True)
    monkeypatch.setattr("rnncli.storage.replacement", ReplacementOnWindows)


@pytest.mark.usefixtures("on_windows")
def test_a_run_closes_a_file_before_it_is_renamed(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed run leaves the old files, and a killed one is cleaned up by the next."""
    monkeypatch.chdir(tmp_path)
    rename = os.replace

    def replace(source: str, target: str) -> None:
        if sys.platform != "win32":  # which renames no file that is open
            descriptors = (f"/dev/fd/{number}" for number in os.listdir("/dev/fd"))
            assert os.path.realpath(source) not in map(os.path.realpath, descriptors)
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    for name in (".out.csv.rnn", ".out.csv.rnn.new", ".s.rnn.new"):
        Path(name).write_text("left by a killed run")
    run = ("run", "--hidden", "2", "-o", "out.csv", "--state", "s")
    for number in ("1", "2"):
        assert run_rnn(*run, "--seq", number).exit_code == 0
        old = {name: Path(name).read_bytes() for name in os.listdir()}
        assert old.keys() == {"out.csv", "s"}
    assert old["out.csv"].splitlines()[1].startswith(b"2,")
    assert run_rnn(*run, "--seq", "3e38", "--activation", "linear").exit_code != 0
    assert {name: Path(name).read_bytes() for name in os.listdir()} == old
    with ReplacementOnWindows("s"), pytest.raises(InputError, match="another run"):
        ReplacementOnWindows("s").__enter__()
    assert {*os.listdir()} == {"out.csv", "s"}


@pytest.mark.parametrize("attempts", [3, 10**9])
@pytest.mark.usefixtures("on_windows")
def test_a_reader_is_waited_for_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempts: int
) -> None:
    clock, tried, rename = [0.0], [0], os.replace

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    def replace(source: str, target: str) -> None:
        tried[0] += 1
        if tried[0] < attempts:
            raise PermissionError(errno.EACCES, "Access is denied", source, None, target)
        rename(source, target)

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(os, "replace", replace)
    path = tmp_path / "out"
    path.write_text("old")
    if attempts == 3:
        with ReplacementOnWindows(str(path)) as replacing, replacing() as file:
            file.write("new")
    else:
        with pytest.raises(PermissionError) as caught:  # noqa: SIM117
            with ReplacementOnWindows(str(path)) as replacing, replacing() as file:
                file.write("new")
        assert (caught.value.filename, caught.value.strerror) == (
            str(path),
            "another program has it open",
        )
        assert clock[0] > 5
    assert path.read_text() == ("new" if attempts == 3 else "old")
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("name", ["CON", "aux.csv", "com1.x.csv", "a:b.csv", "x.csv.", "y ", "a?"])
def test_names_of_devices_are_refused_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = f"{tmp_path}/{name}"  # pathlib has a drive in a:b.csv
    if sys.platform != "win32":
        check_writable(path)
    monkeypatch.setattr(system, "WINDOWS", True)
    with pytest.raises(InputError, match="is no name of a file on Windows"):
        check_writable(path)
    for each in ("NUL", "auxiliary.csv", "conx", "é.csv"):
        check_writable(f"{tmp_path}/{each}")


def test_a_drive_is_no_protocol() -> None:
    assert not is_url("C://data/x.csv")
    assert is_url("s3://data/x.csv")


def test_names_that_differ_in_case_alone(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are one file on macOS and Windows."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Path(name).mkdir()
    Path("a/x.csv").write_text("1\n")
    Path("b/X.csv").write_text("1\n")
    batch = ("batch", "a/x.csv", "b/X.csv", "-o", "out", "--hidden", "2", "-n")
    assert run_rnn(*batch).exit_code == 2 * (sys.platform != "linux")
    monkeypatch.setattr(sys, "platform", "darwin")
    result = run_rnn(*batch)
    assert (result.exit_code, "would both be written to" in result.stderr) == (2, True)


@pytest.mark.posix("fcntl")
@pytest.mark.parametrize("supported", [True, False])
def test_macos_syncs_in_full_where_a_file_system_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    calls: list[object] = []

    def call(_: int, command: int) -> None:
        calls.append(command)
        if not supported:
            raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("fcntl.F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr("fcntl.fcntl", call)
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("fsync"))
    with open(tmp_path / "x", "w") as file:
        system.sync_file(file.fileno())
    assert calls == ([51] if supported else [51, "fsync"])


@pytest.mark.parametrize("has_names", [True, False])
def test_an_open_file_has_a_name(monkeypatch: pytest.MonkeyPatch, has_names: bool) -> None:
    exists = os.path.exists
    if not has_names:
        monkeypatch.setattr(
            os.path, "exists", lambda path: not str(path).startswith("/dev/") and exists(path)
        )
    with TemporaryFile("w+", encoding="utf-8") as file:
        file.write("é")
        file.flush()
        with system.name_of(file) as name, open(name, "rb") as copy:
            assert copy.read() == "é".encode()
    assert has_names or not exists(name)


def test_memory_is_known_or_unbounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 << 28 < system.memory_size() < 1 << 50
    monkeypatch.delattr(os, "sysconf", raising=False)
    if sys.platform != "win32":
        assert system.memory_size() == float("inf")


@pytest.mark.windows("CREATE_SUSPENDED")
def test_a_process_that_was_being_started_ends_with_the_one_that_starts_it() -> None:
    program = """if True:
        import subprocess, sys
        from rnncli.storage.system import tie_processes
        tie_processes()
        subprocess.Popen([sys.executable, "-c", ""], creationflags=4)  # CREATE_SUSPENDED
        print("started", flush=True)
        sys.stdin.read()
    """
    command, pipe = [sys.executable, "-c", program], subprocess.PIPE
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=variables) as process:
        assert process.stdout
        assert process.stdout.readline().split() == [b"started"]
        process.kill()
        assert process.communicate(timeout=60)[0] == b""
