"""States as CSV: ``t,h_0,h_1,...``, or the input's own columns and the states."""

import re
from collections.abc import Sequence
from typing import TextIO

from rnncli.writers.digits import Part, rows_of_text
from rnncli.writers.labels import Labelled, Labels
from rnncli.writers.trajectory import Style, Trajectory

# A cell with one of these, or with a comma, is quoted.
_SPECIAL = '"\r\n'
_IS_SPECIAL = re.compile(f"[{_SPECIAL}]")


def write_csv(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Write a line for each row, as the blocks come, its key in front.

    The input's cells, where they are written too, take the place of `t`. Key
    columns among them are not written twice.
    """
    header = trajectory.header
    keyed = not set(trajectory.key_columns) <= set(header)
    if style.header:
        names = [*(trajectory.key_columns if keyed else ()), *(header or ["t"])]
        out.write(",".join([*map(_quoted, names), *trajectory.units]) + "\n")
    labels = Labels(trajectory.keys, lambda keys: [f"{text}," for text in _lines(keys)])
    for block in trajectory.blocks:
        front: list[Part] = []
        if keyed and block.key is not None:
            front.append(Labelled(labels, block.key))
        front.append(block.t if block.cells is None else _lines(block.cells))
        row = [*front, ",", trajectory.rows(block), "\n"]
        out.writelines(rows_of_text(row, ",", style.digits))
        if style.follow:
            out.flush()


def _lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Join the cells of each row; where no cell is quoted, that is seen in all rows at once."""
    lines = [*map(",".join, rows)]
    text = "".join(lines)
    commas = sum(map(len, rows)) - len(rows)
    if text.count(",") == commas and not any(mark in text for mark in _SPECIAL):
        return lines
    return [*map(_joined, rows)]


def _joined(cells: Sequence[str]) -> str:
    """Join cells, quoted where they must be."""
    text = ",".join(cells)
    if text.count(",") < len(cells) and not _IS_SPECIAL.search(text):
        return text
    return ",".join(map(_quoted, cells))


def _quoted(cell: str) -> str:
    """Quote a cell if it must be."""
    if "," not in cell and not _IS_SPECIAL.search(cell):
        return cell
    doubled = cell.replace('"', '""')
    return f'"{doubled}"'
