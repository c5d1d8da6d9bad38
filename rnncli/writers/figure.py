"""Figures: the input above what a network gives, with axes, units and a scale; by matplotlib."""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from textwrap import fill
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.errors import printable
from rnncli.writers.bins import Strip
from rnncli.writers.model import model_line
from rnncli.writers.result import Result, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Points of a line, and points that are marked.
_POINTS, _MARKED = 800, 40
# Features that are drawn, and values of an array that are lines; more are a heatmap.
_LINES = 8
# Inches: the figure, a line, and a heatmap, which has room for the names of so many rows.
_WIDTH, _LINE, _ROWS, _NAMED = 7.5, 0.7, 3.0, 24
# Letters in a line of the title, and in a name.
_LETTERS, _SHOWN = 120, 24
# Of larger values matplotlib's own sums overflow.
_LARGEST = 1e307

_SETTINGS: dict[str, Any] = {
    "font.size": 8.0,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "text.parse_math": False,  # a name may have a $
    "axes.formatter.useoffset": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "rnn",
    "pdf.fonttype": 42,
    "savefig.dpi": 200.0,
}
# Without the time of writing: the same run gives the same bytes.
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None},
    "png": {},
    "pdf": {"CreationDate": None},
}


class FigureWriter(Strip):
    """Draw the input above what stands in the columns of CSV: states, or what a head gives."""

    def __init__(self, out: TextIO, result: Result, style: Style, form: str = "svg") -> None:  # noqa: ARG002
        super().__init__(result, _LINES, _POINTS)
        self._out, self._form = out, form

    def end(self, error: ValueError | None) -> None:
        """Draw what has come."""
        import warnings

        import matplotlib

        largest = np.abs(np.nan_to_num(self.bins.ends())).max(initial=0)
        if largest > _LARGEST:
            what = f"a figure shows values up to {_LARGEST:g}, got {largest:g}"
            raise error or ValueError(what)
        content = BytesIO()
        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as that the font lacks a character
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_SETTINGS)
            figure = self._draw()
            figure.draw_without_rendering()  # how many ticks there are depends on the first layout
            figure.savefig(content, format=self._form, metadata=_METADATA[self._form])
        self._out.buffer.write(content.getvalue())

    def _draw(self) -> "Figure":
        """Draw a line for each feature and each value of a few, a heatmap of many."""
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator, StrMethodFormatter

        groups = [(name, 1) for name in self.features]
        for layer in self.result.values:
            if layer.array in self.result.shown and layer.width:
                groups.append((layer.name, layer.width))
        panels: list[Callable[[Axes], None]] = []
        heights, names, start = [], [*self.features, *self.result.units], 1  # column 0 is t
        for label, width in groups if self.bins.total else ():
            whole = slice(start, start + width)
            if width > _LINES:
                heights.append(_ROWS)
                panels.append(partial(self._draw_heatmap, label, whole))
            else:
                heights += [_LINE] * width
                for place in range(start, start + width):
                    panels.append(partial(self._draw_line, names[place - 1], place, whole))
            start += width
        title = fill(printable(model_line(self.result.model)), _LETTERS)
        figure = Figure((_WIDTH, sum(heights) + 1.2), layout="constrained")
        figure.suptitle(f"{title}\n{self.title()}".rstrip(), x=0.01, ha="left", size="medium")
        size, band = self.bins.size, "in a band from the least to the greatest value."
        caption = self.note() if self.bins.total else "No steps."
        caption += f" A point is of {size:,} steps: their mean, {band}" * (size > 1)
        figure.supxlabel(caption.strip(), x=0.01, ha="left", size="medium")
        if panels:
            grid = figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=heights)
            for axes, draw in zip(grid[:, 0], panels, strict=True):
                draw(axes)
            axes.set_xlim(*self._edges()[[0, -1]])
            ticks = MaxNLocator(8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
            axes.xaxis.set_major_locator(ticks)
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            axes.set_xlabel("t")
            figure.align_ylabels()
        return figure

    def _draw_line(self, name: str, place: int, together: slice, axes: "Axes") -> None:
        """Draw a line; where a point is of several steps, the mean in a band of all values."""
        means, (least, greatest) = self.bins.means(), self.bins.ends()
        t, marker = means[:, 0], "." if len(means) <= _MARKED else ""
        if self.bins.size > 1:
            axes.fill_between(t, least[:, place], greatest[:, place], alpha=0.3, lw=0)
        axes.plot(t, means[:, place], marker=marker, label=name)
        low = np.nan_to_num(np.fmin.reduce(least[:, together], axis=None))
        high = np.nan_to_num(np.fmax.reduce(greatest[:, together], axis=None))
        room = 0.06 * (high - low) or abs(low) / 10 or 1.0
        axes.set_ylim(low - room, high + room)
        half = _SHOWN // 2
        label = name if len(name) <= _SHOWN else f"{name[: half - 1]}…{name[-half:]}"
        axes.set_ylabel(printable(label), rotation=0, ha="right", va="center")

    def _draw_heatmap(self, name: str, columns: slice, axes: "Axes") -> None:
        """Draw rows of colours around 0."""
        from matplotlib.ticker import MaxNLocator

        means = self.bins.means()[:, columns]
        high, count = abs(means).max() or 1.0, means.shape[1]
        edges = self._edges(), np.arange(count + 1) - 0.5
        colours: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -high, "vmax": high}
        drawn = axes.pcolormesh(*edges, means.T, rasterized=True, **colours)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_ylabel(name)
        if count <= _NAMED:
            axes.set_yticks(range(count), [f"{name}_{n}" for n in range(count)])
        else:
            axes.yaxis.set_major_locator(MaxNLocator(_NAMED // 2, integer=True))
        mean = "mean of " if self.bins.size > 1 else ""
        axes.figure.colorbar(drawn, ax=axes, pad=0.02, label=f"{mean}{name}")

    def _edges(self) -> Floats:
        """Return where on the time axis the bins begin and end, (bins + 1,)."""
        least, greatest = (ends[:, 0] for ends in self.bins.ends())
        return np.append(least, greatest[-1] + 1) - 0.5
