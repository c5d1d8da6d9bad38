"""Logs: files to which the rows of several runs are added."""

import csv
import json
import os
from collections.abc import Callable
from io import StringIO
from typing import Any, TextIO

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.errors import InputError
from rnncli.writers.result import Result, Style
from rnncli.writers.selection import Writer

# Bytes read at once.
_CHUNK = 1 << 20
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
    if not (log.readable() and log.seek(0, os.SEEK_END)):
        return style, ""
    own = StringIO()
    writer = begin(own, result._replace(keys=[("",) * len(result.key_columns)]), style)
    writer.rows(_row_of_zeros(result))
    writer.end(None)
    end = _end_of_lines(log) if is_json else _end_of_quoted_lines(log)
    log.seek(0)
    begun = not end and _begins(log, own.getvalue(), is_json=is_json)
    if not begun and _kind(log, style, is_json=is_json) != _kind(own, style, is_json=is_json):
        found, expected = map(_first_line, (log, own))
        raise InputError(
            log.name,
            f"its first line is {found}, this run's would be {expected}",
            "`follow` adds to a file: give `output` another one",
        )
    log.buffer.seek(end)
    unfinished = log.buffer.read().decode("utf-8", "backslashreplace")
    log.buffer.truncate(end)
    return style._replace(header=style.header and not end), unfinished


def _begins(log: TextIO, line: str, *, is_json: bool) -> bool:
    """Return whether a file is the beginning of a line."""
    begin = log.read(len(line))
    return line.startswith(begin) or (is_json and begin.startswith(line[:_SAME]))


def _end_of_lines(log: TextIO) -> int:
    """Return where the last whole line of a file ends, in bytes."""
    data = log.buffer
    place = data.seek(0, os.SEEK_END)
    while place:
        start = max(0, place - _CHUNK)
        data.seek(start)
        last = data.read(place - start).rfind(b"\n")
        if last >= 0:
            return start + last + 1
        place = start
    return 0


def _end_of_quoted_lines(log: TextIO) -> int:
    """Return where the last whole line of CSV ends: not between two ``"``, within a cell."""
    data = log.buffer
    place = end = data.seek(0)
    inside = False
    while piece := data.read(_CHUNK):
        for number, text in enumerate(piece.split(b'"')):
            if number:
                inside, place = not inside, place + 1
            last = -1 if inside else text.rfind(b"\n")
            if last >= 0:
                end = place + last + 1
            place += len(text)
    return end


def _row_of_zeros(result: Result) -> Rows:
    """Return a row of a run with zeros for what it computes."""
    h, c, y = (
        np.zeros((1, sum(part.width for part in result.values if part.array == name)))
        for name in ("h", "c", "y")
    )
    return Rows(
        t=np.ones(1, np.intp),
        x=np.zeros((1, len(result.columns))),
        h=h,
        key=np.zeros(1, np.intp) if result.key_columns else None,
        cells=[[""] * len(result.header)] if result.header else None,
        c=c,
        y=y,
    )


def _kind(text: TextIO, style: Style, *, is_json: bool) -> Any:
    """Return the header of CSV, without one the number of its cells, or the outline of JSON."""
    text.seek(0)
    try:
        if is_json:
            return _outline(json.loads(text.readline()))
        row = next(csv.reader(text, delimiter=style.delimiter), [])
        return row if style.header else len(row)
    except (ValueError, csv.Error, RecursionError):  # no rows of any kind
        return None


def _outline(value: Any) -> Any:
    """Return a JSON value with None for all but its names and lengths."""
    if isinstance(value, dict):
        return {name: _outline(part) for name, part in value.items()}
    return [_outline(part) for part in value] if isinstance(value, list) else None


def _first_line(text: TextIO) -> str:
    text.seek(0)
    line = text.readline().rstrip("\n")
    return repr(line if len(line) <= _SHOWN else f"{line[:_SHOWN]}...")
