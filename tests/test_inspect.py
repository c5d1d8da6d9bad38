"""What is in a model file: ``rnn inspect``, and that what it says to run runs."""

import io
import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Rnn
from safetensors.numpy import save_file
from test_all_states import drawn
from test_kept_models import MODELS, kept

import rnncli
from rnncli.model import formats
from rnncli.model.cells import GRU, RNN, Weights
from rnncli.model.formats.parts import NOTHING, Model, Part
from rnncli.model.formats.spec import CellSpec, LayerSpec
from rnncli.model.formats.tensors import Entry, Tensors
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


CELL = CellSpec({"W_xh": "r.W", "W_hh": "r.U"}, "rnn")


@pytest.fixture
def hand_made(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have a file that holds these parts."""

    def hold(*parts: Part, metadata: tuple[str, str] | None = None, **others: Any) -> None:
        entries = {"r.W": Entry((2, 3), "float32"), "r.U": Entry((3, 3), "float32")}
        entries |= {"d.W": Entry((3, 1), "float32"), "wide.W": Entry((4, 1), "float32")}
        entries |= {"n.count": Entry((), "int64")}
        tensors = Tensors("net.x", entries, lambda names: pytest.fail(str(names)), metadata)
        model = Model(tensors, parts, **others)

        @contextmanager
        def opened(_path: str, layer: str | None) -> Iterator[tuple[Model, str]]:
            yield model.picked(layer), "0" * 64

        monkeypatch.setattr(formats, "opened", opened)

    return hold


RECURRENT = Part("r", "SimpleRNN", ["r.W", "r.U"], [LayerSpec((CELL,))])
HEAD = Part("d", "Dense", ["d.W"], [LayerSpec(kind="dense", tensors={"W": "d.W"})])
DROPOUT = Part("drop", "Dropout", why=NOTHING)
ATTENTION = Part("att", "Attention", why="is not run here", needed=True)


def test_what_is_passed_over(run_rnn: Rnn, hand_made: Any) -> None:
    """No weight is read."""
    hand_made(RECURRENT, DROPOUT, HEAD, title="Keras 3.15.1", last="state")
    document = inspected(run_rnn, "net.x")
    assert document["title"] == "Keras 3.15.1"
    (run,) = document["runs"]
    assert run == {
        "layer": None,
        "command": "rnn run FILE.csv --weights net.x",
        "input_size": 2,
        "output_size": 1,
        "last": "state",
    }
    dropout = document["parts"][1]
    assert (dropout["why"], dropout["needed"]) == ("does nothing at inference", False)
    text = run_rnn("inspect", "net.x").stdout
    assert text.startswith("net.x: Keras 3.15.1\n")
    assert re.search(r"^drop +Dropout +0 +passed over$", text, re.M)
    assert "\nPassed over: drop (does nothing at inference).\n" in text
    assert "\nTakes 2 columns and gives 1 value a sequence:\n" in text


def test_what_cannot_be_run_as_a_whole(run_rnn: Rnn, hand_made: Any) -> None:
    """Its recurrent part can be run by itself, and then gives a row a step."""
    hand_made(RECURRENT, ATTENTION, HEAD, last="state")
    document = inspected(run_rnn, "net.x")
    assert document["why"] == "att: is not run here; pick one with --layer NAME: r"
    (run,) = document["runs"]
    assert (run["layer"], run["output_size"], run["last"]) == ("r", 3, None)
    text = run_rnn("inspect", "net.x").stdout
    assert re.search(r"^att +Attention +0 +cannot be run$", text, re.M)
    assert "Cannot be run as a whole: att: is not run here; pick one with --layer NAME: r." in text
    assert text.endswith("  rnn run FILE.csv --weights net.x --layer r\n")


def test_each_part_has_its_way_out(run_rnn: Rnn, hand_made: Any) -> None:
    loop = Part(
        "loop", "Loop", why="holds the cell", hint="export with `dynamo` False", needed=True
    )
    hand_made(loop, RECURRENT, ATTENTION)
    text = run_rnn("inspect", "net.x").stdout
    assert "\nCannot be run: loop (holds the cell; export with --dynamo False).\n" in text
    assert "\nCannot be run: att (is not run here).\n" in text


def test_tensors_of_several_types_and_in_another_file(run_rnn: Rnn, hand_made: Any) -> None:
    hand_made(RECURRENT, HEAD)
    assert "\nTensors, all float32\n" in run_rnn("inspect", "net.x").stdout
    hand_made(RECURRENT, Part("n", "", ["n.count"], why="counts"), beside=["some/net.x.data"])
    table = run_rnn("inspect", "net.x").stdout
    assert re.search(r"^part +tensor +shape +type$", table, re.MULTILINE)
    assert re.search(r"^n +n.count +\(\) +int64$", table, re.MULTILINE)
    assert "\n15 of 16 parameters are read. Their values are in net.x.data.\n" in table
    assert inspected(run_rnn, "net.x")["beside"] == ["net.x.data"]


def test_only_hints_name_options(run_rnn: Rnn, hand_made: Any) -> None:
    hand_made(RECURRENT, ATTENTION._replace(name="`att`"))
    document = inspected(run_rnn, "net.x")
    assert document["why"] == "`att`: is not run here; pick one with --layer NAME: r"


def test_a_file_that_is_described_as_a_whole_has_no_parts_to_pick(
    run_rnn: Rnn, hand_made: Any
) -> None:
    hand_made(RECURRENT, ATTENTION, metadata=("net.x: about", "{}"))
    assert inspected(run_rnn, "net.x")["runs"] == []


def test_nothing_to_run(run_rnn: Rnn, hand_made: Any) -> None:
    hand_made(HEAD)
    document = inspected(run_rnn, "net.x")
    assert (document["why"], document["runs"]) == ("has no recurrent layer", [])
    assert run_rnn("inspect", "net.x").stdout.endswith("whole: has no recurrent layer.\n")


def test_layers_that_do_not_fit(run_rnn: Rnn, hand_made: Any) -> None:
    wide = HEAD._replace(layers=[LayerSpec(kind="dense", tensors={"W": "wide.W"})])
    hand_made(RECURRENT, DROPOUT, wide)
    why = "layer 2: takes 4 values a step, the one below gives 3"
    assert inspected(run_rnn, "net.x")["why"] == why


def test_names_do_not_steer_the_terminal(run_rnn: Rnn, hand_made: Any) -> None:
    evil = "\x1b[31mr\n\u202e"
    hand_made(RECURRENT._replace(name=evil, kind=evil), DROPOUT._replace(name=evil), title=evil)
    text = run_rnn("inspect", "net.x").stdout
    assert not set("\x1b\u202e") & set(text)
    assert inspected(run_rnn, "net.x")["parts"][0]["name"] == evil


def test_a_tensor_that_two_parts_have_counts_once(run_rnn: Rnn, hand_made: Any) -> None:
    hand_made(RECURRENT, HEAD, HEAD._replace(name="tied", layers=[], why="is a copy"))
    assert inspected(run_rnn, "net.x")["parameters"] == {"read": 18, "all": 18}


def test_very_many_networks(run_rnn: Rnn, hand_made: Any) -> None:
    """Each is a part; commands are there for the first ones."""
    hand_made(*(RECURRENT._replace(name=f"r{number}") for number in range(150)), ordered=False)
    document = inspected(run_rnn, "net.x")
    assert len(document["parts"]) == 150
    assert [run["layer"] for run in document["runs"]] == [f"r{number}" for number in range(100)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_shows_less_than_all(run_rnn: Rnn, hand_made: Any) -> None:
    parts = [RECURRENT._replace(name=f"r{number}") for number in range(65)]
    hand_made(*parts, ordered=False)
    document = inspected(run_rnn, "net.x")
    text = run_rnn("inspect", "net.x").stdout
    assert all(f"\nr{n} " in text for n in range(65))
    screen, few = Terminal(), Terminal()
    write_parts_table(screen, document, "--json has all")
    text = re.sub(r"\x1b\[\d*m", "", screen.getvalue())
    shown = re.findall(r"^r(\d+) +SimpleRNN", text, re.MULTILINE)
    assert [*map(int, shown)] == [*range(16), *range(49, 65)]
    assert text.count("--layer r") == 8
    assert "Not all is shown: --json has all." in text
    hand_made(*parts[:4])
    write_parts_table(few, inspected(run_rnn, "net.x"), "--json has all")
    assert "Not all is shown" not in few.getvalue()


def test_no_name_of_an_option_is_cut(
    run_rnn: Rnn, hand_made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_made(RECURRENT, HEAD, notes=["says nothing of a (`recurrent_activation`)"])
    monkeypatch.setenv("COLUMNS", "40")
    assert "(--recurrent-activation).\n" in run_rnn("inspect", "net.x").stdout


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


def test_gru_and_reset(run_rnn: Rnn, in_folder: Path) -> None:
    gru = GRU(ones((1, 6), (2, 6), (6,)), reset="before")
    rnncli.save(Network(gru), in_folder / "gru.npz")
    assert "GRU 2, tanh, reset before" in run_rnn("inspect", "gru.npz").stdout
