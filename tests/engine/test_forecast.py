"""Forecasts: each prediction is the next input."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_networks import Choices, NetworkCase, network_cases

import rnncli
from rnncli.model.errors import NotFiniteError
from rnncli.model.layers import DIRECTIONS, Dense, Embedding, Normalization, Recurrent
from rnncli.model.network import Network

FORWARD = Choices(
    functions=["tanh", "sigmoid"],
    row_functions=["tanh", "softmax"],
    directions=["forward"],
    bottoms=["", "embedding"],
    above=1,
)


def with_head(case: NetworkCase) -> Network:
    """Add a head that predicts as many values as the network reads."""
    network = case.network
    O, width = network.indices or network.input_size, network.output_size
    W = np.random.RandomState(1).normal(0, 0.3, (width, O)).astype("f")
    return Network(*network.layers, Dense(W), last=network.last)


def draw(*widths: int) -> np.ndarray[Any, Any]:
    return np.random.RandomState(sum(widths)).normal(0, 0.5, widths).astype("f")


def predictor(I: int = 1, O: int = 1, direction: str = "forward") -> Network:
    """Make a network with a head from two directions, or one."""
    cells = [rnncli.RNN(rnncli.Weights(draw(I, 3), draw(3, 3), draw(3)))] * len(
        DIRECTIONS[direction]
    )
    layer = Recurrent(*cells, direction=direction)
    return Network(layer, Dense(draw(layer.output_size, O), draw(O)))


@given(network_cases(FORWARD), st.integers(1, 5))
def test_a_forecast_is_a_run_over_its_own_predictions(case: NetworkCase, steps: int) -> None:
    """To the bit, as `stepwise` does not depend on what comes after a step."""
    network = with_head(case)
    lengths = np.maximum(1, case.lengths)
    x = case.x if case.x.shape[1] else np.zeros((len(case.x), 1, network.input_size), "f")
    found = rnncli.forecast(network, x, steps, case.h0, lengths=lengths, unroll="stepwise")
    every = Network(*network.layers)
    for sequence, T, h0, ahead in zip(x, lengths, case.h0, found, strict=True):
        joined = np.concatenate([sequence[:T], ahead])
        y = rnncli.run(every, joined, h0, unroll="stepwise").y
        assert y is not None
        expected = y[T - 1 : -1]
        if network.indices:
            expected = expected.argmax(axis=1)[:, None]
        np.testing.assert_array_equal(ahead, expected)


@pytest.mark.parametrize("cut", [1, 4, 9])
def test_each_key_runs_ahead_across_nights(tmp_path: Path, cut: int) -> None:
    """The second night goes on from the end of the first night's input, not from its forecast."""
    network, keys = predictor(), np.array([0, 1, 0, 0, 1, 2, 1, 0, 2, 1])
    x = np.random.RandomState(0).normal(size=(len(keys), 1)).round(3)
    lines = [f"{'abc'[key]},{value}\n" for key, (value,) in zip(keys, x, strict=True)]
    nights, states = [lines[:cut], lines[cut:]], list[Path]()
    for number, night in enumerate(nights):
        file, out = tmp_path / f"{number}.csv", tmp_path / f"{number}.out.csv"
        file.write_text("sensor,v\n" + "".join(night))
        options: dict[str, Any] = {"group_by": "sensor", "unroll": "stepwise"}
        alone = {**options, "state_in": states[-1]} if states else options
        states.append(tmp_path / f"s{number}")
        rnncli.score(file, network, out, **alone, state_out=states[-1], ahead=3)
        written = states[-1].read_bytes()
        rnncli.score(file, network, tmp_path / "alone.csv", **alone, state_out=states[-1])
        assert states[-1].read_bytes() == written
    ahead = np.loadtxt(out, delimiter=",", skiprows=1 + len(nights[1]), converters={0: ord})
    assert len(ahead) == 3 * len({*keys[cut:]})
    for key, name in enumerate("abc"):
        own = ahead[ahead[:, 0] == ord(name)]
        if len(own):
            T = int((keys == key).sum())
            expected = rnncli.forecast(network, x[keys == key], 4, unroll="stepwise")[1:]
            np.testing.assert_array_equal(own[:, 1], np.arange(T + 1, T + 4))
            np.testing.assert_array_equal(own[:, 2:].astype("f"), expected)


def test_a_scaled_network_predicts_scaled_values(tmp_path: Path) -> None:
    """As where a network was trained on a scaled column: the input in scaled units is the same."""
    network, x = predictor(), np.random.RandomState(0).normal(20, 5, (9, 1))
    np.savetxt(tmp_path / "x.csv", x)
    expected = rnncli.forecast(network, (x - 20) / 5, 4)
    with pytest.warns(UserWarning, match="scaled value: the next x is center"):
        rnncli.score(tmp_path / "x.csv", network, tmp_path / "y.csv", center=20, scale=5, ahead=3)
    found = np.loadtxt(tmp_path / "y.csv", delimiter=",", skiprows=1)[-4:, 1:]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # A model with its own normalization predicts in its own units.
    own = Network(Normalization([20.0], [5.0]), *network.layers)
    y = rnncli.run(own, [*x, *rnncli.forecast(own, x, 1)], unroll="stepwise").y_n
    assert y is not None
    np.testing.assert_allclose(rnncli.forecast(own, x, 2)[1], y, rtol=1e-6)


