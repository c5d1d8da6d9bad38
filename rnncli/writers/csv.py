"""States as CSV: ``t,h_0,h_1,...``, or the input's own columns and the states."""

from collections.abc import Iterable, Sequence
from typing import TextIO

from rnncli.stream import Block
from rnncli.writers.digits import joined
from rnncli.writers.trajectory import Labels, Style, Trajectory


def write_csv(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Write a line for every step, as the blocks come, its key in front.

    Where the input's cells are written too, they stand in place of `t`, and
    key columns among them are not written twice.

    Raises
    ------
    ValueError
        An input column has the name of a unit.
    """
    units = trajectory.units(final=style.last)
    header = list(trajectory.header)
    for name in set(header).intersection(units):
        raise ValueError(f"--passthrough: the input has a column {name!r} as the states do")
    keyed = not set(trajectory.key_columns) <= set(header)
    if style.header:
        names = [*(trajectory.key_columns if keyed else ()), *(header or ["t"])]
        out.write(",".join([*map(_quoted, names), *units]) + "\n")
    labels = Labels(trajectory.keys, _cells) if keyed else Labels((), _cells)
    for block in trajectory.blocks:
        rows = joined(block.h, ",", style.digits)
        keys = labels.of(block.key if keyed else None)
        out.writelines(f"{k}{c},{h}\n" for k, c, h in zip(keys, _beside(block), rows, strict=False))
        if style.follow:
            out.flush()


def _beside(block: Block) -> Iterable[object]:
    """Give what stands before the states: the input's cells, or the number of the step."""
    if block.cells is None:
        steps: list[int] = block.t.tolist()
        return steps
    return (",".join(map(_quoted, cells)) for cells in block.cells)


def _cells(key: Sequence[str]) -> str:
    """Cells of a key, with a comma after each."""
    return "".join(f"{_quoted(cell)}," for cell in key)


def _quoted(cell: str) -> str:
    """Quote a cell if it must be."""
    if not any(character in cell for character in ',"\r\n'):
        return cell
    doubled = cell.replace('"', '""')
    return f'"{doubled}"'
