"""Pictures in a terminal: decoded, they are the values that were drawn."""

import re
from typing import NamedTuple

import numpy as np
import pytest
from conftest import Rnn

from rnncli.model.arrays import Floats, Truths

# Shades of a heatmap without colours, from -1 over 0 to 1.
SHADES = ".:-=+*#%@"
# Where the dots of a braille character stand, by its bits: Unicode's numbering.
BRAILLE = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (3, 0), (3, 1)]
# The features as they are, and h = x @ W with W drawn: the states are in CSV.
LINEAR = ("run", "--hidden", "3", "--activation", "linear", "--init", "keras")


def series(steps: int, kind: str = "wave") -> Floats:
    t = np.arange(steps)
    noise = np.random.RandomState(steps).normal(size=steps)
    spike = np.where(t == steps // 3, 7.0, 0.1 * noise)
    return {"wave": np.sin(t / 9) + 0.2 * noise, "spike": spike, "still": 0 * t + 0.5}[kind]


def piped(values: Floats) -> str:
    return "\n".join(["x", *map(str, values)])


def states(run_rnn: Rnn, *command: str, stdin: str | None = None) -> Floats:
    """The states that the same run has as CSV."""
    lines = run_rnn(*command, "--format", "csv", stdin=stdin).stdout.splitlines()
    return np.loadtxt(lines, delimiter=",", skiprows=1, ndmin=2)[:, 1:]


def marks_of(line: str) -> list[tuple[int, int]]:
    """Each mark of a time axis with its place."""
    return [(int(m[0]), m.start()) for m in re.finditer(r"\d+", line)]


class Heatmap(NamedTuple):
    """Rows of shades, steps in a column, the marks of the time axis, and the scale's end."""

    rows: list[str]
    size: int
    marks: list[tuple[int, int]]
    largest: float


def heatmap(text: str) -> Heatmap:
    lines = text.splitlines()
    (at,) = (i for i, line in enumerate(lines) if re.match("t +1", line))
    rows = [line[4:] for line in lines[:at] if line.startswith("h_")]
    ticks = [m.start() - 4 for m in re.finditer("╵", lines[at - 1])]
    marks = marks_of(lines[at][4:])
    assert [place for _, place in marks] == ticks
    found = re.search(r"mean of (\d+)\s+steps\s+a\s+column", text)
    return Heatmap(rows, int(found[1]) if found else 1, marks, float(text.split()[-1]))


@pytest.mark.parametrize(("steps", "columns"), [(1, 80), (6, 20), (77, 80), (77, 40), (400, 120)])
def test_a_heatmap_decodes_to_means(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, steps: int, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    wave = piped(series(steps))
    h = states(run_rnn, *LINEAR, stdin=wave)
    text = run_rnn(*LINEAR, "--format", "heatmap", stdin=wave).stdout
    assert max(map(len, text.splitlines())) <= columns
    drawn = heatmap(text)
    means = np.array([h[i : i + drawn.size].mean(axis=0) for i in range(0, steps, drawn.size)])
    wide = len(drawn.rows[0]) // len(means)
    assert drawn.largest == pytest.approx(abs(means).max(), rel=5e-3)
    for row, line in zip(drawn.rows, means.T, strict=True):
        values = [SHADES.index(shade) / 4 - 1 for shade in row[::wide]]
        assert row == "".join(shade * wide for shade in row[::wide])
        # Half a step of the scale, and the rounding of its end.
        np.testing.assert_allclose(values, line / drawn.largest, rtol=0, atol=0.125 + 1e-2)
    assert drawn.marks[0] == (1, 0)
    assert all((t - 1) // drawn.size == place // wide for t, place in drawn.marks)
    assert 2 * len(drawn.rows[0]) >= columns - 4 or wide == 8
    assert len(drawn.marks) > 2 or steps < 7


class Panel(NamedTuple):
    """The dots of a panel, and the values at its first and last line."""

    dots: Truths
    marks: tuple[float, float]


def cell(char: str) -> Truths:
    dots = np.zeros((4, 2), bool)
    bits = 0 if char == " " else ord(char) - 0x2800
    for n, place in enumerate(BRAILLE):
        dots[place] = bits >> n & 1
    return dots


def decoded(text: str, names: list[str]) -> tuple[dict[str, Panel], list[tuple[int, int]]]:
    """The panels by name, and the marks of the time axis from its first column."""
    lines = text.splitlines()
    (corner,) = (i for i, line in enumerate(lines) if re.match(" *└┬", line))
    left = 1 + lines[corner].index("└")
    width = len(lines[corner]) - left
    starts = [
        next(i for i, line in enumerate(lines[1:corner], 1) if line.startswith(f"{name} "))
        for name in names
    ]
    tall = corner - starts[-1]
    panels = {}
    for start, name in zip(starts, names, strict=True):
        block = [f"{line:{left + width}}" for line in lines[start : start + tall]]
        cells = [[*map(cell, line[left:])] for line in block]
        high, low = (float(line[: left - 1].split()[-1]) for line in (block[0], block[-1]))
        panels[name] = Panel(np.block(cells), (low, high))
    return panels, marks_of(lines[corner + 1][left:])


def check_line(panel: Panel, values: Floats, size: int, ends: tuple[float, float]) -> None:
    """Every value has its dot, no dot is beyond the values beside it, and no column is empty."""
    rows, columns = panel.dots.shape
    spans = [values[i : i + size] for i in range(0, len(values), size)]
    places = np.rint(np.linspace(0, columns - 1, len(spans))).astype(int)
    # The first row of dots is between panels.
    up, down = (
        np.array([1 + (ends[1] - end(span)) / (ends[1] - ends[0]) * (rows - 2) for span in spans])
        for end in (np.max, np.min)
    )
    within = 0.5 + 1e-6  # the rounding to a dot
    for n, place in enumerate(places):
        drawn = np.flatnonzero(panel.dots[:, place])
        assert all(abs(drawn - row).min() <= within for row in (up[n], down[n]))
        assert len(drawn) == drawn[-1] - drawn[0] + 1
        beside = slice(max(0, n - 1), n + 2)
        assert drawn[0] >= up[beside].min() - within
        assert drawn[-1] <= down[beside].max() + within
    for column in range(1, columns):
        one, other = (np.flatnonzero(panel.dots[:, c]) for c in (column - 1, column))
        assert other[0] <= one[-1] + 1
        assert one[0] <= other[-1] + 1


@pytest.mark.parametrize(
    ("steps", "kind", "columns"),
    [(2, "wave", 80), (6, "still", 40), (79, "spike", 80), (309, "wave", 40), (2000, "spike", 120)],
)
def test_the_dots_of_a_plot_are_the_values(
    run_rnn: Rnn,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
    kind: str,
    columns: int,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    x = series(steps, kind)
    h = states(run_rnn, *LINEAR, stdin=piped(x))
    text = run_rnn(*LINEAR, "--format", "plot", stdin=piped(x)).stdout
    assert max(map(len, text.splitlines())) <= columns
    found = re.search(r"(\d+)\s+steps a column of dots", text)
    size = int(found[1]) if found else 1
    panels, marks = decoded(text, ["x", "h_0", "h_1", "h_2"])
    for name, values, together in (("x", x, x), *((f"h_{j}", h[:, j], h) for j in range(3))):
        ends = float(together.min()), float(together.max())
        if ends[0] == ends[1]:
            ends = ends[0] / 2, ends[1] * 1.5
        assert panels[name].marks == pytest.approx(ends, rel=5e-3)
        check_line(panels[name], values, size, ends)
    # A mark stands where its step is drawn.
    dots = panels["x"].dots.shape[1]
    places = np.rint(np.linspace(0, dots - 1, -(-steps // size))).astype(int)
    assert marks[0] == (1, 0)
    assert all(place == places[(t - 1) // size] // 2 for t, place in marks)
    assert len(marks) > 1
    assert 2 * len(places) >= dots or size == 1


def test_missing_input_has_no_dots(run_rnn: Rnn) -> None:
    command = ("run", "--hidden", "1", "--missing", "hold", "--format", "plot")
    text = run_rnn(*command, stdin="x\n1\n2\nnan\nnan\n2\n1\n").stdout
    panels, _ = decoded(text, ["x", "h_0"])
    columns = np.array(panels["x"].dots.any(axis=0))
    places = np.rint(np.linspace(0, len(columns) - 1, 6)).astype(int)
    assert columns[places].tolist() == [True, True, False, False, True, True]
    assert panels["h_0"].dots.any(axis=0).all()


def test_values_whose_difference_overflows(run_rnn: Rnn) -> None:
    command = ("run", "--seq", "1e308,-1e308", "--hidden", "1", "--activation", "sigmoid")
    text = run_rnn(*command, "--precision", "float64", "--format", "plot").stdout
    dots, marks = decoded(text, ["x", "h_0"])[0]["x"]
    assert (marks, dots[1, 0], dots[-1, -1]) == ((-1e308, 1e308), True, True)


@pytest.mark.parametrize("form", ["heatmap", "plot"])
@pytest.mark.parametrize("columns", [1, 20, 80, 200])
def test_pictures_keep_to_the_width(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, form: str, columns: int
) -> None:
    """Many units with long names have a line each."""
    monkeypatch.setenv("COLUMNS", str(columns))
    command = ("run", "--hidden", "3,60", "--all-layers", "--format", form)
    result = run_rnn(*command, stdin=piped(series(50)))
    lines = result.stdout.splitlines()
    assert (result.exit_code, max(map(len, lines)) <= columns) == (0, True)
    names = [line for line in lines if re.match(r"(layer_1_|l\S+)?h_\d+ |\S*…\S* ", line)]
    assert len(names) == 63 or columns < 80
    drawn = [line for line in lines if re.search("[\u2801-\u28ff]|[.:=+*#%@-]{4}", line)]
    assert columns < 20 or max(map(len, drawn)) > columns / 2


@pytest.mark.parametrize("form", ["heatmap", "plot"])
def test_an_array_has_one_scale_of_its_own(run_rnn: Rnn, form: str) -> None:
    command = ("run", "--seq", "1,3,-2,1", "--hidden", "2", "--cell", "lstm", "--states")
    values = states(run_rnn, *command)
    text = run_rnn(*command, "--format", form).stdout
    for name, part in (("h", values[:, :2]), ("c", values[:, 2:])):
        if form == "plot":
            panels, _ = decoded(text, ["x", "h_0", "h_1", "c_0", "c_1"])
            ends = pytest.approx((part.min(), part.max()), rel=5e-3)
            assert panels[f"{name}_0"].marks == panels[f"{name}_1"].marks == ends
        else:
            (least, greatest) = re.findall(rf"^{name} -(\S+) \S+ (\S+)$", text, re.MULTILINE)[0]
            assert least == greatest
            assert float(greatest) == pytest.approx(abs(part).max(), rel=5e-3)


@pytest.mark.parametrize(
    ("form", "code", "several"), [("heatmap", r"\x1b\[48;5;\d+m", 4), ("plot", r"\x1b\[36m", 0)]
)
def test_colours(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, form: str, code: str, several: int
) -> None:
    monkeypatch.delenv("COLORTERM", raising=False)
    command, wave = ("run", "--hidden", "2", "--format", form), piped(series(200))
    assert "\x1b" not in run_rnn(*command, stdin=wave).stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert len(set(re.findall(code, run_rnn(*command, stdin=wave).stdout))) > several
    monkeypatch.setenv("NO_COLOR", "1")
    text = run_rnn(*command, stdin=wave).stdout
    assert not re.search(code, text)
    assert form == "plot" or SHADES in re.sub(r"\x1b\[[\d;]*m", "", text)