def test_an_empty_cell_at_the_end_is_no_input(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("v\n1\n2\n\n3\nnan\n")
    rnncli.score(tmp_path / "x.csv", predictor(), tmp_path / "y.csv", missing="hold", ahead=2)
    lines = np.loadtxt(tmp_path / "y.csv", delimiter=",", skiprows=1)
    expected = rnncli.forecast(predictor(), [1, 2, 3], 3)[1:]
    np.testing.assert_allclose(lines[-2:, 1:], expected, rtol=1e-6)
    np.testing.assert_array_equal(lines[-2:, 0], [len(lines) - 1, len(lines)])


@pytest.mark.parametrize(
    ("network", "what"),
    [
        (predictor(2, 1), "reads 2 values and predicts 1"),
        (predictor(1, 1, "backward"), "needs whole sequences"),
        (predictor(1, 1, "bidirectional"), "needs whole sequences"),
        (rnncli.seeded(1, 1), "has no head"),
        (Network(Embedding(draw(5, 3)), *predictor(3, 4).layers), "below 5 and predicts 4"),
    ],
)
def test_a_prediction_that_is_no_input_is_refused(
    network: Network, what: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"^network: .*{what}"):
        rnncli.forecast(network, np.ones((3, network.input_size)), 2)
    np.savetxt(tmp_path / "x.csv", np.ones((3, network.input_size)), delimiter=",")
    with pytest.raises(ValueError, match=f"^.ahead.: .*{what}"):
        rnncli.score(tmp_path / "x.csv", network, tmp_path / "y.csv", ahead=2)
    assert not (tmp_path / "y.csv").exists()


def test_wrong_numbers_of_steps_are_refused() -> None:
    for steps in (0, -1):
        with pytest.raises(ValueError, match=r"^steps: expected a number"):
            rnncli.forecast(predictor(), [1], steps)
    with pytest.raises(TypeError):
        rnncli.forecast(predictor(), [1], 1.5)  # type: ignore[arg-type]


def test_a_forecast_that_overflows_is_written_up_to_the_overflow(tmp_path: Path) -> None:
    grows = Network(
        rnncli.RNN(rnncli.Weights(np.full((1, 1), 1e20), np.zeros((1, 1)), np.zeros(1)), "linear"),
        Dense([[1.0]]),
    )
    with pytest.raises(NotFiniteError, match="step 2, unit 0: overflow"):
        rnncli.forecast(grows, [1], 3)
    (tmp_path / "x.csv").write_text("v\n1\n")
    with pytest.raises(NotFiniteError):
        rnncli.score(tmp_path / "x.csv", grows, tmp_path / "y.jsonl", ahead=3)


@pytest.mark.parametrize("kind", ["pandas", "pyarrow"])
def test_a_table_gets_rows_ahead(kind: str) -> None:
    library = pytest.importorskip(kind)
    columns = {"k": ["a", "b", "a"], "v": [1.0, 2.0, 3.0], "n": [7, 8, 9]}
    table = library.DataFrame(columns) if kind == "pandas" else library.table(columns)
    options: dict[str, Any] = {"columns": "v", "group_by": "k", "ahead": 1}
    found = rnncli.score(table, predictor(), **options)
    a, b = (rnncli.forecast(predictor(), x, 2)[1] for x in ([1, 3], [2]))
    assert [*map(str, found["k"])][3:] == ["b", "a"]
    assert [int(t) for t in np.asarray(found["t"])] == [1, 1, 2, 2, 3]
    np.testing.assert_allclose(np.asarray(found["y_0"])[3:], [*b, *a], rtol=1e-6)
    copied = rnncli.score(table, predictor(), passthrough=True, **options)
    assert [*map(str, copied["k"])][3:] == ["b", "a"]
    assert np.isnan(np.asarray(copied["v"], float)[3:]).all()
    assert np.isnan(np.asarray(copied["n"], float)[3:]).all()


@pytest.mark.parametrize("form", ["svg", "plot", "heatmap"])
def test_pictures_show_where_the_input_ends(tmp_path: Path, form: str) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "x.csv").write_text("v\n1\n2\n3\n")
    texts = []
    runs: list[dict[str, Any]] = [{"ahead": 2}, {}]
    for ahead in runs:
        out = tmp_path / "y"
        rnncli.score(tmp_path / "x.csv", predictor(), out, format=form, **ahead)
        texts.append(out.read_text())
    assert "After t = 3 each step reads the prediction before it." in re.sub("\\s+", " ", texts[0])
    assert "After t" not in texts[1]
    if form == "svg":
        dashes = [len(re.findall("stroke-dasharray: [0-9]", text)) for text in texts]
        assert dashes == [2, 0]
