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


def test_without_all_layers_the_top_one_is_written(run_rnn: Rnn) -> None:
    found = document(run_rnn, "run", *SEQ, *STACK)
    assert [sorted(step) for step in found["steps"]] == [["h", "t", "x"]] * 3
    assert found["initial"] == [{"h": [0] * 4}]


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


def test_a_table_of_a_backward_layer_starts_at_the_first_step(run_rnn: Rnn) -> None:
    options = ("--hidden", "2", "--direction", "backward")
    lines = run_rnn("run", *SEQ, *options).stdout.splitlines()
    assert lines[0] == "RNN: I = 1, H = 2, backward, tanh, float32, init tensorflow, seed 1"
    assert [line.split()[0] for line in lines if line[:1].isdigit()] == ["1", "2", "3"]


@pytest.mark.parametrize("form", ["heatmap", "svg"])
def test_pictures_of_all_layers(run_rnn: Rnn, form: str) -> None:
    result = run_rnn("run", *SEQ, *STACK, "--all-layers", "--format", form)
    assert result.exit_code == 0
    assert "layer_1_h_2" in result.stdout


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


TWO_WAYS = ("--hidden", "3,2", "--direction", "bidirectional")
START = {
    "too few of c": (
        ("--cell", "lstm", *TWO_WAYS, "--c0", "1,2"),
        "--c0: expected 10 numbers, one for each unit of c (H = 3, 3, 2, 2), got 2",
    ),
    "too many of c": (
        ("--cell", "lstm", "--hidden", "2", "--c0", "1,2,3"),
        "--c0: expected 2 numbers, one for each unit of c (H = 2), got 3",
    ),
    "too few of h": (
        ("--cell", "lstm", "--hidden", "2", "--h0", "1"),
        "--h0: expected 2 numbers, one for each hidden unit, got 1",
    ),
    "no number": (("--cell", "lstm", "--hidden", "1", "--c0", "x"), "--c0: not a number: 'x'"),
}


