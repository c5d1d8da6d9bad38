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
from rnncli.readers.lines import Lines, count_line_ends

if TYPE_CHECKING:
    from gzip import GzipFile

_File: TypeAlias = "io.BufferedReader | GzipFile"

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PIECE = 1 << 20
# Bytes. A row takes some twenty times as much memory while it is read.
MOST_IN_A_LINE = 1 << 25


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
    pieces = _without_long_lines(_pieces(path, position), display_name(path))
    return Lines(texts_of(pieces, path))


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


def _without_long_lines(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Pass pieces on, until a line is too long."""
    number, length, return_before = 1, 0, False  # of the line that has not ended
    for piece in pieces:
        ends = [end for end in (piece.find(b"\n"), piece.find(b"\r")) if end >= 0]
        if length + min(ends, default=len(piece)) > MOST_IN_A_LINE:
            raise ValueError(
                f"{name}:{number}: a line of more than {MOST_IN_A_LINE >> 20} MiB; expected a step "
                "a line (tr , '\\n' gives each cell a line of its own)"
            )
        number += count_line_ends(piece) - (return_before and piece.startswith(b"\n"))
        length = 0 if ends else length
        length += len(piece) - max(piece.rfind(b"\n"), piece.rfind(b"\r")) - 1
        return_before = piece.endswith(b"\r")
        yield piece


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
