"""States as a figure: axes, units and a scale, drawn by matplotlib."""

from collections.abc import Sequence
from io import BytesIO
from math import ceil, log10
from textwrap import fill
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.errors import check_installed, printable
from rnncli.writers.figure.series import Panel, Series, Track, gathered
from rnncli.writers.model import model_line
from rnncli.writers.trajectory import Trajectory, UntilError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Values that are drawn as lines; more are a heatmap.
_LINES = 8
# Rows of a heatmap at most, points that are marked, and ticks on the time axis of one sequence and
# of each of several.
_ROWS, _MARKED, _TICKS = 500, 40, (8, 4)
# Lines of states that can be told apart on the same axes, and up to how many steps they can: of
# more, each has axes of its own, if there are no more than so many.
_TOGETHER, _CLEAR, _STRIPS = 4, 100, 16
# A feature is flat where it takes less of a scale that others share.
_FLAT = 0.2
# Letters of an inch of title, and inches that a line of it is high.
_LETTERS_OF_INCH, _LINE_HIGH = 16, 0.14
# Inches: how wide a figure of one sequence and of several is, how high its panels are.
_WIDTH, _WIDTH_OF_SEVERAL = 7.5, 10.0
_INPUT_HIGH, _LINES_HIGH, _LINES_OF_SEVERAL, _STRIP_HIGH = 1.1, 2.0, 1.3, 0.55
# A row of a heatmap and the name beside it, how much of a row several sequences have, and all rows.
_NAME_HIGH = 0.13
_ROW_HIGH, _HEATMAP_OF_SEVERAL, _LEAST_HIGH, _MOST_HIGH = 0.14, 0.4, 0.9, 4.5
# Larger values are drawn without their power of ten: matplotlib squares and subtracts.
_LARGE = 1e100
# Letters of a legend side by side, and of a name above or below axes.
_LETTERS, _LONGEST = 100, 40
_WORDS = {"x": "feature", "h": "unit", "c": "unit", "y": "output"}

# Okabe and Ito's colours, which people who are colour-blind tell apart, without their yellow.
_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#7F7F7F", "#882255"),
)
_SHADES, _AROUND_ZERO = "viridis", "RdBu_r"
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


def check_matplotlib() -> None:
    """Check that matplotlib is there."""
    try:
        check_installed("matplotlib")
        from matplotlib import figure  # noqa: F401
    except ValueError as error:
        message = f"matplotlib refuses its settings (MPLBACKEND, matplotlibrc): {error}"
        raise ImportError(message) from None


def write_figure(out: TextIO, trajectory: Trajectory, form: str) -> None:
    """Draw the input above the states, and both above what a head gives."""
    import warnings

    import matplotlib

    blocks = UntilError(trajectory.blocks)
    series = gathered(trajectory._replace(blocks=blocks))
    content = BytesIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as that the font lacks a character
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        figure = _figure(series, model_line(trajectory.model))
        figure.savefig(content, format=form, metadata=_METADATA[form])
    out.buffer.write(content.getvalue())
    blocks.check()


def _figure(series: Series, title: str) -> "Figure":
    """Draw the panels of each sequence below one another, and several sequences side by side."""
    from matplotlib.figure import Figure

    tracks = series.tracks
    across = 2 if len(tracks) == 4 else min(len(tracks), 3)
    width = _WIDTH if across == 1 else _WIDTH_OF_SEVERAL
    drawn = [each for panel in series.panels for each in _drawn(series, panel)]
    heights = [each.height for each in drawn] * ceil(len(tracks) / across)
    texts = [fill(text, round(width * _LETTERS_OF_INCH)) for text in (title, _caption(series))]
    high = sum(heights) + 1.2 + _LINE_HIGH * sum(text.count("\n") for text in texts)
    figure = Figure((width, high), layout="constrained")
    for write, text in zip((figure.suptitle, figure.supxlabel), texts, strict=True):
        write(text, x=0.01, ha="left", size="medium")
    labelled = []
    grid = figure.add_gridspec(len(heights), across, height_ratios=heights)
    for n, track in enumerate(tracks):
        row, column = divmod(n, across)
        axes = [figure.add_subplot(grid[row * len(drawn) + p, column]) for p in range(len(drawn))]
        for each, one in zip(drawn, axes, strict=True):
            each.draw(one, track)
            if row == 0 and column == across - 1:
                each.draw_key(figure, one)
            if column == 0:
                each.draw_label(one)
                labelled.append(one)
            one.tick_params(labelleft=column == 0, labelbottom=one is axes[-1])
        axes[0].set_title(_short(track.name, _LONGEST))
        _draw_time(axes, series, track, _TICKS[across > 1])
        if n + across >= len(tracks):
            axes[-1].set_xlabel("t")
    figure.align_ylabels(labelled)
    return figure


