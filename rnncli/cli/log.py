"""``--follow -o FILE``: rows that are added to those of earlier runs."""

import os
from typing import TextIO

from rnncli.cli.network import note
from rnncli.writers import Style, Trajectory, other_kind
from rnncli.writers.appending import cut_unfinished_line, end_of_lines


def going_on(out: TextIO, form: str, trajectory: Trajectory, style: Style) -> Style:
    """Make a log ready for more rows; a header that it has is not written again.

    Raises
    ------
    ValueError
        The file holds something else.
    """
    if not (style.follow and out.readable() and out.seek(0, os.SEEK_END)):
        return style
    end = end_of_lines(out, quoted=form == "csv")
    out.seek(0)
    fault = other_kind(out, form, trajectory, style, whole=end > 0)
    if fault:
        raise ValueError(f"{out.name}: {fault}; --follow adds to a file: give -o another one")
    unfinished = cut_unfinished_line(out, end)
    if unfinished:
        note(f"{out.name}: ended within a line, which is cut off: {unfinished!r}")
    return style._replace(header=style.header and not end)
