"""The text that a terminal gets: no characters that control it."""

from collections.abc import Iterable
from io import UnsupportedOperation
from typing import Any, NoReturn, TextIO

from rnncli.model.errors import printable


class Screen:
    """A text stream that passes only printable lines on to a terminal."""

    def __init__(self, terminal: TextIO) -> None:
        self.terminal = terminal  # takes colours too, if written to directly

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
