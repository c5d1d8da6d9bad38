"""Logs: files to which the rows of several runs are added."""

import csv
from contextlib import suppress
from typing import TextIO

from rnncli.model.errors import InputError
from rnncli.writers.result import Result, Style


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
