"""The destination of a result: a file, compressed or not, or standard output."""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from errno import EINVAL
from io import TextIOWrapper
from typing import Any, TextIO, cast

from rnncli.model.errors import printable
from rnncli.storage import check_writable, sync, writing
from rnncli.storage.system import WINDOWS


class Screen:
    """A text stream that escapes characters which control the terminal."""

    def __init__(self, terminal: TextIO) -> None:
        self.terminal = terminal  # colours go to it directly

    def __getattr__(self, name: str) -> Any:
        return getattr(self.terminal, name)

    def write(self, text: str) -> int:
        """Write text, line by line."""
        return self.terminal.write("\n".join(map(printable, text.split("\n"))))

    def writelines(self, texts: Iterable[str]) -> None:
        """Write texts."""
        for text in texts:
            self.write(text)


def is_stdout(path: str | None) -> bool:
    """Return whether a path names standard output."""
    return path in (None, "-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def is_packed(path: str) -> bool:
    """Return whether a file is compressed by gzip."""
    return path.lower().endswith(".gz")


def on_screen(path: str | None) -> bool:
    """Return whether results are shown on a terminal as they come."""
    return is_stdout(path) and sys.stdout is not None and sys.stdout.isatty()


def has_no_extension(path: str | None) -> bool:
    """Return whether a result goes to a file whose name has no extension, or to one by ``>``."""
    if path is not None and not is_stdout(path):
        name = path[:-3] if is_packed(path) else path
        is_device = os.path.exists(path) and not os.path.isfile(path)
        return not is_device and not os.path.splitext(name)[1]
    try:
        return is_stdout(path) and stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    except (AttributeError, OSError, ValueError):  # closed, or a stream in memory
        return False


def check_destination(path: str | None, *, append: bool = False) -> None:
    """Check before a long run that its result can be written to a file, or appended."""
    if path is not None and not is_stdout(path):
        check_writable(path, append=append)


@contextmanager
def destination(path: str | None, *, append: bool = False) -> Iterator[TextIO]:
    """Open standard output, or a file, which is on the disk when the block ends."""
    if path is not None and not is_stdout(path):
        with writing(path, append=append) as file:
            if is_packed(path):
                import gzip  # 5 ms that most runs do not need

                # Level 9 saves a few percent more, in three times the time.
                with (
                    gzip.GzipFile("", "wb", 6, file.buffer, mtime=0) as packed,
                    TextIOWrapper(packed, file.encoding, file.errors, newline="") as text,
                ):
                    yield text
            else:
                yield cast(TextIO, Screen(file)) if file.isatty() else file
        return
    if sys.stdout is None:
        raise OSError(None, "closed", "standard output")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            yield cast(TextIO, Screen(sys.stdout)) if sys.stdout.isatty() else sys.stdout
        finally:
            sync(sys.stdout)
    except OSError as error:
        if WINDOWS and error.errno == EINVAL:  # what it answers where a pipe was closed
            raise BrokenPipeError from error
        error.filename = error.filename or "standard output"
        raise
