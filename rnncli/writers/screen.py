"""What a terminal is sent: text, and nothing that steers it."""

import re
from collections.abc import Iterable
from io import UnsupportedOperation
from typing import Any, NoReturn, TextIO

# Control characters, line ends of Unicode, marks that set the direction of writing, and bytes
# that are not UTF-8.
_STEERING = re.compile(
    "[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Show each character that steers a terminal as Python writes it: ``\x1b``.

    Control characters do, and those that have it write from right to left;
    bytes that are not UTF-8, as in a file's name, print nothing of their own.
    """
    if text.isprintable():
        return text
    return _STEERING.sub(lambda found: repr(found[0])[1:-1], text)


def on_a_line(text: str) -> str:
    """Make printable text of several lines one line."""
    return printable(" ".join(line.strip() for line in text.split("\n")))


class Screen:
    """A terminal, as a text stream that sends it lines of printable text alone.

    Parameters
    ----------
    terminal : text stream
        For who sends it colours.
    """

    def __init__(self, terminal: TextIO) -> None:
        self.terminal = terminal

    def __getattr__(self, name: str) -> Any:
        return getattr(self.terminal, name)

    def fileno(self) -> NoReturn:
        """Refuse the number of the open file: who writes there goes round this stream."""
        raise UnsupportedOperation("fileno")

    def write(self, text: str) -> int:
        """Send text, line by line."""
        return self.terminal.write("\n".join(map(printable, text.split("\n"))))

    def writelines(self, pieces: Iterable[str]) -> None:
        """Send pieces of text."""
        for piece in pieces:
            self.write(piece)
