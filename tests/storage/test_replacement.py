"""Written files are durable in the right order, private, and never half."""

import errno
import os
import shutil
import stat
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Rnn

import rnncli

RUN = ("run", "--seq", "1,2", "--hidden", "2", "--format", "csv", "-o")


class Disk:
    """A directory after a power loss: each file as it was at its last fsync.

    A name is as durable as the last fsync of the directory.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.left: list[dict[str, bytes]] = []  # at each moment a name becomes durable
        self._synced: dict[int, bytes] = {}
        self._fsync, self._replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "replace", self.replace)

    def fsync(self, number: int) -> None:
        self._fsync(number)
        about = os.fstat(number)
        if stat.S_ISREG(about.st_mode):
            self._synced[about.st_ino] = self.content(about.st_ino)
        elif os.path.samestat(about, self.folder.stat()):
            paths = [path for path in self.folder.iterdir() if path.name[0] != "."]
            inodes = {path.name: path.stat().st_ino for path in paths}
            self.left.append({name: self._synced.get(i, b"") for name, i in inodes.items()})

    def replace(self, source: str, target: str) -> None:
        inode = os.stat(source).st_ino
        assert self._synced.get(inode) == self.content(inode), f"{target}: renamed before its fsync"
        self._replace(source, target)

    def content(self, inode: int) -> bytes:
        (path,) = (path for path in self.folder.iterdir() if path.stat().st_ino == inode)
        return path.read_bytes()


@pytest.mark.parametrize("form", ["csv", "npy"])
def test_a_power_loss_leaves_the_output_then_the_state(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    disk = Disk(tmp_path, monkeypatch)
    output, state = (str(tmp_path / name) for name in ("out", "state"))
    options = ("run", "--seq", "1,2", "--hidden", "2", "--format", form, "--state", state)
    assert run_rnn(*options, "-o", output).exit_code == 0
    first, both = disk.left
    assert set(first) == {"out"}
    assert both == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert first["out"] == both["out"] != b""


def test_the_outputs_of_small_inputs_are_durable_together_before_they_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, inputs = tmp_path / "out", [tmp_path / f"{n}.csv" for n in range(5)]
    for path in inputs:
        path.write_text("1\n2\n")
    out.mkdir()
    disk, durable = Disk(out, monkeypatch), list[int]()
    network = rnncli.seeded(1, 2)
    rnncli.batch(inputs, network, out, jobs=1, callback=lambda _: durable.append(len(disk.left)))
    assert durable == [1] * 5
    outputs = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix == ".csv"}
    assert len(outputs) == 5
    assert {name: disk.left[0][name] for name in outputs} == outputs


@pytest.mark.skipif(sys.platform != "linux", reason="another system waits for each file in turn")
def test_the_outputs_of_small_inputs_are_on_their_way_before_the_first_is_awaited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, calls, fsync = [tmp_path / f"{n}.csv" for n in range(3)], list[str](), os.fsync
    for path in inputs:
        path.write_text("1\n2\n")

    def wait(number: int) -> None:
        calls.append("wait")
        fsync(number)

    monkeypatch.setattr(os, "posix_fadvise", lambda *_: calls.append("start"))
    monkeypatch.setattr(os, "fsync", wait)
    rnncli.batch(inputs, rnncli.seeded(1, 2), tmp_path / "out", jobs=1)
    assert calls == ["start"] * 3 + ["wait"] * 4  # the last is for the folder


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_output_that_cannot_be_put_on_the_disk_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    inputs, real = [tmp_path / f"{n}.csv" for n in range(4)], getattr(os, call)
    for path in inputs:
        path.write_text("1\n2\n")
    calls = count(1)

    def fail_second(*arguments: Any) -> None:
        if next(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*arguments)

    monkeypatch.setattr(os, call, fail_second)
    summary = rnncli.batch(inputs, rnncli.seeded(1, 2), tmp_path / "out", jobs=1)
    (failure,) = summary.failures
    assert (summary.done, summary.rows) == (3, 6)
    assert failure.error == f"[Errno 28] No space left on device: '{tmp_path}/out/1.csv'"
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == ["0.csv", "2.csv", "3.csv", "rnn-batch.jsonl"]


# Each file that is synced, as a line on standard error.
SYNCED = """
import os, sys
fsync = os.fsync
def recorded(number):
    print(os.readlink(f"/proc/self/fd/{number}"), file=sys.stderr)
    fsync(number)
