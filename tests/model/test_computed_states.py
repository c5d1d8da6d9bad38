"""Layers that start from states which the graph computes, and cell states as values."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from model_files import inspect, layers, load, refusal
from onnx_graphs import Graph

import rnncli
from rnncli.cli import rnn
from rnncli.model.network import Network

STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}
BOTH = "bidirectional"


def write(path: Path, g: Graph, output: str, **options: Any) -> Path:
    path.write_bytes(g.model(output, **options))
    return path


def output(network: Network, x: Any) -> Any:
    """Return the output of a network at every step."""
    run = rnncli.run(network, x)
    return run.h if run.y is None else run.y


def final_states(path: Path, name: str, x: Any) -> Any:
    """Return the final states of a layer of a file, (N, S), run alone."""
    return rnncli.run(load(path, layer=name)[0], x).h_n


@pytest.mark.parametrize("op", STATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", BOTH])
def test_a_decoder_starts_from_the_states_of_an_encoder(
    tmp_path: Path, op: str, direction: str
) -> None:
    g = Graph()
    encoder = g.recurrent(op, direction=direction)
    states = [f"{encoder}.{k + 1}" for k in range(STATES[op])]
    decoder = g.recurrent(op, "x", "", "", *states, direction=direction)
    path = write(tmp_path / "m.onnx", g, decoder)
    network, notes = load(path)
    assert (layers(network)[-len(op) :], notes, network.needs_whole_sequences) == (op, [], True)
    x = np.random.default_rng(0).normal(size=(2, 5, 2)).astype("f4")
    start = final_states(path, encoder, x)
    expected = rnncli.run(load(path, layer=decoder)[0], x, start).h
    np.testing.assert_allclose(output(network, x), expected, atol=1e-6)
    assert inspect(path)["parts"][-1]["name"] == decoder


def test_a_decoder_over_rows_of_zeros_with_the_batch_first(tmp_path: Path) -> None:
    g = Graph()
    encoder = g.recurrent("GRU", layout=1)
    zeros = g.add("Mul", "x", g.array(np.float32(0)))
    decoder = g.recurrent("GRU", zeros, "", "", f"{encoder}.1", layout=1)
    rows = g.add("Squeeze", decoder, g.array([2]))
    path = write(tmp_path / "m.onnx", g, rows, inputs={"x": ("N", "T", 2)})
    x = np.random.default_rng(0).normal(size=(3, 4, 2)).astype("f4")
    start = final_states(path, encoder, x)
    expected = rnncli.run(load(path, layer=decoder)[0], 0 * x, start).h
    np.testing.assert_allclose(output(load(path)[0], x), expected, atol=1e-6)


def test_the_final_cell_state_is_an_output(tmp_path: Path) -> None:
    g = Graph()
    encoder = g.recurrent("LSTM")
    path = write(tmp_path / "m.onnx", g, g.add("Tanh", f"{encoder}.2"))
    network, _ = load(path)
    x = np.random.default_rng(0).normal(size=(2, 5, 2)).astype("f4")
    c_n = final_states(path, encoder, x)[:, 3:]
    np.testing.assert_allclose(output(network, x)[:, -1], np.tanh(c_n), atol=1e-6)
    document = inspect(path)
    assert [(each["name"], each.get("why")) for each in document["parts"]] == [
        ("Tanh_1", None),
        ("LSTM_0", "is run with the layers above"),
    ]
    assert document["parameters"]["all"] == 60


def test_states_that_the_graph_computes_from_other_sequences_are_refused(tmp_path: Path) -> None:
    g = Graph()
    state = f"{g.recurrent('GRU')}.1"
    mixed = g.add("Add", state, g.add("ReduceSum", state, g.array([1])))
    path = write(tmp_path / "m.onnx", g, g.recurrent("GRU", "x", "", "", mixed))
    assert refusal(path).startswith("GRU_3: takes another")


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "npy", "table"])
def test_a_network_of_the_cell_state_alone_is_written(tmp_path: Path, form: str) -> None:
    g = Graph()
    path = write(tmp_path / "m.onnx", g, g.add("Tanh", f"{g.recurrent('LSTM')}.2"))
    (tmp_path / "in.csv").write_text("k,a,b\nu,1,2\nv,1,3\nu,2,2\n")
    words = ["run", str(tmp_path / "in.csv"), "--group-by", "k", "--weights", str(path)]
    result = CliRunner().invoke(rnn, [*words, "--format", form, "-o", str(tmp_path / "out")])
    assert (result.exit_code, result.stderr) == (0, "")
    assert (tmp_path / "out").stat().st_size


def test_a_state_of_other_units_is_refused(tmp_path: Path) -> None:
    g = Graph()
    state = g.add("Slice", f"{g.recurrent('GRU')}.1", *map(g.array, ([0], [1], [2])))
    path = write(tmp_path / "m.onnx", g, g.recurrent("GRU", "x", "", "", state))
    assert refusal(path).startswith("GRU_2: makes something else of each sequence; pick one")
