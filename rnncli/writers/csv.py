"""States as CSV: ``t,h_0,h_1,...``, or the input's own columns and the states."""

import re
from collections.abc import Sequence
from typing import TextIO

from rnncli.writers.digits import Part, rows_of_text
from rnncli.writers.trajectory import Labels, Style, Trajectory

# No cell that is not quoted has any of them, nor a comma.
_MARKS = re.compile('["\r\n]')


def write_csv(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Write a line for every step, as the blocks come, its key in front.

    Where the input's cells are written too, they stand in place of `t`, and
    key columns among them are not written twice.
    """
    units = trajectory.units(final=style.last)
    header = list(trajectory.header)
    keyed = not set(trajectory.key_columns) <= set(header)
    if style.header:
        names = [*(trajectory.key_columns if keyed else ()), *(header or ["t"])]
        out.write(",".join([*map(_quoted, names), *units]) + "\n")
    labels = Labels(trajectory.keys, _cells)
    for block in trajectory.blocks:
        front: list[Part] = [list(labels.of(block.key))] if keyed else []
        front.append(block.t if block.cells is None else [*map(_joined, block.cells)])
        out.writelines(rows_of_text([*front, ",", block.h, "\n"], ",", style.digits))
        if style.follow:
            out.flush()


def _joined(cells: Sequence[str]) -> str:
    """Join cells, quoted where they must be."""
    text = ",".join(cells)
    if text.count(",") < len(cells) and not _MARKS.search(text):
        return text
    return ",".join(map(_quoted, cells))


def _cells(key: Sequence[str]) -> str:
    """Cells of a key, with a comma after each."""
    return f"{_joined(key)},"


def _quoted(cell: str) -> str:
    """Quote a cell if it must be."""
    if "," not in cell and not _MARKS.search(cell):
        return cell
    doubled = cell.replace('"', '""')
    return f'"{doubled}"'
