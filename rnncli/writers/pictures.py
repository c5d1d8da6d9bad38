"""States as a picture in a terminal, time from left to right: colours, or lines of dots."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, TextIO

import numpy as np

from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.errors import printable
from rnncli.writers.bins import Strip
from rnncli.writers.grid import console_on, write_note
from rnncli.writers.model import model_line
from rnncli.writers.result import Result, Style

if TYPE_CHECKING:
    from rich.console import Console

# Bins for each column of the screen, which `Bins.fit` merges to as many or a few less.
_FINE = 32
# Blanks between the marks of an axis.
_BLANKS = 2
# Values from -1 over 0 to 1 with fewer than 256 colours: from little ink to much.
_SHADES = ".:-=+*#%@"
# Colours of the xterm palette, from dark blue over white to dark red.
_COLOURS = (
    *("0,0,175", "0,95,215", "95,135,255", "135,175,255", "175,215,255", "255,255,255"),
    *("255,175,175", "255,135,135", "215,95,95", "215,0,0", "135,0,0"),
)
# Columns of a step where there are few.
_WIDEST = 8
# Lines of a panel of a plot, and those that stand beside panels.
_LEAST, _MOST, _BESIDE = 2, 6, 6
# What each dot of a braille character adds to its code.
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])


class _Picture(Strip):
    """Writer of a picture in a terminal: a title, the picture, and a note of what it leaves out."""

    most_features: ClassVar[int]

    def __init__(self, out: TextIO, result: Result, style: Style) -> None:  # noqa: ARG002
        self.out, self.console = out, console_on(out)
        self.wide = max(1, self.console.width)
        super().__init__(result, self.most_features, _FINE * self.wide)

    def end(self, error: ValueError | None) -> None:  # noqa: ARG002
        """Draw what has come."""
        with self.console.capture() as drawn:
            for text in filter(None, (model_line(self.result.model), self.title())):
                self.print((text, "bold"), wrap=True)
            if self.bins.total:
                self.draw()
        self.console.file.write(drawn.get())  # a terminal's stream that takes colours
        write_note(self.out, self.note())

    @abstractmethod
    def draw(self) -> None:
        """Draw the bins."""

    def print(self, *pieces: tuple[str, str], wrap: bool = False) -> None:
        """Print pieces of a line and their styles; what does not fit is cut off, or wrapped."""
        from rich.text import Text

        line = Text.assemble(*pieces)
        self.console.print(line, overflow="fold" if wrap else "crop", no_wrap=not wrap)

    def fit(self, names: Sequence[str], room: int) -> tuple[list[str], int]:
        """Pad names to one width, at most `room`; a mark replaces the middle of longer ones."""
        from rich.cells import cell_len, set_cell_size

        names = [*map(printable, names)]
        width = min(max(1, room), max(map(cell_len, names)))
        before, behind = max(0, width - 1) // 2, max(1, width // 2)
        short = (n if cell_len(n) <= width else f"{n[:before]}…{n[-behind:]}" for n in names)
        return [set_cell_size(name, width) for name in short], width

    def print_time(self, places: Integers, left: int, room: int, signs: Sequence[str]) -> None:
        """Print marks at the first t and at round ones, below the bins that have them."""
        corner, tick, rule = signs
        t = self.bins.ends()[0][:, 0].astype(int)
        first, last = int(t[0]), int(t[-1])
        apart = (len(str(last)) + _BLANKS) * (last - first) / max(1, places[-1])
        step = next(f * 10**p for p in range(30) for f in (1, 2, 5) if f * 10**p >= apart)
        ticks, marks = tick, str(first)
        for time in range(first - first % step + step, last + 1, step):
            place = int(places[np.searchsorted(t, time, "right") - 1])
            if len(marks) + _BLANKS <= place <= room - len(str(time)):
                ticks, marks = f"{ticks:{rule}<{place}}{tick}", f"{marks:{place}}{time}"
        self.print((" " * (left - 1) + f"{corner}{ticks:{rule}<{room}}".rstrip(), "dim"))
        self.print((f"{'t':{left}.{left}}", "dim"), (marks, ""))


class HeatmapWriter(_Picture):
    """Draw a line of colours or characters for each column; an array has one scale."""

    most_features = 0

    def draw(self) -> None:
        """Draw a line for each column of the result, and the scales."""
        names, left = self.fit(self.result.units, self.wide // 3)
        room = max(1, self.wide - left - 1)
        self.bins.fit(room)
        means, arrays = self.bins.means()[:, 1:], np.array(self.result.arrays)
        peaks = abs(means).max(axis=0)
        scales = {name: peaks[arrays == name].max() or 1.0 for name in dict.fromkeys(arrays)}
        values = means / [scales[name] for name in arrays]
        colours = _choose_colours(self.console)
        places = np.rint((values + 1) / 2 * (len(colours) - 1)).astype(int)
        wide = min(_WIDEST, max(1, room // len(means)))
        for name, line in zip(names, places.T.tolist(), strict=True):
            painted = ((colours[n][0] * wide, colours[n][1]) for n in line)
            self.print((f"{name} ", "dim"), *painted)
        self.print_time(np.arange(len(means)) * wide, left + 1, room, (" ", "╵", " "))
        if self.bins.size > 1:
            self.print((f"mean of {self.bins.size} steps a column", "dim"), wrap=True)
        for name, end in scales.items():
            begin = f"{name} " if len(scales) > 1 else ""
            ends = (f"{begin}-{end:.3g} ", ""), (f" {end:.3g}", "")
            self.print(ends[0], *colours, ends[1], wrap=True)


def _choose_colours(console: "Console") -> list[tuple[str, str]]:
    """Return a character and its style for each of equal steps from -1 over 0 to 1."""
    if console.no_color or console.color_system not in ("256", "truecolor"):
        return [(shade, "") for shade in _SHADES]
    return [(" ", f"on rgb({colour})") for colour in _COLOURS]


class PlotWriter(_Picture):
    """Draw a panel of braille dots for each feature and each unit.

    The panels of an array have one scale. A column of dots that spans several steps reaches from
    the least to the greatest of their values, so that no spike is lost.
    """

    most_features = 4

    def draw(self) -> None:
        """Draw the panels, and the time below."""
        tall, wide = _DOTS.shape
        every = [*self.features, *self.result.units]
        names, named = self.fit(every, max(4, self.wide // 5))
        styles = ["cyan"] * len(self.features) + [""] * len(self.result.units)
        lows, highs = self._choose_scales()
        lines = min(max(_LEAST, (self.console.height - _BESIDE) // len(every)), _MOST)
        marks = [
            [f"{high:.3g}", *[""] * (lines - 2), f"{low:.3g}"]
            for low, high in zip(lows, highs, strict=True)
        ]
        beside = 1 + max(len(mark) for each in marks for mark in each)
        left = named + beside + 1
        room = max(1, self.wide - left)
        self.bins.fit(room * wide)
        # From the top of a panel down; its first row of dots keeps it apart from the one above. By
        # halves, as the whole span may overflow.
        up, down = (
            1 + (highs / 2 - each[:, 1:] / 2) / (highs / 2 - lows / 2) * (lines * tall - 2)
            for each in reversed(self.bins.ends())
        )
        places = np.rint(np.linspace(0, room * wide - 1, len(up))).astype(int)
        for n, name in enumerate(names):
            drawn = _connect(up[:, n], down[:, n], places, (lines * tall, room * wide))
            codes = np.einsum("aibj,ij->ab", drawn.reshape(lines, tall, room, wide), _DOTS)
            for line, row in enumerate(codes.tolist()):
                mark, label = marks[n][line], " " * named if line else name
                label = f"{label}{mark:>{beside}}{'┤' if mark else '│'}"
                text = "".join(chr(0x2800 + code) if code else " " for code in row)
                self.print((label, "dim"), (text.rstrip(), styles[n]))
        self.print_time(places // wide, left, room, ("└", "┬", "─"))
        if self.bins.size > 1:
            which = "from their least value to their greatest"
            self.print((f"{self.bins.size} steps a column of dots, {which}", "dim"), wrap=True)

    def _choose_scales(self) -> tuple[Floats, Floats]:
        """Return the ends of the axis of each panel: a feature's own, those of a whole array."""
        axes = np.array([*map(str, range(len(self.features))), *self.result.arrays])
        least, greatest = self.bins.ends()
        lows, highs = np.fmin.reduce(least)[1:], np.fmax.reduce(greatest)[1:]
        for axis in dict.fromkeys(axes):
            low = float(np.nan_to_num(np.fmin.reduce(lows[axes == axis])))
            high = float(np.nan_to_num(np.fmax.reduce(highs[axes == axis])))
            apart = (abs(low) / 2 or 1.0) if low == high else 0
            lows[axes == axis], highs[axes == axis] = low - apart, high + apart
        return lows, highs


def _connect(up: Floats, down: Floats, places: Integers, shape: tuple[int, int]) -> Truths:
    """Return where the dots of a line are, which goes from `up` to `down` at each place.

    Between the places of steps it is straight, and each column reaches to the one before.
    """
    rows, columns = shape
    up, down = (np.rint(np.interp(np.arange(columns), places, each)) for each in (up, down))
    known = ~np.isnan(up)
    up[1:], down[1:] = np.fmin(up[1:], down[:-1] + 1), np.fmax(down[1:], up[:-1] - 1)
    row = np.arange(rows)[:, None]
    return (up <= row) & (row <= down) & known
