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
_SEQUENCES, _PANELS = 12, 36
_POINTS, _POINTS_EACH = 800, 256
# Features, or values of an array, that are drawn as lines; more are a heatmap.
_LINES = 8
# Points that are marked, and ticks on the time axis of one sequence and of each of several.
_MARKED, _TICKS = 40, (8, 4)
# Inches: how wide a figure of one sequence and of several is, how high its panels are.
_WIDTH, _WIDTH_OF_SEVERAL = 7.5, 10.0
_INPUT_HIGH, _LINES_OF_SEVERAL, _STRIP_HIGH = 1.1, 1.3, 0.55
# A row of a heatmap and the name beside it, how much of a row several sequences have, and all rows.
_ROW_HIGH, _NAME_HIGH, _HEATMAP_OF_SEVERAL = 0.14, 0.13, 0.4
_LEAST_HIGH, _MOST_HIGH = 0.9, 4.5
# Letters of an inch of title, and inches that a line of it is high.
_LETTERS_OF_INCH, _LINE_HIGH = 16, 0.14
# Of larger values matplotlib's own sums overflow.
_LARGEST = 1e307

# Okabe and Ito's colours, which people who are colour-blind tell apart, without their yellow.
_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#7F7F7F", "#882255"),
)
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
    """Values that are drawn together: a feature or many, or an array of a layer."""

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
        arrays = sum(values.array in result.shown for values in result.values)
        features = len(result.columns)
        most = _PANELS // (arrays + (features if features <= _LINES else 1))
        self._strips = Strips(result, features, points, max(1, min(_SEQUENCES, most)))

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
            figure = _draw_figure(self._result, self._strips)
            figure.draw_without_rendering()  # how many ticks there are depends on the first layout
            figure.savefig(content, format=self._form, metadata=_METADATA[self._form])
        self._out.buffer.write(content.getvalue())


def _choose_panels(result: Result, *, several: bool) -> Iterator[Panel]:
    """Choose panels of a line, of the lines of an array where sequences are several, or of rows."""
    columns = [*result.columns]
    inputs = [[name] for name in columns] if len(columns) <= _LINES else [columns]
    groups = [(names[0] if len(names) == 1 else "input", names, "feature") for names in inputs]
    for values in result.values:
        if values.array in result.shown and values.width:
            names = [f"{values.name}_{j}" for j in range(values.width)]
            groups.append((values.name if len(names) > 1 else names[0], names, "unit"))
    start = 1  # the first column is t
    for label, names, kind in groups:
        count = len(names)
        own = slice(start, start + count)
        if count > _LINES:
            high = _ROW_HIGH * count * (_HEATMAP_OF_SEVERAL if several else 1)
            yield Panel(label, names, kind, own, own, min(max(high, _LEAST_HIGH), _MOST_HIGH))
        elif kind == "feature":
            yield Panel(label, names, kind, own, own, _STRIP_HIGH if columns[1:] else _INPUT_HIGH)
        elif several or count == 1:
            yield Panel(label, names, kind, own, own, _LINES_OF_SEVERAL)
        else:
            for place, name in enumerate(names, start):
                yield Panel(name, [name], kind, slice(place, place + 1), own, _STRIP_HIGH)
        start += count


def _draw_figure(result: Result, strips: Strips) -> "Figure":
    """Draw the panels of each sequence below one another, and several sequences side by side."""
    from matplotlib.figure import Figure

    sequences = [*strips] or [("", Bins(strips.width, 1))]
    count = len(sequences)
    across = 2 if count == 4 else min(count, 3)
    width = _WIDTH if across == 1 else _WIDTH_OF_SEVERAL
    panels = [*_choose_panels(result, several=count > 1)]
    heights = [panel.high for panel in panels] * ceil(count / across)
    texts = [
        fill(text, round(width * _LETTERS_OF_INCH))
        for text in (model_line(result.model), _write_caption(strips))
    ]
    high = sum(heights) + 1.2 + _LINE_HIGH * sum(text.count("\n") for text in texts)
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
            draw = _draw_heatmap if len(panel.names) > _LINES else _draw_lines
            keyed = row == 0 and column == across - 1
            draw(axes, panel, bins, strips, labelled=column == 0, keyed=keyed)
            _draw_time(axes, limits, _TICKS[across > 1], empty=not bins.total)
            if p == 0:
                axes.set_title(_shorten(name, 40))
            axes.tick_params(labelleft=column == 0, labelbottom=p == len(panels) - 1)
        if n + across >= count:
            axes.set_xlabel("t")
    figure.align_ylabels()
    return figure


def _draw_time(axes: "Axes", limits: tuple[float, float], ticks: int, *, empty: bool) -> None:
    """Give axes the ends of the time axis, and its ticks."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axes.set_xlim(*limits)
    locator = MaxNLocator(ticks, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if empty:
        axes.text(0.5, 0.5, "no steps", ha="center", va="center", transform=axes.transAxes)
        axes.set_xticks([])


def _draw_lines(
    axes: "Axes", panel: Panel, bins: Bins, strips: Strips, *, labelled: bool, keyed: bool
) -> None:
    """Draw lines; where a point is of several steps, the mean in a band of all values."""
    means = bins.means()
    t, marker = means[:, 0], "." if len(means) <= _MARKED else ""
    arrays = (each[:, panel.columns].T for each in (means, *bins.ends()))
    for name, colour, mean, *band in zip(panel.names, _COLOURS, *arrays, strict=False):
        if bins.size > 1:
            axes.fill_between(t, *band, color=colour, alpha=0.3, lw=0)
        axes.plot(t, mean, color=colour, marker=marker, label=_shorten(name))
    least, greatest = (np.nan_to_num(ends[panel.together]) for ends in strips.ends())
    low, high = least.min(), greatest.max()
    room = 0.06 * (high - low) or abs(low) / 10 or 1.0
    axes.set_ylim(low - room, high + room)
    if labelled and panel.high > _STRIP_HIGH:
        axes.set_ylabel(_shorten(panel.label))
    elif labelled:
        axes.set_ylabel(_shorten(panel.label), rotation=0, ha="right", va="center")
    if keyed and len(panel.names) > 1:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1.05))


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
    if labelled and panel.high >= _NAME_HIGH * count:
        axes.set_yticks(range(count), [*map(_shorten, panel.names)])
    elif labelled:
        ticks = int(panel.high / _NAME_HIGH / 2)
        axes.yaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5, 10], integer=True))
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
