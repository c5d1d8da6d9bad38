"""The heatmap of a terminal: its colours, and that it decodes to the states."""

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import Rnn

from rnncli.writers.heatmap import ramp

WAVE = "\n".join(f"{np.sin(t / 3):.3f}" for t in range(400))


def heatmap(text: str) -> tuple[list[str], list[int], list[tuple[int, int]]]:
    """Rows of cells, places of the ticks, and each mark with its place."""
    lines = text.splitlines()
    (at,) = (i for i, line in enumerate(lines) if re.match("t +1", line))
    rows = [line for line in lines[:at] if line.startswith("h_")]
    left = rows[0].index(" ") + 1 if len(rows) < 11 else max(row.index(" ") for row in rows) + 1
    marks = [(int(m[0]), m.start() - left) for m in re.finditer(r"\d+", lines[at])]
    ticks = [m.start() - left for m in re.finditer(r"[╵|]", lines[at - 1])]
    return [row[left:] for row in rows], ticks, marks


@pytest.mark.parametrize("steps", [1, 6, 77, 400])
@pytest.mark.parametrize("columns", [20, 40, 80, 120, 200])
def test_a_heatmap_decodes_to_means(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, steps: int, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    wave = "\n".join(WAVE.splitlines()[:steps])
    states = run_rnn("run", "--hidden", "3", "--format", "csv", stdin=wave).stdout
    h = np.loadtxt(states.splitlines(), delimiter=",", skiprows=1, ndmin=2)[:, 1:]
    text = run_rnn("run", "--hidden", "3", "--format", "heatmap", stdin=wave).stdout
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= columns
    rows, ticks, marks = heatmap(text)
    found = re.search(r"mean of (\d+)\s+steps\s+a\s+column", text)
    size = int(found[1]) if found else 1
    means = np.array([h[i : i + size].mean(axis=0) for i in range(0, len(h), size)])
    wide = len(rows[0]) // len(means)
    largest = float(text.split()[-1])
    assert largest == pytest.approx(abs(means).max() or 1, rel=5e-3)
    shades = [step[0] for step in ramp(None, ascii_only=False)]
    for row, line in zip(rows, means.T, strict=True):
        values = [2 * shades.index(c) / (len(shades) - 1) - 1 for c in row[::wide]]
        assert row == "".join(c * wide for c in row[::wide])
        # Half a step of the scale, and the rounding of its end in the legend.
        np.testing.assert_allclose(
            values, line / largest, rtol=0, atol=1 / (len(shades) - 1) + 1e-2
        )
    assert [place for _, place in marks] == ticks
    assert marks[0] == (1, 0)
    for t, place in marks:
        assert (t - 1) // size == place // wide
    room = columns - len("h_0 ")
    assert 2 * len(rows[0]) >= room or wide == 8
    if steps > 1 and room > 30:
        assert len(marks) > 2


@pytest.mark.parametrize("columns", [1, 20, 40, 80, 120, 200])
@pytest.mark.parametrize("options", [("--hidden", "100"), ("--hidden", "3,12", "--all-layers")])
def test_pictures_fit(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, columns: int, options: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = run_rnn("run", *options, "--format", "heatmap", stdin=WAVE).stdout
    assert max(map(len, text.splitlines())) <= columns
    units = re.findall(r"^\S*_?\d+ +[.:=+*#%@-]+$", text, re.MULTILINE)
    assert len(units) == (100 if "100" in options else 15) or columns == 1


def test_a_heatmap_of_constant_states(run_rnn: Rnn) -> None:
    still = ("run", "--seq", "0,0,0", "--hidden", "2", "--format", "heatmap")
    rows, _, _ = heatmap(run_rnn(*still).stdout)
    assert set("".join(rows)) == {"+"}
    rows, _, _ = heatmap(run_rnn(*still, "--activation", "sigmoid").stdout)
    assert {row[0] for row in rows} == {"@"}


def test_arrays_have_scales_of_their_own(run_rnn: Rnn) -> None:
    command = ("run", "--hidden", "2", "--cell", "lstm", "--states", "--activation", "linear")
    csv = run_rnn(*command, "--format", "csv", stdin=WAVE[:200]).stdout.splitlines()
    values = abs(np.loadtxt(csv, delimiter=",", skiprows=1)[:, 1:]).max(axis=0)
    text = run_rnn(*command, "--format", "heatmap", stdin=WAVE[:200]).stdout
    scales = re.findall(r"^([hc]) -(\S+) \S+ (\S+)$", text, re.MULTILINE)
    assert [name for name, _, _ in scales] == ["h", "c"]
    for (_, least, greatest), end in zip(scales, (max(values[:2]), max(values[2:])), strict=True):
        assert least == greatest
        assert float(greatest) == pytest.approx(end, rel=5e-3)
    for name in "hc":
        rows = re.findall(rf"^{name}_\d (.*)$", text, re.MULTILINE)
        assert set("".join(rows)) & {".", "@"}


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"TERM": "xterm-256color"}, r"\x1b\[48;5;\d+m"),
        ({"TERM": "xterm-16color"}, r"\x1b\[9[14]m[░▒▓█]"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, r"\x1b\[48;2;[\d;]+m"),
    ],
)
def test_a_heatmap_in_colour(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], code: str
) -> None:
    monkeypatch.delenv("COLORTERM", raising=False)
    for name, value in {"FORCE_COLOR": "1", **variables}.items():
        monkeypatch.setenv(name, value)
    command = ("run", "--hidden", "2", "--format", "heatmap")
    assert len(set(re.findall(code, run_rnn(*command, stdin=WAVE).stdout))) > 4
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(code, run_rnn(*command, stdin=WAVE).stdout)


