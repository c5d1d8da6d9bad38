"""Heatmaps: how they are drawn."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from conftest import Rnn

WAVE = "\n".join(f"{np.sin(t / 3):.3f}" for t in range(400))


def test_a_heatmap_without_colour(run_rnn: Rnn) -> None:
    result = run_rnn("run", "--hidden", "3", "--format", "heatmap", stdin=WAVE)
    lines = result.stdout.splitlines()
    assert [line[:3] for line in lines[1:4]] == ["h_0", "h_1", "h_2"]
    assert all(len(line) <= 80 for line in lines)
    assert "\x1b" not in result.stdout
    assert re.search(r"t = 1 to 400, 8 steps a column$", lines[-1])
    # Unit 0 has a negative weight from a wave: it falls where unit 1 rises.
    assert set(lines[1][4:]) > set("-+")


@pytest.mark.parametrize("columns", ["20", "40", "200"])
def test_a_heatmap_fits(run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = run_rnn("run", "--hidden", "12", "--format", "heatmap", stdin=WAVE).stdout.splitlines()
    units = [line for line in lines if line.startswith("h_")]
    assert len(units) == 12
    assert max(map(len, units)) <= int(columns)


def test_a_heatmap_in_colour(run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[" in run_rnn("run", "--hidden", "2", "--format", "heatmap", stdin=WAVE).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    result = run_rnn("run", "--hidden", "2", "--format", "heatmap", stdin=WAVE)
    assert not re.search(r"\x1b\[[0-9;]*48;", result.stdout)


def test_svg_is_a_picture_of_all_units(run_rnn: Rnn, tmp_path: Path) -> None:
    result = run_rnn("run", "--hidden", "5", "-o", str(tmp_path / "h.svg"), stdin=WAVE)
    assert result.exit_code == 0
    tree = ET.fromstring((tmp_path / "h.svg").read_text())
    text = "".join(tree.itertext())
    assert all(f"h_{unit}" in text for unit in range(5))
    fills = {element.get("fill") for element in tree.iter() if element.tag.endswith("rect")}
    assert len(fills) > 10


@pytest.mark.parametrize("form", ["heatmap", "svg"])
def test_pictures_of_nothing_and_of_several(run_rnn: Rnn, form: str) -> None:
    options = ("run", "--hidden", "2", "--format", form)
    assert run_rnn(*options, stdin="v\n").exit_code == 0
    result = run_rnn(*options, "--group-by", "k", stdin="k,v\na,1\n")
    assert result.exit_code == 2
    assert f"a {form} shows one sequence, this input has one for each k" in result.stderr


@pytest.mark.parametrize("option", ["--plot=lines", "--x=t", "--against=t"])
def test_options_of_figures_are_for_figures(run_rnn: Rnn, option: str) -> None:
    for form in ("csv", "heatmap"):
        result = run_rnn("run", "--hidden", "2", "--format", form, option, stdin="t,v\n1,2\n")
        assert (result.exit_code, result.stdout) == (2, "")
        name = option.partition("=")[0]
        assert f"{name} is for figures, the format is {form}: give -o FILE.svg" in result.stderr


@pytest.mark.parametrize("option", ["--x", "--against"])
def test_columns_beside_the_features(run_rnn: Rnn, tmp_path: Path, option: str) -> None:
    figure = str(tmp_path / "h.svg")
    options = ("run", "--hidden", "2", "-o", figure, option)
    result = run_rnn(*options, "T", "--columns", "v", stdin="t,v\n1,2\n")
    assert result.stderr == "Error: standard input: no column 'T'; there are 't', 'v' (or 1 to 2)\n"
    result = run_rnn(*options, "3", "--first-row", "data", stdin="1,2\n")
    message = "no column '3': it has no header; expected a number from 1 to 2 in"
    assert result.stderr == f"Error: standard input: {message} {option}\n"
    result = run_rnn(*options, "1", "--seq", "1,2")
    assert "--x and --against are for files, not for --seq" in result.stderr
    np.save(tmp_path / "x.npy", np.ones(3))
    result = run_rnn(*options, "1", str(tmp_path / "x.npy"))
    assert "an array has no cells of text; --x and --against are for CSV text" in result.stderr
    assert result.exit_code == 2
    assert not (tmp_path / "h.svg").exists()
