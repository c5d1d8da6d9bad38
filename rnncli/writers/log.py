"""Whether the rows of a run can stand below those that a log has."""

import csv
import json
from io import StringIO
from typing import Any, TextIO

import numpy as np

from rnncli.engine.stream import Block
from rnncli.writers.csv import write_csv
from rnncli.writers.json import write_jsonl
from rnncli.writers.trajectory import Style, Trajectory

# So much of a line is shown.
_SHOWN = 100
# So many characters begin a row of JSON lines, whatever it holds: `{"t": `.
_SAME = 6


def other_kind(log: TextIO, form: str, trajectory: Trajectory, style: Style, *, whole: bool) -> str:
    """Say how a file begins otherwise than this run would begin it; nothing if it does not.

    What counts is the header, or the names and lengths in the first row.

    Parameters
    ----------
    log : text stream
        At its start.
    form : {"csv", "jsonl"}
    trajectory : Trajectory
        Its blocks are left alone.
    style : Style
    whole : bool
        Whether its first line is: of one that is cut short the beginning counts.
    """
    own = StringIO()
    write = write_csv if form == "csv" else write_jsonl
    write(own, _one_row(trajectory), style)
    line = own.getvalue()
    if not whole:
        begin = log.read(len(line))
        if line.startswith(begin) or (form == "jsonl" and begin.startswith(line[:_SAME])):
            return ""
        log.seek(0)
    own.seek(0)
    kind = _kind_of_csv if form == "csv" else _kind_of_jsonl
    try:
        if kind(log, style) == kind(own, style):
            return ""
    except (ValueError, csv.Error, RecursionError):  # it is of no kind at all
        pass
    found, expected = map(_first_line, (log, own))
    return f"its first line is {found}, this run's would be {expected}"


def _one_row(trajectory: Trajectory) -> Trajectory:
    """Take zeros for all that a run computes."""
    header, names = trajectory.header, trajectory.key_columns
    block = Block(
        t=np.ones(1, np.intp),
        x=np.zeros((1, len(trajectory.columns))),
        h=np.zeros((1, sum(trajectory.widths.outputs))),
        key=np.zeros(1, np.intp) if names else None,
        cells=[[""] * len(header)] if header else None,
    )
    return trajectory._replace(blocks=[block], keys=[("",) * len(names)])


def _kind_of_csv(text: TextIO, style: Style) -> list[str] | int:
    """Cells of the header; without one, how many a row has."""
    row = next(csv.reader(text), [])
    return row if style.header else len(row)


def _kind_of_jsonl(text: TextIO, _style: Style) -> Any:
    return _outline(json.loads(text.readline()))


def _outline(value: Any) -> Any:
    """Names and lengths in a JSON value, without what they hold."""
    if isinstance(value, dict):
        return {name: _outline(part) for name, part in value.items()}
    return [_outline(part) for part in value] if isinstance(value, list) else None


def _first_line(text: TextIO) -> str:
    text.seek(0)
    line = text.readline().rstrip("\n")
    return repr(line if len(line) <= _SHOWN else f"{line[:_SHOWN]}...")
