"""What is in a model file: ``rnn inspect``, and that what it says to run runs."""

import io
import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Rnn
from safetensors.numpy import save_file
from test_all_states import drawn
from test_kept_models import FOLDER, MODELS, kept
from test_torch_modules import REC, STORED, net
from torch_bytes import archive, module

import rnncli
from rnncli.model.cells import RNN, Weights
from rnncli.model.layers import Dense, Embedding, Masking, Normalization, Pointwise, Recurrent
from rnncli.model.network import Network
from rnncli.writers.parts import write_parts_table


def dense(I: int, O: int) -> Dense:
    return Dense(np.full((I, O), 0.5), activation="softmax")


def both(merge: str) -> Recurrent:
    return Recurrent(drawn(2, 3, 1), drawn(2, 3, 2), direction="bidirectional", merge=merge)


def ones(*shapes: tuple[int, ...]) -> Weights:
    return Weights(*(np.ones(shape) for shape in shapes))


def torch_lstm(stem: str, I: int, H: int) -> dict[str, Any]:
    shapes = {"weight_ih": (4 * H, I), "weight_hh": (4 * H, H), "bias_ih": (4 * H,)}
    shapes["bias_hh"] = shapes["bias_ih"]
    return {f"{stem}{name}_l0": np.full(shape, 0.1, "f4") for name, shape in shapes.items()}


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def inspected(run_rnn: Rnn, *arguments: str) -> dict[str, Any]:
    result = run_rnn("inspect", *arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    document: dict[str, Any] = json.loads(result.stdout)
    return document


NETWORKS = {
    "both ways": (Network(Masking(-1.0, 2), both("sum"), dense(3, 4)), 2, 4),
    "concatenated": (Network(both("concat"), Pointwise("relu", 6)), 2, 6),
    "embedding": (Network(Embedding(np.eye(5)), drawn(5, 2, 3), dense(2, 1)), 1, 1),
    "projected": (Network(drawn(2, 3, 1, peepholes=True, P=2)), 2, 2),
    "normalization": (Network(Normalization([0, 0], [1, 1]), drawn(2, 3, 1)), 2, 3),
    "vanilla": (Network(RNN(ones((2, 3), (3, 3), (3,)), "relu")), 2, 3),
}


@pytest.mark.parametrize(("network", "I", "O"), NETWORKS.values(), ids=NETWORKS)
def test_what_is_said_is_what_a_run_takes_and_gives(
    run_rnn: Rnn, in_folder: Path, network: Network, I: int, O: int
) -> None:
    rnncli.save(network, in_folder / "my net.npz")
    document = inspected(run_rnn, "my net.npz")
    (run,) = document["runs"]
    assert (run["input_size"], run["output_size"]) == (I, O)
    assert run.get("indices") == network.indices
    assert "why" not in document
    _, *command = shlex.split(run["command"])
    Path("FILE.csv").write_text(",".join("1" * I) + "\n")
    result = run_rnn(*command, "--json")
    assert result.exit_code == 0
    (step,) = json.loads(result.stdout)["steps"]
    assert len(step["y" if network.head else "h"]) == O
    model = json.loads(result.stdout)["model"]
    assert document["sha256"] == model["source"]["sha256"]
    layers = [layer for part in document["parts"] for layer in part["layers"]]
    assert [layer["output_size"] for layer in layers if "output_size" in layer] == [
        layer.output_size for layer in network.layers
    ]
    (recurrent,) = (layer for layer in layers if layer["layer"] == "recurrent")
    for name in ("cell", "direction", "merge", "activation", "peepholes", "hidden_sizes"):
        assert recurrent.get(name) == model.get(name)
    assert recurrent.get("projected_sizes") == model.get("projected_sizes")
    arrays = [array for layer in network.layers for array in layer.arrays.values()]
    for layer in network.layers:
        arrays += [array for cell in layer.cells for array in cell.weights.arrays.values()]
    count = sum(array.size for array in arrays)
    assert document["parameters"] == {"read": count, "all": count}


def test_a_table(run_rnn: Rnn, in_folder: Path) -> None:
    rnncli.save(Network(Masking(-1.0, 2), both("sum"), dense(3, 4)), in_folder / "net.npz")
    text = run_rnn("inspect", "net.npz").stdout
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "layer_2 lstm 144 LSTM 3, bidirectional, sum, tanh" in lines
    assert "layer_3 dense 16 Dense 4 softmax" in lines
    assert "layer_2 layer_2.backward.W_hh (3, 12)" in lines
    assert lines[-2:] == [
        "Takes 2 columns and gives 4 values a step:",
        "rnn run FILE.csv --weights net.npz",
    ]


@pytest.mark.parametrize("width", ["40", "80"])
def test_a_table_is_as_narrow_as_the_screen(
    run_rnn: Rnn, in_folder: Path, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    """But for a cell or a command, which are not cut."""
    rnncli.save(Network(drawn(2, 3, 1)), in_folder / "a.npz")
    monkeypatch.setenv("COLUMNS", width)
    result = run_rnn("inspect", "a.npz")
    assert max(map(len, result.stdout.splitlines())) <= int(width)
    assert "\x1b" not in result.stdout


def test_several_networks(run_rnn: Rnn) -> None:
    """None is the file's; each has its own command."""
    tensors = torch_lstm("encoder.rnn.", 2, 3) | torch_lstm("decoder.rnn.", 3, 3)
    save_file(tensors | {"fc.weight": np.zeros((1, 3), "f4")}, "two.safetensors")
    document = inspected(run_rnn, "two.safetensors")
    assert document["why"] == (
        "holds several recurrent modules: decoder.rnn, encoder.rnn; pick one with --layer NAME"
    )
    assert document["parameters"] == {"read": 180, "all": 183}
    Path("FILE.csv").write_text("1,2\n")
    for run, I in zip(document["runs"], (3, 2), strict=True):
        assert run["input_size"] == I
        result = run_rnn(*shlex.split(run["command"])[1:], stdin="")
        assert result.exit_code == (0 if I == 2 else 2)
    text = run_rnn("inspect", "two.safetensors").stdout
    assert "\nPassed over: fc (is no recurrent layer by its names).\n" in text
    assert "  rnn run FILE.csv --weights two.safetensors --layer encoder.rnn\n" in text


def test_one_part(run_rnn: Rnn) -> None:
    save_file(torch_lstm("a.", 2, 3) | torch_lstm("b.", 3, 3), "two.safetensors")
    document = inspected(run_rnn, "two.safetensors", "--layer", "b")
    (run,) = document["runs"]
    assert (document["layer"], run["layer"], run["input_size"]) == ("b", "b", 3)
    assert run["command"].endswith(" --layer b")
    assert [part["name"] for part in document["parts"]] == ["b"]
    result = run_rnn("inspect", "two.safetensors", "--layer", "c")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: two.safetensors: holds no tensor under --layer c; it")


def test_what_the_file_does_not_say(run_rnn: Rnn) -> None:
    arrays = {"weight_ih_l0": np.ones((3, 2), "f4"), "weight_hh_l0": np.ones((3, 3), "f4")}
    save_file(arrays, "rnn.safetensors")
    sentence = "does not name the activation: tanh is taken (--activation)"
    assert inspected(run_rnn, "rnn.safetensors")["notes"] == [sentence]
    text = run_rnn("inspect", "rnn.safetensors").stdout
    assert f"\nNote: {sentence}.\n" in text


def test_a_damaged_part(run_rnn: Rnn) -> None:
    """The others are told all the same."""
    tensors = torch_lstm("a.", 2, 3) | torch_lstm("b.", 3, 3)
    tensors["b.weight_ih_l0"] = np.zeros((12, 3), "i4")
    save_file(tensors, "two.safetensors")
    document = inspected(run_rnn, "two.safetensors")
    assert [run["layer"] for run in document["runs"]] == ["a"]
    _, damaged = document["parts"]
    assert damaged["why"].startswith("b.weight_ih_l0: expected floats (float16, ")
    assert (damaged["needed"], damaged["layers"]) == (True, [])
    assert re.search(
        r"^b +nn.LSTM +96 +cannot be run$", run_rnn("inspect", "two.safetensors").stdout, re.M
    )


@pytest.mark.parametrize("name", ["x.csv", "x", "missing.npz", "missing"])
def test_no_model_file(run_rnn: Rnn, in_folder: Path, name: str) -> None:
    (in_folder / "x.csv").write_text("1,2\n")
    (in_folder / "x").write_text("1,2\n")
    result = run_rnn("inspect", name)
    assert (result.exit_code, result.stdout) == (2, "")
    what = "extension: expected one of .npz, .safetensors, .keras, "
    assert result.stderr.startswith(
        f"Error: {name}: {'cannot be read: No such file' if 'missing' in name else what}"
    )


def rnns(*names: str) -> dict[str, Any]:
    """Tensors of as many modules of PyTorch, 2 columns in and 3 values out."""
    shapes = {"weight_ih_l0": (3, 2), "weight_hh_l0": (3, 3)}
    return {f"{name}.{key}": np.ones(s, "f4") for name in names for key, s in shapes.items()}


def test_what_cannot_be_run_as_a_whole(run_rnn: Rnn, in_folder: Path) -> None:
    """Its recurrent part can be run by itself."""
    drop, att = module("torch.nn.modules.dropout.Dropout"), module("my.Attention")
    (in_folder / "net.pt").write_bytes(archive(net(rnn=REC, drop=drop, att=att), STORED))
    document = inspected(run_rnn, "net.pt")
    assert document["why"].startswith("att: att (my.Attention) is not known; --layer rnn runs")
    (run,) = document["runs"]
    assert (run["layer"], run["output_size"], run["command"][-11:]) == ("rnn", 3, "--layer rnn")
    assert [(part["why"], part["needed"]) for part in document["parts"][1:]] == [
        ("does nothing at inference", False),
        ("att (my.Attention) is not known", True),
    ]
    text = run_rnn("inspect", "net.pt").stdout
    assert re.search(r"^drop +nn.Dropout +0 +passed over$", text, re.M)
    assert re.search(r"^att +my.Attention +0 +cannot be run$", text, re.M)
    assert "\nPassed over: drop (does nothing at inference).\n" in text
    assert "Cannot be run as a whole: att: att (my.Attention) is not known" in text


def test_tensors_of_several_types_and_in_another_file(run_rnn: Rnn) -> None:
    save_file(rnns("a"), "one.safetensors")
    assert "\nTensors, all float32\n" in run_rnn("inspect", "one.safetensors").stdout
    save_file(rnns("a") | {"n.count": np.array(7)}, "two.safetensors")
    text = run_rnn("inspect", "two.safetensors").stdout
    assert re.search(r"^part +tensor +shape +type$", text, re.MULTILINE)
    assert re.search(r"^n +n.count +\(\) +I64$", text, re.MULTILINE)
    assert "\n15 of 16 parameters are read." in text
    beside = str(FOLDER / "onnx_dynamo.onnx")
    assert "Their values are in onnx_dynamo.onnx.data." in run_rnn("inspect", beside).stdout
    assert inspected(run_rnn, beside)["beside"] == ["onnx_dynamo.onnx.data"]


def test_names_do_not_steer_the_terminal(run_rnn: Rnn) -> None:
    evil = "\x1b[31mr\n\u202e"
    save_file(rnns(evil), "net.safetensors")
    assert not set("\x1b\u202e") & set(run_rnn("inspect", "net.safetensors").stdout)
    assert inspected(run_rnn, "net.safetensors")["parts"][0]["name"] == evil


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_shows_less_than_all(run_rnn: Rnn) -> None:
    """Each network is a part; commands are there for the first hundred."""
    save_file(rnns(*(f"r{number:03}" for number in range(150))), "many.safetensors")
    document = inspected(run_rnn, "many.safetensors")
    assert len(document["parts"]) == 150
    assert [run["layer"] for run in document["runs"]] == [f"r{n:03}" for n in range(100)]
    text = run_rnn("inspect", "many.safetensors").stdout
    assert all(f"\nr{n:03} " in text for n in range(150))
    screen = Terminal()
    write_parts_table(screen, document, "--json has all")
    text = re.sub(r"\x1b\[\d*m", "", screen.getvalue())
    shown = re.findall(r"^r(\d+) +nn.RNN", text, re.MULTILINE)
    assert [*map(int, shown)] == [*range(16), *range(134, 150)]
    assert text.count("--layer r") == 8
    assert "Not all is shown: --json has all." in text


def test_no_name_of_an_option_is_cut(run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez("lstm.npz", W_xh=np.ones((2, 12)), W_hh=np.ones((3, 12)))
    monkeypatch.setenv("COLUMNS", "40")
    assert "(--recurrent-activation).\n" in run_rnn("inspect", "lstm.npz").stdout


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_kept_models_take_and_give_what_is_said(run_rnn: Rnn, model: Path) -> None:
    arrays = kept(model)
    options = dict(pairwise(map(str, arrays.get("options", []))))
    layer = [word for name, value in options.items() if name == "--layer" for word in (name, value)]
    document = inspected(run_rnn, str(model), *layer)
    (run,) = document["runs"]
    assert "why" not in document
    assert run["input_size"] == arrays["x"].shape[-1]
    assert run["output_size"] == arrays["y"].shape[-1]
    assert bool(run["last"]) == (arrays["y"].ndim == 2 and "--last" not in options)
    assert run_rnn("inspect", str(model), *layer).exit_code == 0
