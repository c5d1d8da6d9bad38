"""Logs: files to which the rows of several runs are added, as they come."""

import csv
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from time import monotonic
from typing import TextIO

from rnncli.engine.rows import Rows
from rnncli.model.errors import InputError
from rnncli.storage import sync
from rnncli.storage.system import delay_signals
from rnncli.writers.result import Result, Style

# Seconds between two saves of the states, where an input is followed.
_SECONDS = 1.0


def continue_log(log: TextIO, result: Result, style: Style) -> tuple[Style, str]:
    """Prepare a log, of JSON lines or CSV, for the rows of another run.

    An unfinished last line is cut off: the next row would join it to a line of wrong numbers.
    """
    is_json = not style.delimiter
    if not (log.readable() and log.seekable()):
        return style, ""
    end = offset = quotes = log.seek(0)
    for line in log.buffer:
        offset, quotes = offset + len(line), quotes + line.count(b'"')
        if line.endswith(b"\n") and (is_json or quotes % 2 == 0):  # not within a field
            end = offset
    log.seek(0)
    first, fields = log.readline(), list[str]()
    if not is_json:
        with suppress(csv.Error):
            fields = next(csv.reader([first.rstrip("\r\n")], delimiter=style.delimiter), [])
    names = [*result.new_keys, *(result.header or ["t"]), *result.units]
    expected = style.delimiter.join(names) if style.header else f"{len(names)} fields"
    if is_json:
        expected = '{"key": ' if result.key_columns else '{"t": '
        fits = first.startswith(expected)
    else:
        fits = fields == names if style.header else len(fields) == len(names)
    if not end:  # it is empty, or ends within its first line
        begins = expected.startswith(first[: len(expected)] if is_json else first)
        fits = not first or (begins and (is_json or style.header))
    if not fits:
        first, expected = (repr(text.rstrip("\n")[:100]) for text in (first, expected))
        what = f"its first line is {first}, this run's begins with {expected}"
        raise InputError(log.name, what, "`follow` adds to a file: give `output` another one")
    log.buffer.seek(end)
    unfinished = log.buffer.read().decode("utf-8", "backslashreplace")
    log.buffer.truncate(end)
    return style._replace(header=style.header and not end), unfinished


def follow(
    blocks: Iterator[Rows], out: TextIO, save: Callable[[], None] | None
) -> Generator[Rows, None, None]:
    """Pass rows on as they come, and once a second save the states of those that are written.

    A signal that comes while a row is computed or written waits until the row is written; a second
    one does not. A row that is not written does not count as a step.
    """
    saved = monotonic()
    with delay_signals() as until_done:
        for rows in blocks:
            with until_done():
                yield rows
                if save and monotonic() - saved > _SECONDS:
                    sync(out)
                    save()
                    saved = monotonic()
