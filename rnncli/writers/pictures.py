"""Pictures in a terminal: a few columns of it for many steps, and their time."""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, TextIO

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Integers
from rnncli.model.errors import printable
from rnncli.writers.grid import console_on, write_note
from rnncli.writers.model import model_line
from rnncli.writers.result import Result, Style
from rnncli.writers.strip import Bins, Strips

# Bins for each column of the screen, which `Bins.fitted` merges to as many or a few less.
_FINE = 32
# Blanks between the marks of an axis, at least.
_BLANKS = 2


class Picture:
    """Writer of a picture in a terminal: a title, the picture, and a note of what it leaves out."""

    features: ClassVar[int]  # so many of the input are drawn

    def __init__(self, out: TextIO, result: Result, style: Style) -> None:  # noqa: ARG002
        self.out, self.result, self.console = out, result, console_on(out)
        self.ascii_only = self.console.options.ascii_only
        self.strips = Strips(result, self.features, _FINE * max(1, self.console.width))

    def rows(self, rows: Rows) -> None:
        """Add rows."""
        self.strips.add(rows)

    def end(self, error: ValueError | None) -> None:  # noqa: ARG002
        """Draw what has come."""
        with self.console.capture() as drawn:
            self.print((model_line(self.result.model), "bold"), wrap=True)
            note = self.draw()
        self.console.file.write(drawn.get())  # a terminal's stream that takes colours
        write_note(self.out, f"{note} {self.strips.note()}".strip())

    @abstractmethod
    def draw(self) -> str:
        """Draw all sequences, and return a note of what is not shown."""

    def print(self, *pieces: tuple[str, str], wrap: bool = False) -> None:
        """Print pieces of a line and their styles; what does not fit is cut off, or wrapped."""
        from rich.text import Text

        line = Text.assemble(*pieces)
        self.console.print(line, overflow="fold" if wrap else "crop", no_wrap=not wrap)

    def print_title(self, title: str) -> None:
        """Print which sequence is below."""
        if title:
            self.print((f"\n{title}", "bold"), wrap=True)

    def fit(self, names: Sequence[str], room: int) -> tuple[list[str], int]:
        """Pad names to one width, at most `room`; a mark replaces the middle of longer ones."""
        from rich.cells import cell_len, set_cell_size

        names = [*map(printable, names)]
        width = min(room, max(map(cell_len, names)))
        before, behind = max(0, width - 1) // 2, max(1, width // 2)
        cut = "~" if self.ascii_only else "…"
        short = (n if cell_len(n) <= width else f"{n[:before]}{cut}{n[-behind:]}" for n in names)
        return [set_cell_size(name, width) for name in short], width

    def print_time(
        self, bins: Bins, places: Integers, left: int, room: int, signs: Sequence[str]
    ) -> None:
        """Print the corner of an axis, its ticks and its rule, and marks under the ticks."""
        corner, tick, rule = signs
        ticks = marks = ""
        for mark, place in _choose_marks(bins.ends()[0][:, 0].astype(int), places, room):
            ticks, marks = f"{ticks:{place}}{tick}", f"{marks:{place}}{mark}"
        line = f"{ticks:{room}}".replace(" ", rule).rstrip()
        self.print((f"{'':{left - 1}}{corner}{line}", "dim"))
        self.print((f"{'t':{left}.{left}}", "dim"), (marks, ""))


def _choose_marks(t: Integers, places: Integers, width: int) -> list[tuple[str, int]]:
    """Choose marks at the first t and at round ones, as close as they can be read."""
    if not len(t):
        return []
    first, last = int(t[0]), int(t[-1])
    begin = (str(first), 0)
    for step in (factor * 10**power for power in range(19) for factor in (1, 2, 5)):
        if (last - first) // step > width:
            continue
        times = np.arange(first // step + 1, last // step + 1) * step
        at = places[np.searchsorted(t, times, "right") - 1].tolist()
        marks = [(str(time), a) for time, a in zip(times.tolist(), at, strict=True)]
        free = len(begin[0]) + _BLANKS
        marks = [begin, *((mark, a) for mark, a in marks if free <= a <= width - len(mark))]
        if all(b >= a + len(mark) + _BLANKS for (mark, a), (_, b) in pairwise(marks)):
            return marks
    return [begin]
