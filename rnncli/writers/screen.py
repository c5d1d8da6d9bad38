"""Text for a terminal, without characters that control it."""

import re
from collections.abc import Iterable
from io import UnsupportedOperation
from typing import Any, NoReturn, TextIO

# Control characters, line ends of Unicode, marks that set the direction of writing, and bytes
# that are not UTF-8.
_CONTROLS = re.compile(
    "[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return text with each character that controls a terminal escaped: ``\x1b``.

    Besides control characters these are marks that set the direction of
    writing, and bytes that are not UTF-8, as a file's name may have them.
    """
    if text.isprintable():
        return text
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)


def on_a_line(text: str) -> str:
    """Return text of several lines as one printable line."""
    return printable(" ".join(line.strip() for line in text.split("\n")))


class Screen:
    """A text stream that passes only printable lines on to a terminal.

    Parameters
    ----------
    terminal : text stream
        Takes colours too, if written to directly.
    """

    def __init__(self, terminal: TextIO) -> None:
        self.terminal = terminal

    def __getattr__(self, name: str) -> Any:
        return getattr(self.terminal, name)

    def fileno(self) -> NoReturn:
        """Raise an error: writing to the descriptor would bypass this stream."""
        raise UnsupportedOperation("fileno")

    def write(self, text: str) -> int:
        """Write text, line by line."""
        return self.terminal.write("\n".join(map(printable, text.split("\n"))))

    def writelines(self, pieces: Iterable[str]) -> None:
        """Write pieces of text."""
        for piece in pieces:
            self.write(piece)
