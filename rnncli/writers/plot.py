"""States as lines of dots in a terminal: the input above, each unit below, time to the right."""

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.writers.heatmap import HeatmapWriter

# Lines of a panel, and the dots of a character: down, across, and what each adds to its number.
_LINES, _TALL, _WIDE = 4, 4, 2
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])


class PlotWriter(HeatmapWriter):
    """Draw a panel for each feature and each unit; the panels of an array have one scale.

    A column of dots that spans several steps reaches from their least to their greatest value, so
    that no spike is lost.
    """

    inputs = 4

    def _draw(self) -> None:
        """Draw the panels, and the time below."""
        names, named = self._fit_names([*self.features, *self.result.units])
        axes = np.array([*map(str, range(len(self.features))), *self.result.arrays])
        lows, highs = self._find_scales(axes)
        ends = zip(lows, highs, strict=True)
        marks = [[f"{high:.3g}", *[""] * (_LINES - 2), f"{low:.3g}"] for low, high in ends]
        labels = max(len(mark) for each in marks for mark in each)
        left = named + labels + 1
        room = max(1, self.wide - left)
        shape = _LINES * _TALL, room * _WIDE
        self.bins.fit(shape[1])
        least, greatest = (each[:, 1:] for each in self.bins.ends())
        places = np.rint(np.linspace(0, shape[1] - 1, len(least))).astype(int)
        for n, name in enumerate(names):
            # By halves: the whole span may overflow. The first row of dots divides the panels.
            high, span = highs[n] / 2, highs[n] / 2 - lows[n] / 2
            down, up = (
                1 + (high - each[:, n] / 2) / span * (shape[0] - 2) for each in (least, greatest)
            )
            drawn = _connect(up, down, places, shape).reshape(_LINES, _TALL, room, _WIDE)
            sums = np.einsum("aibj,ij->ab", drawn, _DOTS).tolist()
            for line, (mark, dots) in enumerate(zip(marks[n], sums, strict=True)):
                text = "".join(chr(0x2800 + each) if each else " " for each in dots).rstrip()
                label = f"{' ' * named if line else name}{mark:>{labels}}│"
                self._print((label, "dim"), (text, "cyan" * (n < len(self.features))), wrap=False)
        t = self.bins.ends()[0][:, 0]
        first, last = f"{t[0]:.0f}", f"{t[-1]:.0f}" if len(t) > 1 else ""
        self._print((f"{'t':{left}}{first}{last:>{max(0, room - len(first))}}", "dim"), wrap=False)
        if self.bins.size > 1:
            which = "from their least value to their greatest"
            self._print((f"{self.bins.size} steps a column of dots, {which}", "dim"))

    def _find_scales(self, axes: NDArray[np.str_]) -> tuple[Floats, Floats]:
        """Return the ends of the axis of each panel: a feature's own, those of a whole array."""
        least, greatest = (each[:, 1:] for each in self.bins.ends())
        low, high = np.empty(len(axes)), np.empty(len(axes))
        for axis in dict.fromkeys(axes):
            low[axes == axis] = np.nan_to_num(np.fmin.reduce(least[:, axes == axis], axis=None))
            high[axes == axis] = np.nan_to_num(np.fmax.reduce(greatest[:, axes == axis], axis=None))
        margin = np.where(low == high, np.where(low == 0, 1, abs(low) / 2), 0)
        return low - margin, high + margin


def _connect(up: Floats, down: Floats, places: Integers, shape: tuple[int, int]) -> Truths:
    """Return where the dots of a line are, which goes from `up` to `down` at each place.

    Between the places of steps it is straight; between neighbouring columns it has no gap: each of
    two that are apart goes half the way to the other.
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