def _drawn(series: Series, panel: Panel) -> "Sequence[_Lines | _Heatmap]":
    """Choose how values are drawn: few as lines, many as a heatmap."""
    states = panel.array in ("h", "c")
    if len(panel.names) > _LINES:
        return [_Heatmap(panel, series.tracks)]
    if _Scale(panel, series.tracks).unlike or (states and _hide_each_other(series, panel)):
        return [_Lines(each, series.tracks, _STRIP_HIGH) for each in panel.apart()]
    height = _INPUT_HIGH if panel.array == "x" else _LINES_HIGH
    if len(series.tracks) > 1:
        height = min(height, _LINES_OF_SEVERAL)
    return [_Lines(panel, series.tracks, height)]


def _hide_each_other(series: Series, panel: Panel) -> bool:
    """Return whether lines of states would cover one another, and there is room for each."""
    units = sum(len(panel.names) for panel in series.panels if panel.array in ("h", "c"))
    bins = series.tracks[0].bins
    clear = 2 if bins.total > _CLEAR else _TOGETHER
    clear = 1 if bins.size > 1 else clear  # of two bands one covers the other
    return len(series.tracks) == 1 and clear < len(panel.names) and units <= _STRIPS


class _Scale:
    """Between which ends the values of a panel are drawn, in all sequences alike.

    Attributes
    ----------
    least, greatest : array
        The ends of each value that shares the scale.
    low, high : float
        Those of all together.
    unlike : bool
        Whether these are features that one scale would show as flat lines.
    power : int
        The power of ten that is left out of very large values.
    """

    def __init__(self, panel: Panel, tracks: Sequence[Track]) -> None:
        ends = zip(*(track.bins.ends() for track in tracks), strict=True)
        self.least, self.greatest = (
            np.nan_to_num(join.reduce(np.concatenate(each)[:, panel.together], initial=np.nan))
            for join, each in zip((np.fmin, np.fmax), ends, strict=True)
        )
        largest = max(abs(self.least).max(), abs(self.greatest).max())
        self.power = int(log10(largest)) if largest > _LARGE else 0
        self.least, self.greatest = map(self.scaled, (self.least, self.greatest))
        self.low, self.high = float(self.least.min()), float(self.greatest.max())
        spans = self.greatest - self.least
        flat = spans[spans > 0] < _FLAT * (self.high - self.low)
        self.unlike = panel.array == "x" and bool(flat.any())

    def scaled(self, values: Floats) -> Floats:
        """Return values without that power of ten."""
        return values / 10.0**self.power

    def name(self, name: str) -> str:
        """Return what an axis or a colour bar of these values is called."""
        return _short(f"{name} / 1e{self.power}" if self.power else name)


