"""States as a picture in a terminal, colours or lines of dots: time from left to right."""

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, TextIO

import numpy as np

from rnncli.model.description import model_line
from rnncli.writers.bins import Strip
from rnncli.writers.grid import console_on, print_text, write_note, write_text
from rnncli.writers.result import Result, Style

if TYPE_CHECKING:
    from rich.console import Console

# Bins for each column of the screen, before `Bins.fit` merges them to one or fewer.
_FINE = 32
# Values from -1 over 0 to 1 with fewer than 256 colours: from little ink to much.
_SHADES = ".:-=+*#%@"
# Most columns for a step, and fewest for a name.
_WIDEST, _NAMED = 8, 4
# Lines of a panel; dots of a character down and across; the bit of each dot in its code.
_LINES, _TALL, _WIDE = 4, 4, 2
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
_UPPER = int(_DOTS[:2].sum())


class HeatmapWriter(Strip):
    """Draw a line of colours or characters for each column, with one scale for each array."""

    inputs = 0  # features of the input that are drawn

    def __init__(self, out: TextIO, result: Result, style: Style) -> None:  # noqa: ARG002
        self.out, self.console = out, console_on(out)
        super().__init__(result, self.inputs, _FINE * self.console.width)

    def end(self, error: ValueError | None) -> None:  # noqa: ARG002
        """Draw the picture."""
        for text in filter(None, (model_line(self.result.model), self.title())):
            write_text(self.out, text, "bold", wrap=True)
        if self.bins.total:
            self._draw()
        write_note(self.out, self.note())

    def _draw(self) -> None:
        """Draw a line for each column of the result, and the scales."""
        names, room = self._fit()
        means, arrays = self.bins.means()[:, 1:], np.array(self.result.arrays)
        peaks = abs(means).max(axis=0)
        scales = {name: peaks[arrays == name].max() or 1.0 for name in dict.fromkeys(arrays)}
        values = means / [scales[name] for name in arrays]
        colours = _choose_colours(self.console)
        shades = np.rint((values + 1) / 2 * (len(colours) - 1)).astype(int)
        wide = min(_WIDEST, max(1, room // len(means)))
        for name, line in zip(names, shades.T.tolist(), strict=True):
            self._print((name, "dim"), *((colours[n][0] * wide, colours[n][1]) for n in line))
        self._write_time(len(names[0]), wide * len(means), "mean of {} steps a column")
        for name, end in scales.items():
            begin = f"{name} " if len(scales) > 1 else ""
            self._print((f"{begin}-{end:.3g} ", ""), *colours, (f" {end:.3g}", ""))

    def _fit(self, scale: int = 0, dots: int = 1) -> tuple[list[str], int]:
        """Merge the bins to the dots that fit beside names and a scale; return names and room."""
        width = min(max(map(len, self.names)), max(_NAMED, self.console.width // 3))
        cut = "~" if self.console.options.ascii_only else "…"
        short = (n if len(n) <= width else cut + n[1 - width :] for n in self.names)
        room = max(1, self.console.width - width - 1 - scale)
        self.bins.fit(room * dots)
        return [f"{name:{width}} " for name in short], room

    def _write_time(self, left: int, wide: int, of_several: str) -> None:
        """Write the first and the last t below a drawing, and the number of steps of a column."""
        (least, greatest), size = self.bins.ends(), self.bins.size
        first, last = f"{least[0, 0]:.0f}", f"{greatest[-1, 0]:.0f}"
        both = first != last and len(first + last) < wide
        behind = f"{last:>{wide - len(first)}}" if both else ""
        self._print((f"{'t':{left}}{first}{behind}", "dim"))
        if size > 1:
            write_text(self.out, of_several.format(size), "dim", wrap=True)

    def _print(self, *texts: tuple[str, str]) -> None:
        """Print the texts of a line in their styles; cut off the rest that does not fit."""
        from rich.text import Text

        print_text(self.console, Text.assemble(*texts, no_wrap=True, overflow="crop"))


class PlotWriter(HeatmapWriter):
    """Draw a panel for each feature and each unit, with one scale for each array."""

    inputs = 4

    def _draw(self) -> None:
        """Draw the panels, and the time below."""
        axes = np.array(["t", *map(str, range(len(self.features))), *self.result.arrays])
        spans = [self.span(axes == axis) for axis in axes[1:]]
        marks = [(f"{high:.3g}", *[""] * (_LINES - 2), f"{low:.3g}") for low, high in spans]
        labels = max(map(len, chain(*marks)))
        border = "|" if self.console.options.ascii_only else "│"
        names, room = self._fit(labels + 1, _WIDE)
        least, greatest = (each[:, 1:].T for each in self.bins.ends())
        rows, columns = np.arange(_LINES * _TALL)[:, None], np.arange(room * _WIDE)
        centers = np.rint(np.linspace(0, columns[-1], least.shape[1]))
        ahead = np.interp(columns, centers, self.bins.means()[:, 0]) > self.find_end()
        for n, (name, (low, high)) in enumerate(zip(names, spans, strict=True)):
            # A column of dots reaches from the least to the greatest value of its steps, so that no
            # spike is lost, and meets its neighbours. The first row of dots divides the panels.
            up, down = (
                np.rint(1 + (high - np.interp(columns, centers, each)) / (high - low) * rows[-2])
                for each in (greatest[n], least[n])
            )
            drawn = (rows >= up) & (rows <= down)
            drawn[:, 1:] |= (rows >= down[:-1]) & (rows <= up[1:])
            drawn[:, 1:] |= (rows >= down[1:]) & (rows <= up[:-1])
            drawn[:, ahead & (columns % 2 == 1)] = False
            cells = drawn.reshape(_LINES, _TALL, room, _WIDE)
            sums = np.einsum("aibj,ij->ab", cells, _DOTS).tolist()
            for line, (mark, dots) in enumerate(zip(marks[n], sums, strict=True)):
                text = "".join(map(self._sign, dots)).rstrip()
                label = f"{' ' * len(name) if line else name}{mark:>{labels}}{border}"
                self._print((label, "dim"), (text, "cyan" * (n < len(self.features))))
        left = len(names[0]) + labels + 1
        of_several = "{} steps a column of dots, from their least value to their greatest"
        self._write_time(left, room, of_several)

    def _sign(self, dots: int) -> str:
        """Return a character with these dots, or in ASCII with dots in the same halves."""
        if not self.console.options.ascii_only:
            return chr(0x2800 + dots) if dots else " "
        return " '.:"[bool(dots & _UPPER) + 2 * bool(dots & ~_UPPER)]


def _choose_colours(console: "Console") -> Sequence[tuple[str, str]]:
    """Return a character and its style for each of equal steps from -1 over 0 to 1."""
    if console.no_color or console.color_system not in ("256", "truecolor"):
        return [(shade, "") for shade in _SHADES]
    blue = [(less, less, 255) for less in range(0, 255, 51)]  # to white, and on to red
    red = [rgb[::-1] for rgb in reversed(blue)]
    return [(" ", f"on rgb({r},{g},{b})") for r, g, b in (*blue, (255, 255, 255), *red)]
