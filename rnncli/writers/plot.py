"""Lines of dots in a terminal: the input above, each unit below, time from left to right."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, TextIO

import numpy as np

from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.writers.bins import Bins
from rnncli.writers.pictures import fitted, gathered, print_line, time_axis, write_picture
from rnncli.writers.trajectory import Style, Trajectory

if TYPE_CHECKING:
    from rich.console import Console

# Lines of a panel, those with which it has a blank one below, and those that stand beside panels.
_LEAST, _MOST, _APART, _BESIDE = 2, 6, 4, 6
# So many features of the input are drawn.
_FEATURES = 4


class Dots(NamedTuple):
    """Characters that are made of dots.

    Parameters
    ----------
    values : array of int, shape (rows, columns)
        What the dot at each place of a cell adds to the number of its character.
    characters : str
        By number.
    axis, end, corner, tick, rule : str
        Characters of the axes.
    """

    values: Integers
    characters: str
    axis: str
    end: str
    corner: str
    tick: str
    rule: str


_BRAILLE = Dots(
    np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]]),
    " " + "".join(chr(0x2800 + n) for n in range(1, 256)),
    *"│┤└┬─",
)
_ASCII = Dots(np.array([[1], [2]]), " '.:", *"||++-")


class Panel(NamedTuple):
    """One line of dots, and its axis.

    Parameters
    ----------
    name : str
    column : int
        Where its values stand in the bins.
    ends : tuple of float
        The least and the greatest value of its axis.
    style : str
    """

    name: str
    column: int
    ends: tuple[float, float]
    style: str

    def row(self, value: Floats | float, rows: int) -> Floats | float:
        """Return in which of so many rows values stand, from the greatest in the second down.

        The first is between this line and the one above.
        """
        least, greatest = self.ends
        # By halves: the whole span may overflow.
        return 1 + (greatest / 2 - value / 2) / (greatest / 2 - least / 2) * (rows - 2)

    def marks(self, lines: int, dots: Dots) -> list[str]:
        """Return the values that stand beside its lines, and empty text."""
        least, greatest = self.ends
        marks = [f"{greatest:.3g}", *[""] * (lines - 2), f"{least:.3g}"]
        height = len(dots.values)
        zero = round(float(self.row(0.0, height * lines))) // height
        if least < 0 < greatest and 1 < zero < lines - 2:
            marks[zero] = "0"
        return marks


def write_plot(out: TextIO, trajectory: Trajectory, style: Style) -> None:  # noqa: ARG001
    """Draw in the terminal: a panel of braille dots for each feature and each unit.

    The panels of an array, such as h, have one scale. A column of dots that
    spans several steps reaches from the least to the greatest of their
    values, so that no spike is lost.
    """
    write_picture(out, trajectory, _draw)


def _draw(console: "Console", trajectory: Trajectory) -> str:
    """Draw, and return a note of what is not shown."""
    dots = _ASCII if console.options.ascii_only else _BRAILLE
    sequences, more = gathered(
        trajectory,
        max(1, console.width) * dots.values.shape[1],
        lambda block: [block.x[:, :_FEATURES], trajectory.rows(block)],
    )
    panels = [*_panels(console, trajectory, [bins for _, bins in sequences])]
    lines = max(_LEAST, (console.height - _BESIDE) // len(panels))
    for title, bins in sequences:
        if title:
            console.print(f"\n{title}", style="bold", markup=False, emoji=False)
        _lines(console, panels, bins, lines, dots)
    features = len(trajectory.columns)
    first = f"These are the first {_FEATURES} of {features} features of the input."
    return f"{first if features > _FEATURES else ''} {more}".strip()


def _panels(
    console: "Console", trajectory: Trajectory, sequences: Sequence[Bins]
) -> Iterator[Panel]:
    """Return a panel for each feature, with an axis of its own, and for each column of CSV."""
    features = trajectory.columns[:_FEATURES]
    cut = "~" if console.options.ascii_only else "…"
    names = fitted([*features, *trajectory.units], max(4, console.width // 5), cut)
    axes = [*range(len(features)), *trajectory.arrays]
    column = 1
    for axis, group in groupby(zip(axes, names, strict=True), lambda each: each[0]):
        together = [name for _, name in group]
        columns = slice(column, column + len(together))
        ends = _ends([end[:, columns] for bins in sequences for end in bins.ends()])
        for name in together:
            yield Panel(name, column, ends, "cyan" if isinstance(axis, int) else "")
            column += 1


def _ends(values: Sequence[Floats]) -> tuple[float, float]:
    """Return the least and the greatest of values, apart also where they are one or none."""
    known = np.concatenate([each[~np.isnan(each)] for each in values]) if values else np.zeros(0)
    least, greatest = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    if least == greatest:
        apart = abs(least) / 2 or 1.0
        least, greatest = least - apart, greatest + apart
    return float(least), float(greatest)


def _lines(console: "Console", panels: Sequence[Panel], bins: Bins, lines: int, dots: Dots) -> None:
    """Draw the panels of a sequence, and the time below."""
    apart = lines >= _APART
    lines = min(lines - apart, _MOST)
    marks = [panel.marks(lines, dots) for panel in panels]
    beside = max(len(mark) for each in marks for mark in each) + 1
    named = len(panels[0].name)
    if named + beside >= console.width // 2:
        beside, marks = 0, [[""] * lines for _ in marks]
    room = max(1, console.width - named - beside - 1)
    width = room * dots.values.shape[1]
    bins = bins.fitted(width)
    least, greatest = bins.ends()
    places = np.rint(np.linspace(0, width - 1, len(least))).astype(int)
    for panel, beside_it in zip(panels, marks, strict=True):
        drawn = _dots(panel, least, greatest, places, (lines * len(dots.values), width))
        names = [panel.name, *[" " * named] * (lines - 1)]
        for name, mark, text in zip(names, beside_it, _characters(drawn, dots), strict=True):
            axis = dots.end if mark else dots.axis
            left = f"{name}{mark:>{beside}}{axis}"
            print_line(console, (left, "dim"), (text.rstrip(), panel.style))
        if apart and panel is not panels[-1]:
            print_line(console, (f"{'':{named + beside}}{dots.axis}", "dim"))
    t, left = least[:, 0].astype(np.intp), " " * (named + beside)
    ticks, times = time_axis(t, places // dots.values.shape[1], room, dots.tick)
    rule = f"{ticks:{room}}".replace(" ", dots.rule)
    print_line(console, (f"{left}{dots.corner}{rule}", "dim"))
    print_line(console, (f"{'t':{len(left)}.{len(left)}} ", "dim"), (times, ""))
    if bins.size > 1:
        text = f"{bins.size} steps a column of dots, from their least value to their greatest"
        console.print(text, style="dim")


def _dots(
    panel: Panel, least: Floats, greatest: Floats, places: Integers, shape: tuple[int, int]
) -> Truths:
    """Return where the dots of a line are.

    Between the places of steps it is straight; between neighbouring columns
    it has no gap.
    """
    rows, columns = shape
    between = np.arange(columns)
    up, down = (
        np.rint(np.interp(between, places, panel.row(end[:, panel.column], rows)))
        for end in (greatest, least)
    )
    # Each of two columns that are apart goes half the way to the other.
    fall, rise = np.floor((down[:-1] + up[1:]) / 2), np.floor((down[1:] + up[:-1]) / 2)
    falls, rises = up[1:] > down[:-1], up[:-1] > down[1:]
    for end, further, apart, half in (
        (down[:-1], np.maximum, falls, fall),
        (up[1:], np.minimum, falls, fall + 1),
        (down[1:], np.maximum, rises, rise),
        (up[:-1], np.minimum, rises, rise + 1),
    ):
        further(end, half, out=end, where=apart)
    row = np.arange(rows)[:, None]
    return (up <= row) & (row <= down)


def _characters(drawn: Truths, dots: Dots) -> list[str]:
    """Return dots as lines of characters."""
    tall, wide = dots.values.shape
    rows, columns = drawn.shape
    cells = drawn.reshape(rows // tall, tall, columns // wide, wide)
    numbers = np.einsum("aibj,ij->ab", cells, dots.values).tolist()
    return ["".join(dots.characters[n] for n in line) for line in numbers]
