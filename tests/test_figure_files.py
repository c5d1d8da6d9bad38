"""Figures as files: SVG, PNG and PDF, and where matplotlib is not."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from io import BytesIO
from pathlib import Path

import matplotlib
import matplotlib.image
import pytest
from conftest import ROOT, SAMPLES, Rnn

FIGURES = ("svg", "png", "pdf")
COMMAND = ("run", "--seq", "1,2,3", "--hidden", "2")
SENSORS = str(SAMPLES / "sensors.csv")
SVG = "{http://www.w3.org/2000/svg}"
# A command that draws most of what there is.
MUCH = (
    *("run", SENSORS, "--group-by", "sensor", "--columns", "temperature,humidity"),
    *("--cell", "lstm", "--states", "--direction", "bidirectional", "--hidden", "9,2"),
    *("--all-layers", "--init", "keras"),
)


def python(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(
        command, capture_output=True, check=False, cwd=ROOT, env=os.environ | variables
    )


MAIN = "from rnncli.__main__ import main; main()"


@pytest.mark.slow
def test_svg_has_its_text_as_text(run_rnn: Rnn) -> None:
    text = "$when$,<v> & w\n1,1\n2,2\n"
    command = ("run", "--columns", "1,2", "--hidden", "2", "--format", "svg")
    result = run_rnn(*command, stdin=text)
    assert (result.exit_code, result.stderr) == (0, "")
    tree = ET.fromstring(result.stdout)
    found = [*map("".join, (each.itertext() for each in tree.iter(f"{SVG}text")))]
    title = "RNN: I = 2 ($when$, <v> & w), H = 2, tanh, float32, init tensorflow, seed 1"
    assert {title, "<v> & w", "h", "$when$", "h_0", "h_1"} <= set(found)
    # The font that comes with matplotlib, and another of that kind where it is not.
    fonts = {*re.findall(r"font(?:-family)?: ([^;\"]*)", result.stdout)}
    assert all("DejaVu Sans" in font and font.endswith(", sans-serif") for font in fonts)
    assert fonts
    assert not re.search(r"(href|url)[=(]['\"]?https?:", result.stdout)


@pytest.mark.slow
def test_png_is_a_picture_on_white(run_rnn: Rnn) -> None:
    result = run_rnn(*COMMAND, "--format", "png")
    image = matplotlib.image.imread(BytesIO(result.stdout_bytes))
    assert image.shape[1] == 1500
    assert 500 < image.shape[0] < 1500
    white = (image[..., :3] == 1).all(axis=-1)
    assert white[[0, -1]].all()
    assert 0.8 < white.mean() < 0.99


@pytest.mark.slow
def test_pdf_has_a_page_and_fonts(run_rnn: Rnn) -> None:
    content = run_rnn(*COMMAND, "--format", "pdf").stdout_bytes
    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%%EOF")
    assert content.count(b"/Type /Page ") == 1
    assert b"/MediaBox [ 0 0 540 " in content
    assert b"/FontFile2" in content
    assert b"CreationDate" not in content


@pytest.mark.slow
@pytest.mark.parametrize("form", FIGURES)
def test_the_same_run_gives_the_same_bytes(form: str, tmp_path: Path) -> None:
    every = []
    for seed in ("1", "2"):
        path = tmp_path / f"{seed}.{form}"
        done = python(MAIN, *MUCH, "-o", str(path), PYTHONHASHSEED=seed)
        assert (done.returncode, done.stderr) == (0, b"")
        every.append(path.read_bytes())
    assert every[0] == every[1]
    piped = python(MAIN, *MUCH, "--format", form)
    assert piped.stdout == every[0]


@pytest.mark.slow
@pytest.mark.parametrize("form", FIGURES)
def test_letters_that_the_font_lacks_are_no_warning(run_rnn: Rnn, form: str) -> None:
    result = run_rnn("run", "--hidden", "1", "--format", form, stdin="温度\n1\n")
    assert (result.exit_code, result.stderr) == (0, "")
    if form == "svg":
        assert "温度" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("form", FIGURES)
def test_a_run_that_fails_leaves_the_file_alone(run_rnn: Rnn, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"states.{form}"
    path.write_text("before")
    growing = ("--hidden", "1", "--activation", "linear", "--precision", "float64")
    result = run_rnn("run", "--seq", "1e308,1e308,1e308", *growing, "--seed", "3", "-o", str(path))
    assert result.exit_code == 1
    assert "overflow" in result.stderr
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == [path.name]


WITHOUT = """
import sys
sys.modules["matplotlib"] = None
import rnncli.engine.stream
def computes(*_, **__): raise AssertionError("a step was computed")
rnncli.engine.stream.advance_rows = computes
from rnncli.__main__ import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", FIGURES)
def test_without_matplotlib_it_says_what_to_install(form: str, tmp_path: Path) -> None:
    """Before anything is computed; other formats do without."""
    path = tmp_path / f"states.{form}"
    done = python(WITHOUT, *COMMAND, "-o", str(path))
    assert done.returncode == 1
    assert done.stderr == b"Error: figures need matplotlib: pip install 'rnncli[plot]'\n"
    assert not path.exists()
