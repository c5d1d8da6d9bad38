"""Console blocks in Markdown: read them, run them in a shell, compare, and rewrite them.

A block is a session in a folder of its own. ``$`` starts a command, ``>`` continues it, and
its output follows; in tests/cases ``[2]`` ends it where the exit code is 2. In an expected
output ``...`` alone on a line stands for any lines, and within a line for any text.
"""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Self

NUMBER = re.compile(r"-?\d+(?:\.\d+(?:e[-+]\d+)?|e[-+]\d+)")
# The time of a batch and the size of its log differ at each run.
SECONDS = re.compile(r"\b\d+\.\d s\b")
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^\$ (.*\n(?:> .*\n|>\n)*)((?:(?!\$ ).*\n)*)", re.MULTILINE)
# Error bound of a number, of the largest of its output: last digits depend on the processor.
RTOL = 1e-6


class Example(NamedTuple):
    """A command, and the output that a block shows."""

    command: str
    output: str


class Session(NamedTuple):
    """One console block."""

    path: Path
    number: int
    line: int
    examples: list[Example]

    @property
    def id(self) -> str:
        """Its file and line."""
        return f"{self.path.stem}:{self.line}"


def read_sessions(path: Path) -> list[Session]:
    """Read the console blocks of a file."""
    text = path.read_text(encoding="utf-8")
    return [
        Session(
            path,
            number,
            text.count("\n", 0, block.start()) + 1,
            [Example(*groups) for groups in COMMAND.findall(block[1])],
        )
        for number, block in enumerate(BLOCK.finditer(text))
    ]


def is_same(shown: str, expected: str) -> bool:
    """Whether two outputs have the same words, and numbers within `RTOL` of the largest."""
    largest = max([1.0, *(abs(float(number)) for number in NUMBER.findall(expected))])

    def same_line(line: str, pattern: str) -> bool:
        if "..." in pattern:
            parts = (re.escape(" ".join(part.split())) for part in pattern.split("..."))
            return re.fullmatch(".*".join(parts), " ".join(line.split())) is not None
        numbers = [NUMBER.findall(SECONDS.sub("", text)) for text in (line, pattern)]
        return words(line) == words(pattern) and all(
            abs(float(a) - float(b)) <= RTOL * largest for a, b in zip(*numbers, strict=True)
        )

    def same_lines(lines: list[str], patterns: list[str]) -> bool:
        for n, pattern in enumerate(patterns):
            if pattern == "...":
                rest = patterns[n + 1 :]
                return any(same_lines(lines[k:], rest) for k in range(n, len(lines) + 1))
            if n >= len(lines) or not same_line(lines[n], pattern):
                return False
        return len(lines) == len(patterns)

    return same_lines(shown.splitlines(), expected.splitlines())


def words(line: str) -> str:
    """Take numbers out of a line, and the blanks and rules that depend on their width."""
    return re.sub(r"─+", "─", " ".join(NUMBER.sub("#", line).split()))


def updated(path: Path, outputs: dict[int, list[str]]) -> str:
    """Return the text of a file whose blocks, by number, show these outputs."""
    numbers = count()

    def rewrite(block: re.Match[str]) -> str:
        number = next(numbers)
        if number not in outputs:
            return block[0]
        shown: Iterator[str] = iter(outputs[number])

        def example(match: re.Match[str]) -> str:
            output = next(shown)
            return f"$ {match[1]}{match[2] if is_same(output, match[2]) else output}"

        return f"```console\n{COMMAND.sub(example, block[1])}```"

    return BLOCK.sub(rewrite, path.read_text(encoding="utf-8"))


# The command `rnn` of a session: it hands its arguments, folder, environment and standard streams
# to the process that has loaded rnncli already, which forks. Python without site starts in 10 ms.
CLIENT = """#!{python} -IS
import _socket, os, struct, sys
link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
link.connect({address!r})
request = repr((sys.argv[1:], os.getcwd(), dict(os.environ))).encode()
link.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("3i", 0, 1, 2))])
link.shutdown(_socket.SHUT_WR)
os._exit(int(link.recv(8) or b"70"))
"""


def serve(address: str) -> None:
    """Answer clients, each by a fork of this process that runs the command."""
    import ast
    import signal
    from importlib import import_module

    from rnncli.__main__ import main, prepare

    prepare()
    from rnncli.cli import COMMANDS

    for name in COMMANDS:
        import_module(f"rnncli.cli.{name}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(8)
        os.write(1, b"ready\n")
        while True:
            link, _ = listener.accept()
            if os.fork():
                link.close()
                continue
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            request, streams, _, _ = socket.recv_fds(link, 1 << 20, 3)
            while rest := link.recv(1 << 20):
                request += rest
            arguments, folder, environment = ast.literal_eval(request.decode())
            for stream, copy in enumerate(streams):
                os.dup2(copy, stream)
                os.close(copy)
            sys.stdin = os.fdopen(0, closefd=False)  # a stream remembers whether it can seek
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            sys.argv = ["rnn", *arguments]
            code: object = 0
            try:
                main()
            except SystemExit as end:
                code = end.code or 0
            sys.stdout.flush()
            sys.stderr.flush()
            link.send(str(code).encode())
            os._exit(0)


class Shell:
    """Runs commands of Bash in which `rnn` is the package of a checkout."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.scripts = folder
        # The address of a socket has at most 104 bytes on macOS, whose temporary folders are long.
        self.socket = TemporaryDirectory(prefix="rnn-", dir="/tmp")
        address = f"{self.socket.name}/server"
        client = folder / "rnn"
        client.write_text(CLIENT.format(python=sys.executable, address=address))
        client.chmod(0o755)
        self.environment = {
            "PATH": f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(root),
            "HOME": str(folder),
            "COLUMNS": "80",
            "LANG": "C.UTF-8",
        }
        self.server = subprocess.Popen(
            [sys.executable, __file__, address], env=self.environment, stdout=subprocess.PIPE
        )
        assert self.server.stdout
        assert self.server.stdout.readline() == b"ready\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.kill()
        self.server.communicate()
        self.socket.cleanup()

    def run(self, command: str, folder: Path) -> tuple[str, int]:
        """Run a command as a block has it; return its output and exit code."""
        done = subprocess.run(
            ["bash", "-c", re.sub(r"^> ?", "", command, flags=re.MULTILINE)],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output = done.stdout.decode(errors="backslashreplace")
        return output + "\n" * bool(output and output[-1] != "\n"), done.returncode


if __name__ == "__main__":
    serve(sys.argv[1])
