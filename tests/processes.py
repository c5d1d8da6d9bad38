"""Commands in processes of their own: at once, in pipes, on terminals, and stopped."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import ROOT
from transcripts import Shell

# A hang is a failure.
LIMIT = 60


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str


class Commands(Shell):
    """Starts commands in forks of a process that has loaded rnncli."""

    def start(self, *words: object, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a command; its standard streams are pipes."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [str(self.scripts / "rnn"), *map(str, words)]
        return subprocess.Popen(command, **{**pipes, "env": self.environment, **options})

    def rnn(self, *words: object, stdin: str = "", **options: Any) -> Done:
        """Run a command."""
        with self.start(*words, **options) as process:
            out, err = process.communicate(stdin.encode(), LIMIT)
        return Done(process.returncode, (out or b"").decode(), (err or b"").decode())

    def on_terminal(self, *words: object, **variables: str) -> str:
        """Run a command on a terminal; return all that it is sent, but for its line ends."""
        import pty  # Windows has none

        master, slave = pty.openpty()
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), slave)
        environment = self.environment | {"TERM": "dumb", "COLUMNS": "300"} | variables
        with self.start(*words, env=environment, **streams):
            os.close(slave)
            shown = read_terminal(master)
        return shown.replace("\r\n", "\n")


def read_terminal(master: int) -> str:
    """Read a terminal until its other side is closed."""
    shown = b""
    try:
        while piece := os.read(master, 4096):
            shown += piece
    except OSError:  # the other side is closed, on Linux
        pass
    os.close(master)
    return shown.decode()


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with Commands(tmp_path_factory.mktemp("commands"), ROOT) as commands:
        yield commands


def start_alone(*words: object, **options: Any) -> "subprocess.Popen[bytes]":
    """Start a command as its own process, to which signals can be sent."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [sys.executable, "-m", "rnncli", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, **{**pipes, "env": environment, **options})


def started_in(folder: Path) -> list[int]:
    """Processes whose temporary files go to a folder."""
    found, mark = [], f"TMPDIR={folder}".encode()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # of another user, or it has ended meanwhile
            if mark in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                found.append(int(entry))
    return found


# Each line of standard input is a command, with the moment at which it gets a signal: before that
# many of its calls for files in its folder. The clock runs so fast that all that is due is done.
STAGE = """
import json, os, signal, sys, time
from itertools import count
time.monotonic = count(0.0, 2.0).__next__
from rnncli.__main__ import main, prepare
prepare()
import rnncli.cli.batch, rnncli.cli.run, rnncli.model.formats
CALLS = ("open", "os.rename", "os.remove", "os.truncate", "os.mkdir", "fcntl.flock")
def strike(number, moment):
    folder, calls = os.getcwd(), count(1)
    def hook(event, arguments):
        if event in CALLS and (
            isinstance(arguments[0], int)
            or os.path.abspath(os.fsdecode(arguments[0])).startswith(folder)
        ):
            if next(calls) == moment:
                signal.raise_signal(number)
    sys.addaudithook(hook)
for line in sys.stdin:
    folder, number, moment, words, streams = json.loads(line)
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(code, flush=True)
        continue
    os.chdir(folder)
    for stream, (name, flags) in enumerate(streams):
        os.dup2(os.open(name, flags, 0o600), stream)
    sys.argv, code = ["rnn", *words], 0
    if moment:
        strike(number, moment)
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    sys.stdout.flush()
    os._exit(code)
"""


class Stage:
    """Runs commands that end at a chosen moment."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", STAGE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    def run(
        self,
        folder: Path,
        *words: str,
        number: int = getattr(signal, "SIGKILL", 9),
        moment: int = 0,
        stdin: str = os.devnull,
        stdout: str = os.devnull,
    ) -> int:
        """Run a command in a folder; return its exit code, or minus the signal that ended it."""
        assert self.process.stdin
        assert self.process.stdout
        writing = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        streams = [(stdin, os.O_RDONLY), (stdout, writing), (os.devnull, writing)]
        print(
            json.dumps([str(folder), number, moment, words, streams]),
            file=self.process.stdin,
            flush=True,
        )
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.process.communicate()
