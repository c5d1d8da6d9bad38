"""Figures: what is drawn, asked of matplotlib's own artists, and what the files hold."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from conftest import SAMPLES, Rnn
from matplotlib.figure import Figure

from rnncli.model.arrays import Floats

SUNSPOTS = (str(SAMPLES / "sunspots.csv"), "--columns", "2", "--center", "50", "--scale", "50")
SENSORS = (str(SAMPLES / "sensors.csv"), "--group-by", "sensor", "--columns", "temperature")
SMALL = ("--init", "keras", "--hidden")

Drawn = Callable[..., Figure]


@pytest.fixture
def drawn(run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Run a command line that draws a figure, and return it in place of writing it."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))

    def run(*arguments: str, stdin: str | None = None) -> Figure:
        result = run_rnn("run", *arguments, "--format", "svg", "-q", stdin=stdin)
        assert (result.exit_code, result.stderr) == (0, "")
        return figures[-1]

    return run


def states(run_rnn: Rnn, *arguments: str, stdin: str | None = None) -> Floats:
    """Return the same run as CSV: t, then the columns of numbers."""
    text = run_rnn("run", *arguments, "--format", "csv", stdin=stdin).stdout
    return np.loadtxt(StringIO(text), np.float32, delimiter=",", skiprows=1, ndmin=2)


def panels(figure: Figure) -> list[Any]:
    """The axes that have values, without colour bars."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def lines(axes: Any) -> dict[str, Floats]:
    return {line.get_label(): np.asarray(line.get_xydata()) for line in axes.lines}


def labels(figure: Figure) -> list[str]:
    return [axes.get_ylabel() for axes in panels(figure)]


def wave(steps: int) -> str:
    values = np.sin(np.arange(steps) / 50) + np.random.RandomState(0).normal(size=steps) / 9
    values[steps // 2] = 7  # a spike
    return "v\n" + "\n".join(f"{value:.5f}" for value in values)


def test_lines_are_the_input_and_the_states(run_rnn: Rnn, drawn: Drawn) -> None:
    """Other sequences are not drawn."""
    figure = drawn(*SENSORS, *SMALL, "2")
    assert figure.get_suptitle().endswith("\nsensor greenhouse")
    assert figure.get_supxlabel() == "Other sequences are not drawn."
    text = run_rnn("run", *SENSORS, *SMALL, "2", "--format", "csv").stdout
    rows = [line.split(",")[1:] for line in text.splitlines() if line.startswith("greenhouse,")]
    t, *h = np.array(rows, np.float32).T
    above, *below = panels(figure)
    x = np.loadtxt(SENSORS[0], str, delimiter=",", skiprows=1)
    x = x[x[:, 1] == "greenhouse", 2].astype("f")
    for axes, right in zip((above, *below), (x, *h), strict=True):
        (line,) = lines(axes).values()
        np.testing.assert_array_equal(line, np.column_stack([t, right]))
    assert labels(figure) == ["temperature", "h_0", "h_1"]
    assert below[-1].get_xlabel() == "t"
    assert len({axes.get_ylim() for axes in below}) == 1


def test_a_heatmap_is_the_states_around_0(run_rnn: Rnn, drawn: Drawn) -> None:
    command = (*SUNSPOTS, *SMALL, "12")
    _, below = panels(drawn(*command))
    (mesh,) = below.collections
    right = states(run_rnn, *command)[:, 1:]
    np.testing.assert_array_equal(mesh.get_array(), right.T)
    x, y = mesh.get_coordinates()[0, :, 0], mesh.get_coordinates()[:, 0, 1]
    np.testing.assert_array_equal(x, np.arange(310) + 0.5)
    np.testing.assert_array_equal(y, np.arange(13) - 0.5)
    assert below.get_ylim() == (11.5, -0.5)
    assert mesh.get_clim() == pytest.approx((-abs(right).max(), abs(right).max()))
    assert mesh.colorbar.ax.get_ylabel() == "h"


def test_a_long_sequence_is_means_in_bands_of_all_values(run_rnn: Rnn, drawn: Drawn) -> None:
    """Over equal spans; the spike of a single step is seen."""
    command = (*SMALL, "2")
    figure = drawn(*command, stdin=wave(5000))
    found = states(run_rnn, *command, stdin=wave(5000))
    x = np.loadtxt(StringIO(wave(5000)), skiprows=1)
    assert labels(figure) == ["v", "h_0", "h_1"]
    assert "A point is of 8 steps" in figure.get_supxlabel()
    for axes, values in zip(panels(figure), (x, *found[:, 1:].T), strict=True):
        spans = values.astype(np.float32).reshape(-1, 8).astype(np.float64)
        ((t, mean),) = (line.T for line in lines(axes).values())
        np.testing.assert_array_equal(t, np.arange(1, 5001).reshape(-1, 8).mean(axis=1))
        # Sums in another order.
        np.testing.assert_allclose(mean, spans.mean(axis=1), rtol=1e-12, atol=1e-15)
        ((path,),) = (band.get_paths() for band in axes.collections)
        for place, least, greatest in zip(t, spans.min(axis=1), spans.max(axis=1), strict=True):
            at = path.vertices[path.vertices[:, 0] == place, 1]
            assert (at.min(), at.max()) == (least, greatest)
    assert panels(figure)[0].get_ylim()[1] > 7


def test_layers_and_states_have_panels(run_rnn: Rnn, drawn: Drawn) -> None:
    """Both directions of a layer have one scale."""
    asked = ("--states", "--all-layers", "--direction", "bidirectional")
    command = ("--seq", "1,2,3", "--cell", "lstm", *SMALL, "3,2", *asked)
    _, *every = panels(figure := drawn(*command))
    sizes = {"layer_1_h": 6, "h": 4, "layer_1_c": 6, "c": 4}
    assert labels(figure)[1:] == [f"{name}_{j}" for name, n in sizes.items() for j in range(n)]
    found = np.concatenate([[*lines(axes).values()] for axes in every])[..., 1]
    np.testing.assert_array_equal(found.T, states(run_rnn, *command)[:, 1:])
    assert len({axes.get_ylim() for axes in every[:6]}) == 1


@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_states_of_a_cell_without_c(drawn: Drawn, cell: str) -> None:
    command = ("--seq", "1,2,3", "--cell", cell, *SMALL, "2,1", "--states")
    assert labels(drawn(*command))[1:] == ["h_0"]
    names = ["layer_1_h_0", "layer_1_h_1", "h_0"]
    assert labels(drawn(*command, "--all-layers"))[1:] == names


def test_features(drawn: Drawn) -> None:
    """Missing values are not drawn; each feature has a scale of its own."""
    above, _ = panels(drawn("--missing", "hold", "--hidden", "1", stdin="a\n1\nnan\n3\n"))
    np.testing.assert_array_equal(lines(above)["a"][:, 1], [1, np.nan, 3])
    rows = f"a,b{',c' * 7}\n1,1001{',0' * 7}\n2,1003{',0' * 7}\n"
    one, other, *others = panels(figure := drawn("--hidden", "1", stdin=rows))
    assert (len(others), figure.get_supxlabel()[:24]) == (7, "These are the first 8 of")
    assert (one.get_ylabel(), other.get_ylabel()) == ("a", "b")
    assert one.get_ylim() == pytest.approx((0.94, 2.06))
    assert other.get_ylim() == pytest.approx((1000.88, 1003.12))


@pytest.mark.parametrize("units", ["3", "12"])
def test_one_step_no_step_and_huge_values(run_rnn: Rnn, drawn: Drawn, units: str) -> None:
    _, *below = panels(drawn("--seq", "2", *SMALL, units))
    assert (len(below), len(below[0].lines)) == ((3, 1) if units == "3" else (1, 0))
    assert below[0].get_xlim() == (0.5, 1.5)
    none = drawn(*SMALL, units, "--group-by", "k", stdin="k,v\n")
    assert (none.axes, none.get_supxlabel()) == ([], "No steps.")
    for x in ("0,0,0", "1e306,-1e306,1e300"):
        command = ("--seq", x, *SMALL, units, "--activation", "linear", "--precision", "float64")
        above, *below = panels(drawn(*command))
        assert np.isfinite([axes.get_ylim() for axes in (above, *below)]).all()
        np.testing.assert_array_equal(lines(above)["x"][:, 1], np.array(x.split(","), float))
    refused = run_rnn("run", "--seq", "1e308", *SMALL, "1", *command[-2:], "--format", "svg")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)