@pytest.mark.parametrize(("arguments", "message"), START.values(), ids=START)
@pytest.mark.parametrize("command", ["run", "verify", "bench"])
def test_states_that_do_not_fit(
    run_rnn: Rnn, command: str, arguments: tuple[str, ...], message: str
) -> None:
    result = run_rnn(command, *SEQ, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {message}\n"


@pytest.mark.parametrize(("command", "told"), [("verify", "to compare"), ("bench", "to time")])
def test_a_start_without_a_network(run_rnn: Rnn, command: str, told: str) -> None:
    result = run_rnn(command, "--c0", "1")
    assert (result.exit_code, result.stdout) == (2, "")
    help_ = f"(see 'rnn {command} --help')"
    assert result.stderr == f"Error: --c0: give an input and a network {told} {help_}\n"


USAGE = {
    "reset of another cell": (
        (*SEQ, "--hidden", "2", "--cell", "lstm", "--reset", "before"),
        "--reset is for --cell gru",
    ),
    "reset of no cell": ((*SEQ, "--hidden", "2", "--reset", "after"), "--reset is for --cell gru"),
    "gates of a vanilla cell": (
        (*SEQ, "--hidden", "2", "--recurrent-activation", "relu"),
        "--recurrent-activation is for --cell lstm and --cell gru",
    ),
    "c of a GRU": (
        (*SEQ, "--hidden", "2", "--cell", "gru", "--c0", "1,2"),
        "--c0 is for an LSTM: this network has no c",
    ),
    "three activations of two layers": (
        (*SEQ, "--hidden", "2,2", *("--activation", "relu") * 3),
        "--activation: expected 1 value or 2 (one a layer), got 3",
    ),
    "three activations of two layers and four cells": (
        (*SEQ, *TWO_WAYS, *("--activation", "relu") * 3),
        "--activation: expected 1 value, 2 (one a layer) or 4 (one a cell), got 3",
    ),
    "two gates of one cell": (
        (*SEQ, "--hidden", "2", "--cell", "gru", *("--recurrent-activation", "relu") * 2),
        "--recurrent-activation: expected 1 value, got 2",
    ),
    "cell of a file": (
        (*SEQ, "--cell", "rnn", "--weights", "w.npz"),
        "--cell and --weights w.npz: give one",
    ),
    "merge of one direction": (
        (*SEQ, "--hidden", "2", "--merge", "sum"),
        "--merge is for --direction bidirectional",
    ),
    "layer of a seed": ((*SEQ, "--hidden", "2", "--layer", "a"), "--layer is for --weights"),
    "hidden of a file": (
        (*SEQ, "--hidden", "2", "--weights", "w.npz"),
        "--hidden and --weights w.npz: give one",
    ),
    "seed of a file": (
        (*SEQ, "--seed", "2", "--weights", "w.npz"),
        "--seed and --weights w.npz: give one",
    ),
    "init of a file": (
        (*SEQ, "--init", "keras", "--weights", "w.npz"),
        "--init and --weights w.npz: give one",
    ),
    "sizes": (
        (*SEQ, "--hidden", "2,x"),
        "Invalid value for '--hidden': 'x' is not a whole number from 1 up",
    ),
    "activation": (
        (*SEQ, "--hidden", "2", "--activation", "affine"),
        "Invalid value for '--activation': activation affine: alpha has no default: "
        "give affine:ALPHA,BETA",
    ),
    "state backward": (
        (*SEQ, "--hidden", "2", "--direction", "backward", "--state", "s"),
        "--state: the network has a layer that begins at the last step; it needs whole sequences",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE)
def test_usage(run_rnn: Rnn, arguments: tuple[str, ...], message: str) -> None:
    result = run_rnn("run", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {message} (see 'rnn run --help')\n"


@pytest.mark.slow
def test_follow_backward(run_rnn: Rnn) -> None:
    options = ("--hidden", "2", "--direction", "bidirectional", "--follow", "--format", "csv")
    result = run_rnn("run", *options, stdin="1\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: --follow: the network has a layer that begins at")


BAD_INPUT = {
    "reset of a file": (
        ("run", *SEQ, "--weights", "w.npz", "--reset", "after"),
        "w.npz: has no GRU; leave --reset out",
    ),
    "gates of a file": (
        ("run", *SEQ, "--weights", "w.npz", "--recurrent-activation", "relu"),
        "w.npz: has no LSTM or GRU; leave --recurrent-activation out",
    ),
    "c of a file": (
        ("run", *SEQ, "--weights", "w.npz", "--c0", "1"),
        "--c0 is for an LSTM: this network has no c (see 'rnn run --help')",
    ),
    "width": (
        ("run", "--seq", "1 2", "--weights", "w.npz"),
        "expected I = 1, as W_xh has shape (1, 2), got I = 2; "
        "commas or line ends separate steps, spaces their features",
    ),
    "inputs": (
        ("weights", "--inputs", "2", "--weights", "w.npz"),
        "expected I = 1, as W_xh has shape (1, 2), got I = 2",
    ),
    "sizes for torch": (
        ("run", *SEQ, "--hidden", "3,2", "--init", "torch"),
        "init torch: nn.RNN has layers of one size, got 3, 2; take equal sizes, or another init",
    ),
    "missing file": (
        ("run", *SEQ, "--weights", "none.npz"),
        "none.npz: cannot be read: No such file or directory",
    ),
    "merge of a file": (
        ("run", *SEQ, "--weights", "w.npz", "--merge", "sum"),
        "w.npz: has no bidirectional layer; leave --merge out",
    ),
    "output over weights": (
        ("run", *SEQ, "--weights", "w.npz", "--format", "csv", "-o", "./w.npz"),
        "-o ./w.npz: would write over w.npz, which is read (see 'rnn run --help')",
    ),
    "extension": (
        ("weights", "--hidden", "2", "-o", "w.h5"),
        "-o w.h5: no format has the extension '.h5' "
        "(known: .npz, .safetensors, .onnx, .json) "
        "(see 'rnn weights --help')",
    ),
    "json": (
        ("weights", "--hidden", "2", "-o", "w.npz", "--json"),
        "--json and -o w.npz: give one (see 'rnn weights --help')",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input(
    run_rnn: Rnn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_rnn("weights", "--hidden", "2", "-o", "w.npz").exit_code == 0
    result = run_rnn(*arguments)
    assert (result.exit_code, result.stderr) == (2, f"Error: {message}\n")


@pytest.mark.parametrize("command", ["run", "verify", "bench"])
def test_a_network_without_a_recurrent_layer(run_rnn: Rnn, tmp_path: Path, command: str) -> None:
    path = str(tmp_path / "w.npz")
    rnncli.save(rnncli.Network(rnncli.Dense(np.ones((1, 2)))), path)
    result = run_rnn(command, *SEQ, "--weights", path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {path}: has no recurrent layer\n"
    title = run_rnn("weights", "--weights", path).stdout.splitlines()[0]
    assert title.startswith("Network: I = 1, Dense 2, weights ")


def test_what_names_do_not_tell_is_said_when_saving(run_rnn: Rnn, tmp_path: Path) -> None:
    path = str(tmp_path / "w.safetensors")
    result = run_rnn("weights", "--hidden", "2", "--activation", "relu", "-o", path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith(f"Note: {path}: the names of tensors do not tell activation")
    plain = run_rnn("weights", "--hidden", "2", "-o", path)
    assert (plain.exit_code, plain.output) == (0, "")
