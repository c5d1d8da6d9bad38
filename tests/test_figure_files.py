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
def test_settings_of_the_user_change_nothing(run_rnn: Rnn) -> None:
    command = (*COMMAND, "--format", "svg")
    right = run_rnn(*command).stdout
    with matplotlib.rc_context({"lines.linewidth": 9, "figure.facecolor": "red"}):
        assert run_rnn(*command).stdout == right
        assert matplotlib.rcParams["lines.linewidth"] == 9


@pytest.mark.slow
@pytest.mark.parametrize("form", FIGURES)
def test_letters_that_the_font_lacks_are_no_warning(run_rnn: Rnn, form: str) -> None:
    result = run_rnn("run", "--hidden", "1", "--format", form, stdin="温度\n1\n")
    assert (result.exit_code, result.stderr) == (0, "")
    if form == "svg":
        assert "温度" in result.stdout


@pytest.mark.slow
def test_names_are_shown_as_a_terminal_shows_them(run_rnn: Rnn) -> None:
    command = ("run", "--columns", "1,2", "--group-by", "3", "--hidden", "1")
    name = f"a\x1b$_{'long' * 20}"
    result = run_rnn(*command, "--format", "svg", stdin=f"{name},{name},{name}\n1,2,\x1b\n")
    assert (result.exit_code, result.stderr) == (0, "")
    shown = ["".join(text.itertext()) for text in ET.fromstring(result.stdout).iter(f"{SVG}text")]
    assert len([text for text in shown if text.startswith("a\\x1b$_long")]) == 3


@pytest.mark.slow
def test_text_is_utf_8_in_any_locale() -> None:
    drawn = [
        python(MAIN, *COMMAND, "--format", "svg", PYTHONIOENCODING=encoding).stdout
        for encoding in ("utf-8", "ascii")
    ]
    assert "\N{MINUS SIGN}".encode() in drawn[0]
    assert drawn[1] == drawn[0]


@pytest.mark.slow
def test_of_very_many_layers_the_upper_ones_are_shown(run_rnn: Rnn) -> None:
    hidden = ",".join(["1"] * 50)
    result = run_rnn(*COMMAND[:3], "--hidden", hidden, "--all-layers", "--format", "svg")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "layer_15_h_0" in result.stdout
    assert "layer_14_h_0" not in result.stdout
    assert "Values of lower layers are not shown: 14 panels." in result.stdout


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


@pytest.mark.slow
def test_settings_that_matplotlib_refuses(tmp_path: Path) -> None:
    done = python(MAIN, *COMMAND, "-o", str(tmp_path / "y.svg"), MPLBACKEND="nonsense")
    assert done.returncode == 1
    begin = b"Error: matplotlib refuses its settings (MPLBACKEND, matplotlibrc): Key backend: "
    assert done.stderr.startswith(begin)
    assert not os.listdir(tmp_path)


@pytest.mark.slow
def test_matplotlib_is_imported_for_figures_alone() -> None:
    script = "import atexit, sys; atexit.register(lambda: print('matplotlib' in sys.modules));"
    for form, imported in (("csv", b"False"), ("heatmap", b"False"), ("svg", b"True")):
        done = python(script + MAIN, *COMMAND, "--format", form)
        assert done.returncode == 0
        assert done.stdout.splitlines()[-1] == imported


@pytest.mark.parametrize("form", ["heatmap", "plot"])
def test_a_picture_of_characters_is_no_figure(run_rnn: Rnn, tmp_path: Path, form: str) -> None:
    path = tmp_path / "h.png"
    result = run_rnn("run", "--seq", "1,2", "--hidden", "2", "--format", form, "-o", str(path))
    assert (result.exit_code, result.stdout, path.exists()) == (2, "", False)
    assert f"{path}: --format {form} is text, without it this is a figure" in result.stderr
