"""What a terminal gets: no characters that control it, and both ends of what is long."""

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


def ends_shown(out: TextIO, count: int, long: int, at_ends: int) -> list[int]:
    """Choose which of so many rows to show: all, or on a terminal both ends of many."""
    if count <= max(long, 2 * at_ends) or not out.isatty():
        return list(range(count))
    return [*range(at_ends), *range(count - at_ends, count)]
