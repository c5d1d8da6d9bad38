"""Pictures in a terminal: decoded, they are the values that were drawn."""

import re
from typing import NamedTuple

import numpy as np
import pytest
from conftest import Rnn

from rnncli.model.arrays import Floats

# Shades of a heatmap without colours, from -1 over 0 to 1.
SHADES = ".:-=+*#%@"
# The features as they are, and h = x @ W with W drawn: the states are in CSV.
LINEAR = ("run", "--hidden", "3", "--activation", "linear", "--init", "keras")


def series(steps: int) -> Floats:
    noise = np.random.RandomState(steps).normal(size=steps)
    return np.sin(np.arange(steps) / 9) + 0.2 * noise


def piped(values: Floats) -> str:
    return "\n".join(["x", *map(str, values)])


def states(run_rnn: Rnn, *command: str, stdin: str | None = None) -> Floats:
    """The states that the same run has as CSV."""
    lines = run_rnn(*command, "--format", "csv", stdin=stdin).stdout.splitlines()
    return np.loadtxt(lines, delimiter=",", skiprows=1, ndmin=2)[:, 1:]


class Heatmap(NamedTuple):
    """Rows of shades, steps in a column, the last t, and the scale's end."""

    rows: list[str]
    size: int
    last: int
    largest: float


def heatmap(text: str) -> Heatmap:
    lines = text.splitlines()
    rows = [line[4:] for line in lines if line.startswith("h_")]
    (last,) = re.findall(r"^t   1(?:| .*?(\d+))$", text, re.MULTILINE)
    found = re.search(r"mean of (\d+)\s+steps\s+a\s+column", text)
    return Heatmap(rows, int(found[1]) if found else 1, int(last or 1), float(text.split()[-1]))


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
    assert drawn.last == steps
    assert 2 * len(drawn.rows[0]) >= columns - 4 or wide == 8


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_pictures_keep_to_the_width(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """Many units with long names have a line each."""
    monkeypatch.setenv("COLUMNS", str(columns))
    command = ("run", "--hidden", "3,60", "--all-layers", "--format", "heatmap")
    result = run_rnn(*command, stdin=piped(series(50)))
    lines = result.stdout.splitlines()
    assert (result.exit_code, max(map(len, lines)) <= columns) == (0, True)
    names = [line for line in lines if re.match(r"\S*h_\d+ +[.:=+*#%@-]{4}", line)]
    assert len(names) == 63
    assert max(map(len, names)) > columns / 2


def test_an_array_has_one_scale_of_its_own(run_rnn: Rnn) -> None:
    command = ("run", "--seq", "1,3,-2,1", "--hidden", "2", "--cell", "lstm", "--states")
    values = states(run_rnn, *command)
    text = run_rnn(*command, "--format", "heatmap").stdout
    for name, part in (("h", values[:, :2]), ("c", values[:, 2:])):
        (least, greatest) = re.findall(rf"^{name} -(\S+) \S+ (\S+)$", text, re.MULTILINE)[0]
        assert least == greatest
        assert float(greatest) == pytest.approx(abs(part).max(), rel=5e-3)


@pytest.mark.posix("a terminal with 256 colours")
def test_colours(run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLORTERM", raising=False)
    command, wave = ("run", "--hidden", "2", "--format", "heatmap"), piped(series(200))
    code = r"\x1b\[48;5;\d+m"
    assert "\x1b" not in run_rnn(*command, stdin=wave).stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert len(set(re.findall(code, run_rnn(*command, stdin=wave).stdout))) > 4
    monkeypatch.setenv("NO_COLOR", "1")
    text = run_rnn(*command, stdin=wave).stdout
    assert not re.search(code, text)
    assert SHADES in re.sub(r"\x1b\[[\d;]*m", "", text)
