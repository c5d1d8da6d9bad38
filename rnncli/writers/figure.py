"""Figures: the input above what a network gives, with axes, units and a scale; by matplotlib."""

from collections.abc import Iterator
from io import BytesIO
from math import ceil
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats
from rnncli.model.errors import printable
from rnncli.writers.model import model_line
from rnncli.writers.result import Result, Style
from rnncli.writers.strip import Bins, Strips

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Sequences that are drawn at most, also for the panels of each, and points of one that is alone
# or of each of several.
_SEQUENCES, _PANELS = 12, 48
_POINTS, _POINTS_EACH = 800, 256
# Features, or values of an array, that are drawn as lines; more are a heatmap.
_LINES = 8
# Points that are marked, and ticks on the time axis of one sequence and of each of several.
_MARKED, _TICKS = 40, (8, 4)
# Inches: how wide a figure of one sequence and of several is, how high a line and a lone one are.
_WIDTH, _WIDTH_OF_SEVERAL, _LINE, _LONE_LINE = 7.5, 10.0, 0.55, 1.1
# A row of a heatmap and the name beside it, and all rows.
_ROW, _NAME, _LEAST_ROWS, _MOST_ROWS = 0.14, 0.13, 0.9, 4.5
# Letters of an inch of title, and inches that a line of it is high.
_LETTERS, _TITLE = 16, 0.14
# Of larger values matplotlib's own sums overflow.
_LARGEST = 1e307

