"""What a terminal is sent: text, and nothing that steers it."""

from collections.abc import Iterable
from io import UnsupportedOperation
from typing import Any, NoReturn, TextIO


def printable(text: str) -> str:
    r"""Show each character that prints nothing of its own as Python writes it: ``\x1b``.

    Control characters steer a terminal, others have it write from right to
    left; bytes that are not UTF-8, as in a file's name, print nothing.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


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
