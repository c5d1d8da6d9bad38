"""The results of a run through a writer."""

from collections.abc import Callable
from typing import Protocol, TextIO, cast

from rnncli.engine.rows import Rows
from rnncli.writers.result import Result, Style
from rnncli.writers.trajectory import Trajectory


class Writer(Protocol):
    """Writes results as they come."""

    def rows(self, rows: Rows) -> None:
        """Write a block of results."""

    def end(self, error: ValueError | None) -> None:
        """Complete what was written."""


def write_blocks(
    new: Callable[[TextIO, Result, Style], Writer],
    out: TextIO,
    trajectory: Trajectory,
    style: Style,
) -> None:
    """Write the blocks of a run, up to the error that ends them."""
    writer = new(out, cast(Result, trajectory), style)
    error = None
    try:
        for rows in trajectory.blocks:
            writer.rows(rows)
            if style.follow:
                out.flush()
    except ValueError as raised:
        error = raised
    writer.end(error)
    if error:
        raise error
