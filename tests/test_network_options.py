"""Networks from the command line: stacks, directions, weight files, and what is refused."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SAMPLES, Rnn
from safetensors.numpy import save_file

import rnncli

SEQ = ("--seq", "1,2,3")
STACK = ("--hidden", "3,2", "--direction", "bidirectional", "--merge", "sum", "--seed", "5")
X = [[1], [2], [3]]


def document(run_rnn: Rnn, *arguments: str) -> dict[str, Any]:
    result = run_rnn(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    loaded: dict[str, Any] = json.loads(result.stdout)
    return loaded


def stack(**options: Any) -> rnncli.States:
    network = rnncli.seeded(1, (3, 2), 5, direction="bidirectional", merge="sum")
    return rnncli.run(network, X, **options)


def test_json_of_a_stack(run_rnn: Rnn) -> None:
    found = document(run_rnn, "run", *SEQ, *STACK, "--all-layers")
    model, states = found["model"], stack(all_layers=True)
    assert model["hidden_sizes"] == [3, 2]
    assert (model["direction"], model["merge"]) == ("bidirectional", "sum")
    for t, step in enumerate(found["steps"]):
        np.testing.assert_array_equal(np.array(step["h"], np.float32), states.h[t])
        for layer, h in zip(step["layers"], states.layers, strict=True):
            np.testing.assert_array_equal(np.array(layer, np.float32), h[t])
    (final,), (initial,) = found["final"], found["initial"]
    np.testing.assert_array_equal(np.array(np.concatenate(final["layers"]), np.float32), states.h_n)
    np.testing.assert_array_equal(np.array(final["h"], np.float32), states.h_n[6:])
    assert initial == {"h": [0] * 4, "layers": [[0] * 6, [0] * 4]}


def test_csv_names_the_layers_below(run_rnn: Rnn) -> None:
    header = run_rnn("run", *SEQ, *STACK, "--all-layers", "--format", "csv").stdout.splitlines()[0]
    assert header == "t,layer_1_h_0,layer_1_h_1,layer_1_h_2,h_0,h_1"
    header, row = run_rnn("run", *SEQ, *STACK, "--last", "--format", "csv").stdout.splitlines()
    assert header == "t,h_0,h_1,h_2,h_3"
    np.testing.assert_array_equal(np.array(row.split(",")[1:], np.float32), stack().h_n[6:])


@pytest.mark.parametrize("source", ["csv", "npy"])
def test_npy_has_the_layers_side_by_side(run_rnn: Rnn, tmp_path: Path, source: str) -> None:
    path = str(tmp_path / "h.npy")
    file = str(SAMPLES / f"notebook.{source}")
    assert run_rnn("run", file, *STACK, "--all-layers", "-o", path).exit_code == 0
    assert np.load(path).shape == (6, 5)


def test_groups_of_a_bidirectional_network_are_as_if_alone(run_rnn: Rnn) -> None:
    text = "k,v\na,1\nb,5\na,2\nb,6\na,3\n"
    options = (*STACK, "--group-by", "k", "--format", "jsonl", "--unroll", "stepwise")
    lines = run_rnn("run", *options, stdin=text).stdout.splitlines()
    together = [item["h"] for item in map(json.loads, lines) if item["key"] == {"k": "a"}]
    alone = document(run_rnn, "run", *SEQ, *STACK, "--unroll", "stepwise")["steps"]
    assert together == [step["h"] for step in alone]


def test_h0_has_a_number_for_every_unit(run_rnn: Rnn) -> None:
    h0 = [round(0.1 * n, 1) for n in range(10)]
    found = document(run_rnn, "run", *SEQ, *STACK, "--h0", ",".join(map(str, h0)))
    np.testing.assert_array_equal(
        np.array([step["h"] for step in found["steps"]], np.float32), stack(h0=h0).h
    )
    assert found["initial"] == [{"h": h0[6:]}]
    result = run_rnn("run", *SEQ, *STACK, "--h0", "1,2")
    assert result.stderr == "Error: --h0: expected 10 numbers, one for each hidden unit, got 2\n"


def test_a_stack_goes_on_from_a_state_file(run_rnn: Rnn, tmp_path: Path) -> None:
    stack = ("--hidden", "3,2", "--format", "csv", "--unroll", "stepwise")
    options = (*stack, "--activation", "relu")
    state = ("--state", str(tmp_path / "s"))
    whole = run_rnn("run", *options, *SEQ).stdout.splitlines()
    first = run_rnn("run", *options, *state, "--seq", "1,2").stdout.splitlines()
    second = run_rnn("run", *options, *state, "--seq", "3").stdout.splitlines()
    assert [*first, *second[1:]] == whole
    other = run_rnn("run", *stack, *state, *SEQ)
    assert "the state of another network or precision; give " in other.stderr


SAVED = ["w.npz", "w.safetensors"]


@pytest.mark.parametrize("name", SAVED)
def test_a_saved_network_runs_as_the_drawn_one(run_rnn: Rnn, tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    drawn = (*STACK[:5], "concat", *STACK[6:], "--activation", "elu:0.5")
    assert run_rnn("weights", *drawn, "-o", path).exit_code == 0
    from_file = document(run_rnn, "run", *SEQ, "--weights", path)
    from_seed = document(run_rnn, "run", *SEQ, *drawn)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert from_file["model"]["source"] == {"weights": path, "sha256": digest}
    assert from_seed["model"]["source"] == {"init": "tensorflow", "seed": 5}
    for name in ("activation", "direction", "merge", "input_size", "hidden_sizes"):
        assert from_file["model"][name] == from_seed["model"][name]
    assert from_file["steps"] == from_seed["steps"]
    weights = document(run_rnn, "weights", "--weights", path)["weights"]
    assert weights == document(run_rnn, "weights", *drawn)["weights"]
    assert [(cell["layer"], cell["direction"]) for cell in weights] == [
        (1, "forward"),
        (1, "backward"),
        (2, "forward"),
        (2, "backward"),
    ]


def test_what_a_file_does_not_say_is_said(run_rnn: Rnn, tmp_path: Path) -> None:
    path = str(tmp_path / "w.safetensors")
    network = rnncli.seeded(1, 2)
    W_xh, W_hh, b_h = network.layers[0].cells[0].weights[:3]
    tensors = {
        "weight_ih_l0": W_xh.T,
        "weight_hh_l0": W_hh.T,
        "bias_ih_l0": b_h + 1,
        "bias_hh_l0": b_h,
    }
    tensors = {f"rnn.{name}": np.ascontiguousarray(array) for name, array in tensors.items()}
    save_file(tensors | {"head.weight": np.ones((1, 2), np.float32)}, path)
    weights = ("--weights", path, "--layer", "rnn")
    silent = run_rnn("run", *SEQ, *weights, "--json")
    assert silent.exit_code == 0
    assert silent.stderr.startswith(f"Note: {path}: ")
    assert "tanh" in silent.stderr
    said = run_rnn("run", *SEQ, *weights, "--activation", "tanh", "--json")
    assert (said.stderr, said.stdout) == ("", silent.stdout)
    other = run_rnn("run", *SEQ, *weights, "--activation", "relu", "--json")
    assert json.loads(other.stdout)["model"]["activation"] == "relu"


def test_weights_are_written_where_asked(run_rnn: Rnn, tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    shown = run_rnn("weights", "--hidden", "2", "--json").stdout
    for option in ((), ("--json",)):
        assert run_rnn("weights", "--hidden", "2", "-o", str(path), *option).stdout == ""
        assert path.read_text() == shown
    assert run_rnn("weights", "--hidden", "2", "-o", "-", "--json").stdout == shown


BOTH = ("--hidden", "3,2", "--direction", "bidirectional", "--init", "keras")
ALL = "relu", "tanh", "softsign", "elu:0.5"
# Options of a gated network, and what the library takes for them.
GATED: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "LSTM": (("--cell", "lstm"), {"cell": "lstm"}),
    "GRU": (("--cell", "gru"), {"cell": "gru"}),
    "reset before": (
        ("--cell", "gru", "--reset", "before"),
        {"cell": "gru", "reset": "before"},
    ),
    "one activation": (
        ("--cell", "lstm", "--activation", "relu", "--recurrent-activation", "hard_sigmoid"),
        {"cell": "lstm", "activation": "relu", "recurrent_activation": "hard_sigmoid"},
    ),
    "of each layer": (
        ("--cell", "gru", "--activation", "relu", "--activation", "softsign"),
        {"cell": "gru", "activation": ["relu", "relu", "softsign", "softsign"]},
    ),
    "of each cell": (
        ("--cell", "gru", *(word for name in ALL for word in ("--recurrent-activation", name))),
        {"cell": "gru", "recurrent_activation": ALL},
    ),
    "of each vanilla cell": (
        tuple(word for name in ALL for word in ("--activation", name)),
        {"activation": ALL},
    ),
}


@pytest.mark.parametrize(("options", "settings"), GATED.values(), ids=GATED)
def test_options_are_settings_of_the_library(
    run_rnn: Rnn, options: tuple[str, ...], settings: dict[str, Any]
) -> None:
    found = document(run_rnn, "run", *SEQ, *BOTH, *options)
    settings = {"direction": "bidirectional", "init": "keras"} | settings
    h = rnncli.run(rnncli.seeded(1, (3, 2), **settings), X).h
    np.testing.assert_array_equal(np.array([step["h"] for step in found["steps"]], "f"), h)
    for options_left_out in ((), ("--cell", "rnn")):
        assert found["steps"] != document(run_rnn, "run", *SEQ, *BOTH, *options_left_out)["steps"]


def test_settings_of_cells_are_told(run_rnn: Rnn) -> None:
    model = document(run_rnn, "run", *SEQ, *BOTH, *GATED["of each cell"][0])["model"]
    assert model["recurrent_activation"] == ["relu", "tanh", "softsign", "elu:0.5"]
    assert (model["cell"], model["activation"], model["reset"]) == ("gru", "tanh", "after")


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_saved_gated_network(run_rnn: Rnn, tmp_path: Path, cell: str, name: str) -> None:
    path = str(tmp_path / name)
    drawn = ("--cell", cell, *BOTH, "--recurrent-activation", "hard_sigmoid")
    assert run_rnn("weights", *drawn, "-o", path).exit_code == 0
    again, first = (
        document(run_rnn, "run", *SEQ, *network)
        for network in (("--weights", path, "--recurrent-activation", "hard_sigmoid"), drawn)
    )
    for each in (again, first):
        del each["model"]["source"]
    assert again == first


def test_h0_and_c0(run_rnn: Rnn) -> None:
    options = ("--cell", "lstm", "--hidden", "2,1", "--states", "--all-layers")
    start = ("--h0", "0.1,0.2,0.3", "--c0", "[0.4, 0.5, 0.6]")
    found = document(run_rnn, "run", *SEQ, *options, *start)
    network = rnncli.seeded(1, (2, 1), cell="lstm")
    states = rnncli.run(network, X, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    np.testing.assert_array_equal(np.array([step["h"] for step in found["steps"]], "f"), states.h)
    c0 = ("--c0", "0.4,0.5,0.6")
    alone = document(run_rnn, "run", *SEQ, *options, *c0)
    h = rnncli.run(network, X, [0, 0, 0, 0.4, 0.5, 0.6]).h
    np.testing.assert_array_equal(np.array([step["h"] for step in alone["steps"]], "f"), h)


@pytest.mark.parametrize("command", ["run", "verify", "bench"])
def test_a_network_without_a_recurrent_layer(run_rnn: Rnn, tmp_path: Path, command: str) -> None:
    path = str(tmp_path / "w.npz")
    rnncli.save(rnncli.Network(rnncli.Dense(np.ones((1, 2)))), path)
    result = run_rnn(command, *SEQ, "--weights", path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {path}: has no recurrent layer\n"
    title = run_rnn("weights", "--weights", path).stdout.splitlines()[0]
    assert title.startswith("Network: I = 1, Dense 2, weights ")
