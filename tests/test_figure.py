"""Figures: what is drawn, asked of matplotlib's own artists."""

import re
from collections.abc import Callable
from io import StringIO
from typing import Any

import numpy as np
import pytest
from conftest import SAMPLES, Rnn
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from rnncli.model.arrays import Floats

SUNSPOTS = (str(SAMPLES / "sunspots.csv"), "--columns", "2", "--center", "50", "--scale", "50")
SENSORS = (str(SAMPLES / "sensors.csv"), "--group-by", "sensor", "--columns", "temperature")
KERAS = ("--weights", str(SAMPLES / "sunspots.keras"))
SMALL = ("--init", "keras", "--hidden")

Drawn = Callable[..., Figure]


@pytest.fixture
def drawn(run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Run a command line that draws a figure, and return it in place of writing it."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))

    def run(*arguments: str, stdin: str | None = None) -> Figure:
        result = run_rnn("run", *arguments, "--format", "svg", stdin=stdin)
        assert (result.exit_code, result.stderr) == (0, "")
        return figures[-1]

    return run


def states(run_rnn: Rnn, *arguments: str, stdin: str | None = None) -> Floats:
    """What the same run has as CSV: t, then the columns of numbers."""
    text = run_rnn("run", *arguments, "--format", "csv", stdin=stdin).stdout
    return np.loadtxt(StringIO(text), np.float32, delimiter=",", skiprows=1, ndmin=2)


def panels(figure: Figure) -> list[Any]:
    """The axes that have values, without colour bars."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def lines(axes: Any) -> dict[str, Floats]:
    return {line.get_label(): np.asarray(line.get_xydata()) for line in axes.lines}


def wave(steps: int) -> str:
    values = np.sin(np.arange(steps) / 50) + np.random.RandomState(0).normal(size=steps) / 9
    values[steps // 2] = 7  # a spike
    return "v\n" + "\n".join(f"{value:.5f}" for value in values)


def test_lines_are_the_input_and_the_states(run_rnn: Rnn, drawn: Drawn) -> None:
    command = ("--seq", "1,2,3,4,5,6", "--hidden", "4")
    above, below = panels(drawn(*command))
    np.testing.assert_array_equal(lines(above)["x"], [[t, t] for t in range(1, 7)])
    t, *h = states(run_rnn, *command).T
    assert list(lines(below)) == [f"h_{j}" for j in range(4)]
    for drawn_line, right in zip(lines(below).values(), h, strict=True):
        np.testing.assert_array_equal(drawn_line, np.column_stack([t, right]))
    assert (above.get_ylabel(), below.get_ylabel(), below.get_xlabel()) == ("x", "h", "t")
    assert [text.get_text() for text in below.get_legend().get_texts()] == list(lines(below))
    assert len({to_hex(line.get_color()) for line in below.lines}) == 4


def test_a_heatmap_is_the_states(run_rnn: Rnn, drawn: Drawn) -> None:
    command = (*SUNSPOTS, *SMALL, "12")
    _, below = panels(drawn(*command))
    (mesh,) = below.collections
    right = states(run_rnn, *command)[:, 1:]
    np.testing.assert_array_equal(mesh.get_array(), right.T)
    x, y = mesh.get_coordinates()[0, :, 0], mesh.get_coordinates()[:, 0, 1]
    np.testing.assert_array_equal(x, np.arange(310) + 0.5)
    np.testing.assert_array_equal(y, np.arange(13) - 0.5)
    assert below.get_ylim() == (11.5, -0.5)
    # The scale has its middle, white, at 0.
    assert mesh.get_clim() == pytest.approx((-abs(right).max(), abs(right).max()))
    assert [text.get_text() for text in below.get_yticklabels()] == [f"h_{j}" for j in range(12)]
    assert mesh.colorbar.ax.get_ylabel() == "h"


def test_a_long_sequence_is_means_in_bands_of_all_values(run_rnn: Rnn, drawn: Drawn) -> None:
    """Over equal spans; the spike of a single step is seen."""
    steps = 5000
    command = (*SMALL, "2")
    figure = drawn(*command, stdin=wave(steps))
    found = states(run_rnn, *command, stdin=wave(steps))
    x = np.loadtxt(StringIO(wave(steps)), skiprows=1)
    every = panels(figure)
    assert [axes.get_ylabel() for axes in every] == ["v", "h_0", "h_1"]
    size = int(re.search(r"([\d,]+) steps", figure.get_supxlabel())[1])  # type: ignore[index]
    assert size == 8
    for axes, values in zip(every, (x, *found[:, 1:].T), strict=True):
        spans = values.astype(np.float32).reshape(-1, size).astype(np.float64)
        ((t, mean),) = (line.T for line in lines(axes).values())
        np.testing.assert_array_equal(t, np.arange(1, steps + 1).reshape(-1, size).mean(axis=1))
        # Sums in another order.
        np.testing.assert_allclose(mean, spans.mean(axis=1), rtol=1e-12, atol=1e-15)
        ((path,),) = (band.get_paths() for band in axes.collections)
        for place, least, greatest in zip(t, spans.min(axis=1), spans.max(axis=1), strict=True):
            at = path.vertices[path.vertices[:, 0] == place, 1]
            assert (at.min(), at.max()) == (least, greatest)
    assert every[0].get_ylim()[1] > 7


def test_a_long_heatmap_is_means(run_rnn: Rnn, drawn: Drawn) -> None:
    command = (*SMALL, "9")
    _, below = panels(drawn(*command, stdin=wave(4000)))
    right = states(run_rnn, *command, stdin=wave(4000))[:, 1:].reshape(500, 8, 9).mean(axis=1)
    (mesh,) = below.collections
    np.testing.assert_allclose(mesh.get_array(), right.T, rtol=1e-6, atol=1e-6)
    assert mesh.colorbar.ax.get_ylabel() == "mean of h"


@pytest.mark.parametrize(("units", "steps"), [("8", "309"), ("3", "309"), ("5", "100"), ("5", "6")])
def test_states_that_would_cover_each_other_stand_apart(
    drawn: Drawn, units: str, steps: str
) -> None:
    _, *strips = panels(drawn(*SUNSPOTS, *SMALL, units, "--head", steps))
    assert [axes.get_ylabel() for axes in strips] == [f"h_{j}" for j in range(int(units))]
    assert len({axes.get_ylim() for axes in strips}) == 1


@pytest.mark.parametrize(("units", "steps"), [("2", "309"), ("4", "100")])
def test_few_states_stand_together(drawn: Drawn, units: str, steps: str) -> None:
    command = (*SUNSPOTS, *SMALL, units, "--cell", "lstm", "--states", "--head", steps)
    _, *below = panels(drawn(*command))
    assert [axes.get_ylabel() for axes in below] == ["h", "c"]


def test_layers_states_and_directions_have_panels(run_rnn: Rnn, drawn: Drawn) -> None:
    asked = ("--states", "--all-layers", "--direction", "bidirectional")
    command = ("--seq", "1,2,3", "--cell", "lstm", *SMALL, "3,2", *asked)
    _, *every = panels(drawn(*command))
    names = [f"{name}, {way}" for name in ("layer_1_h", "h", "layer_1_c", "c") for way in WAYS]
    assert [axes.get_ylabel() for axes in every] == names
    found = np.concatenate([[*lines(axes).values()] for axes in every])[..., 1]
    np.testing.assert_array_equal(found.T, states(run_rnn, *command)[:, 1:])
    # Both directions of a layer have one scale.
    assert len({axes.get_ylim() for axes in every[:2]}) == 1


WAYS = ("forward", "backward")


def test_what_is_missing_is_not_drawn(drawn: Drawn) -> None:
    command = ("--missing", "hold", *KERAS)
    above, *_ = panels(drawn(*command, stdin="a\n1\nnan\n3\n"))
    np.testing.assert_array_equal(lines(above)["a"][:, 1], [1, np.nan, 3])


def test_features_that_differ_much_have_each_a_scale(drawn: Drawn) -> None:
    alike, _ = panels(drawn("--hidden", "2", stdin="a,b\n1,2\n2,1\n"))
    assert [*lines(alike)] == ["a", "b"]
    hidden, _ = panels(drawn("--hidden", "2", stdin="_a,_b\n1,2\n2,1\n"))
    assert [text.get_text() for text in hidden.get_legend().get_texts()] == [" _a", " _b"]
    one, other, _ = panels(drawn("--hidden", "2", stdin="a,b\n1,1001\n2,1003\n"))
    assert (one.get_ylabel(), other.get_ylabel()) == ("a", "b")
    assert one.get_ylim() == pytest.approx((0.94, 2.06))
    assert other.get_ylim() == pytest.approx((1000.88, 1003.12))


def test_sequences_are_small_multiples(run_rnn: Rnn, drawn: Drawn) -> None:
    figure = drawn(*SENSORS, *SMALL, "2")
    every = panels(figure)
    names = [axes.get_title() for axes in every if axes.get_title()]
    assert names == ["sensor greenhouse", "sensor attic", "sensor cellar"]
    text = run_rnn("run", *SENSORS, *SMALL, "2", "--format", "csv").stdout
    rows = [line.split(",") for line in text.splitlines()[1:]]
    for name, axes in zip(names, every[1::2], strict=True):
        own = [row[1:] for row in rows if f"sensor {row[0]}" == name]
        t, *h = np.array(own, np.float32).T
        for line, right in zip(lines(axes).values(), h, strict=True):
            np.testing.assert_array_equal(line, np.column_stack([t, right]))
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in every[1::2]}) == 1
    assert figure.get_supxlabel() == ""


@pytest.mark.slow
@pytest.mark.parametrize(("sequences", "shown"), [(2, 2), (4, 4), (12, 12), (30, 12)])
def test_sequences_that_are_not_shown_are_told(drawn: Drawn, sequences: int, shown: int) -> None:
    rows = "".join(f"s{k},{t}\n" for t in range(3) for k in range(sequences))
    figure = drawn("--group-by", "k", *SMALL, "1", stdin=f"k,v\n{rows}")
    names = [axes.get_title() for axes in panels(figure) if axes.get_title()]
    assert names == [f"k s{k}" for k in range(shown)]
    told = f"These are the first 12 of {sequences} sequences."
    assert figure.get_supxlabel() == (told if sequences > shown else "")


def test_one_step_and_none(drawn: Drawn) -> None:
    for units in ("1", "9"):
        above, below = panels(drawn("--seq", "2", *SMALL, units))
        assert len(below.lines) + len(below.collections) == 1
        assert below.get_xlim() == (0.5, 1.5)
        for axes in panels(drawn(*SMALL, units, stdin="v\n")):
            assert "no steps" in [text.get_text() for text in axes.texts]
    assert above.lines[0].get_marker() == "."


@pytest.mark.parametrize("units", ["3", "12"])
@pytest.mark.parametrize("x", ["0,0,0", "1e30,-1e30,3e37", "1e308,-1e308,1e300"])
def test_constant_and_huge_values(drawn: Drawn, units: str, x: str) -> None:
    command = ("--seq", x, *SMALL, units, "--activation", "linear", "--precision", "float64")
    above, below = panels(drawn(*command))
    assert np.isfinite([above.get_ylim(), below.get_ylim()]).all()
    power = 308 if "308" in x else 0
    scaled = np.array(x.split(","), float) / 10.0**power
    np.testing.assert_allclose(lines(above)["x"][:, 1], scaled, rtol=1e-15)
    assert above.get_ylabel() == ("x / 1e308" if power else "x")


@pytest.mark.slow
def test_very_many_units_share_rows(run_rnn: Rnn, drawn: Drawn) -> None:
    _, below = panels(drawn("--seq", "1,2", *SMALL, "1001"))
    rows = below.collections[0].get_array()
    right = states(run_rnn, "--seq", "1,2", *SMALL, "1001")[:, 1:]
    assert below.get_ylabel() == "unit (3 in a row)"
    np.testing.assert_allclose(rows[0], right[:, :3].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(rows[-1], right[:, 999:].mean(axis=1), rtol=1e-6)
