"""States as a picture in a terminal: a line for each unit, time from left to right."""

from typing import TYPE_CHECKING

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.writers.bins import times
from rnncli.writers.pictures import Picture

if TYPE_CHECKING:
    from rich.console import Console

# A character and its style, for each of equal steps from -1 over 0 to 1.
Ramp = list[tuple[str, str]]

# Without colour: from little ink to much.
_SHADES = ".:-=+*#%@"
# 16 colours, which a terminal may show as it likes: more of one of two colours over the ground.
_FEW, _FEW_ASCII, _FEW_COLOURS = "░▒▓█", ".=%@", ("bright_blue", "bright_red")
# Colours that are in the xterm palette too, from dark blue over white to dark red; and how many
# steps it is from one to the next where there are more.
_COLOURS = (
    *((0, 0, 175), (0, 95, 215), (95, 135, 255), (135, 175, 255), (175, 215, 255)),
    (255, 255, 255),
    *((255, 175, 175), (255, 135, 135), (215, 95, 95), (215, 0, 0), (135, 0, 0)),
)
_MORE = 10
# Columns of a step where there are few, and of the scale.
_WIDEST, _SCALE = 8, 21


def ramp(console: "Console") -> Ramp:
    """Choose how values from -1 to 1 are drawn: both sides of 0 get darker the further from it."""
    colours = None if console.no_color else console.color_system
    if colours is None:
        return [(shade, "") for shade in _SHADES]
    if colours not in ("256", "truecolor"):
        few = _FEW_ASCII if console.options.ascii_only else _FEW
        negative, positive = ([(char, colour) for char in few] for colour in _FEW_COLOURS)
        return [*negative[::-1], (" ", ""), *positive]
    anchors = np.arange(len(_COLOURS))
    parts = _MORE if colours == "truecolor" else 1
    steps = np.linspace(0, anchors[-1], anchors[-1] * parts + 1)
    mixed = [np.interp(steps, anchors, channel).round() for channel in zip(*_COLOURS, strict=True)]
    return [(" ", f"on rgb({r:.0f},{g:.0f},{b:.0f})") for r, g, b in zip(*mixed, strict=True)]


class HeatmapWriter(Picture):
    """Draw colours around 0, or shades of characters without colour.

    A sequence longer than the screen is wide is averaged over equal numbers
    of steps, and the legend says over how many. Several are drawn one below
    the other. The columns of an array, such as h, have one scale.
    """

    features = 0

    def draw(self) -> str:
        """Draw a line for each column of the result, and the scales."""
        steps = ramp(self.console)
        names, left = self.fit(self.result.units, max(self.console.width // 3, 1))
        room = max(1, self.console.width - left - 1)
        every = [bins.fitted(room) for bins in self.sequences.bins.values()]
        means = [bins.means()[:, 1:] for bins in every]
        arrays = np.array(self.result.arrays)
        peaks = np.max([np.zeros(len(arrays)), *(abs(each).max(axis=0) for each in means)], axis=0)
        largest = {name: peaks[arrays == name].max() or 1.0 for name in dict.fromkeys(arrays)}
        ends = np.array([largest[name] for name in arrays])
        for title, bins, values in zip(self.sequences.titles(), every, means, strict=True):
            self.print_title(title)
            wide = min(_WIDEST, max(1, room // len(values)))
            for name, line in zip(names, (values / ends).T, strict=True):
                self.print((f"{name} ", "dim"), *_cells(line, steps, wide))
            signs = ("|" if self.ascii_only else "╵", " ", " ")
            self.print_time(times(bins), np.arange(len(values)) * wide, left + 1, room, signs)
            if bins.size > 1:
                self.print((f"mean of {bins.size} steps a column", "dim"), wrap=True)
        for name, end in largest.items():
            begin, behind = f"{f'{name} ' if len(largest) > 1 else ''}-{end:.3g} ", f" {end:.3g}"
            width = max(3, min(_SCALE, len(steps), self.console.width - len(begin + behind)))
            scale = np.linspace(-1, 1, width - (width % 2 == 0))
            self.print((begin, ""), *_cells(scale, steps), (behind, ""))
        return ""


def _cells(values: Floats, steps: Ramp, wide: int = 1) -> Ramp:
    """Return how each of the values, from -1 to 1, is drawn."""
    places = np.rint((values + 1) / 2 * (len(steps) - 1)).astype(int)
    return [(char * wide, style) for char, style in (steps[place] for place in places.tolist())]
