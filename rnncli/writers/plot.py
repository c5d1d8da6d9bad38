"""Lines of dots in a terminal: the input above, each unit below, time from left to right."""

from typing import NamedTuple

import numpy as np

from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.writers.bins import times
from rnncli.writers.pictures import Picture

# Lines of a panel, those with which it has a blank one below, and those that stand beside panels.
_LEAST, _MOST, _APART, _BESIDE = 2, 6, 4, 6


class Dots(NamedTuple):
    """Characters of dots, by the sum of what its dots add, (rows, columns), and of the axes."""

    values: Integers
    characters: str
    axis: str
    end: str  # of the axis, beside a value
    signs: str  # tick, corner and rule of the axis of time


_BRAILLE = Dots(
    np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]]),
    " " + "".join(chr(0x2800 + n) for n in range(1, 256)),
    *("│", "┤", "┬└─"),
)
_ASCII = Dots(np.array([[1], [2]]), " '.:", "|", "|", "++-")


class Panel(NamedTuple):
    """A feature or a unit: its name, its style, and the ends of its axis."""

    name: str
    style: str
    least: float
    greatest: float

    def row(self, values: Floats, rows: int) -> Floats:
        """Return in which of so many rows values stand, from the greatest in the second down.

        The first is between this line and the one above.
        """
        # By halves: the whole span may overflow.
        span = self.greatest / 2 - self.least / 2
        return 1 + (self.greatest / 2 - values / 2) / span * (rows - 2)

    def marks(self, lines: int, tall: int) -> list[str]:
        """Return the values that stand beside its lines of so many dots, and empty text."""
        marks = [f"{self.greatest:.3g}", *[""] * (lines - 2), f"{self.least:.3g}"]
        zero = round(float(self.row(np.zeros(()), tall * lines))) // tall
        if self.least < 0 < self.greatest and 1 < zero < lines - 2:
            marks[zero] = "0"
        return marks


class PlotWriter(Picture):
    """Draw a panel of braille dots for each feature and each unit.

    The panels of an array, such as h, have one scale. A column of dots that
    spans several steps reaches from the least to the greatest of their
    values, so that no spike is lost.
    """

    features = 4

    def draw(self) -> str:
        """Draw the panels of each sequence, and the time below."""
        dots = _ASCII if self.ascii_only else _BRAILLE
        tall, wide = dots.values.shape
        panels, named = self._panels()
        lines = max(_LEAST, (self.console.height - _BESIDE) // len(panels))
        apart = lines >= _APART
        lines = min(lines - apart, _MOST)
        marks = [panel.marks(lines, tall) for panel in panels]
        beside = 1 + max(len(mark) for each in marks for mark in each)
        room = max(1, self.console.width - named - beside - 1)
        for title, bins in zip(self.sequences.titles(), self.sequences.bins.values(), strict=True):
            self.print_title(title)
            bins = bins.fitted(room * wide)
            least, greatest = bins.ends()
            places = np.rint(np.linspace(0, room * wide - 1, len(least))).astype(int)
            for n, panel in enumerate(panels, start=1):
                if apart and n > 1:
                    self.print((f"{'':{named + beside}}{dots.axis}", "dim"))
                up, down = (panel.row(each[:, n], lines * tall) for each in (greatest, least))
                text = _characters(_dots(up, down, places, (lines * tall, room * wide)), dots)
                names = [panel.name, *[" " * named] * (lines - 1)]
                for name, mark, line in zip(names, marks[n - 1], text, strict=True):
                    left = f"{name}{mark:>{beside}}{dots.end if mark else dots.axis}"
                    self.print((left, "dim"), (line.rstrip(), panel.style))
            self.print_time(times(bins), places // wide, named + beside + 1, room, dots.signs)
            if bins.size > 1:
                which = "from their least value to their greatest"
                self.print((f"{bins.size} steps a column of dots, {which}", "dim"), wrap=True)
        count = len(self.result.columns)
        first = f"These are the first {self.features} of {count} features of the input."
        return first if count > self.features else ""

    def _panels(self) -> tuple[list[Panel], int]:
        """Return a panel for each feature, with an axis of its own, and for each column of CSV."""
        features = self.result.columns[: self.features]
        names, width = self.fit([*features, *self.result.units], max(4, self.console.width // 5))
        axes = np.array([*map(str, range(len(features))), *self.result.arrays])
        least, greatest = (each[1:] for each in self.sequences.ends())
        ends = {}
        for axis in dict.fromkeys(axes):
            low = float(np.nan_to_num(np.fmin.reduce(least[axes == axis])))
            high = float(np.nan_to_num(np.fmax.reduce(greatest[axes == axis])))
            apart = (abs(low) / 2 or 1.0) if low == high else 0
            ends[axis] = low - apart, high + apart
        styles = ["cyan"] * len(features) + [""] * len(self.result.units)
        every = zip(names, styles, axes, strict=True)
        return [Panel(name, style, *ends[axis]) for name, style, axis in every], width


def _dots(up: Floats, down: Floats, places: Integers, shape: tuple[int, int]) -> Truths:
    """Return where the dots of a line are, which goes from `up` to `down` at each place.

    Between the places of steps it is straight; between neighbouring columns
    it has no gap: each of two that are apart goes half the way to the other.
    """
    rows, columns = shape
    up, down = (np.rint(np.interp(np.arange(columns), places, each)) for each in (up, down))
    fall, rise = np.floor((down[:-1] + up[1:]) / 2), np.floor((down[1:] + up[:-1]) / 2)
    # Where columns meet, half the way is within both. NaN is in no line.
    down[:-1] = np.fmax(down[:-1], fall)
    up[1:] = np.fmin(up[1:], fall + 1)
    down[1:] = np.fmax(down[1:], rise)
    up[:-1] = np.fmin(up[:-1], rise + 1)
    row = np.arange(rows)[:, None]
    return (up <= row) & (row <= down)


def _characters(drawn: Truths, dots: Dots) -> list[str]:
    """Return dots as lines of characters."""
    tall, wide = dots.values.shape
    rows, columns = drawn.shape
    cells = drawn.reshape(rows // tall, tall, columns // wide, wide)
    numbers = np.einsum("aibj,ij->ab", cells, dots.values).tolist()
    return ["".join(dots.characters[n] for n in line) for line in numbers]
