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
from rnncli.writers.bins import Bins, Sequences
from rnncli.writers.model import model_line
from rnncli.writers.result import Result, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Sequences that are drawn at most, also for the panels of each, and points of one that is alone
# or of each of several.
_SEQUENCES, _PANELS = 12, 36
_POINTS, _POINTS_EACH = 800, 256
# Values that are drawn as lines, in a panel; more are a heatmap.
_LINES = 8
# Lines of states that can be told apart on the same axes, and up to how many steps they can: of
# more, each has axes of its own, if there are no more than so many.
_TOGETHER, _CLEAR, _STRIPS = 4, 100, 16
# A feature is flat where it takes less of a scale that others share.
_FLAT = 0.2
# Points that are marked, and ticks on the time axis of one sequence and of each of several.
_MARKED, _TICKS = 40, (8, 4)
# Inches: how wide a figure of one sequence and of several is, how high its panels are.
_WIDTH, _WIDTH_OF_SEVERAL = 7.5, 10.0
_INPUT_HIGH, _LINES_HIGH, _LINES_OF_SEVERAL, _STRIP_HIGH = 1.1, 2.0, 1.3, 0.55
# A row of a heatmap and the name beside it, how much of a row several sequences have, and all rows.
_ROW_HIGH, _NAME_HIGH, _HEATMAP_OF_SEVERAL = 0.14, 0.13, 0.4
_LEAST_HIGH, _MOST_HIGH = 0.9, 4.5
# Letters of an inch of title, inches that a line of it is high, and letters of a legend.
_LETTERS_OF_INCH, _LINE_HIGH, _LETTERS = 16, 0.14, 100
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
    """Values that are drawn together: features, or an array of a layer and a direction."""

    array: str
    label: str
    names: list[str]
    columns: slice  # in the bins
    together: slice  # the columns that share their scale
    direction: str = ""  # empty where a layer has one, or they are merged