_SETTINGS: dict[str, Any] = {
    "font.size": 8.0,
    "axes.linewidth": 0.6,
    "axes.titlesize": "medium",
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


class Panel(NamedTuple):
    """A line, or rows of a heatmap: a feature or many, a value of an array or all."""

    label: str
    names: list[str]
    kind: str  # "feature" or "unit"
    columns: slice  # in the bins
    together: slice  # the columns that share their scale
    high: float  # inches


class FigureWriter:
    """Draw the input above what stands in the columns of CSV: states, or what a head gives."""

    def __init__(self, out: TextIO, result: Result, style: Style, form: str = "svg") -> None:  # noqa: ARG002
        self._out, self._result, self._form = out, result, form
        points = _POINTS_EACH if result.key_columns else _POINTS
        self._panels = [*_choose_panels(result)]
        most = max(1, min(_SEQUENCES, _PANELS // len(self._panels)))
        self._strips = Strips(result, len(result.columns), points, most)

    def rows(self, rows: Rows) -> None:
        """Add rows."""
        self._strips.add(rows)

    def end(self, error: ValueError | None) -> None:
        """Draw what has come; nothing if it failed with values that are too large to draw."""
        import warnings

        import matplotlib

        largest = np.nan_to_num(np.abs(self._strips.ends())).max()
        if largest > _LARGEST and error:
            return
        if largest > _LARGEST:
            raise ValueError(f"a figure shows values up to {_LARGEST:g}, got {largest:g}")
        content = BytesIO()
        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as that the font lacks a character
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_SETTINGS)
            figure = _draw_figure(model_line(self._result.model), self._panels, self._strips)
            figure.draw_without_rendering()  # how many ticks there are depends on the first layout
            figure.savefig(content, format=self._form, metadata=_METADATA[self._form])
        self._out.buffer.write(content.getvalue())


def _choose_panels(result: Result) -> Iterator[Panel]:
    """Choose panels: a line for each value of a few, a heatmap of many."""
    start = 1  # the first column is t
    shown = [layer for layer in result.values if layer.array in result.shown and layer.width]
    groups = [("input", "feature", [*result.columns])] + [
        (layer.name, "unit", [f"{layer.name}_{j}" for j in range(layer.width)]) for layer in shown
    ]
    for label, kind, names in groups:
        count = len(names)
        whole = slice(start, start + count)
        if count > _LINES:
            high = min(max(_ROW * count, _LEAST_ROWS), _MOST_ROWS)
            yield Panel(label, names, kind, whole, whole, high)
        else:
            for place, name in enumerate(names, start):
                own = slice(place, place + 1)
                together = own if kind == "feature" else whole
                yield Panel(name, [name], kind, own, together, _LINE if count > 1 else _LONE_LINE)
        start += count


def _draw_figure(title: str, panels: list[Panel], strips: Strips) -> "Figure":
    """Draw the panels of each sequence below one another, and several sequences side by side."""
    from matplotlib.figure import Figure

    sequences = [*strips] or [("", Bins(strips.width, 1))]
    count = len(sequences)
    across = 2 if count == 4 else min(count, 3)
    width = _WIDTH if across == 1 else _WIDTH_OF_SEVERAL
    heights = [panel.high for panel in panels] * ceil(count / across)
    texts = [fill(text, round(width * _LETTERS)) for text in (title, _write_caption(strips))]
    high = sum(heights) + 1.2 + _TITLE * sum(text.count("\n") for text in texts)
    figure = Figure((width, high), layout="constrained")
    for write, text in zip((figure.suptitle, figure.supxlabel), texts, strict=True):
        write(text, x=0.01, ha="left", size="medium")
    edges = [_find_edges(bins) for _, bins in sequences]
    limits = min(each[0] for each in edges), max(each[-1] for each in edges)
    grid = figure.add_gridspec(len(heights), across, height_ratios=heights)
    for n, (name, bins) in enumerate(sequences):
        row, column = divmod(n, across)
        for p, panel in enumerate(panels):
            axes = figure.add_subplot(grid[row * len(panels) + p, column])
            keyed = row == 0 and column == across - 1
            if len(panel.names) > 1:
                _draw_heatmap(axes, panel, bins, strips, labelled=column == 0, keyed=keyed)
            else:
                _draw_line(axes, panel, bins, strips, labelled=column == 0)
            _draw_time(axes, limits, _TICKS[across > 1], empty=not bins.total)
            if p == 0:
                axes.set_title(_shorten(name, 40))
            axes.tick_params(labelleft=column == 0, labelbottom=p == len(panels) - 1)
        if n + across >= count:
            axes.set_xlabel("t")
    figure.align_ylabels()
    return figure


def _draw_time(axes: "Axes", limits: tuple[float, float], ticks: int, *, empty: bool) -> None:
    """Set the ends and the ticks of the time axis."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axes.set_xlim(*limits)
    locator = MaxNLocator(ticks, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if empty:
        axes.text(0.5, 0.5, "no steps", ha="center", va="center", transform=axes.transAxes)
        axes.set_xticks([])


def _draw_line(axes: "Axes", panel: Panel, bins: Bins, strips: Strips, *, labelled: bool) -> None:
    """Draw a line; where a point is of several steps, the mean in a band of all values."""
    means = bins.means()
    t, marker = means[:, 0], "." if len(means) <= _MARKED else ""
    mean, bottom, top = (each[:, panel.columns.start] for each in (means, *bins.ends()))
    if bins.size > 1:
        axes.fill_between(t, bottom, top, alpha=0.3, lw=0)
    axes.plot(t, mean, marker=marker, label=panel.label)
    least, greatest = (np.nan_to_num(ends[panel.together]) for ends in strips.ends())
    low, high = least.min(), greatest.max()
    room = 0.06 * (high - low) or abs(low) / 10 or 1.0
    axes.set_ylim(low - room, high + room)
    if labelled and panel.high == _LONE_LINE:
        axes.set_ylabel(_shorten(panel.label))
    elif labelled:
        axes.set_ylabel(_shorten(panel.label), rotation=0, ha="right", va="center")


def _draw_heatmap(
    axes: "Axes", panel: Panel, bins: Bins, strips: Strips, *, labelled: bool, keyed: bool
) -> None:
    """Draw rows of colours: features from their least to their greatest value, units around 0."""
    from matplotlib.ticker import MaxNLocator

    means, count = bins.means()[:, panel.columns], len(panel.names)
    if panel.kind == "feature":
        least, greatest = (np.nan_to_num(ends[panel.columns]) for ends in strips.ends())
        means = (means - least) / np.where(greatest > least, greatest - least, 1)
        low, high, colours, key = 0.0, 1.0, "viridis", "0 least, 1 greatest"
    else:
        every = (abs(each.means()[:, panel.columns]) for _, each in strips)
        high = max((float(each.max()) for each in every), default=0) or 1.0
        mean = "mean of " if any(each.size > 1 for _, each in strips) else ""
        low, colours, key = -high, "RdBu_r", f"{mean}{panel.label}"
    axes.set_facecolor("0.8" if bins.total else "white")  # of what is missing
    drawn = axes.pcolormesh(
        _find_edges(bins),
        np.arange(count + 1) - 0.5,
        means.T if len(means) else np.full((count, 1), np.nan),
        cmap=colours,
        vmin=low,
        vmax=high,
        rasterized=True,
    )
    axes.set_ylim(count - 0.5, -0.5)
    if labelled:
        axes.set_ylabel(_shorten(panel.label))
    if labelled and panel.high >= _NAME * count:
        axes.set_yticks(range(count), [*map(_shorten, panel.names)])
    elif labelled:
        axes.yaxis.set_major_locator(MaxNLocator(int(panel.high / _NAME / 2), integer=True))
    if keyed:
        axes.figure.colorbar(drawn, ax=axes, pad=0.02, label=_shorten(key))


def _find_edges(bins: Bins) -> Floats:
    """Return where on the time axis the points of a sequence begin and end, (points + 1,)."""
    least, greatest = (ends[:, 0] for ends in bins.ends())
    return np.append(least, greatest[-1:] + 1) - 0.5 if len(least) else np.array([0.5, 1.5])


def _shorten(text: str, most: int = 24) -> str:
    """Return a name that fits beside an axis, without its middle if it is long."""
    half = most // 2
    return printable(text if len(text) <= most else f"{text[: most - half - 1]}…{text[-half:]}")


def _write_caption(strips: Strips) -> str:
    """Return the notes of a figure."""
    size = max((bins.size for _, bins in strips), default=1)
    most = "up to " if len(strips.bins) > 1 else ""
    mean = "their mean, in a band from the least to the greatest value."
    point = f"A point is of {most}{size:,} steps: {mean} " if size > 1 else ""
    return f"{point}{strips.note()}".strip()
