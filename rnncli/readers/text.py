"""Text: from a file, compressed or not, or from standard input."""

import io
import os
import sys
import weakref
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

from rnncli.readers.foreign import STDIN, check_start, display_name, texts_of
from rnncli.readers.lines import Lines

if TYPE_CHECKING:
    from gzip import GzipFile

_File: TypeAlias = "io.BufferedReader | GzipFile"

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PIECE = 1 << 20


class Position:
    """How far a file has been read."""

    def __init__(self, path: str) -> None:
        self.size = os.path.getsize(path) if path != STDIN and os.path.isfile(path) else 0
        # Weak: the reading closes the file, and nothing else is to keep it open.
        self._file: weakref.ref[_File] | None = None

    def follow(self, file: _File) -> None:
        """Tell which file is read."""
        self._file = weakref.ref(file)

    def share(self) -> float | None:
        """Give the share read, 0 to 1, where the size is known."""
        if not self.size or self._file is None:
            return None
        file = self._file()
        return 1.0 if file is None or file.closed else min(1.0, file.tell() / self.size)


def read_lines(path: str, position: Position) -> Lines:
    """Lines of a text file, with their ends.

    UTF-8, with or without a byte order mark.

    Parameters
    ----------
    path : str
    position : Position
        Follows the reading.

    Raises
    ------
    ValueError
        What is there is not text, or is damaged: when the lines before the
        damage have been given.
    OSError
        The file cannot be opened: when the first line is asked for.
    """
    return Lines(texts_of(_pieces(path, position), path))


def _pieces(path: str, position: Position) -> Iterator[bytes]:
    """Pieces of a file, each as soon as it is there."""
    with _opened(path) as file:
        position.follow(file)
        try:
            check_start(file.peek(8), path)
            if start := _start(file):
                yield start
            while piece := file.read1(_PIECE):
                yield piece
        except (OSError, EOFError, zlib.error) as error:
            message = f"{display_name(path)}: cannot be read: {error}"
            raise ValueError(message) from error


def _start(file: _File) -> bytes:
    """Read the first piece, without a byte order mark."""
    start = b""
    while _BYTE_ORDER_MARK.startswith(start) and start != _BYTE_ORDER_MARK:
        piece = file.read1(_PIECE)
        if not piece:
            break
        start += piece
    return start.removeprefix(_BYTE_ORDER_MARK)


def _opened(path: str) -> AbstractContextManager[_File]:
    if path == STDIN:
        if sys.stdin is None:
            raise ValueError("standard input: closed; give a FILE or --seq")
        return nullcontext(_buffered(sys.stdin.buffer))
    if path.lower().endswith(".gz"):
        import gzip

        return gzip.open(path)
    return open(path, "rb")


def _buffered(file: Any) -> io.BufferedReader:
    """Add a buffer where there is none: a second one would wait until it is full."""
    return file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)
