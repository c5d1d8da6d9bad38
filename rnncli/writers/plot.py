"""Lines of dots in a terminal: the input above, each unit below, time from left to right."""

import numpy as np

from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.writers.pictures import Picture

# Lines of a panel, those with which it has a blank one below, and those that stand beside panels.
_LEAST, _MOST, _APART, _BESIDE = 2, 6, 4, 6
# What each dot of a character adds, the characters by the sum, and the signs of the axes: beside
# a line, beside a value, the corner, a tick and the rule.
_BRAILLE = (
    np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]]),
    " " + "".join(chr(0x2800 + n) for n in range(1, 256)),
    ("│", "┤", "└", "┬", "─"),
)
_ASCII = np.array([[1], [2]]), " '.:", ("|", "|", "+", "+", "-")


class PlotWriter(Picture):
    """Draw a panel of braille dots for each feature and each unit.

    The panels of an array, such as h, have one scale. A column of dots that
    spans several steps reaches from the least to the greatest of their
    values, so that no spike is lost.
    """

    features = 4

    def draw(self) -> str:
        """Draw the panels of each sequence, and the time below."""
        dots, characters, (axis, end, *signs) = _ASCII if self.ascii_only else _BRAILLE
        tall, wide = dots.shape
        features = self.result.columns[: self.features]
        every = [*features, *self.result.units]
        names, named = self.fit(every, max(4, self.console.width // 5))
        styles = ["cyan"] * len(features) + [""] * len(self.result.units)
        lows, highs = self._choose_scales(len(features))
        lines = max(_LEAST, (self.console.height - _BESIDE) // len(every))
        apart = lines >= _APART
        lines = min(lines - apart, _MOST)
        rows = lines * tall
        marks = []
        for low, high in zip(lows, highs, strict=True):
            marks.append([f"{high:.3g}", *[""] * (lines - 2), f"{low:.3g}"])
            zero = round(float(_find_row(np.zeros(()), low, high, rows))) // tall
            if low < 0 < high and 1 < zero < lines - 2:
                marks[-1][zero] = "0"
        beside = 1 + max(len(mark) for each in marks for mark in each)
        left = named + beside + 1
        room = max(1, self.console.width - left)
        for title, bins in self.strips:
            self.print_title(title)
            bins = bins.fitted(room * wide)
            least, greatest = (each[:, 1:] for each in bins.ends())
            places = np.rint(np.linspace(0, room * wide - 1, len(least))).astype(int)
            up = _find_row(greatest, lows, highs, rows)
            down = _find_row(least, lows, highs, rows)
            for n, name in enumerate(names):
                if apart and n:
                    self.print((f"{'':{left - 1}}{axis}", "dim"))
                drawn = _connect(up[:, n], down[:, n], places, (rows, room * wide))
                cells = drawn.reshape(lines, tall, room, wide)
                for line, sums in enumerate(np.einsum("aibj,ij->ab", cells, dots).tolist()):
                    mark = marks[n][line]
                    label = (
                        f"{' ' * named if line else name}{mark:>{beside}}{end if mark else axis}"
                    )
                    text = "".join(characters[n] for n in sums).rstrip()
                    self.print((label, "dim"), (text, styles[n]))
            self.print_time(bins, places // wide, left, room, signs)
            if bins.size > 1:
                which = "from their least value to their greatest"
                self.print((f"{bins.size} steps a column of dots, {which}", "dim"), wrap=True)
        count = len(self.result.columns)
        first = f"These are the first {self.features} of {count} features of the input."
        return first if count > self.features else ""

    def _choose_scales(self, features: int) -> tuple[Floats, Floats]:
        """Return the ends of the axis of each panel: a feature's own, those of a whole array."""
        axes = np.array([*map(str, range(features)), *self.result.arrays])
        least, greatest = (each[1:] for each in self.strips.ends())
        for axis in dict.fromkeys(axes):
            low = float(np.nan_to_num(np.fmin.reduce(least[axes == axis])))
            high = float(np.nan_to_num(np.fmax.reduce(greatest[axes == axis])))
            apart = (abs(low) / 2 or 1.0) if low == high else 0
            least[axes == axis], greatest[axes == axis] = low - apart, high + apart
        return least, greatest


def _find_row(values: Floats, low: Floats, high: Floats, rows: int) -> Floats:
    """Return in which of so many rows values stand, from the greatest in the second down.

    The first is between this line and the one above.
    """
    # By halves: the whole span may overflow.
    return 1 + (high / 2 - values / 2) / (high / 2 - low / 2) * (rows - 2)


def _connect(up: Floats, down: Floats, places: Integers, shape: tuple[int, int]) -> Truths:
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
