r"""Lines of text, one by one or many at once.

A line ends in ``\n``, ``\r\n`` or ``\r``.
"""

import io
from collections.abc import Iterator
from itertools import chain

import numpy as np

# Bytes that are not UTF-8 become surrogates, and these the same bytes again.
ENCODING = ("utf-8", "surrogateescape")
# Characters after which no more lines are taken at once.
TAKEN = 1 << 20


class Lines:
    """Lines of a text that comes in pieces.

    Parameters
    ----------
    pieces : iterator of bytes
        None of them empty. A ValueError ends them where the text is
        damaged; it is raised once the whole lines before have been taken.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._lines = io.StringIO()  # the next ones
        self._passed = 0  # characters of those before
        self._bytes = b""  # what has been read beyond them
        self._damage: ValueError | None = None

    def __iter__(self) -> Iterator[str]:
        """Take lines one by one, with their ends, each as soon as it is there."""
        return chain.from_iterable(self._batches())

    def take(self, count: int) -> bytes | None:
        r"""Take `count` lines at once: fewer where they are long, or the text ends.

        None are taken, and None is given, where a line ends in ``\r`` alone
        or the text is damaged.
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
        taken = text if isinstance(text, bytes) else text.encode(*ENCODING)
        self._bytes = taken + self._untaken()

    def _batches(self) -> Iterator[io.StringIO]:
        yield self._lines
        while self._read_on():
            yield self._lines
        if self._damage:
            raise self._damage

    def _untaken(self) -> bytes:
        rest = self._lines.read().encode(*ENCODING)
        self._begin("")
        return rest + self._bytes

    def _begin(self, text: str) -> None:
        """Let the next lines be those of a text; none are left of the one before."""
        self._passed = self.place()
        self._lines = io.StringIO(text, newline="")

    def _read_on(self) -> bool:
        """Read until there is a whole line, or the last one; tell whether there is."""
        parts, end = [self._bytes], _whole_lines(self._bytes)
        while not end and (piece := self._read()):
            parts.append(piece)
            if b"\n" in piece or b"\r" in piece or parts[-2].endswith(b"\r"):
                end = _whole_lines(b"".join(parts))
        text = b"".join(parts)
        if not end and not self._damage:
            end = len(text)
        self._begin(text[:end].decode(*ENCODING))
        self._bytes = text[end:]
        return end > 0

    def _read(self) -> bytes:
        """Give the next piece, or none at the end or the damage."""
        try:
            return next(self._pieces, b"")
        except ValueError as damage:
            self._damage = damage
            return b""


def count_line_ends(text: bytes) -> int:
    r"""Count the ends of lines in a piece of text, ``\r`` at its end among them."""
    alone = text.count(b"\r") - text.count(b"\r\n") if b"\r" in text else 0
    return _count(text) + alone


def _whole_lines(text: bytes) -> int:
    r"""Give the length of the lines that are whole; after ``\r``, ``\n`` may follow."""
    return 1 + max(text.rfind(b"\n"), text.rfind(b"\r", 0, -1))


def _has_lone_return(text: bytes) -> bool:
    r"""Tell whether ``\r`` stands in a piece of text with no ``\n`` after it."""
    return b"\r" in text and text.count(b"\r", 0, -1) > text.count(b"\r\n")


def _count(text: bytes) -> int:
    """Count lines; with numbers of few digits in them, `bytes.count` takes ten times as long."""
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord("\n")))


def _end_of_line(text: bytes, number: int) -> int:
    return int(np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))[number - 1]) + 1
