"""States as lines of dots in a terminal: the input above, each unit below, time to the right."""

from itertools import chain

import numpy as np

from rnncli.writers.heatmap import HeatmapWriter

# Lines of a panel, and the dots of a character: down, across, and what each adds to its number.
_LINES, _TALL, _WIDE = 4, 4, 2
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])


class PlotWriter(HeatmapWriter):
    """Draw a panel for each feature and each unit; the panels of an array have one scale.

    A column of dots that spans several steps reaches from their least to their greatest value, so
    that no spike is lost. Neighbouring columns meet.
    """

    inputs = 4

    def _draw(self) -> None:
        """Draw the panels, and the time below."""
        axes = np.array(["t", *map(str, range(len(self.features))), *self.result.arrays])
        spans = [self.span(axes == axis) for axis in axes[1:]]
        marks = [(f"{high:.3g}", *[""] * (_LINES - 2), f"{low:.3g}") for low, high in spans]
        labels = max(map(len, chain(*marks)))
        names, room = self._fit(labels + 1, _WIDE)
        least, greatest = (each[:, 1:].T for each in self.bins.ends())
        rows, columns = np.arange(_LINES * _TALL)[:, None], np.arange(room * _WIDE)
        places = np.rint(np.linspace(0, columns[-1], least.shape[1]))
        for n, (name, (low, high)) in enumerate(zip(names, spans, strict=True)):
            # The first row of dots divides the panels.
            up, down = (
                np.rint(1 + (high - np.interp(columns, places, each)) / (high - low) * rows[-2])
                for each in (greatest[n], least[n])
            )
            drawn = (rows >= up) & (rows <= down)
            drawn[:, 1:] |= (rows >= down[:-1]) & (rows <= up[1:])
            drawn[:, 1:] |= (rows >= down[1:]) & (rows <= up[:-1])
            cells = drawn.reshape(_LINES, _TALL, room, _WIDE)
            sums = np.einsum("aibj,ij->ab", cells, _DOTS).tolist()
            for line, (mark, dots) in enumerate(zip(marks[n], sums, strict=True)):
                text = "".join(chr(0x2800 + each) if each else " " for each in dots).rstrip()
                label = f"{' ' * len(name) if line else name}{mark:>{labels}}│"
                self._print((label, "dim"), (text, "cyan" * (n < len(self.features))))
        left = len(names[0]) + labels + 1
        of_several = "{} steps a column of dots, from their least value to their greatest"
        self._write_time(left, room, of_several)
