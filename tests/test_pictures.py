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
