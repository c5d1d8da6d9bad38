"""States as a picture in a terminal: a line for each unit, time from left to right."""

from typing import TYPE_CHECKING

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.writers.pictures import Picture

if TYPE_CHECKING:
    from rich.console import Console

# A character and its style, for each of equal steps from -1 over 0 to 1.
Ramp = list[tuple[str, str]]

# With fewer than 256 colours: from little ink to much.
_SHADES = ".:-=+*#%@"
# Colours of the xterm palette, from dark blue over white to dark red, and how many steps it is
# from one to the next on a terminal that has more.
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
    if colours not in ("256", "truecolor"):
        return [(shade, "") for shade in _SHADES]
    anchors = np.arange(len(_COLOURS))
    steps = np.linspace(0, anchors[-1], anchors[-1] * (_MORE if colours == "truecolor" else 1) + 1)
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
        every = [(title, bins.fitted(room)) for title, bins in self.strips]
        arrays = np.array(self.result.arrays)
        peaks = [abs(bins.means()[:, 1:]).max(axis=0) for _, bins in every]
        highest = np.max([np.zeros(len(arrays)), *peaks], axis=0)
        scales = {name: highest[arrays == name].max() or 1.0 for name in dict.fromkeys(arrays)}
        for title, bins in every:
            self.print_title(title)
            values = bins.means()[:, 1:] / [scales[name] for name in arrays]
            wide = min(_WIDEST, max(1, room // len(values)))
            for name, line in zip(names, values.T, strict=True):
                self.print((f"{name} ", "dim"), *_paint(line, steps, wide))
            signs = " ", "|" if self.ascii_only else "╵", " "
            self.print_time(bins, np.arange(len(values)) * wide, left + 1, room, signs)
            if bins.size > 1:
                self.print((f"mean of {bins.size} steps a column", "dim"), wrap=True)
        for name, end in scales.items():
            begin, behind = f"{f'{name} ' if len(scales) > 1 else ''}-{end:.3g} ", f" {end:.3g}"
            width = max(3, min(_SCALE, len(steps), self.console.width - len(begin + behind)))
            scale = np.linspace(-1, 1, width - (width % 2 == 0))
            self.print((begin, ""), *_paint(scale, steps), (behind, ""))
        return ""


def _paint(values: Floats, steps: Ramp, wide: int = 1) -> Ramp:
    """Choose the characters of values from -1 to 1."""
    places = np.rint((values + 1) / 2 * (len(steps) - 1)).astype(int)
    return [(char * wide, style) for char, style in (steps[place] for place in places.tolist())]
