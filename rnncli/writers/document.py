"""Results of the library that print as the command shows them."""

from collections.abc import Callable
from io import StringIO
from typing import Any, TextIO


class Document(dict[str, Any]):
    """A document of JSON; `write` writes its text for people."""

    def __init__(self, entries: dict[str, Any], write: Callable[[TextIO, Any], object]) -> None:
        super().__init__(entries)
        self._write = write

    def __str__(self) -> str:
        out = StringIO()
        self._write(out, self)
        return out.getvalue().rstrip("\n")


class Documents(list[dict[str, Any]]):
    """A list of documents; `write` writes their text for people."""

    def __init__(self, entries: list[dict[str, Any]], write: Callable[[TextIO], object]) -> None:
        super().__init__(entries)
        self._write = write

    def __str__(self) -> str:
        out = StringIO()
        self._write(out)
        return out.getvalue().strip("\n")
