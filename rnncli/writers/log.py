"""Logs: files to which the rows of several runs are added."""

import csv
import json
import os
from io import StringIO
from typing import Any, TextIO

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.errors import InputError
from rnncli.writers.csv import write_csv
from rnncli.writers.json import write_jsonl
from rnncli.writers.trajectory import Style, Trajectory

# Bytes read at once.
_CHUNK = 1 << 20
# A message shows so many characters of a line.
_SHOWN = 100
# Every row of JSON lines starts with so many characters: `{"t": `.
_SAME = 6


def continue_log(log: TextIO, form: str, trajectory: Trajectory, style: Style) -> tuple[Style, str]:
    """Prepare a log for the rows of another run.

    An unfinished last line is cut off. A killed run or a power loss can leave
    it, and with a row behind it, it could be read as numbers that never were.
    """
    if not (log.readable() and log.seek(0, os.SEEK_END)):
        return style, ""
    end = _end_of_quoted_lines(log) if form == "csv" else _end_of_lines(log)
    log.seek(0)
    _check_first_line(log, form, trajectory, style, whole=end > 0)
    log.buffer.seek(end)
    unfinished = log.buffer.read().decode("utf-8", "backslashreplace")
    log.buffer.truncate(end)
    return style._replace(header=style.header and not end), unfinished


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


def _check_first_line(
    log: TextIO, form: str, trajectory: Trajectory, style: Style, *, whole: bool
) -> None:
    """Check that a file begins as this run would begin it.

    If its first line is not `whole`, the beginning of that line counts.
    """
    own = StringIO()
    write = write_csv if form == "csv" else write_jsonl
    write(own, _one_row(trajectory), style)
    line = own.getvalue()
    if not whole:
        begin = log.read(len(line))
        if line.startswith(begin) or (form == "jsonl" and begin.startswith(line[:_SAME])):
            return
        log.seek(0)
    own.seek(0)
    kind = _kind_of_csv if form == "csv" else _kind_of_jsonl
    try:
        if kind(log, style) == kind(own, style):
            return
    except (ValueError, csv.Error, RecursionError):  # not rows of any kind
        pass
    found, expected = map(_first_line, (log, own))
    raise InputError(
        log.name,
        f"its first line is {found}, this run's would be {expected}",
        "`follow` adds to a file: give `output` another one",
    )


def _one_row(trajectory: Trajectory) -> Trajectory:
    """Return a row of this run with zeros for what it computes."""
    header, names = trajectory.header, trajectory.key_columns
    h, c, y = (
        np.zeros((1, sum(part.width for part in trajectory.values if part.array == name)))
        for name in ("h", "c", "y")
    )
    block = Rows(
        t=np.ones(1, np.intp),
        x=np.zeros((1, len(trajectory.columns))),
        h=h,
        key=np.zeros(1, np.intp) if names else None,
        cells=[[""] * len(header)] if header else None,
        c=c,
        y=y,
    )
    return trajectory._replace(blocks=[block], keys=[("",) * len(names)])


def _kind_of_csv(text: TextIO, style: Style) -> list[str] | int:
    """Return the cells of the header; without a header, the number of cells in a row."""
    row = next(csv.reader(text), [])
    return row if style.header else len(row)


def _kind_of_jsonl(text: TextIO, _style: Style) -> Any:
    return _outline(json.loads(text.readline()))


def _outline(value: Any) -> Any:
    """Return a JSON value with None for all but its names and lengths."""
    if isinstance(value, dict):
        return {name: _outline(part) for name, part in value.items()}
    return [_outline(part) for part in value] if isinstance(value, list) else None


def _first_line(text: TextIO) -> str:
    text.seek(0)
    line = text.readline().rstrip("\n")
    return repr(line if len(line) <= _SHOWN else f"{line[:_SHOWN]}...")
