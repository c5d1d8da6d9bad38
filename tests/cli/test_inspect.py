"""`rnn inspect` lists a model file, and the commands that it offers run."""

import json
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Rnn
from model.test_saved_models import MODELS
from safetensors.numpy import save_file

import rnncli
from rnncli.model.layers import Dense, Embedding, Masking, Normalization, Recurrent
from rnncli.model.network import Network


def lstm(I: int, H: int) -> Any:
    return rnncli.seeded(I, H, cell="lstm").layers[0].cells[0]


BOTH = Recurrent(lstm(2, 3), lstm(2, 3), direction="bidirectional", merge="sum")
NETWORKS = {
    "both ways": Network(Masking(-1.0, 2), BOTH, Dense(np.eye(3, 4), activation="softmax")),
    "embedding": Network(Embedding(np.eye(5)), lstm(5, 2), Dense(np.ones((2, 1)))),
    "normalization": Network(Normalization([0, 0], [1, 1]), lstm(2, 3)),
    "vanilla": rnncli.seeded(2, 3, activation="relu"),
}


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def inspected(run_rnn: Rnn, *words: str) -> dict[str, Any]:
    result = run_rnn("inspect", *words, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_a_run_takes_and_gives_as_many_values_as_is_said(run_rnn: Rnn, network: Network) -> None:
    rnncli.save(network, "my net.npz")
    document = inspected(run_rnn, "my net.npz")
    (run,) = document["runs"]
    assert run["input_size"] == network.input_size
    assert run["output_size"] == network.layers[-1].output_size
    assert run.get("indices") == network.indices
    Path("FILE.csv").write_text(",".join("1" * network.input_size) + "\n")
    result = run_rnn(*shlex.split(run["command"])[1:], "--json")
    shown = json.loads(result.stdout)
    assert len(shown["steps"][0]["y" if network.head else "h"]) == run["output_size"]
    model = shown["model"]
    assert document["sha256"] == model["source"]["sha256"]
    layers = [layer for part in document["parts"] for layer in part["layers"]]
    assert [layer["output_size"] for layer in layers if "output_size" in layer] == [
        layer.output_size for layer in network.layers
    ]
    arrays = [array for layer in network.layers for array in layer.arrays.values()]
    for layer in network.layers:
        arrays += [array for cell in layer.cells for array in cell.weights.arrays.values()]
    count = sum(array.size for array in arrays)
    assert document["parameters"] == {"read": count, "all": count}


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.name)
def test_models_of_other_programs_have_the_shapes_that_are_shown(run_rnn: Rnn, path: Path) -> None:
    """A network that gives one row a sequence is told from one that gives a row a step."""
    with np.load(path.with_suffix(".npz")) as file:
        arrays = dict(file)
    options = dict(pairwise(map(str, arrays.get("options", []))))
    layer = [word for name, value in options.items() if name == "--layer" for word in (name, value)]
    document = inspected(run_rnn, str(path), *layer)
    (run,) = document["runs"]
    assert "why" not in document
    assert run["input_size"] == arrays["x"].shape[-1]
    assert run["output_size"] == arrays["y"].shape[-1]
    assert bool(run["last"]) == (arrays["y"].ndim == 2 and "--last" not in options)
    assert run_rnn("inspect", str(path), *layer).exit_code == 0


def test_python_gets_the_document(run_rnn: Rnn) -> None:
    rnncli.save(rnncli.seeded(1, 2), "net.npz")
    assert rnncli.inspect("net.npz") == inspected(run_rnn, "net.npz")
    run_rnn("run", "--seq", "1,2", "--weights", "net.npz", "--state", "s.npz")
    state = rnncli.inspect("s.npz")
    assert state["sequences"] == inspected(run_rnn, "s.npz")["sequences"]
    assert (state["sequences"][0]["t"], len(state["sequences"][0]["h"])) == (2, 2)


def test_the_first_hundred_networks_have_commands(run_rnn: Rnn) -> None:
    shapes = {"weight_ih_l0": (3, 2), "weight_hh_l0": (3, 3)}
    names = [f"r{number:03}" for number in range(150)]
    tensors = {f"{name}.{key}": np.ones(s, "f4") for name in names for key, s in shapes.items()}
    save_file(tensors, "many.safetensors")
    document = inspected(run_rnn, "many.safetensors")
    assert [part["name"] for part in document["parts"]] == names
    assert [run["layer"] for run in document["runs"]] == names[:100]
    text = run_rnn("inspect", "many.safetensors").stdout
    assert all(f"\n{name} " in text for name in names)
