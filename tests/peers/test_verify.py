"""``rnn verify`` beside the libraries themselves."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import rnncli
from rnncli.cli import rnn
from rnncli.model.cells import CELLS

TOPIC = Path(rnncli.__file__).parent / "cli" / "topics" / "verification.md"
SEQ = ("--seq", "1,2,3,4,5,6", "--hidden", "4")
PEERS = ["keras", "torch", "onnxruntime"]


def invoke(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(rnn, ["verify", *arguments])


def verified(*arguments: str, exit_code: int = 0) -> dict[str, Any]:
    result = invoke(*arguments, "--json")
    assert result.exit_code == exit_code, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def of_peers(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in report["results"] if item["name"] in PEERS}


def test_the_notebook_beside_every_peer() -> None:
    results = of_peers(verified(*SEQ))
    assert list(results) == PEERS
    for item in results.values():
        assert (item["verdict"], bool(item["version"])) == ("equal", True)
        # Six steps of four units in float32: a few roundings of values up to 1.
        assert item["difference"] <= 3e-7


def test_the_topics_table() -> None:
    """Versions and last digits aside."""
    (shown,) = re.findall(r"```text\n(EQUAL: .*?)```", TOPIC.read_text(encoding="utf-8"), re.DOTALL)
    assert skeleton(invoke(*SEQ).stdout) == skeleton(shown)


def skeleton(text: str) -> list[list[str]]:
    return [re.findall(r"[A-Za-z_]+", line) for line in text.splitlines() if line.strip("─ ")]


@pytest.mark.parametrize("peer", PEERS)
def test_one_peer_alone(peer: str) -> None:
    assert list(of_peers(verified(*SEQ, "--peer", peer))) == [peer]


def test_right_runs_that_part_are_equal(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.RandomState(0).normal(size=(200, 1)))
    results = of_peers(verified(str(tmp_path / "x.npy"), "--hidden", "16"))
    assert all(item["verdict"] == "equal" for item in results.values())
    # The default Gaussian network of this size amplifies the last bit.
    assert max(item["difference"] for item in results.values()) > 0.1


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_stacks(direction: str, cell: str) -> None:
    options = ("--cell", cell, "--hidden", "4,4", "--init", "torch", "--direction", direction)
    results = of_peers(verified("--seq", "1,2,3", *options))
    assert [item["verdict"] for item in results.values()] == ["equal"] * 3


def test_columns_that_are_centred() -> None:
    results = of_peers(verified(*SEQ, "--cell", "gru", "--center", "3", "--scale", "2"))
    assert [item["verdict"] for item in results.values()] == ["equal"] * 3


def test_what_a_peer_cannot_express_is_said() -> None:
    options = ("--seq", "1,2,3", "--hidden", "4", "--activation", "affine:0.5,0.1")
    results = of_peers(verified(*options))
    assert results["onnxruntime"]["verdict"] == "equal"
    for name in ("keras", "torch"):
        assert results[name]["verdict"] == "not compared"
        assert results[name]["note"]
        assert f"{name} {results[name]['version']}: " in invoke(*options).stdout


def test_an_absent_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncli.verify.peers.version", lambda _name: None)
    results = of_peers(verified(*SEQ))
    assert {item["note"] for item in results.values()} == {
        "not installed: pip install 'rnncli[peers]'"
    }
    result = invoke(*SEQ, "--peer", "torch")
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: peer torch is not installed: pip install 'rnncli[peers]'\n",
    )


def test_the_output_of_a_keras_stack_that_goes_backwards(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(3)
    layers = [keras.layers.SimpleRNN(4, return_sequences=True, go_backwards=True) for _ in range(2)]
    x = np.random.RandomState(0).normal(size=(1, 7, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x[0])
    np.save(tmp_path / "e.npy", np.array(keras.Sequential(layers)(x))[0])
    network = ("--hidden", "4,4", "--init", "keras", "--seed", "3", "--direction", "backward")
    expected = ("--expected", str(tmp_path / "e.npy"))
    report = verified(str(tmp_path / "x.npy"), *network, *expected, exit_code=1)
    names = [found["name"] for found in report["explanations"]]
    assert names == ["backward states in processing order"]


@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_masked_rows_of_a_bidirectional_layer(tmp_path: Path, merge: str) -> None:
    """Zeros in Keras, the state before in rnn, passed over by verify; all others are equal."""
    import keras

    keras.utils.set_random_seed(3)
    masked = [0, 3, 6]
    x = np.random.RandomState(0).normal(size=(7, 1)).astype(np.float32)
    x[masked] = -9
    rnn_layer = keras.layers.SimpleRNN(2, return_sequences=True)
    layers = [keras.layers.Masking(-9.0), keras.layers.Bidirectional(rnn_layer, merge_mode=merge)]
    h = np.array(keras.Sequential(layers)(x[None]))[0]
    np.save(tmp_path / "e.npy", h)
    rows = ["nan" if t in masked else str(value) for t, (value,) in enumerate(x)]
    (tmp_path / "x.csv").write_text("\n".join(["x", *rows, ""]))
    options = [str(tmp_path / "x.csv"), "--missing", "hold", "--init", "keras", "--seed", "3"]
    options += ["--hidden", "2", "--direction", "bidirectional", "--merge", merge]
    report = verified(*options, "--expected", str(tmp_path / "e.npy"))
    assert report["results"][0]["verdict"] == "equal"
    run = CliRunner().invoke(rnn, ["run", *options, "--format", "csv", "--no-header"])
    kept = np.array([line.split(",")[1:] for line in run.stdout.splitlines()], float)[masked]
    assert not h[masked].any()
    assert kept[1].all()


@pytest.mark.parametrize("kind", ["input", "recurrent"])
def test_a_port_that_forgot_a_bias_of_pytorch(tmp_path: Path, kind: str) -> None:
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(3)
    module = torch.nn.RNN(3, 4, batch_first=True)
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    forgotten = module.bias_hh_l0 if kind == "input" else module.bias_ih_l0
    x = np.random.RandomState(0).normal(size=(1, 7, 3)).astype(np.float32)
    with torch.no_grad():
        forgotten.zero_()
        h = module(torch.from_numpy(x))[0].numpy()
    np.save(tmp_path / "x.npy", x[0])
    np.save(tmp_path / "e.npy", h[0])
    options = ("--weights", str(tmp_path / "w.safetensors"), "--expected", str(tmp_path / "e.npy"))
    report = verified(str(tmp_path / "x.npy"), *options, exit_code=1)
    assert [found["name"] for found in report["explanations"]] == [f"{kind} bias only"]
