"""What becomes of the files that are written: durable in the right order, private, never half."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
            paths = [path for path in self.folder.iterdir() if path.suffix != ".rnn-lock"]
            inodes = {path.name: path.stat().st_ino for path in paths}
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
def recorded(number):
    print(os.readlink(f"/proc/self/fd/{number}"), file=sys.stderr)
    fsync(number)
os.fsync = recorded
from rnncli.__main__ import main
main()
"""


class Ended(NamedTuple):
    """A process that has ended, and the files that it synced."""

    code: int
    out: bytes
    synced: list[str]


def ended(*arguments: str, **options: object) -> Ended:
    done = subprocess.run(
        [sys.executable, "-c", SYNCED, *arguments],
        stdout=options.get("stdout", subprocess.PIPE),  # type: ignore[call-overload]
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr.decode().splitlines())


@pytest.mark.slow
def test_redirected_output_is_durable_before_the_state(tmp_path: Path) -> None:
    run = ("run", "--seq", "1,2", *NETWORK, "csv", "--state", str(tmp_path / "state"))
    with open(tmp_path / "out.csv", "wb") as out:
        done = ended(*run, stdout=out)
    assert done.code == 0
    assert done.synced[0] == str(tmp_path / "out.csv")
    assert done.synced[-1] == str(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("output", ["-", "/dev/stdout", "/dev/null"])
def test_pipes_and_devices_are_not_synced(output: str) -> None:
    done = ended("run", "--seq", "1,2", *NETWORK, "csv", "-o", output)
    assert (done.code, done.synced) == (0, [])


RUN = ("run", "--seq", "1,2", *NETWORK, "csv", "-o")


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_a_file_of_the_user_is_left_alone(run_rnn: Rnn, tmp_path: Path) -> None:
    mine = [tmp_path / f"out.csv{end}" for end in (".tmp", f".{os.getpid()}.tmp", ".bak", "~")]
    for path in mine:
        path.write_text("mine\n")
    assert run_rnn(*RUN, str(tmp_path / "out.csv")).exit_code == 0
    assert [path.read_text() for path in mine] == ["mine\n"] * 4
    assert len(os.listdir(tmp_path)) == 5


def test_a_result_that_cannot_be_renamed_is_kept(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.csv"
    rename = os.replace

    def replace_what_cannot_be(source: str, target: str) -> None:
        output.mkdir()
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace_what_cannot_be)
    done = run_rnn(*RUN, str(output))
    (kept,) = tmp_path.glob(".rnn-*.whole")
    error = f"Error: {output}: Is a directory; the result is in {kept}\n"
    assert (done.exit_code, done.stderr) == (1, error)
    assert kept.read_text().count("\n") == 3


@pytest.mark.slow
def test_a_killed_run_leaves_a_private_file_of_another_kind(tmp_path: Path) -> None:
    output = tmp_path / "old.csv"
    output.write_text("old\n")
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
    (left,) = set(os.listdir(tmp_path)) - {"old.csv"}
    assert left.startswith(".rnn-")
    assert left.endswith(".tmp")
    assert stat.S_IMODE((tmp_path / left).stat().st_mode) == 0o600
    assert output.read_text() == "old\n"


@pytest.mark.parametrize(
    ("old", "mask", "mode"),
    [
        (None, 0o022, 0o644),
        (None, 0o077, 0o600),
        (None, 0o000, 0o666),
        (None, 0o027, 0o640),
        (0o600, 0o022, 0o600),
        (0o640, 0o077, 0o640),
        (0o666, 0o022, 0o666),
        (0o755, 0o022, 0o755),
    ],
)
def test_permissions(run_rnn: Rnn, tmp_path: Path, old: int | None, mask: int, mode: int) -> None:
    paths = [tmp_path / name for name in ("out.csv", "state.npz")]
    with umask(mask):
        for path in paths:
            if old is not None:
                path.touch()
                path.chmod(old)
        paths[1].unlink(missing_ok=True)
        assert run_rnn(*RUN, str(paths[0]), "--state", str(paths[1])).exit_code == 0
        if old is not None:
            paths[1].chmod(old)
        assert run_rnn(*RUN, str(paths[0]), "--state", str(paths[1])).exit_code == 0
        assert os.umask(mask) == mask
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [mode, mode]


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change owners")


@needs_root
def test_the_owner_stays(run_rnn: Rnn, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    output.touch()
    os.chown(output, 12345, 23456)
    output.chmod(0o640)
    assert run_rnn(*RUN, str(output)).exit_code == 0
    about = output.stat()
    assert (about.st_uid, about.st_gid) == (12345, 23456)
    assert stat.S_IMODE(about.st_mode) == 0o640


@needs_root
def test_another_group_is_not_let_in(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    output = tmp_path / "out.csv"
    output.touch()
    os.chown(output, 12345, 23456)
    output.chmod(0o664)
    for name in ("chown", "fchown", "lchown"):
        monkeypatch.setattr(os, name, refused)
    assert run_rnn(*RUN, str(output)).exit_code == 0
    assert stat.S_IMODE(output.stat().st_mode) == 0o604


@pytest.mark.parametrize("length", [240, 246, 250, 255])
def test_names_as_long_as_there_are(run_rnn: Rnn, tmp_path: Path, length: int) -> None:
    output, state = (tmp_path / (letter * (length - 4) + ".csv") for letter in "os")
    for _ in range(2):
        assert run_rnn(*RUN, str(output), "--state", str(state)).exit_code == 0
    assert output.read_text().startswith("t,h_0,h_1\n3,")


def test_a_name_that_is_too_long_is_an_error_before_the_run(run_rnn: Rnn, tmp_path: Path) -> None:
    output = tmp_path / ("o" * 252 + ".csv")
    done = run_rnn("run", "--seq", "x", *NETWORK, "csv", "-o", str(output))
    assert (done.exit_code, done.stderr) == (2, f"Error: {output}: File name too long\n")


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no /dev/shm on this system")
def test_a_file_in_memory_is_replaced_whole(run_rnn: Rnn) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        output = Path(folder) / "out.csv"
        output.write_text("old\n")
        done = run_rnn("run", "--hidden", "2", "-o", str(output), stdin="1\nx\n")
        assert (done.exit_code, output.read_text()) == (2, "old\n")
        assert run_rnn(*RUN, str(output)).exit_code == 0
        assert output.read_text().count("\n") == 3
        assert os.listdir(folder) == ["out.csv"]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc on this system")
@pytest.mark.parametrize("mode", ["ab", "wb"])
@pytest.mark.parametrize(
    "name",
    [
        "-",
        "/dev/stdout",
        "/dev/fd/1",
        "/proc/self/fd/1",
        "/proc/thread-self/fd/1",
        "link",
        "number",
    ],
)
def test_an_open_file_is_written_on_from_where_it_is(tmp_path: Path, name: str, mode: str) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    log = tmp_path / "log.csv"
    log.write_text("before\n" if mode == "ab" else "")
    with open(log, mode) as file:
        number = file.fileno()
        if mode == "wb":
            os.write(number, b"before\n")
        output = {"number": f"/dev/fd/{number}", "link": str(tmp_path / "link")}.get(name, name)
        to = None if name == "number" else file
        command = [sys.executable, "-m", "rnncli", *RUN, output]
        subprocess.run(command, check=True, stdout=to, pass_fds=[number])
        os.write(number, b"after\n")
    first, *rows, last = log.read_text().splitlines()
    assert (first, [row[:2] for row in rows], last) == ("before", ["t,", "1,", "2,"], "after")


def test_a_link_leads_to_what_is_replaced(run_rnn: Rnn, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "link.csv", tmp_path / "there" / "out.csv"
    link.symlink_to(target)
    for _ in range(2):
        assert run_rnn(*RUN, str(link)).exit_code == 0
        assert link.is_symlink()
        assert target.read_text().count("\n") == 3
    assert os.listdir(tmp_path / "there") == ["out.csv"]