class _Lines:
    """Values as lines; where a point is of several steps, the mean in a band of all values.

    Attributes
    ----------
    height : float
        Inches.
    """

    def __init__(self, panel: Panel, tracks: Sequence[Track], height: float) -> None:
        self._panel, self._scale, self.height = panel, _Scale(panel, tracks), height
        self._several = len(tracks) > 1

    def draw(self, axes: "Axes", track: Track) -> None:
        """Draw the values of a sequence."""
        places = track.bins.means()[:, 0]
        mean, least, greatest = (
            self._scale.scaled(values[:, self._panel.columns])
            for values in (track.bins.means(), *track.bins.ends())
        )
        marker = "." if len(places) <= _MARKED else ""
        for j, (name, colour) in enumerate(zip(self._names(), _COLOURS, strict=False)):
            if track.bins.size > 1:
                band = (least[:, j], greatest[:, j])
                axes.fill_between(places, *band, color=colour, alpha=0.3, lw=0)
            axes.plot(places, mean[:, j], color=colour, marker=marker, label=name)
        low, high = self._scale.low, self._scale.high
        room = 0.06 * (high - low) or abs(low) / 10 or 1.0
        axes.set_ylim(low - room, high + room)

    def draw_label(self, axes: "Axes") -> None:
        """Draw the name of the vertical axis, upright where it has no room to lie."""
        name = self._scale.name(self._panel.label)
        if self.height > _STRIP_HIGH:
            axes.set_ylabel(_joined(name, self._panel.direction))
        else:
            text = "\n".join(filter(None, [name, self._panel.direction]))
            axes.set_ylabel(text, rotation=0, ha="right", va="center")

    def draw_key(self, figure: "Figure", axes: "Axes") -> None:  # noqa: ARG002
        """Draw beside the axes which line is which, if there are several."""
        if len(self._panel.names) > 1:
            self._draw_legend(axes)

    def _draw_legend(self, axes: "Axes") -> None:
        """Draw the names of the lines above the axes, or beside the last of several."""
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1, 1.05)}
        if not self._several:
            longest = max(map(len, self._names()))
            columns = min(len(self._names()), max(1, _LETTERS // (longest + 5)))
            place = {"loc": "lower left", "bbox_to_anchor": (-0.015, 0.97), "ncols": columns}
        axes.legend(frameon=False, **place)

    def _names(self) -> list[str]:
        # matplotlib leaves lines out of a legend whose names begin with _.
        return [f" {name}" if name[:1] == "_" else name for name in map(_short, self._panel.names)]


class _Heatmap:
    """Values as rows of colours; where a point is of several steps, their mean.

    Attributes
    ----------
    height : float
        Inches.
    """

    def __init__(self, panel: Panel, tracks: Sequence[Track]) -> None:
        self._panel, self._scale = panel, _Scale(panel, tracks)
        self._together = ceil(len(panel.names) / _ROWS)  # values in a row
        high = _ROW_HIGH * len(panel.names) * (_HEATMAP_OF_SEVERAL if len(tracks) > 1 else 1)
        self.height = min(max(high, _LEAST_HIGH), _MOST_HIGH)
        rows = (self._rows(track) for track in tracks)
        self._largest = max(float(np.nan_to_num(abs(each)).max()) for each in rows) or 1.0
        self._what = "mean of " if any(track.bins.size > 1 for track in tracks) else ""
        self._drawn: Any = None

    def _rows(self, track: Track) -> Floats:
        """Return what colours stand for, a column for each row of them."""
        values = self._scale.scaled(track.bins.means()[:, self._panel.columns])
        if not len(values):
            values = np.full((1, values.shape[1]), np.nan)
        if self._scale.unlike:
            spans = self._scale.greatest - self._scale.least
            values = (values - self._scale.least) / np.where(spans > 0, spans, 1)
        firsts = np.arange(0, values.shape[1], self._together)
        counts = np.diff(firsts, append=values.shape[1])
        return np.asarray(np.add.reduceat(values, firsts, axis=1) / counts)

    def draw(self, axes: "Axes", track: Track) -> None:
        """Draw the values of a sequence."""
        count = len(self._panel.names)
        edges = self._panel.first - 0.5 + np.array([*range(0, count, self._together), count])
        unlike = self._scale.unlike
        axes.set_facecolor("0.8" if track.bins.total else "white")  # of what is missing
        self._drawn = axes.pcolormesh(
            _edges(track),
            edges,
            self._rows(track).T,
            cmap=_SHADES if unlike else _AROUND_ZERO,
            vmin=0 if unlike else -self._largest,
            vmax=1 if unlike else self._largest,
            rasterized=True,
        )
        axes.set_ylim(edges[-1], edges[0])

    def draw_label(self, axes: "Axes") -> None:
        """Draw what the rows are, and the name of each where they are few."""
        from matplotlib.ticker import MaxNLocator

        word = _WORDS[self._panel.array]
        if self._together > 1:
            word = f"{word} ({self._together} in a row)"
        axes.set_ylabel(_joined(word, self._panel.direction))
        names = [*map(_short, self._panel.names)]
        if self.height >= _NAME_HIGH * len(names):
            axes.set_yticks(self._panel.first + np.arange(len(names)), names)
        else:
            count = int(self.height / _NAME_HIGH / 2)
            axes.yaxis.set_major_locator(MaxNLocator(count, steps=[1, 2, 5, 10], integer=True))

    def draw_key(self, figure: "Figure", axes: "Axes") -> None:
        """Draw beside the axes which colour is which value."""
        name = f"{self._what}{self._panel.label}"
        if self._scale.unlike:
            name = "0 least, 1 greatest"
        figure.colorbar(self._drawn, ax=axes, pad=0.02, label=self._scale.name(name))


def _edges(track: Track) -> Floats:
    """Return where on the time axis the points of a sequence begin and end, (points + 1,)."""
    least, greatest = (ends[:, 0] for ends in track.bins.ends())
    if not len(least):
        return np.array([0.5, 1.5])
    middle = (greatest[:-1] + least[1:]) / 2
    first = middle[0] - greatest[0] if len(middle) else 0
    last = least[-1] - middle[-1] if len(middle) else 0
    return np.array([least[0] - (first or 0.5), *middle, greatest[-1] + (last or 0.5)])


def _draw_time(axes: "Sequence[Axes]", series: Series, track: Track, ticks: int) -> None:
    """Give the axes of a sequence the ends of the time axis, and its ticks."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    edges = [_edges(each) for each in series.tracks]
    low, high = min(each[0] for each in edges), max(each[-1] for each in edges)
    for each in axes:
        each.set_xlim(low, high)
        if not track.bins.total:
            each.text(0.5, 0.5, "no steps", ha="center", va="center", transform=each.transAxes)
            each.set_xticks([])
        else:
            each.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5, 10], integer=True))
            each.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _joined(name: str, more: str) -> str:
    return ", ".join(filter(None, [name, more]))


def _short(text: str, most: int = 24) -> str:
    """Return a name that fits beside an axis, without its middle if it is long."""
    half = most // 2
    return printable(text if len(text) <= most else f"{text[: most - half - 1]}…{text[-half:]}")


def _caption(series: Series) -> str:
    """Return what a reader could mistake, or miss."""
    parts = []
    size = max(track.bins.size for track in series.tracks)
    if size > 1:
        most = "up to " if len(series.tracks) > 1 else ""
        parts.append(
            f"A point is of {most}{size:,} steps: their mean, in a band from the least to the "
            "greatest value."
        )
    if series.panels_left_out:
        parts.append(f"Values of lower layers are not shown: {series.panels_left_out} panels.")
    if series.left_out:
        count = len(series.tracks) + series.left_out
        parts.append(f"These are the first {len(series.tracks)} of {count:,} sequences.")
    return printable(" ".join(parts))
