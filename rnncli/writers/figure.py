"""Figures by matplotlib: the input above the results, with axes, units and a scale."""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from textwrap import fill
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from rnncli.model.description import model_line
from rnncli.model.errors import InputError, one_line, printable
from rnncli.writers.bins import Strip
from rnncli.writers.result import Result, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Points of a line, and points that are marked.
_POINTS, _MARKED = 800, 40
# Features that are drawn, and values of an array that are lines; more are a heatmap.
_LINES = 8
# Inches: the figure, a line, and a heatmap.
_WIDTH, _LINE, _ROWS = 7.5, 0.7, 3.0
# Letters in a line of the title, and in a name.
_LETTERS, _SHOWN = 120, 24

_SETTINGS: dict[str, Any] = {
    "font.size": 8.0,
    "text.parse_math": False,  # a name may have a $
    "axes.formatter.useoffset": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "rnn",
    "pdf.fonttype": 42,
    "savefig.dpi": 200.0,
}
# Without the time of writing: the same run gives the same bytes.
_METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


class FigureWriter(Strip):
    """Draw the input above the columns of CSV: states, or the outputs of a head."""

    def __init__(self, out: TextIO, result: Result, style: Style, form: str = "svg") -> None:  # noqa: ARG002
        super().__init__(result, _LINES, _POINTS)
        self._out, self._form = out, form

    def end(self, error: ValueError | None) -> None:  # noqa: ARG002
        """Draw the figure."""
        import warnings

        import matplotlib

        content = BytesIO()
        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for example, the font lacks a character
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_SETTINGS)
            figure = self._draw()
            try:
                figure.draw_without_rendering()  # the number of ticks depends on the first layout
                figure.savefig(content, format=self._form, metadata=_METADATA.get(self._form))
            except (IndexError, ValueError) as failure:  # at the end of float64 there are no ticks
                raise InputError("", f"cannot be drawn: {one_line(failure)}") from failure
        self._out.buffer.write(content.getvalue())

    def _draw(self) -> "Figure":
        """Draw a line for each feature and each value of a few, a heatmap of many."""
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        widths = [*[1] * len(self.features), *self.result.shown.values()]
        # The height and the drawing function of each panel; column 0 is t.
        panels, start = list[tuple[float, Callable[["Axes"], None]]](), 1
        for width in widths if self.bins.total else ():
            columns = slice(start, start + width)
            if width > _LINES:
                panels.append((_ROWS, partial(self._draw_heatmap, columns=columns)))
            else:
                line = partial(self._draw_line, span=self.span(columns))
                panels += [(_LINE, partial(line, column=n)) for n in range(start, start + width)]
            start += width
        heights = [height for height, _ in panels]
        figure = Figure((_WIDTH, sum(heights) + 1.2), layout="constrained")
        title = fill(printable(model_line(self.result.model)), _LETTERS)
        figure.suptitle(f"{title}\n{self.title()}".rstrip(), x=0.01, ha="left", size="medium")
        size, band = self.bins.size, "in a band from the least to the greatest value."
        caption = self.note() if panels else "No steps."
        caption += f" A point is of {size:,} steps: their mean, {band}" * (size > 1)
        figure.supxlabel(caption.strip(), x=0.01, ha="left", size="medium")
        if panels:
            grid = figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=heights)
            for axes, (_, draw) in zip(grid[:, 0], panels, strict=True):
                draw(axes)
            t, ends = self.bins.ends()
            axes.set_xlim(t[0, 0] - 0.5, ends[-1, 0] + 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
            axes.set_xlabel("t")
            figure.align_ylabels()
        return figure

    def _draw_line(self, axes: "Axes", span: tuple[float, float], column: int) -> None:
        """Draw a line; if a point is of several steps, draw their mean in a band of all values."""
        means, name = self.bins.means(), self.names[column - 1]
        t, marker = means[:, 0], "." if len(means) <= _MARKED else ""
        if self.bins.size > 1:
            least, greatest = (each[:, column] for each in self.bins.ends())
            axes.fill_between(t, least, greatest, alpha=0.3, lw=0)
        ends = self.find_end()
        known = int(np.searchsorted(t, ends, side="right"))
        (line,) = axes.plot(t[:known], means[:known, column], marker=marker, label=name, lw=1)
        if known < len(t):
            more, colour = slice(max(known - 1, 0), None), line.get_color()
            axes.plot(t[more], means[more, column], color=colour, ls="--", lw=1)
        low, high = span
        room = 0.06 * (high - low)
        axes.set_ylim(low - room, high + room)
        short = name if len(name) <= _SHOWN else f"…{name[1 - _SHOWN :]}"
        axes.set_ylabel(short, rotation=0, ha="right", va="center")

    def _draw_heatmap(self, axes: "Axes", columns: slice) -> None:
        """Draw rows of colours around 0."""
        from matplotlib.ticker import MaxNLocator

        means, (t, ends) = self.bins.means()[:, columns], self.bins.ends()
        name = self.names[columns.start - 1].rpartition("_")[0]
        high, count = abs(means).max() or 1.0, means.shape[1]
        edges = np.append(t[:, 0], ends[-1, 0] + 1) - 0.5, np.arange(count + 1) - 0.5
        colours: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -high, "vmax": high}
        drawn = axes.pcolormesh(*edges, means.T, rasterized=True, **colours)
        if (end := self.find_end()) < ends[-1, 0]:
            axes.axvline(end + 0.5, color="black", ls="--", lw=1)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_ylabel(name)
        axes.yaxis.set_major_locator(MaxNLocator(12, integer=True))
        mean = "mean of " if self.bins.size > 1 else ""
        axes.figure.colorbar(drawn, ax=axes, pad=0.02, label=f"{mean}{name}")
