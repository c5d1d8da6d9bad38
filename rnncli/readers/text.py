"""Text: from a file, compressed or not, or from standard input."""

import codecs
import io
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

from rnncli.model.errors import InputError
from rnncli.readers.foreign import STDIN, check_start, display_name, end_of_text, not_text
from rnncli.readers.lines import Lines, count_line_ends

if TYPE_CHECKING:
    from gzip import GzipFile

_File: TypeAlias = "io.BufferedReader | GzipFile"

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PIECE = 1 << 20
# Bytes. A row takes some twenty times as much memory while it is read.
MOST_IN_A_LINE = 1 << 25


def read_lines(path: str) -> Lines:
    """Return the lines of a text file, with their ends.

    UTF-8, with or without a byte order mark.

    Parameters
    ----------
    path : str

    Raises
    ------
    InputError
        What is there is not text, or is damaged: once the lines before the
        damage have been taken.
    OSError
        The file cannot be opened: when the first line is asked for.
    """
    return Lines(_checked(_pieces(path), path))


def share_read(path: str, lines: Lines) -> Callable[[], float | None]:
    """Return a function of the share of a file that has been read, 0 to 1.

    It returns None where the size of the text is not known.
    """
    known = path != STDIN and os.path.isfile(path) and not path.lower().endswith(".gz")
    size = os.path.getsize(path) if known else 0
    return lambda: min(1.0, lines.bytes_read / size) if size else None


def _pieces(path: str) -> Iterator[bytes]:
    """Pieces of a file, each as soon as it is there."""
    with _opened(path) as file:
        try:
            check_start(file.peek(8), path)
            if start := _start(file):
                yield start
            while piece := file.read1(_PIECE):
                yield piece
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(display_name(path), f"cannot be read: {error}") from error


def _checked(pieces: Iterator[bytes], path: str) -> Iterator[bytes]:
    """Pass pieces on, until a line is too long, or a byte is not UTF-8 or is NUL."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    number, length, after_return = 1, 0, False  # of the line that has not ended
    for piece in pieces:
        ends = [end for end in (piece.find(b"\n"), piece.find(b"\r")) if end >= 0]
        if length + min(ends, default=len(piece)) > MOST_IN_A_LINE:
            raise _too_long(f"{display_name(path)}:{number}")
        text = piece[: end_of_text(decoder, piece)]
        number += count_line_ends(text) - (after_return and text.startswith(b"\n"))
        if text:
            yield text
        if len(text) < len(piece):
            raise not_text(path, number, piece)
        length = 0 if ends else length
        length += len(piece) - max(piece.rfind(b"\n"), piece.rfind(b"\r")) - 1
        after_return = piece.endswith(b"\r")
    if decoder.getstate()[0]:
        raise not_text(path, number, b"")


def _too_long(place: str) -> InputError:
    hint = "expected a step a line (tr , '\\n' gives each cell a line of its own)"
    return InputError(place, f"a line of more than {MOST_IN_A_LINE >> 20} MiB", hint)


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
            raise InputError(display_name(path), "closed", "give a FILE or `seq`")
        return nullcontext(_buffered(sys.stdin.buffer))
    if path.lower().endswith(".gz"):
        import gzip

        return gzip.open(path)
    return open(path, "rb")


def _buffered(file: Any) -> io.BufferedReader:
    """Add a buffer where there is none: a second one would wait until it is full."""
    return file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)
