"""Networks from the command line are those of the library."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Rnn

import rnncli

SEQ = ("--seq", "1,2,3")
X = [[1], [2], [3]]


def document(run_rnn: Rnn, *words: str) -> dict[str, Any]:
    result = run_rnn(*words, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    loaded: dict[str, Any] = json.loads(result.stdout)
    return loaded


def states_in(found: dict[str, Any]) -> Any:
    return np.array([step["h"] for step in found["steps"]], "f")


ALL = "relu", "tanh", "softsign", "elu:0.5"
# Options of a network, and what the library takes for them.
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "LSTM": ("--cell lstm", {"cell": "lstm"}),
    "GRU": ("--cell gru --reset before", {"cell": "gru", "reset": "before"}),
    "one activation": (
        "--cell lstm --activation relu --recurrent-activation hard_sigmoid",
        {"cell": "lstm", "activation": "relu", "recurrent_activation": "hard_sigmoid"},
    ),
    "of each cell": (
        " ".join(["--cell gru", *(f"--recurrent-activation {name}" for name in ALL)]),
        {"cell": "gru", "recurrent_activation": ALL},
    ),
    "of each vanilla cell": (" ".join(f"--activation {name}" for name in ALL), {"activation": ALL}),
}


@pytest.mark.parametrize(("options", "settings"), OPTIONS.values(), ids=OPTIONS)
def test_options_are_settings_of_the_library(
    run_rnn: Rnn, tmp_path: Path, options: str, settings: dict[str, Any]
) -> None:
    """A saved network runs as the drawn one; a file that cannot hold its settings is not made."""
    drawn = ("--hidden", "3,2", "--direction", "bidirectional", "--init", "keras", *options.split())
    every = ("--all-layers",)
    found = document(run_rnn, "run", *SEQ, *drawn, *every)
    settings = {"direction": "bidirectional", "init": "keras"} | settings
    network = rnncli.seeded(1, (3, 2), **settings)
    states = rnncli.run(network, X, all_layers=True)
    np.testing.assert_array_equal(states_in(found), states.h)
    for t, step in enumerate(found["steps"]):
        for part, layer in zip(step["layers"], states.layers, strict=True):
            np.testing.assert_array_equal(np.array(part, "f"), layer[t])
    assert found["model"].pop("source") == {"init": "keras", "seed": settings.get("seed", 1)}
    for path in (tmp_path / "w.npz", tmp_path / "w.safetensors"):
        saved = run_rnn("weights", *drawn, "-o", str(path)).exit_code == 0
        assert saved == (path.suffix == ".npz" or not {"merge", "reset"} & settings.keys())
        if saved:
            result = run_rnn("run", *SEQ, "--weights", str(path), *every, "--json")
            again = json.loads(result.stdout)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert again["model"].pop("source") == {"weights": str(path), "sha256": digest}
            assert again == found


def test_only_a_format_that_holds_the_digest_of_a_file_computes_it(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, digested = tmp_path / "w.npz", list[bytes]()
    rnncli.save(rnncli.seeded(1, 2), path)
    monkeypatch.setattr("rnncli.model.formats.load.digest_of", digested.append)
    for options, count in (([], 0), (["--format", "csv"], 0), (["--json"], 1)):
        assert run_rnn("run", *SEQ, "--weights", str(path), *options).exit_code == 0
        assert len(digested) == count


@pytest.mark.parametrize("command", ["run", "verify"])
def test_a_network_without_a_recurrent_layer(run_rnn: Rnn, tmp_path: Path, command: str) -> None:
    path = str(tmp_path / "w.npz")
    rnncli.save(rnncli.Network(rnncli.Dense(np.ones((1, 2)))), path)
    result = run_rnn(command, *SEQ, "--weights", path)
    assert (result.exit_code, result.stderr) == (2, f"Error: {path}: has no recurrent layer\n")
