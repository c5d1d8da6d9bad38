"""States as CSV: ``t,h_0,h_1,...``."""

from typing import TextIO

from rnncli.writers.digits import joined
from rnncli.writers.trajectory import Style, Trajectory, unit_names


def write_csv(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Write a line for every step, as the blocks come."""
    if style.header:
        out.write(",".join(["t", *unit_names(len(trajectory.h0))]) + "\n")
    for block in trajectory.blocks:
        rows = joined(block.h, ",", style.digits)
        out.writelines(f"{t},{row}\n" for t, row in enumerate(rows, start=block.first))
