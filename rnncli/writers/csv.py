"""States as CSV: ``t,h_0,h_1,...``, the keys in front."""

from typing import TextIO

from rnncli.writers.digits import joined
from rnncli.writers.trajectory import Key, Labels, Style, Trajectory, unit_names


def write_csv(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Write a line for every step, as the blocks come."""
    if style.header:
        names = ["t", *unit_names(trajectory.hidden_size)]
        out.write(f"{_cells(tuple(trajectory.key_columns))}{','.join(names)}\n")
    labels = Labels(trajectory.keys, _cells)
    for block in trajectory.blocks:
        rows = joined(block.h, ",", style.digits)
        keys = labels.of(block.key)
        out.writelines(
            f"{k}{t},{h}\n" for k, t, h in zip(keys, block.t.tolist(), rows, strict=False)
        )


def _cells(key: Key) -> str:
    """Cells of a key, each quoted where it must be, with a comma after it."""
    return "".join(f"{_quoted(cell)}," for cell in key)


def _quoted(cell: str) -> str:
    if not any(character in cell for character in ',"\r\n'):
        return cell
    doubled = cell.replace('"', '""')
    return f'"{doubled}"'
