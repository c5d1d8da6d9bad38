"""Logs: files to which the rows of several runs are added."""

from collections.abc import Callable
from io import StringIO
from typing import TextIO

from rnncli.model.errors import InputError
from rnncli.writers.result import Result, Style
from rnncli.writers.selection import Writer


def continue_log(
    log: TextIO,
    begin: Callable[[TextIO, Result, Style], Writer],
    result: Result,
    style: Style,
    *,
    is_json: bool,
) -> tuple[Style, str]:
    """Prepare a log, of JSON lines or CSV, for the rows of another run.

    An unfinished last line is cut off: the next row would join it to a line of wrong numbers.
    """
    if not (log.readable() and log.seekable()):
        return style, ""
    end = offset = quotes = log.seek(0)
    for line in log.buffer:
        offset, quotes = offset + len(line), quotes + line.count(b'"')
        if line.endswith(b"\n") and (is_json or quotes % 2 == 0):  # not within a field
            end = offset
    log.seek(0)
    first, header = log.readline(), StringIO()
    begin(header, result, style).end(None)
    expected = "{" if is_json else header.getvalue()
    # A log that ends within its first line holds the beginning of what is expected.
    fits = first.startswith(expected) if end else expected.startswith(first[: len(expected)])
    if not fits:
        first, expected = (repr(text.rstrip("\n")[:100]) for text in (first, expected))
        what = f"its first line is {first}, this run's begins with {expected}"
        raise InputError(log.name, what, "`follow` adds to a file: give `output` another one")
    log.buffer.seek(end)
    unfinished = log.buffer.read().decode("utf-8", "backslashreplace")
    log.buffer.truncate(end)
    return style._replace(header=style.header and not end), unfinished
