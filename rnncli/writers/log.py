"""Logs: files to which the rows of several runs are added."""

import csv
import json
from collections.abc import Callable
from io import StringIO
from typing import Any, TextIO

import numpy as np

from rnncli.engine.rows import Rows
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
    first, expected = log.readline(), _first_line(begin, result, style)
    if end:
        fits = _outline(first, style, is_json=is_json) == _outline(expected, style, is_json=is_json)
    else:  # it is empty, or ends within its first line
        fits = expected.startswith(first[:6] if is_json else first)
    if not fits:
        first, expected = (repr(line.rstrip("\n")[:100]) for line in (first, expected))
        what = f"its first line is {first}, this run's would be {expected}"
        raise InputError(log.name, what, "`follow` adds to a file: give `output` another one")
    log.buffer.seek(end)
    unfinished = log.buffer.read().decode("utf-8", "backslashreplace")
    log.buffer.truncate(end)
    return style._replace(header=style.header and not end), unfinished


def _first_line(
    begin: Callable[[TextIO, Result, Style], Writer], result: Result, style: Style
) -> str:
    """Return the first line of a log of this run, with zeros for numbers."""
    sizes = (sum(each.width for each in result.values if each.array == name) for name in "hyc")
    x, h, y, c = (np.zeros((1, size)) for size in (len(result.columns), *sizes))
    number, text = np.zeros(1, np.intp), StringIO()
    key = number if result.key_columns else None
    cells = [[""] * len(result.header)] if result.header else None
    writer = begin(text, result._replace(keys=[("",) * len(result.key_columns)]), style)
    writer.rows(Rows(x, key, None, cells, number, h, y, c))
    writer.end(None)
    return text.getvalue().partition("\n")[0] + "\n"


def _outline(line: str, style: Style, *, is_json: bool) -> Any:
    """Return the names and lengths of JSON, the header of CSV, or the number of its fields."""
    try:
        if is_json:
            items = json.loads(line).items()
            return [(name, isinstance(each, list) and len(each)) for name, each in items]
        row = next(csv.reader([line], delimiter=style.delimiter), [])
        return row if style.header else len(row)
    except (ValueError, AttributeError, csv.Error, RecursionError):  # not a row
        return None