def test_svg_has_its_text_as_text(run_rnn: Rnn) -> None:
    """Also letters that the font lacks, none that steers; nothing is fetched from elsewhere."""
    rows = "$when$,<v> & 温度\x1b\n1,1\n2,2\n"
    command = ("run", "--columns", "1,2", "--hidden", "2", "--format", "svg")
    result = run_rnn(*command, stdin=rows)
    assert (result.exit_code, result.stderr) == (0, "")
    texts = ET.fromstring(result.stdout).iter("{http://www.w3.org/2000/svg}text")
    found = [*map("".join, (each.itertext() for each in texts))]
    assert {r"<v> & 温度\x1b", "t", "$when$", "h_0", "h_1"} <= set(found)
    title = r"RNN: I = 2 ($when$, '<v> & 温度\x1b'), H = 2"
    assert any(text.startswith(title) for text in found)
    assert not re.search(r"(href|url)[=(]['\"]?https?:", result.stdout)


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_the_same_run_gives_the_same_bytes(
    run_rnn: Rnn, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any time, in a file or in a pipe; they are a picture or a page."""
    command = ("run", "--columns", "1,2", "--cell", "lstm", "--states", "--hidden", "9")
    path, rows = tmp_path / f"states.{form}", "温度,v\n1,2\n3,4\n"
    result = run_rnn(*command, "-o", str(path), stdin=rows)
    assert (result.exit_code, result.stderr) == (0, "")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    content = path.read_bytes()
    assert run_rnn(*command, "--format", form, stdin=rows).stdout_bytes == content
    if form == "png":
        pixels = matplotlib.image.imread(BytesIO(content))
        assert pixels.shape[1] == 1500
        assert 0.2 < (pixels[..., :3] == 1).all(axis=-1).mean() < 0.9
    if form == "pdf":
        for piece in (b"%PDF-", b"/MediaBox [ 0 0 540 ", b"/FontFile2", b"%%EOF"):
            assert piece in content
