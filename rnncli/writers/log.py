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

# A message shows so many characters of a line.
_SHOWN = 100
# Every row of JSON lines starts with so many characters: `{"t": `.
_SAME = 6


def continue_log(
    log: TextIO,
    begin: Callable[[TextIO, Result, Style], Writer],
    result: Result,
    style: Style,
    *,
    is_json: bool,
) -> tuple[Style, str]:
    """Prepare a log, of JSON lines or CSV, for the rows of another run.

    An unfinished last line is cut off. A killed run or a power loss can leave
    it, and with a row behind it, it could be read as numbers that never were.
    """
    if not (log.readable() and log.seekable()):
        return style, ""
    end = place = quotes = log.seek(0)
    for line in log.buffer:
        place, quotes = place + len(line), quotes + line.count(b'"')
        if line.endswith(b"\n") and (is_json or quotes % 2 == 0):  # no line end within a field
            end = place
    own = StringIO()
    writer = begin(own, result._replace(keys=[("",) * len(result.key_columns)]), style)
    writer.rows(_make_row(result))
    writer.end(None)
    log.seek(0)
    first, expected = log.readline(), own.getvalue().partition("\n")[0] + "\n"
    begun = expected.startswith(first) or (is_json and first.startswith(expected[:_SAME]))
    fits = _outline(log, style, is_json=is_json) == _outline(own, style, is_json=is_json)
    if not (fits or (begun and not end)):
        first, expected = (repr(line.rstrip("\n")[:_SHOWN]) for line in (first, expected))
        what = f"its first line is {first}, this run's would be {expected}"
        raise InputError(log.name, what, "`follow` adds to a file: give `output` another one")
    log.buffer.seek(end)
    unfinished = log.buffer.read().decode("utf-8", "backslashreplace")
    log.buffer.truncate(end)
    return style._replace(header=style.header and not end), unfinished


def _make_row(result: Result) -> Rows:
    """Return a row of zeros as the run gives it."""
    h, c, y = (
        np.zeros((1, sum(layer.width for layer in result.values if layer.array == name)))
        for name in ("h", "c", "y")
    )
    number = np.zeros(1, np.intp)
    key = number if result.key_columns else None
    cells = [[""] * len(result.header)] if result.header else None
    return Rows(np.zeros((1, len(result.columns))), key, None, cells, number, h, y, c)


def _outline(text: TextIO, style: Style, *, is_json: bool) -> Any:
    """Return the header of CSV, without one the number of its fields, or the outline of JSON."""
    text.seek(0)
    try:
        if is_json:
            return _blank(json.loads(text.readline()))
        row = next(csv.reader(text, delimiter=style.delimiter), [])
        return row if style.header else len(row)
    except (ValueError, csv.Error, RecursionError):  # no rows of any kind
        return None


def _blank(value: Any) -> Any:
    """Return a JSON value with None for all but its names and lengths."""
    if isinstance(value, dict):
        return {name: _blank(each) for name, each in value.items()}
    return [*map(_blank, value)] if isinstance(value, list) else None