os.fsync = recorded
from rnncli.__main__ import main
main()
"""


@pytest.mark.linux("/proc")
def test_redirected_output_is_durable_before_the_state(tmp_path: Path) -> None:
    """Pipes and devices cannot be."""
    out, command = tmp_path / "out.csv", [sys.executable, "-c", SYNCED, *RUN, "-"]
    with_state = [*command, "--state", str(tmp_path / "state")]
    with open(out, "wb") as file:
        both = subprocess.run(with_state, stdout=file, stderr=subprocess.PIPE, check=True)
    synced = both.stderr.decode().splitlines()
    assert (synced[0], synced[-1]) == (str(out), str(tmp_path))
    for output in ("/dev/stdout", "/dev/null"):
        done = subprocess.run([*command[:-1], output], capture_output=True, check=True)
        assert done.stderr == b""


def test_a_killed_run_leaves_a_file_as_private_under_another_name(tmp_path: Path) -> None:
    output = tmp_path / "old.csv"
    output.write_text("old\n")
    output.chmod(0o640)
    process = subprocess.Popen(
        [sys.executable, "-m", "rnncli", "run", "--hidden", "2", "-o", str(output)],
        stdin=subprocess.PIPE,
    )
    assert process.stdin is not None
    # Returns when nearly all is read, a pipe holds 64 KiB: the file is begun.
    process.stdin.write(b"1\n" * 300_000)
    process.kill()
    process.wait()
    process.stdin.close()
    assert sorted(os.listdir(tmp_path)) == [".old.csv.rnn", "old.csv"]
    assert stat.S_IMODE((tmp_path / ".old.csv.rnn").stat().st_mode) == 0o640
    assert output.read_text() == "old\n"


@pytest.mark.parametrize(
    ("old", "mask", "mode"),
    [(None, 0o022, 0o644), (None, 0o077, 0o600), (0o600, 0o022, 0o600), (0o755, 0o077, 0o755)],
)
def test_a_new_file_has_usual_permissions_and_one_that_is_replaced_its_own(
    run_rnn: Rnn, tmp_path: Path, old: int | None, mask: int, mode: int
) -> None:
    paths = [tmp_path / name for name in ("out.csv", "state.npz")]
    command = (*RUN, str(paths[0]), "--state", str(paths[1]))
    before = os.umask(mask)
    try:
        assert run_rnn(*command).exit_code == 0
        if old is not None:
            for path in paths:
                path.chmod(old)
        assert run_rnn(*command).exit_code == 0
    finally:
        left = os.umask(before)
    assert left == mask
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [mode, mode]


@pytest.mark.skipif(getattr(os, "geteuid", int)() != 0, reason="only root can change owners")
def test_the_owner_stays_and_another_group_is_not_let_in(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    output = tmp_path / "out.csv"
    output.touch()
    os.chown(output, 12345, 23456)
    output.chmod(0o664)
    assert run_rnn(*RUN, str(output)).exit_code == 0
    about = output.stat()
    assert (about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode)) == (12345, 23456, 0o664)
    monkeypatch.setattr(os, "fchown", refused)
    assert run_rnn(*RUN, str(output)).exit_code == 0
    assert stat.S_IMODE(output.stat().st_mode) == 0o604


def test_a_read_only_file_system_is_named(tmp_path: Path) -> None:
    (tmp_path / "old.csv").touch()
    script = f"""mount --bind {tmp_path} {tmp_path} && mount -o remount,ro,bind {tmp_path} || exit 9
        for name in old new; do
            {sys.executable} -m rnncli run --seq 1 --hidden 1 -o {tmp_path}/$name.csv
        done"""
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    if shutil.which("unshare") is None:
        pytest.skip("no user namespaces")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode not in (0, 1, 2) or "unshare:" in done.stderr:
        pytest.skip("no user namespaces")
    old, new = done.stderr.splitlines()
    assert old == f"Error: {tmp_path}/old.csv: Read-only file system"
    assert new == f"Error: {tmp_path}/new.csv: Read-only file system in {tmp_path}"
