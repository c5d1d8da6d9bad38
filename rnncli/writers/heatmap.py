"""States as a picture: a line for each unit, time from left to right."""

from typing import TYPE_CHECKING, TextIO

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.writers.bins import Bins
from rnncli.writers.pictures import fitted, gathered, print_line, time_axis, write_picture
from rnncli.writers.trajectory import Style, Trajectory

if TYPE_CHECKING:
    from rich.console import Console

# A character and its style, for each of equal steps from -1 over 0 to 1.
Ramp = list[tuple[str, str]]

# Without colour: from little ink to much.
_SHADES = ".:-=+*#%@"
# 16 colours, which a terminal may show as it likes: more of one of two colours over the ground.
_FEW = {False: "░▒▓█", True: ".=%@"}
_FEW_COLOURS = "bright_blue", "bright_red"
# 256 colours: blues and reds of the xterm palette, from light to dark.
_BLUES, _WHITE, _REDS = (153, 111, 69, 26, 19), 255, (217, 210, 167, 160, 88)
# More colours: between two ends and white, in so many steps each.
_BLUE, _ZERO, _RED, _STEPS = (33, 102, 172), (247, 247, 247), (178, 24, 43), 50
# Columns of a step where there are few, and of the scale.
_WIDEST, _SCALE = 8, 21


def ramp(color_system: str | None, *, ascii_only: bool) -> Ramp:
    """Return how values from -1 to 1 are drawn.

    On either side of 0 lightness has one direction, so that more looks like
    more, and the two sides are told apart.
    """
    if color_system is None:
        return [(shade, "") for shade in _SHADES]
    if color_system == "truecolor":
        shares = [n / _STEPS for n in range(1, _STEPS + 1)]
        sides = [[_mixed(end, share) for share in shares] for end in (_BLUE, _RED)]
        return _two_sided([[(" ", f"on {c}") for c in side] for side in sides], f"on {_mixed()}")
    if color_system == "256":
        palettes = [[(" ", f"on color({n})") for n in side] for side in (_BLUES, _REDS)]
        return _two_sided(palettes, f"on color({_WHITE})")
    return _two_sided([[(c, side) for c in _FEW[ascii_only]] for side in _FEW_COLOURS], "")


def _two_sided(sides: list[Ramp], zero: str) -> Ramp:
    negative, positive = sides
    return [*reversed(negative), (" ", zero), *positive]


def _mixed(end: tuple[int, int, int] = _ZERO, share: float = 1) -> str:
    red, green, blue = (round(z + share * (e - z)) for z, e in zip(_ZERO, end, strict=True))
    return f"rgb({red},{green},{blue})"


def write_heatmap(out: TextIO, trajectory: Trajectory, style: Style) -> None:  # noqa: ARG001
    """Draw in the terminal: colours around 0, or shades of characters without colour.

    A sequence longer than the screen is wide is averaged over equal numbers
    of steps, and the legend says over how many. Several are drawn one below
    the other. The columns of an array, such as h, have one scale.
    """
    write_picture(out, trajectory, _draw)


def _draw(console: "Console", trajectory: Trajectory) -> str:
    """Draw, and return a note of what is not shown."""
    coloured = not console.no_color
    ascii_only = console.options.ascii_only
    steps = ramp(console.color_system if coloured else None, ascii_only=ascii_only)
    names = fitted(trajectory.units, max(console.width // 3, 1), "~" if ascii_only else "…")
    room = max(1, console.width - len(names[0]) - 1)
    sequences, more = gathered(trajectory, room, lambda block: [trajectory.rows(block)])
    bins = [each.fitted(room) for _, each in sequences]
    means = [each.means()[:, 1:] for each in bins]
    arrays = trajectory.arrays
    peaks = np.max([np.zeros(len(arrays)), *(abs(each).max(axis=0) for each in means)], axis=0)
    largest = {
        name: max(float(peak) for of, peak in zip(arrays, peaks, strict=True) if of == name) or 1.0
        for name in dict.fromkeys(arrays)
    }
    ends = np.array([largest[name] for name in arrays])
    for (title, _), spans, each in zip(sequences, bins, means, strict=True):
        if title:
            console.print(f"\n{title}", style="bold", markup=False, emoji=False)
        _draw_rows(console, names, room, each / ends, steps)
        _draw_time(console, len(names[0]) + 1, room, spans)
    for name, end in largest.items():
        _draw_scale(console, f"{name} " if len(largest) > 1 else "", end, steps)
    return more


def _draw_rows(
    console: "Console", names: list[str], room: int, shares: Floats, steps: Ramp
) -> None:
    """Draw a line for each unit, of values from -1 to 1."""
    wide = _width(room, len(shares))
    for name, line in zip(names, shares.T, strict=True):
        cells = [(char * wide, style) for char, style in _cells(line, steps)]
        print_line(console, (f"{name} ", "dim"), *cells)


def _draw_time(console: "Console", left: int, room: int, bins: Bins) -> None:
    """Draw the time below, and say how many steps a column has."""
    t = bins.ends()[0][:, 0].astype(np.intp)
    tick = "|" if console.options.ascii_only else "╵"
    ticks, marks = time_axis(t, np.arange(len(t)) * _width(room, len(t)), room, tick)
    print_line(console, (f"{'':{left}}{ticks}", "dim"))
    print_line(console, (f"{'t':{left}.{left}}", "dim"), (marks, ""))
    if bins.size > 1:
        console.print(f"mean of {bins.size} steps a column", style="dim")


def _width(room: int, columns: int) -> int:
    """Return how many characters wide a column is."""
    return min(_WIDEST, max(1, room // max(1, columns)))


def _draw_scale(console: "Console", name: str, largest: float, steps: Ramp) -> None:
    """Draw what the colours or the characters mean."""
    ends = f"{name}-{largest:.3g} ", f" {largest:.3g}"
    room = max(3, min(_SCALE, len(steps), console.width - len("".join(ends))))
    cells = _cells(np.linspace(-1, 1, room - (room % 2 == 0)), steps)
    print_line(console, (ends[0], ""), *cells, (ends[1], ""))


def _cells(values: Floats, steps: Ramp) -> Ramp:
    """Return how each of the values, from -1 to 1, is drawn."""
    places = np.rint((values + 1) / 2 * (len(steps) - 1)).astype(int)
    return [steps[place] for place in places.tolist()]
