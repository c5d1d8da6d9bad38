"""Models of several inputs: which are columns of a row, and which are refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_configs import Config, functional, input_layer, node, tensor
from model_files import inspect, layers, load, refusal
from onnx_graphs import Graph

import rnncli

ROWS = {"a": ("N", "T", 3), "b": ("N", "T", 2)}
NOTE = "takes 5 columns, its inputs side by side: a 1-3, b 4-5"


def write(path: Path, inputs: Any, *, op: str = "Concat", integers: tuple[str, ...] = ()) -> Path:
    """Write a model of an LSTM over its inputs side by side; `integers` are looked up."""
    g = Graph()
    names = [
        g.add("Gather", g.draw(7, 2), name, axis=0) if name in integers else name for name in inputs
    ]
    rows = g.add("Transpose", g.add(op, *names, axis=2), perm=[1, 0, 2])
    width = sum(2 if name in integers else shape[2] for name, shape in inputs.items())
    output = g.rows(rows=rows, size=width)
    path.write_bytes(g.model(output, g.add("Tanh", "a"), inputs=inputs, integers=integers))
    return path


def test_inputs_are_columns_side_by_side(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", ROWS)
    network, notes = load(path, output_name="Squeeze_3")
    assert (network.input_size, layers(network)[-6:], notes) == (5, "LSTM 3", [NOTE])
    one = load(write(tmp_path / "one.onnx", {"a": ("N", "T", 5)}))[0]
    x = np.random.default_rng(0).normal(size=(2, 4, 5))
    np.testing.assert_array_equal(rnncli.run(network, x).h, rnncli.run(one, x).h)
    assert inspect(path)["notes"][-1] == NOTE
    assert NOTE not in load(path, layer="LSTM_2")[1]


def test_an_output_that_needs_one_input_takes_its_columns(tmp_path: Path) -> None:
    g = Graph()
    first = g.rows(rows=g.add("Transpose", "a", perm=[1, 0, 2]), size=3)
    both_ = g.add("Concat", g.add("Transpose", first, perm=[1, 0, 2]), "b", axis=2)
    (tmp_path / "m.onnx").write_bytes(g.model(first, both_, inputs=ROWS))
    assert load(tmp_path / "m.onnx")[0].input_size == 3
    assert load(tmp_path / "m.onnx", output_name=both_)[0].input_size == 5


def test_an_input_of_whole_numbers_is_one_column(tmp_path: Path) -> None:
    inputs = {"words": ("N", "T"), "a": ("N", "T", 2)}
    network, notes = load(write(tmp_path / "m.onnx", inputs, integers=("words",)))
    assert notes[-1] == "takes 3 columns, its inputs side by side: words 1, a 2-3"
    assert rnncli.run(network, np.ones((1, 4, 3))).h.shape == (1, 4, 3)
    for wrong, why in {1.5: "words: expected whole numbers, got 1.5", 7: "7.0 is outside"}.items():
        with pytest.raises(ValueError, match=why):
            rnncli.run(network, np.full((1, 4, 3), wrong))


@pytest.mark.parametrize(
    "shape", [("N", 2), ("N", 6, 2), ("N", "T", "I"), ("T", "N", 2, 1), (1, 2), None]
)
def test_inputs_that_are_no_rows_of_the_same_steps(tmp_path: Path, shape: Any) -> None:
    g = Graph()
    b = g.add("Expand", "b", g.add("Shape", "a"))
    rows = g.add("Transpose", g.add("Concat", "a", b, axis=2), perm=[1, 0, 2])
    inputs = {"a": ("N", "T", 3), "b": shape}
    (tmp_path / "m.onnx").write_bytes(g.model(g.rows(rows=rows, size=6), inputs=inputs))
    assert "from b, another input than the rows" in refusal(tmp_path / "m.onnx")


def both(name: str, kind: str, *sources: str) -> Config:
    call = {"args": [[tensor(each) for each in sources]], "kwargs": {}}
    return {**node(name, kind), "inbound_nodes": [call]}


WORDS = node("e", "Embedding", "w", settings={"mask_zero": False})


def keras_model(path: Path, *found: Config) -> Path:
    """Write a model of the inputs x, (N, T, 2), and w, which is before it in the file's order."""
    return functional(path, *found, input_layers=[["w", 0, 0], ["x", 0, 0]])


def test_inputs_of_keras(tmp_path: Path) -> None:
    found = (input_layer("w", None), WORDS, both("c", "Add", "x", "e"), node("d", "LSTM", "c"))
    network, notes = load(keras_model(tmp_path / "m.keras", *found))
    assert notes == ["takes 3 columns, its inputs side by side: w 1, x 2-3"]
    assert layers(network).endswith("LSTM 2")
    x = np.ones((1, 2, 3))
    assert rnncli.run(network, x).h.shape == (1, 2, 2)
    x[..., 0] = 3
    with pytest.raises(ValueError, match=r"3\.0 is outside"):
        rnncli.run(network, x)
    one = keras_model(tmp_path / "m.keras", input_layer("w", None), WORDS, node("d", "LSTM", "x"))
    assert (load(one)[0].input_size, load(one)[1]) == (2, [])


@pytest.mark.parametrize("shape", [(2,), (5, 2), (None, None)])
def test_inputs_of_keras_that_are_no_rows(tmp_path: Path, shape: Any) -> None:
    found = input_layer("w", *shape), node("e", "Dense", "w"), both("c", "Add", "x", "e")
    path = keras_model(
        tmp_path / "m.keras", *found, node("d", "LSTM", "x"), both("f", "Add", "c", "d")
    )
    assert re.match("(w|x): is an input of (other|something)", refusal(path))
    assert layers(load(path, layer="d")[0]) == "LSTM 2"
