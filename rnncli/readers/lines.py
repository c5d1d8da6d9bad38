r"""Lines of text, one by one or many at once.

A line ends in ``\n``, ``\r\n`` or ``\r``.
"""

import io
from collections.abc import Iterator
from itertools import chain

import numpy as np

from rnncli.model.errors import InputError

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
        r"""Take `count` lines at once: fewer where they are long, or the text ends.

        It takes none, and returns None, where a line ends in ``\r`` alone or
        the text is damaged.
        """
        parts = [self._untaken()]
        found, size, more = _count(parts[0]), len(parts[0]), True
        while more and (not found or (found < count and size < TAKEN)):
            piece = b"" if _has_lone_return(parts[-1]) else self._read()
            more = bool(piece)
            parts.append(piece)
            found, size = found + _count(piece), size + len(piece)
        text = b"".join(parts)
        if self._damage or _has_lone_return(text):
            self._bytes = text
            return None
        end = _end_of_line(text, min(found, count)) if more else len(text)
        self._bytes = text[end:]
        return text[:end]

    def place(self) -> int:
        """Count the characters of the lines taken one by one; only differences mean anything."""
        return self._passed + self._lines.tell()

    def put_back(self, text: str | bytes) -> None:
        """Let lines that have been taken be the next ones again."""
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
        """Let the next lines be those of a text; none are left of the one before."""
        self._passed = self.place()
        self._lines = io.StringIO(text, newline="")

    def _read_on(self) -> bool:
        """Read until there is a whole line, or the last one; return whether there is."""
        parts, end = [self._bytes], _whole_lines(self._bytes)
        while not end and (piece := self._read()):
            parts.append(piece)
            if b"\n" in piece or b"\r" in piece or parts[-2].endswith(b"\r"):
                end = _whole_lines(b"".join(parts))
        text = b"".join(parts)
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


def count_line_ends(text: bytes) -> int:
    r"""Count the ends of lines in a piece of text, ``\r`` at its end among them."""
    alone = text.count(b"\r") - text.count(b"\r\n") if b"\r" in text else 0
    return _count(text) + alone


def _whole_lines(text: bytes) -> int:
    r"""Return the length of the lines that are whole; after ``\r``, ``\n`` may follow."""
    return 1 + max(text.rfind(b"\n"), text.rfind(b"\r", 0, -1))


def _has_lone_return(text: bytes) -> bool:
    r"""Return whether ``\r`` stands in a piece of text with no ``\n`` after it."""
    return b"\r" in text and text.count(b"\r", 0, -1) > text.count(b"\r\n")


def _count(text: bytes) -> int:
    """Count lines; with numbers of few digits in them, `bytes.count` takes ten times as long."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord("\n")))


def _end_of_line(text: bytes, number: int) -> int:
    return int(np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))[number - 1]) + 1
