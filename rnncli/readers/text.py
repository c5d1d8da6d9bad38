r"""Text from a file, compressed or not, or from standard input, line by line or many at once.

It is UTF-8, with or without a byte order mark, or is made that of another
encoding. ``\r\n`` and ``\r`` become ``\n``, as in Python's own text files.
"""

import codecs
import io
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from rnncli.model.errors import InputError
from rnncli.readers.foreign import STDIN, UTF_8, check_start, display_name, not_text
from rnncli.storage import opened

if TYPE_CHECKING:
    from gzip import GzipFile

_File: TypeAlias = "io.BufferedReader | GzipFile"

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PIECE = 1 << 20
# Bytes. A row takes some twenty times as much memory while it is read.
MOST_IN_A_LINE = 1 << 25
# Characters after which no more lines are taken at once.
TAKEN = 1 << 20


class Lines:
    """Lines of a text that comes in pieces.

    Parameters
    ----------
    pieces : iterator of bytes
        UTF-8; none of them empty. An InputError ends them where the text is
        damaged; it is raised once the whole lines before have been taken.

    Attributes
    ----------
    bytes_read : int
        How long the pieces so far are.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.bytes_read = 0
        self._lines = io.StringIO()  # the next ones
        self._passed = 0  # characters of those before
        self._bytes = b""  # what has been read beyond them
        self._damage: InputError | None = None

    def __iter__(self) -> Iterator[str]:
        """Take lines one by one, with their ends, each as soon as it is there."""
        return chain.from_iterable(self._batches())

    def take(self, count: int) -> bytes | None:
        """Take `count` lines at once: fewer where they are long, or the text ends.

        It takes none, and returns None, where the text is damaged.
        """
        parts = [self._untaken()]
        found, size, more = _count(parts[0]), len(parts[0]), True
        while more and (not found or (found < count and size < TAKEN)):
            piece = self._read()
            more = bool(piece)
            parts.append(piece)
            found, size = found + _count(piece), size + len(piece)
        text = b"".join(parts)
        if self._damage:
            self._bytes = text
            return None
        end = _end_of_line(text, found, count) if more else len(text)
        self._bytes = text[end:]
        return text[:end]

    def place(self) -> int:
        """Count the characters of the lines taken one by one; only differences mean anything."""
        return self._passed + self._lines.tell()

    def put_back(self, text: str | bytes) -> None:
        """Return lines that have been taken: they come next again."""
        taken = text if isinstance(text, bytes) else text.encode()
        self._bytes = taken + self._untaken()

    def _batches(self) -> Iterator[io.StringIO]:
        yield self._lines
        while self._read_on():
            yield self._lines
        if self._damage:
            raise self._damage

    def _untaken(self) -> bytes:
        rest = self._lines.read().encode()
        self._begin("")
        return rest + self._bytes

    def _begin(self, text: str) -> None:
        """Continue with the lines of a text; none are left of the one before."""
        self._passed = self.place()
        self._lines = io.StringIO(text, newline="")

    def _read_on(self) -> bool:
        """Read until there is a whole line, or the last one; return whether there is."""
        parts = [self._bytes]
        while b"\n" not in parts[-1] and (piece := self._read()):
            parts.append(piece)
        text = b"".join(parts)
        end = text.rfind(b"\n") + 1
        if not end and not self._damage:
            end = len(text)
        self._begin(text[:end].decode())
        self._bytes = text[end:]
        return end > 0

    def _read(self) -> bytes:
        """Return the next piece, or nothing at the end or the damage."""
        try:
            piece = next(self._pieces, b"")
        except InputError as damage:
            self._damage, piece = damage, b""
        self.bytes_read += len(piece)
        return piece


def read_lines(path: str, encoding: str = UTF_8) -> Lines:
    """Return the lines of a text file, with their ends."""
    return Lines(_checked(_pieces(path, encoding), path, encoding))


def start_of_stdin() -> bytes:
    """Look at the first bytes of standard input; they are read again."""
    if sys.stdin is None:
        return b""
    file = sys.stdin.buffer
    if isinstance(file, io.BufferedReader):
        return file.peek(8)
    if not file.seekable():
        return b""
    place = file.tell()
    start = file.read(8)
    file.seek(place)
    return start


def share_read(path: str, lines: Lines, encoding: str = UTF_8) -> Callable[[int], float | None]:
    """Return a function of the share of a file that has been read, 0 to 1.

    It returns None where the size of the text, in UTF-8, is not known.
    """
    plain = encoding == UTF_8 and not path.lower().endswith(".gz")
    known = plain and path != STDIN and os.path.isfile(path)
    size = os.path.getsize(path) if known else 0
    return lambda _: min(1.0, lines.bytes_read / size) if size else None


def _pieces(path: str, encoding: str) -> Iterator[bytes]:
    """Pieces of a file, each as soon as it is there."""
    with _opened(path) as file:
        try:
            check_start(file.peek(8), path, encoding)
            if encoding == UTF_8 and (start := _start(file)):
                yield start
            while piece := file.read1(_PIECE):
                yield piece
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(display_name(path), f"cannot be read: {error}") from error


def _checked(pieces: Iterator[bytes], path: str, encoding: str) -> Iterator[bytes]:
    r"""Pass pieces on, in UTF-8, until a line is too long, or a byte is no text or is NUL.

    Lines end in ``\n`` then.
    """
    decoder = _Decoder(encoding)
    number, length = 1, 0  # of the line that has not ended
    after_return = False
    for piece in pieces:
        text, rest = decoder.text(piece)
        if text:
            text = text.removeprefix(b"\n") if after_return else text
            after_return = text.endswith(b"\r")
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = text.find(b"\n")
        if length + (len(text) if end < 0 else end) > MOST_IN_A_LINE:
            raise _too_long(f"{display_name(path)}:{number}")
        number += _count(text)
        if text:
            yield text
        if rest:
            raise not_text(path, number, rest, encoding)
        length = (length if end < 0 else 0) + len(text) - text.rfind(b"\n") - 1
    if decoder.is_cut_short():
        raise not_text(path, number, b"", encoding)


class _Decoder:
    """Makes UTF-8 of the pieces of a file, in which a character may be cut in two.

    Parameters
    ----------
    encoding : str
        Of the file.
    """

    def __init__(self, encoding: str) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._is_utf_8, self._begun = encoding == UTF_8, False

    def text(self, piece: bytes) -> tuple[bytes, bytes]:
        """Return the text of a piece, and what follows from a byte on that is none, or is NUL."""
        if self._is_utf_8:
            end = _end_of_text(self._decoder, piece)
            return piece[:end], piece[end:]
        text, rest = self._decoded(piece)
        nul = text.find(b"\0")
        if nul >= 0:
            text, rest = text[:nul], text[nul:]
        if text and not self._begun:
            text, self._begun = text.removeprefix(codecs.BOM_UTF8), True
        return text, rest

    def is_cut_short(self) -> bool:
        """Return whether the pieces ended within a character."""
        try:
            self._decoder.decode(b"", final=True)
        except UnicodeError:
            return True
        return False

    def _decoded(self, piece: bytes) -> tuple[bytes, bytes]:
        state = self._decoder.getstate()
        try:
            return self._decoder.decode(piece).encode(), b""
        except UnicodeDecodeError as error:
            self._decoder.setstate(state)
            before = piece[: max(0, error.start - len(state[0]))]
            return self._decoded(before)[0] if before else b"", error.object[error.start :]
        except UnicodeError:  # there is no byte order mark where one is needed
            return b"", piece


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


def standard_input() -> io.BufferedReader:
    """Return standard input as bytes."""
    if sys.stdin is None:
        raise InputError(display_name(STDIN), "closed", "give a FILE or `seq`")
    return _buffered(sys.stdin.buffer)


@contextmanager
def _opened(path: str) -> Iterator[_File]:
    if path == STDIN:
        yield standard_input()
        return
    with opened(path) as file:
        if path.lower().endswith(".gz"):
            import gzip

            with gzip.open(file) as text:
                yield text
        else:
            yield file


def _buffered(file: Any) -> io.BufferedReader:
    """Add a buffer where there is none: a second one would wait until it is full."""
    return file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)


def _end_of_text(decoder: codecs.IncrementalDecoder, piece: bytes) -> int:
    """Count the bytes of a piece of a file before the first that is not UTF-8, or is NUL.

    The decoder has had the pieces before.
    """
    begun = len(decoder.getstate()[0])  # of a character that goes on in this piece
    nul = piece.find(b"\0")
    end = len(piece) if nul < 0 else nul
    if begun or not piece.isascii():
        try:
            decoder.decode(piece)
        except UnicodeDecodeError as error:
            return min(end, max(0, error.start - begun))
    return end


def _count(text: bytes) -> int:
    """Count lines; with numbers of few digits in them, `bytes.count` takes ten times as long."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord("\n")))


def _end_of_line(text: bytes, found: int, count: int) -> int:
    """Return the length of the first `count` of the lines that were found, or of all."""
    if found <= count:
        return text.rfind(b"\n") + 1
    return int(np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))[count - 1]) + 1
