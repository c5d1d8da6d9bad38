"""States as a picture: a line for each unit, time from left to right."""

import io
from typing import TYPE_CHECKING, TextIO

from rnncli.writers.bins import Bins
from rnncli.writers.model import model_line
from rnncli.writers.trajectory import Style, Trajectory, UntilError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

SVG_WIDTH = 100

# Shades from most negative to most positive, where there is no colour.
_SHADES = " .:-=+*#%@"
# From negative over zero to positive: blue, white, red.
_NEGATIVE, _ZERO, _POSITIVE = (33, 102, 172), (247, 247, 247), (178, 24, 43)


def write_heatmap(out: TextIO, trajectory: Trajectory, style: Style) -> None:  # noqa: ARG001
    """Draw in the terminal: colours around 0, or shades of characters without colour.

    A sequence longer than the screen is wide is averaged over equal numbers
    of steps, and the legend says over how many.
    """
    from rnncli.writers.grid import console_on

    console = console_on(out)
    coloured = console.color_system is not None and not console.no_color
    blocks = UntilError(trajectory.blocks)
    with console.capture() as drawn:
        _draw(console, trajectory._replace(blocks=blocks), coloured=coloured)
    console.file.write(drawn.get())  # a terminal's stream that takes colours
    blocks.check()


def write_svg(out: TextIO, trajectory: Trajectory, style: Style) -> None:  # noqa: ARG001
    """Write the picture of `write_heatmap` as an SVG file, 100 characters wide."""
    from rich.console import Console

    console = Console(
        file=io.StringIO(),
        record=True,
        width=SVG_WIDTH,
        height=25,
        force_terminal=True,
        color_system="truecolor",
        no_color=False,
        highlight=False,
    )
    _draw(console, trajectory, coloured=True)
    out.write(console.export_svg(title="rnn"))


def _draw(console: "Console", trajectory: Trajectory, *, coloured: bool) -> None:
    from rich.text import Text

    names = trajectory.units
    label = max(map(len, names)) + 1
    bins = Bins(len(names), at_most=max(1, console.width - label))
    for block in trajectory.blocks:
        bins.add(trajectory.rows(block))
    means = bins.means()
    largest = float(abs(means).max(initial=0.0)) or 1.0
    console.print(Text(model_line(trajectory.model), style="bold"))
    for name, line in zip(names, means.T / largest, strict=True):
        row = Text(name.ljust(label), style="dim", no_wrap=True)
        console.print(row.append_text(_cells(line.tolist(), coloured=coloured)), overflow="crop")
    scale = Text(f"-{largest:.3g} ")
    shades = [n / 10 - 1 for n in range(21)]
    scale.append_text(_cells(shades, coloured=coloured)).append(f" {largest:.3g}")
    steps = f"{bins.size} steps" if bins.size > 1 else "one step"
    console.print(scale.append(f"   t = 1 to {bins.total}, {steps} a column"))


def _cells(values: list[float], *, coloured: bool) -> "Text":
    """Draw a character for each value from -1 to 1."""
    from rich.color import Color
    from rich.style import Style as Paint
    from rich.text import Text

    text = Text(style="none")
    for value in values:
        if coloured:
            end = _POSITIVE if value > 0 else _NEGATIVE
            share = abs(value)
            mixed = (round(z + share * (e - z)) for z, e in zip(_ZERO, end, strict=True))
            text.append(" ", Paint(bgcolor=Color.from_rgb(*mixed), dim=False))
        else:
            text.append(_SHADES[min(int((value + 1) / 2 * len(_SHADES)), len(_SHADES) - 1)])
    return text
