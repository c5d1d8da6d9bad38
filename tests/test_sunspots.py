"""The trained model of the sample data: three files of one network, and how good it is."""

import numpy as np
import pytest
from conftest import ROOT

import rnncli
from rnncli.model.arrays import Floats

SAMPLES = ROOT / "sample_data"
FIRST, END = 1700, 1950  # of the years that it learned from
FILES = ("sunspots.keras", "sunspots.pt", "sunspots.onnx")
# What the README says: the root mean square of the errors from 1950 on.
ITS_OWN, OF_NO_CHANGE = "17.6", "33.2"
# And of the forecast of the last cycle, and of the cycle before it taken for that.
CYCLE, AHEAD, OF_SAME = 11, "15.4", "25.1"


def numbers() -> Floats:
    table = np.loadtxt(SAMPLES / "sunspots.csv", delimiter=",", skiprows=1)
    assert table[0, 0] == FIRST
    return np.asarray(table[:, 1])


def error(said: Floats) -> str:
    """How far each year's number, from 1950 on, is from what was said the year before."""
    off = said[END - FIRST - 1 : -1] - numbers()[END - FIRST :]
    return f"{np.sqrt(np.mean(off**2)):.1f}"


@pytest.mark.filterwarnings("ignore:.*head is read as a linear layer")
@pytest.mark.parametrize("name", FILES)
def test_it_says_the_next_year(name: str) -> None:
    network = rnncli.load(SAMPLES / name)
    y = rnncli.run(network, numbers()[:, None], precision="float64").y
    assert y is not None
    assert error(y[:, 0]) == ITS_OWN
    first = rnncli.run(rnncli.load(SAMPLES / FILES[0]), numbers()[:, None], precision="float64").y
    assert first is not None
    # The weights are the same float32 numbers; PyTorch's two biases are added in float32.
    np.testing.assert_allclose(y, first, rtol=1e-6)


def test_the_readme_says_how_good_it_is() -> None:
    assert error(numbers()) == OF_NO_CHANGE
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"root mean square error is {ITS_OWN};" in text
    assert f"has an error of {OF_NO_CHANGE}" in text


def test_the_readme_says_how_good_a_forecast_is() -> None:
    x = numbers()
    past, came = x[:-CYCLE], x[-CYCLE:]
    ahead = rnncli.forecast(SAMPLES / FILES[0], past, CYCLE)[:, 0]
    errors = [np.sqrt(np.mean((each - came) ** 2)) for each in (ahead, past[-CYCLE:])]
    assert [f"{each:.1f}" for each in errors] == [AHEAD, OF_SAME]
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"error is {AHEAD}; taking the eleven years before as the forecast has {OF_SAME}" in text


def test_the_port_has_its_fault() -> None:
    """It takes z for the share of the new state: h_t = (1 - z) h_{t-1} + z n."""
    layer, dense = rnncli.load(SAMPLES / "sunspots.keras").layers
    w, head = layer.cells[0].weights.arrays, dense.arrays
    h, y = np.zeros(8), []
    for x in numbers():
        a, m = x * w["W_xh"][0] + w["b_h"], h @ w["W_hh"]
        z, r = np.split(1 / (1 + np.exp(-a[:16] - m[:16])), 2)
        n = np.tanh(a[16:] + r * (m[16:] + w["b_n"]))
        h = (1 - z) * h + z * n
        y.append(h @ head["W"][:, 0] + head["b"][0])
    np.testing.assert_allclose(np.loadtxt(SAMPLES / "sunspots_ported.csv"), y, rtol=1e-5)
