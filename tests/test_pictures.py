"""Pictures of steps over time, and what goes with them."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from conftest import Rnn

WAVE = "\n".join(f"{np.sin(t / 3):.3f}" for t in range(400))


def test_svg_is_a_picture_of_all_units(run_rnn: Rnn, tmp_path: Path) -> None:
    result = run_rnn("run", "--hidden", "5", "-o", str(tmp_path / "h.svg"), stdin=WAVE)
    assert result.exit_code == 0
    tree = ET.fromstring((tmp_path / "h.svg").read_text())
    text = "".join(tree.itertext())
    assert all(f"h_{unit}" in text for unit in range(5))
    fills = {element.get("fill") for element in tree.iter() if element.tag.endswith("rect")}
    assert len(fills) > 10


def test_pictures_of_nothing(run_rnn: Rnn) -> None:
    for form in ("heatmap", "svg"):
        result = run_rnn("run", "--hidden", "2", "--format", form, stdin="v\n")
        assert (result.exit_code, result.stderr) == (0, "")


def test_an_svg_is_of_one_sequence(run_rnn: Rnn) -> None:
    command = ("run", "--hidden", "2", "--format", "svg", "--group-by", "k")
    result = run_rnn(*command, stdin="k,v\na,1\n")
    assert result.exit_code == 2
    assert "a svg shows one sequence, this input has one for each k" in result.stderr


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
    known = "there are 't', 'v' (or 1 to 2); did you mean 't'?"
    assert result.stderr == f"Error: standard input: no column 'T'; {known}\n"
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
