r"""Lines of text, one by one or many at once.

A line ends in ``\n``, ``\r\n`` or ``\r``.
"""

import io
from collections.abc import Iterator
from itertools import chain

import numpy as np

# Bytes that are not UTF-8 become surrogates, and these the same bytes again.
ENCODING = ("utf-8", "surrogateescape")


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
        self._bytes = b""  # what has been read beyond them
        self._damage: ValueError | None = None

    def __iter__(self) -> Iterator[str]:
        """Take lines one by one, with their ends, each as soon as it is there."""
        return chain.from_iterable(self._batches())

    def take(self, count: int) -> bytes | None:
        r"""Take `count` lines at once, or all until the end where there are fewer.

        None are taken, and None is given, where a line ends in ``\r`` alone
        or the text is damaged.
        """
        parts = [self._untaken()]
        found = _count(parts[0])
        while found < count and not _has_lone_return(parts[-1]) and (piece := self._read()):
            parts.append(piece)
            found += _count(piece)
        text = b"".join(parts)
        if self._damage or _has_lone_return(text):
            self._bytes = text
            return None
        end = _end_of_line(text, count) if found >= count else len(text)
        self._bytes = text[end:]
        return text[:end]

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
        return self._lines.read().encode(*ENCODING) + self._bytes

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
        self._lines = io.StringIO(text[:end].decode(*ENCODING), newline="")
        self._bytes = text[end:]
        return end > 0

    def _read(self) -> bytes:
        """Give the next piece, or none at the end or the damage."""
        try:
            return next(self._pieces, b"")
        except ValueError as damage:
            self._damage = damage
            return b""


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
