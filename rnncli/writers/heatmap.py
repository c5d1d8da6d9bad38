"""States as a picture in a terminal: a line for each unit, time from left to right."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

import numpy as np

from rnncli.writers.bins import Strip
from rnncli.writers.grid import console_on, write_note
from rnncli.writers.model import model_line
from rnncli.writers.result import Result, Style

if TYPE_CHECKING:
    from rich.console import Console

# Bins for each column of the screen, which `Bins.fit` merges to as many or a few less.
_FINE = 32
# Values from -1 over 0 to 1 with fewer than 256 colours: from little ink to much.
_SHADES = ".:-=+*#%@"
# Colours of the xterm palette, from dark blue over white to dark red.
_COLOURS = (
    *("0,0,175", "0,95,215", "95,135,255", "135,175,255", "175,215,255", "255,255,255"),
    *("255,175,175", "255,135,135", "215,95,95", "215,0,0", "135,0,0"),
)
# Columns of a step where there are few, and blanks between the marks of the time axis.
_WIDEST, _BLANKS = 8, 2


class HeatmapWriter(Strip):
    """Draw a line of colours or characters for each column; an array has one scale."""

    inputs = 0  # features of the input that are drawn, too

    def __init__(self, out: TextIO, result: Result, style: Style) -> None:  # noqa: ARG002
        self.out, self.console = out, console_on(out)
        self.wide = max(1, self.console.width)
        super().__init__(result, self.inputs, _FINE * self.wide)

    def end(self, error: ValueError | None) -> None:  # noqa: ARG002
        """Draw what has come."""
        with self.console.capture() as drawn:
            for text in filter(None, (model_line(self.result.model), self.title())):
                self._print((text, "bold"))
            if self.bins.total:
                self._draw()
        lines = (line.rstrip() for line in drawn.get().splitlines())
        self.console.file.writelines(f"{line}\n" for line in lines)  # a stream that takes colours
        write_note(self.out, self.note())

    def _draw(self) -> None:
        """Draw a line for each column of the result, and the scales."""
        names, left = self._fit_names(self.result.units)
        room = max(1, self.wide - left)
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
            self._print((name, "dim"), *painted, wrap=False)
        for style, text in zip(("dim", ""), self._choose_marks(wide, room), strict=True):
            before = f"{'t' if not style else '':{left}.{left}}"
            self._print((before, "dim"), (text, style), wrap=False)
        if self.bins.size > 1:
            self._print((f"mean of {self.bins.size} steps a column", "dim"))
        for name, end in scales.items():
            begin = f"{name} " if len(scales) > 1 else ""
            self._print((f"{begin}-{end:.3g} ", ""), *colours, (f" {end:.3g}", ""))

    def _print(self, *pieces: tuple[str, str], wrap: bool = True) -> None:
        """Print pieces of a line and their styles; what does not fit is wrapped, or cut off."""
        from rich.text import Text

        line = Text.assemble(*pieces)
        self.console.print(line, overflow="fold" if wrap else "crop", no_wrap=not wrap)

    def _fit_names(self, names: Sequence[str]) -> tuple[list[str], int]:
        """Pad names to one width; a mark replaces the middle of long ones."""
        width = min(max(1, self.wide // 3), max(map(len, names)))
        before, behind = max(0, width - 1) // 2, max(1, width // 2)
        short = (n if len(n) <= width else f"{n[:before]}…{n[-behind:]}" for n in names)
        return [f"{name:{width}} " for name in short], width + 1

    def _choose_marks(self, wide: int, room: int) -> tuple[str, str]:
        """Return ticks, and the first t and round ones below the bins that have them."""
        t = self.bins.ends()[0][:, 0].astype(int)
        first, last = int(t[0]), int(t[-1])
        spacing = (len(str(last)) + _BLANKS) * (last - first) / max(1, wide * (len(t) - 1))
        step = next(f * 10**p for p in range(30) for f in (1, 2, 5) if f * 10**p >= spacing)
        ticks, marks = "╵", str(first)
        for time in range(first - first % step + step, last + 1, step):
            place = wide * int(np.searchsorted(t, time, "right") - 1)
            if len(marks) + _BLANKS <= place <= room - len(str(time)):
                ticks, marks = f"{ticks:{place}}╵", f"{marks:{place}}{time}"
        return ticks, marks


def _choose_colours(console: "Console") -> Sequence[tuple[str, str]]:
    """Return a character and its style for each of equal steps from -1 over 0 to 1."""
    if console.no_color or console.color_system not in ("256", "truecolor"):
        return [(shade, "") for shade in _SHADES]
    return [(" ", f"on rgb({colour})") for colour in _COLOURS]