class FigureWriter:
    """Draw the input above what stands in the columns of CSV: states, or what a head gives."""

    def __init__(self, out: TextIO, result: Result, style: Style, form: str = "svg") -> None:  # noqa: ARG002
        self._out, self._result, self._form = out, result, form
        self._panels = [*_panels(result)]
        points = _POINTS_EACH if result.key_columns else _POINTS
        most = max(1, min(_SEQUENCES, _PANELS // len(self._panels)))
        self._sequences = Sequences(result, len(result.columns), points, most)

    def rows(self, rows: Rows) -> None:
        """Add rows."""
        self._sequences.add(rows)

    def end(self, error: ValueError | None) -> None:
        """Draw what has come; nothing if it failed with values that are too large to draw."""
        import warnings

        import matplotlib

        largest = np.nan_to_num(np.abs(self._sequences.ends())).max()
        if largest > _LARGEST and error:
            return
        if largest > _LARGEST:
            raise ValueError(f"a figure shows values up to {_LARGEST:g}, got {largest:g}")
        title, names = model_line(self._result.model), self._sequences.titles() or [""]
        if not self._sequences.bins:
            self._sequences.bins[0] = Bins(self._sequences.width, 1)
        content = BytesIO()
        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as that the font lacks a character
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_SETTINGS)
            figure = _figure(title, names, self._panels, self._sequences)
            figure.draw_without_rendering()  # how many ticks there are depends on the first layout
            figure.savefig(content, format=self._form, metadata=_METADATA[self._form])
        self._out.buffer.write(content.getvalue())


def _panels(result: Result) -> Iterator[Panel]:
    """Group the series of a panel: the input, and each array of each layer and direction."""
    names = [*result.columns]
    columns = slice(1, 1 + len(names))  # the first is t
    yield Panel("x", names[0] if len(names) == 1 else "input", names, columns, columns)
    for values in result.values:
        if values.array in result.shown and values.width:
            names = [f"{values.name}_{j}" for j in range(values.width)]
            together = slice(columns.stop, columns.stop + len(names))
            width = len(names) // max(1, len(values.directions))
            for n, direction in enumerate(values.directions or [""]):
                columns = slice(columns.stop, columns.stop + width)
                some = names[n * width : (n + 1) * width]
                label = values.name if width > 1 else some[0]
                yield Panel(values.array, label, some, columns, together, direction)


def _figure(title: str, names: list[str], panels: list[Panel], sequences: Sequences) -> "Figure":
    """Draw the panels of each sequence below one another, and several sequences side by side."""
    from matplotlib.figure import Figure

    count = len(sequences.bins)
    across = 2 if count == 4 else min(count, 3)
    width = _WIDTH if across == 1 else _WIDTH_OF_SEVERAL
    drawings = [*_drawings(panels, sequences)]
    heights = [each.height for each in drawings] * ceil(count / across)
    texts = [fill(text, round(width * _LETTERS_OF_INCH)) for text in (title, _caption(sequences))]
    high = sum(heights) + 1.2 + _LINE_HIGH * sum(text.count("\n") for text in texts)
    figure = Figure((width, high), layout="constrained")
    for write, text in zip((figure.suptitle, figure.supxlabel), texts, strict=True):
        write(text, x=0.01, ha="left", size="medium")
    edges = [_edges(bins) for bins in sequences.bins.values()]
    limits = min(each[0] for each in edges), max(each[-1] for each in edges)
    grid = figure.add_gridspec(len(heights), across, height_ratios=heights)
    for n, (name, bins) in enumerate(zip(names, sequences.bins.values(), strict=True)):
        row, column = divmod(n, across)
        for p, drawing in enumerate(drawings):
            axes = figure.add_subplot(grid[row * len(drawings) + p, column])
            drawing.draw(axes, bins, labelled=column == 0, keyed=row == 0 and column == across - 1)
            _draw_time(axes, limits, _TICKS[across > 1], empty=not bins.total)
            if p == 0:
                axes.set_title(_short(name, 40))
            axes.tick_params(labelleft=column == 0, labelbottom=p == len(drawings) - 1)
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


def _drawings(panels: list[Panel], sequences: Sequences) -> Iterator["_Lines | _Heatmap"]:
    """Choose how values are drawn: few as lines, together or each by itself, many as a heatmap."""
    first, *others = sequences.bins.values()
    clear = _TOGETHER if first.total <= _CLEAR else 2
    clear = 1 if first.size > 1 else clear  # of two bands one covers the other
    states = [name for panel in panels if panel.array in ("h", "c") for name in panel.names]
    may_hide = not others and len(states) <= _STRIPS
    for panel in panels:
        count = len(panel.names)
        hide = may_hide and panel.array in ("h", "c") and clear < count
        if count > _LINES:
            yield _Heatmap(panel, sequences)
        elif hide or _unlike(panel, sequences):
            for place, name in enumerate(panel.names, start=panel.columns.start):
                own = slice(place, place + 1)
                together = own if panel.array == "x" else panel.together
                strip = Panel(panel.array, name, [name], own, together, panel.direction)
                yield _Lines(strip, sequences, _STRIP_HIGH)
        else:
            high = _LINES_OF_SEVERAL if others else _LINES_HIGH
            yield _Lines(panel, sequences, _INPUT_HIGH if panel.array == "x" else high)


def _ends(panel: Panel, sequences: Sequences) -> tuple[Floats, Floats]:
    """Return the ends of each value that shares the scale of a panel."""
    least, greatest = (np.nan_to_num(ends[panel.together]) for ends in sequences.ends())
    return least, greatest


def _unlike(panel: Panel, sequences: Sequences) -> bool:
    """Return whether these are features that one scale would show as flat lines."""
    least, greatest = _ends(panel, sequences)
    spans = greatest - least
    flat = spans[spans > 0] < _FLAT * (greatest.max() - least.min())
    return panel.array == "x" and bool(flat.any())


class _Lines:
    """Values as lines; where a point is of several steps, the mean in a band of all values."""

    def __init__(self, panel: Panel, sequences: Sequences, height: float) -> None:
        self._panel, self.height, self._several = panel, height, len(sequences.bins) > 1
        least, greatest = _ends(panel, sequences)
        low, high = least.min(), greatest.max()
        room = 0.06 * (high - low) or abs(low) / 10 or 1.0
        self._limits = low - room, high + room

    def draw(self, axes: "Axes", bins: Bins, *, labelled: bool, keyed: bool) -> None:
        """Draw a sequence, the name of the vertical axis, and which line is which."""
        panel, means = self._panel, bins.means()
        # matplotlib leaves lines out of a legend whose names begin with _.
        names = [f" {name}" if name[:1] == "_" else name for name in map(_short, panel.names)]
        t, marker = means[:, 0], "." if len(means) <= _MARKED else ""
        own = (each[:, panel.columns].T for each in (means, *bins.ends()))
        for name, colour, mean, *band in zip(names, _COLOURS, *own, strict=False):
            if bins.size > 1:
                axes.fill_between(t, *band, color=colour, alpha=0.3, lw=0)
            axes.plot(t, mean, color=colour, marker=marker, label=name)
        axes.set_ylim(*self._limits)
        label = [*filter(None, [_short(panel.label), panel.direction])]
        if labelled and self.height > _STRIP_HIGH:
            axes.set_ylabel(", ".join(label))
        elif labelled:
            axes.set_ylabel("\n".join(label), rotation=0, ha="right", va="center")
        if keyed and len(names) > 1:
            columns = max(1, _LETTERS // (max(map(len, names)) + 5))
            above = {"loc": "lower left", "bbox_to_anchor": (-0.015, 0.97), "ncols": columns}
            beside = {"loc": "upper left", "bbox_to_anchor": (1, 1.05)}
            axes.legend(frameon=False, **(beside if self._several else above))


class _Heatmap:
    """Values as rows of colours; where a point is of several steps, their mean."""

    def __init__(self, panel: Panel, sequences: Sequences) -> None:
        self._panel, every = panel, sequences.bins.values()
        high = _ROW_HIGH * len(panel.names) * (_HEATMAP_OF_SEVERAL if len(every) > 1 else 1)
        self.height = min(max(high, _LEAST_HIGH), _MOST_HIGH)
        mean = "mean of " if any(bins.size > 1 for bins in every) else ""
        self._least: Floats = np.zeros(())
        self._span: Floats = np.ones(())
        means = [abs(bins.means()[:, panel.columns]) for bins in every if bins.total]
        largest = float(np.nanmax([0.0, *(np.nan_to_num(each).max() for each in means)])) or 1.0
        self._limits, self._colours = (-largest, largest), "RdBu_r"
        self._key = f"{mean}{panel.label}"
        if _unlike(panel, sequences):
            self._least, greatest = _ends(panel, sequences)
            self._span = np.where(greatest > self._least, greatest - self._least, 1)
            self._limits, self._colours = (0.0, 1.0), "viridis"
            self._key = "0 least, 1 greatest"

    def draw(self, axes: "Axes", bins: Bins, *, labelled: bool, keyed: bool) -> None:
        """Draw a sequence, the names of the rows where they are few, and the scale of colours."""
        from matplotlib.ticker import MaxNLocator

        panel, (low, high) = self._panel, self._limits
        means = bins.means()[:, panel.columns]
        values = (means - self._least) / self._span
        rows = panel.columns.start - panel.together.start + np.arange(len(panel.names) + 1)
        axes.set_facecolor("0.8" if bins.total else "white")  # of what is missing
        drawn = axes.pcolormesh(
            _edges(bins),
            rows - 0.5,
            values.T if len(means) else np.full((len(panel.names), 1), np.nan),
            cmap=self._colours,
            vmin=low,
            vmax=high,
            rasterized=True,
        )
        axes.set_ylim(rows[-1] - 0.5, rows[0] - 0.5)
        if labelled:
            word = "feature" if panel.array == "x" else "unit"
            axes.set_ylabel(", ".join(filter(None, [word, panel.direction])))
        if labelled and self.height >= _NAME_HIGH * len(panel.names):
            axes.set_yticks(rows[:-1], [*map(_short, panel.names)])
        elif labelled:
            count = int(self.height / _NAME_HIGH / 2)
            axes.yaxis.set_major_locator(MaxNLocator(count, steps=[1, 2, 5, 10], integer=True))
        if keyed:
            axes.figure.colorbar(drawn, ax=axes, pad=0.02, label=_short(self._key))


def _edges(bins: Bins) -> Floats:
    """Return where on the time axis the points of a sequence begin and end, (points + 1,)."""
    least, greatest = (ends[:, 0] for ends in bins.ends())
    return np.append(least, greatest[-1:] + 1) - 0.5 if len(least) else np.array([0.5, 1.5])


def _short(text: str, most: int = 24) -> str:
    """Return a name that fits beside an axis, without its middle if it is long."""
    half = most // 2
    return printable(text if len(text) <= most else f"{text[: most - half - 1]}…{text[-half:]}")


def _caption(sequences: Sequences) -> str:
    """Return the notes of a figure."""
    size = max(bins.size for bins in sequences.bins.values())
    most = "up to " if len(sequences.bins) > 1 else ""
    mean = "their mean, in a band from the least to the greatest value."
    point = f"A point is of {most}{size:,} steps: {mean} " if size > 1 else ""
    return f"{point}{sequences.note()}".strip()
