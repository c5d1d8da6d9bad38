"""What becomes of the files that are written: durable in the right order, private, never half."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import Rnn

NETWORK = ("--hidden", "2", "--format")


class Disk:
    """What a power loss leaves of a directory: each file as it was at its last fsync.

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
            inodes = {path.name: path.stat().st_ino for path in self.folder.iterdir()}
            self.left.append({name: self._synced.get(i, b"") for name, i in inodes.items()})

    def replace(self, source: str, target: str) -> None:
        inode = os.stat(source).st_ino
        assert self._synced.get(inode) == self.content(inode), f"{target}: renamed before its fsync"
        self._replace(source, target)

    def content(self, inode: int) -> bytes:
        (path,) = (path for path in self.folder.iterdir() if path.stat().st_ino == inode)
        return path.read_bytes()


@pytest.mark.parametrize("form", ["csv", "jsonl", "json", "table", "npy"])
def test_a_power_loss_leaves_the_output_then_the_state(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    disk = Disk(tmp_path, monkeypatch)
    output, state = (str(tmp_path / name) for name in ("out", "state"))
    run = ("run", "--seq", "1,2", *NETWORK, form, "-o", output, "--state", state)
    assert run_rnn(*run).exit_code == 0
    first, both = disk.left
    assert set(first) == {"out"}
    assert set(both) == {"out", "state"}
    assert both == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert first["out"] == both["out"] != b""


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".json"])
def test_saved_weights_survive_a_power_loss(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    disk = Disk(tmp_path, monkeypatch)
    saved = tmp_path / f"w{suffix}"
    assert run_rnn("weights", "--hidden", "2", "-o", str(saved)).exit_code == 0
    assert disk.left == [{saved.name: saved.read_bytes()}]


# Each file that is synced, as a line on standard error.
SYNCED = """
import os, sys
fsync = os.fsync
def told(number):
    print(os.readlink(f"/proc/self/fd/{number}"), file=sys.stderr)
    fsync(number)
os.fsync = told
from rnncli.__main__ import main
main()
"""


class Told(NamedTuple):
    """A process that has ended, and the files that it synced."""

    code: int
    out: bytes
    synced: list[str]


def told(*arguments: str, **options: object) -> Told:
    done = subprocess.run(
        [sys.executable, "-c", SYNCED, *arguments],
        stdout=options.get("stdout", subprocess.PIPE),  # type: ignore[call-overload]
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return Told(done.returncode, done.stdout, done.stderr.decode().splitlines())


def test_redirected_output_is_durable_before_the_state(tmp_path: Path) -> None:
    run = ("run", "--seq", "1,2", *NETWORK, "csv", "--state", str(tmp_path / "state"))
    with open(tmp_path / "out.csv", "wb") as out:
        done = told(*run, stdout=out)
    assert done.code == 0
    assert done.synced[0] == str(tmp_path / "out.csv")
    assert done.synced[-1] == str(tmp_path)


@pytest.mark.parametrize("output", ["-", "/dev/stdout", "/dev/null"])
def test_pipes_and_devices_are_not_synced(output: str) -> None:
    done = told("run", "--seq", "1,2", *NETWORK, "csv", "-o", output)
    assert (done.code, done.synced) == (0, [])
