"""What pictures in a terminal share: a few columns of it for many steps, and their time."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import printable
from rnncli.writers.bins import Bins, pieces
from rnncli.writers.grid import console_on, write_note
from rnncli.writers.model import model_line
from rnncli.writers.trajectory import Trajectory, UntilError

if TYPE_CHECKING:
    from rich.console import Console

# So many sequences are shown.
SEQUENCES = 12
# Bins for each column of the screen, which `Bins.fitted` merges to as many or a few less; and
# values in them, where a step has many.
_FINE, _VALUES = 16, 1 << 20
# Blanks between the marks of an axis, at least.
_APART = 2


def write_picture(
    out: TextIO, trajectory: Trajectory, draw: Callable[["Console", Trajectory], str]
) -> None:
    """Write what was run, a picture of it, and a note of what that does not show."""
    from rich.text import Text

    console = console_on(out)
    blocks = UntilError(trajectory.blocks)
    with console.capture() as drawn:
        console.print(Text(model_line(trajectory.model), style="bold"))
        note = draw(console, trajectory._replace(blocks=blocks))
    console.file.write(drawn.get())  # a terminal's stream that takes colours
    write_note(out, note)
    blocks.check()


def gathered(
    trajectory: Trajectory, columns: int, drawn: Callable[[Rows], Sequence[Floats]]
) -> tuple[list[tuple[str, Bins]], str]:
    """Run through all blocks, and keep what fits so many columns of each sequence."""
    found: dict[int, Bins] = {}
    others: set[int] = set()
    for block in trajectory.blocks:
        for number in [0] if block.key is None else np.unique(block.key).tolist():
            if len(found) == SEQUENCES and number not in found:
                others.add(number)
                continue
            for rows in pieces(block if block.key is None else block.take(block.key == number)):
                values = np.column_stack([rows.t, *drawn(rows)])
                width = values.shape[1]
                at_most = min(_FINE * columns, max(columns, _VALUES // width))
                found.setdefault(number, Bins(width, at_most)).add(values)
    sequences = [(trajectory.name_of(number), bins) for number, bins in found.items()]
    first = f"These are the first {len(found)} of {len(found) + len(others):,} sequences."
    return sequences, first if others else ""


def fitted(names: Sequence[str], room: int, cut: str) -> list[str]:
    """Return names of one width, at most `room`: longer ones with a mark for their middle."""
    from rich.cells import cell_len, set_cell_size

    names = [*map(printable, names)]
    width = min(room, max(map(cell_len, names), default=0))
    before, behind = max(0, width - 1) // 2, max(1, width // 2)
    short = (n if cell_len(n) <= width else f"{n[:before]}{cut}{n[-behind:]}" for n in names)
    return [set_cell_size(name, width) for name in short]


def time_axis(t: Integers, places: Integers, width: int, tick: str) -> tuple[str, str]:
    """Return a line of ticks and one of marks, each under the first digit of its t."""
    ticks, marks = [" "] * width, [" "] * width
    for mark, place in _marks(t, places, width):
        ticks[place] = tick
        marks[place : place + len(mark)] = mark
    return "".join(ticks).rstrip(), "".join(marks[:width]).rstrip()


def _marks(t: Integers, places: Integers, width: int) -> list[tuple[str, int]]:
    """Return the closest marks at round t that stand apart, the first of them at the first t."""
    if not len(t):
        return []
    span, power = int(t[-1] - t[0]), 1
    while power <= 10 * span:
        for step in (power, 2 * power, 5 * power):
            if span // step <= width:
                found = _at_multiples(t, places, width, step)
                if found:
                    return found
        power *= 10
    return [(str(t[0]), 0)][: int(len(str(t[0])) <= width)]


def _at_multiples(t: Integers, places: Integers, width: int, step: int) -> list[tuple[str, int]]:
    """Return marks at the first t and at multiples of a step; none if two are too close."""
    first = int(t[0])
    times = np.r_[first, np.arange(first // step + 1, int(t[-1]) // step + 1) * step]
    at = places[np.searchsorted(t, times, "right") - 1].tolist()
    found = [(str(times[0]), at[0])]
    for n, place in zip(times[1:].tolist(), at[1:], strict=True):
        if place < found[-1][1] + len(found[-1][0]) + _APART:
            if len(found) > 1:
                return []
        elif place + len(str(n)) <= width:
            found.append((str(n), place))
    return found if len(found) > 1 else []


def print_line(console: "Console", *pieces: tuple[str, str]) -> None:
    """Print a line, each piece of it with its style; what does not fit is cut off."""
    from rich.text import Text

    console.print(Text.assemble(*pieces), overflow="crop", no_wrap=True)
