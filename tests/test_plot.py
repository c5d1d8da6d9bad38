"""Lines of dots in a terminal: decoded, they are the values that were drawn."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from conftest import Rnn

from rnncli.model.arrays import Floats, Truths

# Where the dots of a braille character stand, by its bits: Unicode's numbering.
BRAILLE = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (3, 0), (3, 1)]
ASCII = {" ": (0, 0), "'": (1, 0), ".": (0, 1), ":": (1, 1)}


class Panel(NamedTuple):
    """The dots of a panel, and the values at its first and last line."""

    dots: Truths
    marks: tuple[str, str]


def cell(char: str, *, braille: bool) -> Truths:
    if not braille:
        return np.array(ASCII[char], bool)[:, None]
    dots = np.zeros((4, 2), bool)
    bits = 0 if char == " " else ord(char) - 0x2800
    for n, place in enumerate(BRAILLE):
        dots[place] = bits >> n & 1
    return dots


def decoded(text: str, names: list[str]) -> tuple[dict[str, Panel], str]:
    """Return the panels by name, and the marks of the time axis from its first column."""
    lines = text.splitlines()
    (corner,) = (i for i, line in enumerate(lines) if re.match(r" *[└+][┬+]", line))
    left = re.search(r"[└+]", lines[corner]).end()  # type: ignore[union-attr]
    width = len(lines[corner]) - left
    first = next(i for i, line in enumerate(lines) if line.startswith(names[0]))
    starts = [first]
    for name in names[1:]:
        starts.append(next(i for i in range(starts[-1] + 1, corner) if lines[i].startswith(name)))
    tall = corner - starts[-1]
    panels = {}
    for start, name in zip(starts, names, strict=True):
        block = [f"{line:{left + width}}" for line in lines[start : start + tall]]
        braille = "└" in lines[corner]
        cells = [[cell(char, braille=braille) for char in line[left:]] for line in block]
        marks = block[0][: left - 1].split()[-1], block[-1][: left - 1].split()[-1]
        assert block[0].startswith(name)
        panels[name] = Panel(np.block(cells), marks)
    return panels, lines[corner + 1][left:]


def spans(values: Floats, size: int) -> tuple[Floats, Floats]:
    parts = [values[i : i + size] for i in range(0, len(values), size)]
    return np.array([p.min() for p in parts]), np.array([p.max() for p in parts])


def check_line(panel: Panel, values: Floats, size: int, ends: tuple[float, float]) -> None:
    """Every value has its dot, and no dot is beyond the values beside it."""
    rows, columns = panel.dots.shape
    low, high = spans(values, size)
    places = np.rint(np.linspace(0, columns - 1, len(low))).astype(int)
    # The first row of dots is between panels.
    up, down = (1 + (ends[1] - v) / (ends[1] - ends[0]) * (rows - 2) for v in (high, low))
    within = 0.5 + 1e-6  # the rounding to a dot
    for n, place in enumerate(places):
        drawn = np.flatnonzero(panel.dots[:, place])
        assert len(drawn)
        for row in (up[n], down[n]):
            assert abs(drawn - row).min() <= within
        assert len(drawn) == drawn[-1] - drawn[0] + 1
        beside = slice(max(0, n - 1), n + 2)
        assert drawn[0] >= up[beside].min() - within
        assert drawn[-1] <= down[beside].max() + within
    for column in range(1, columns):  # without a gap
        one, other = (np.flatnonzero(panel.dots[:, c]) for c in (column - 1, column))
        assert other[0] <= one[-1] + 1
        assert one[0] <= other[-1] + 1


def series(steps: int, kind: str) -> Floats:
    t = np.arange(steps)
    noise = np.random.RandomState(steps).normal(size=steps)
    spike = np.where(t == steps // 3, 7.0, 0.1 * noise)
    return {"wave": np.sin(t / 9) + 0.2 * noise, "spike": spike, "still": 0 * t + 0.5}[kind]


# The features as they are, and h = x @ W with W drawn: the states are in CSV.
LINEAR = ("run", "--hidden", "3", "--activation", "linear", "--init", "keras")


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("kind", ["wave", "spike", "still"])
@pytest.mark.parametrize("steps", [2, 6, 79, 309, 2000])
@pytest.mark.parametrize("columns", [40, 80, 120])
def test_the_dots_are_the_values(
    run_rnn: Rnn,
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
    steps: int,
    kind: str,
    ascii_only: bool,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    if ascii_only:
        monkeypatch.setattr("rich.console.ConsoleOptions.ascii_only", True)
    x = series(steps, kind)
    stdin = "\n".join(["x", *map(str, x)])
    csv = run_rnn(*LINEAR, "--format", "csv", stdin=stdin).stdout.splitlines()
    h = np.loadtxt(csv, delimiter=",", skiprows=1, ndmin=2)[:, 1:]
    text = run_rnn(*LINEAR, "--format", "plot", stdin=stdin).stdout
    assert max(map(len, text.splitlines())) <= columns
    found = re.search(r"(\d+)\s+steps a column of dots", text)
    size = int(found[1]) if found else 1
    panels, axis = decoded(text, ["x", "h_0", "h_1", "h_2"])
    drawn: list[tuple[str, Floats, Floats]] = [("x", x.astype(np.float32), x)]
    drawn += [(f"h_{j}", h[:, j], h) for j in range(3)]
    for name, values, together in drawn:
        ends = float(together.min()), float(together.max())
        if ends[0] == ends[1]:
            ends = ends[0] / 2, ends[1] * 1.5
        assert [*map(float, panels[name].marks)] == pytest.approx(ends[::-1], rel=5e-3)
        check_line(panels[name], values, size, ends)
    # A mark stands where its step is drawn.
    dots = panels["x"].dots.shape[1]
    places = np.rint(np.linspace(0, dots - 1, -(-steps // size))).astype(int)
    wide = 1 if ascii_only else 2
    marks = [(int(m[0]), m.start()) for m in re.finditer(r"\d+", axis)]
    assert marks[0] == (1, 0)
    assert all(place == places[(t - 1) // size] // wide for t, place in marks)
    assert len(marks) > 1
    assert 2 * len(places) >= dots or size == 1


def test_a_spike_of_many_steps_is_seen(run_rnn: Rnn, tmp_path: Path) -> None:
    x = np.zeros((300_000, 1), np.float32)
    x[123_456] = 5
    np.save(tmp_path / "x.npy", x)
    text = run_rnn("run", tmp_path / "x.npy", "--hidden", "1", "--format", "plot").stdout
    panels, _ = decoded(text, ["x", "h_0"])
    (column,) = np.flatnonzero(panels["x"].dots[1])
    assert panels["x"].marks == ("5", "0")
    assert column == pytest.approx(123_456 / 300_000 * panels["x"].dots.shape[1], abs=2)


def test_missing_input_has_no_dots(run_rnn: Rnn) -> None:
    command = ("run", "--hidden", "1", "--missing", "hold", "--format", "plot")
    steps = ["1", "2", "nan", "nan", "2", "1"]
    panels, _ = decoded(run_rnn(*command, stdin="\n".join(["x", *steps])).stdout, ["x", "h_0"])
    columns = np.array(panels["x"].dots.any(axis=0))
    places = np.rint(np.linspace(0, len(columns) - 1, 6)).astype(int)
    assert columns[places].tolist() == [True, True, False, False, True, True]
    assert panels["h_0"].dots.any(axis=0).all()


@pytest.mark.parametrize("columns", [1, 20, 40, 80, 120, 200])
@pytest.mark.parametrize(
    "options",
    [("--hidden", "2"), ("--hidden", "100"), ("--hidden", "3,12", "--all-layers")],
    ids=" ".join,
)
def test_plots_fit(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, columns: int, options: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    stdin = "\n".join(map(str, series(50, "wave")))
    result = run_rnn("run", *options, "--format", "plot", stdin=stdin)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    if columns >= 20:
        dots = [line for line in lines if re.search("[\u2801-\u28ff]", line)]
        assert max(map(len, dots)) == columns
        ends = [i for line in lines for i in [line.find("┤"), line.find("│")] if i >= 0]
        assert max(ends) < columns * 0.6
    units = {"2": 2, "100": 100, "3,12": 15}[options[1]]
    if columns >= 80:
        names = [line for line in lines if re.match(r"(layer_\d_)?h_\d+ ", line)]
        assert len(names) == units


def test_arrays_have_scales_of_their_own(run_rnn: Rnn) -> None:
    command = ("run", "--seq", "1,3,-2,1", "--hidden", "2", "--cell", "lstm", "--states")
    text = run_rnn(*command, "--format", "plot").stdout
    csv = run_rnn(*command, "--format", "csv").stdout.splitlines()
    values = np.loadtxt(csv, delimiter=",", skiprows=1)[:, 1:]
    panels, _ = decoded(text, ["x", "h_0", "h_1", "c_0", "c_1"])
    for names, part in ((("h_0", "h_1"), values[:, :2]), (("c_0", "c_1"), values[:, 2:])):
        for name in names:
            marks = [*map(float, panels[name].marks)]
            assert marks == pytest.approx([part.max(), part.min()], rel=5e-3)


def test_a_failed_run_shows_the_steps_before(run_rnn: Rnn) -> None:
    command = ("run", "--seq", "1,2,3,4,5", "--hidden", "2", "--activation", "exponential")
    result = run_rnn(*command, "--format", "plot")
    assert result.exit_code == 1
    assert "overflow" in result.stderr
    assert re.search(r"^t +1 +2$", result.stdout, re.MULTILINE)


def test_values_that_a_difference_overflows(run_rnn: Rnn) -> None:
    command = ("run", "--seq", "1e308,-1e308", "--hidden", "1", "--activation", "sigmoid")
    text = run_rnn(*command, "--precision", "float64", "--format", "plot").stdout
    panels, _ = decoded(text, ["x", "h_0"])
    assert panels["x"].marks == ("1e+308", "-1e+308")
    assert panels["x"].dots[1, 0]
    assert panels["x"].dots[-1, -1]


def test_a_plot_of_no_steps(run_rnn: Rnn) -> None:
    result = run_rnn("run", "--hidden", "1", "--format", "plot", stdin="x\n")
    assert (result.exit_code, result.stderr) == (0, "")


def test_colour_sets_the_input_apart(run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("run", "--seq", "1,2,3", "--hidden", "1", "--format", "plot")
    assert "\x1b" not in run_rnn(*command).stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[36m" in run_rnn(*command).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[36m" not in run_rnn(*command).stdout
