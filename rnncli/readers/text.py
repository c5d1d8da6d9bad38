"""Lines of text: from a file, compressed or not, or from standard input."""

import io
import os
import sys
import weakref
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

STDIN = "-"

_SIGNATURES = {
    b"\x1f\x8b": "gzip data; decompress it (zcat), or give a file named .gz",
    b"\x93NUMPY": "an .npy array; give a file named .npy",
    b"PK\x03\x04": "a zip archive (.xlsx, .npz?); export it as CSV",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
}


def display_name(path: str) -> str:
    """Name an input for messages."""
    return "standard input" if path == STDIN else path


class Position:
    """How far a file has been read."""

    def __init__(self, path: str) -> None:
        self.size = os.path.getsize(path) if path != STDIN and os.path.isfile(path) else 0
        # Weak: the reading closes the file, and nothing else is to keep it open.
        self._file: weakref.ref[io.BufferedReader] | None = None

    def follow(self, file: io.BufferedReader) -> None:
        """Tell which file is read."""
        self._file = weakref.ref(file)

    def share(self) -> float | None:
        """Give the share read, 0 to 1, where the size is known."""
        if not self.size or self._file is None:
            return None
        file = self._file()
        return 1.0 if file is None or file.closed else min(1.0, file.tell() / self.size)


def read_lines(path: str, position: Position) -> Iterator[str]:
    """Lines of a text file, with their ends.

    UTF-8, with or without a byte order mark. Bytes that are not UTF-8 are
    carried along as surrogates, so that a name in another encoding does no
    harm beside the numbers.

    Parameters
    ----------
    path : str
    position : Position
        Follows the reading.

    Raises
    ------
    ValueError
        What is there is not text, or is damaged.
    OSError
        The file cannot be opened.
    """
    with _opened(path) as file:
        position.follow(file)
        lines = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
        try:
            _check_is_text(file.peek(8), display_name(path))
            yield from lines
        except (OSError, EOFError, zlib.error) as error:
            message = f"{display_name(path)}: cannot be read: {error}"
            raise ValueError(message) from error
        finally:
            # Standard input stays open (unless it is closed already); a file is closed above.
            with suppress(ValueError):
                lines.detach()


def _opened(path: str) -> AbstractContextManager[io.BufferedReader]:
    if path == STDIN:
        if sys.stdin is None:
            raise ValueError("standard input: closed; give a FILE or --seq")
        return nullcontext(_buffered(sys.stdin.buffer))
    if path.lower().endswith(".gz"):
        import gzip

        return io.BufferedReader(gzip.open(path))
    return open(path, "rb")


def _buffered(file: Any) -> io.BufferedReader:
    """Add a buffer where there is none: a second one would wait until it is full."""
    return file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)


def _check_is_text(start: bytes, name: str) -> None:
    for signature, found in _SIGNATURES.items():
        if start.startswith(signature):
            raise ValueError(f"{name}: expected CSV text, found {found}")
    if b"\0" in start:
        raise ValueError(f"{name}: expected CSV text, found binary data")