def test_several_sequences_stand_below_each_other(run_rnn: Rnn) -> None:
    """On one scale, the first twelve of them."""
    lines = [f"{k},{(-1) ** k * k / 40}" for _ in range(3) for k in range(14)]
    options = ("--hidden", "1", "--columns", "v", "--activation", "linear")
    command = ("run", "--format", "heatmap", "--group-by", "k", *options)
    text = run_rnn(*command, stdin="\n".join(["k,v", *lines])).stdout
    assert re.findall(r"^k (\d+)$", text, re.MULTILINE) == [str(k) for k in range(12)]
    assert text.endswith("\nThese are the first 12 of 14 sequences.\n")
    rows = [row[4] for row in text.splitlines() if row.startswith("h_0")]
    assert rows[0] == "+"
    assert "@" in text or "." in "".join(rows)
    assert len(set(rows)) > 4


def test_sequences_of_an_earlier_run_take_no_room(run_rnn: Rnn, tmp_path: Path) -> None:
    command = ("run", "--hidden", "1", "--format", "heatmap", "--group-by", "k", "--columns", "v")
    state = ("--state", str(tmp_path / "s.npz"))
    for first in ("before", "now"):
        stdin = "\n".join(["k,v", *(f"{first} {k},1" for k in range(12))])
        text = run_rnn(*command, *state, stdin=stdin).stdout
        assert re.findall(r"^k (.*)$", text, re.MULTILINE) == [f"{first} {k}" for k in range(12)]
        assert "These are the first" not in text


@pytest.mark.parametrize("form", ["heatmap", "plot"])
def test_a_long_key_is_told_whole(run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """Keys, such as names of files, often differ only at their ends."""
    monkeypatch.setenv("COLUMNS", "30")
    keys = [f"[b]the folder of all sensors/:key:/2024-{n}" for n in range(2)]
    rows = "\n".join(["k,v", *(f"{key},1" for key in keys)])
    command = ("run", "--hidden", "1", "--group-by", "k", "--columns", "v", "--format", form)
    lines = [line.rstrip() for line in run_rnn(*command, stdin=rows).stdout.splitlines()]
    assert max(map(len, lines)) <= 30
    text = " ".join(lines)
    assert [text.count(f"k {key}") for key in keys] == [1, 1]
