"""``rnn verify`` beside the libraries themselves."""

import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from conftest import GUIDE, NIGHTLY
from model.test_saved_models import FOLDER, MODELS

from rnncli.cli import rnn
from rnncli.model.cells import Cell
from rnncli.model.formats.load import load_network
from rnncli.verification.peers import PEERS

SEQ = ("--seq", "1,2,3,4,5,6", "--hidden", "4")
# What its own library does not run: of Keras 2, float16, the layout of ONNX.
ALONE = ("keras2_gates", "keras2_masked", "keras_float16", "onnx_layout")
# What a peer cannot express.
LACKS = re.compile(r".*(has no|masks no rows|is not built in|Could not interpret) .*")


def invoke(*arguments: Any) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(rnn, ["verify", *map(str, arguments)])


def verified(*arguments: Any, exit_code: int = 0) -> dict[str, Any]:
    result = invoke(*arguments, "--json")
    assert result.exit_code == exit_code, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def of_peers(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in report["results"] if item["name"] in PEERS}


def test_every_peer_computes_the_notebook() -> None:
    results = of_peers(verified(*SEQ))
    assert list(results) == list(PEERS)
    for item in results.values():
        assert (item["verdict"], bool(item["version"])) == ("equal", True)
        # Six steps of four units in float32: five roundings of values up to 1.
        assert item["difference"] <= 6e-7


def test_the_table_of_the_topic() -> None:
    """Versions and last digits aside."""
    (shown,) = re.findall(r"```text\n(EQUAL: .*?)```", GUIDE["verification"], re.DOTALL)
    found, expected = (re.findall(r"[A-Za-z_]+", text) for text in (invoke(*SEQ).stdout, shown))
    assert found == expected


def test_a_peer_that_lacks_something() -> None:
    options = ("--seq", "1,2,3", "--hidden", "4", "--activation", "affine:0.5,0.1")
    results = of_peers(verified(*options))
    assert results["onnxruntime"]["verdict"] == "equal"
    for name in ("keras", "torch"):
        assert results[name]["verdict"] == "not compared"
        assert "affine" in results[name]["note"]
        assert f"{name} {results[name]['version']}: " in invoke(*options).stdout


@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_masked_rows_of_a_bidirectional_layer(tmp_path: Path, merge: str) -> None:
    """Zeros in Keras, the state before in rnn, passed over by verify; all others are equal."""
    keras.utils.set_random_seed(3)
    masked = [0, 3, 6]
    x = np.random.RandomState(0).normal(size=(7, 1)).astype(np.float32)
    x[masked] = -9
    rnn_layer = keras.layers.SimpleRNN(2, return_sequences=True)
    layers = [keras.layers.Masking(-9.0), keras.layers.Bidirectional(rnn_layer, merge_mode=merge)]
    h = np.array(keras.Sequential(layers)(x[None]))[0]
    assert not h[masked].any()
    np.save(tmp_path / "e.npy", h)
    rows = ["nan" if t in masked else str(value) for t, (value,) in enumerate(x)]
    (tmp_path / "x.csv").write_text("\n".join(["x", *rows, ""]))
    options = [tmp_path / "x.csv", "--missing", "hold", "--init", "keras", "--seed", "3"]
    options += ["--hidden", "2", "--direction", "bidirectional", "--merge", merge]
    report = verified(*options, "--expected", tmp_path / "e.npy", "--peer", "onnxruntime")
    assert report["results"][0]["verdict"] == "equal"


@pytest.mark.parametrize(
    ("name", "file"),
    [("keras", "keras_lstm.keras"), ("torch", "torch_trace.pt"), ("onnxruntime", "onnx_lstm.onnx")],
)
def test_verify_finds_a_file_that_is_read_wrongly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, file: str
) -> None:
    """Its library runs the file itself."""
    path = FOLDER / file
    np.save(tmp_path / "x.npy", np.load(path.with_suffix(".npz"))["x"])
    options = (tmp_path / "x.npy", "--weights", path, "--peer", name)
    for scaling in (), ("--scale", ",".join(["2"] * np.load(options[0]).shape[-1])):
        result = of_peers(verified(*options, *scaling))[name]
        assert (result["verdict"], result["note"]) == ("equal", f"ran {file} itself")

    def wrong(*arguments: Any, **named: Any) -> Any:
        loaded = load_network(*arguments, **named)

        def biased(cell: Cell) -> Cell:
            return cell.replaced(cell.weights._replace(b_h=cell.weights.b_h + np.float32(0.1)))

        return loaded._replace(network=loaded.network.with_cells(biased))

    monkeypatch.setattr("rnncli.model.formats.load.load_network", wrong)
    assert of_peers(verified(*options, exit_code=1))[name]["verdict"] == "different"


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_layers_that_give_fewer_rows_are_run_in_keras(tmp_path: Path) -> None:
    L, path = keras.layers, tmp_path / "m.keras"
    rows = [keras.Input((None, 2)), L.Conv1D(4, 3, activation="relu"), L.MaxPooling1D(2)]
    keras.Sequential([*rows, L.LSTM(3), L.Dense(1)]).save(path)
    steps = ("--seq", ",".join(["1 2", "3 4"] * 6), "--center", "1,2")
    result = of_peers(verified(*steps, "--weights", path, "--peer", "keras"))["keras"]
    assert (result["verdict"], result["note"]) == ("equal", "ran m.keras itself")


def test_no_code_of_a_pickle_is_run(tmp_path: Path) -> None:
    note = "cannot run m.pt: a pickle, which may run any code, is not loaded"
    torch.save(torch.nn.RNN(1, 2).state_dict(), tmp_path / "m.pt")
    report = verified("--seq", "1,2", "--weights", tmp_path / "m.pt", "--peer", "torch")
    result = of_peers(report)["torch"]
    assert (result["verdict"], result["note"]) == ("equal", f"{note}; built from its weights")


# By default one of twenty: each framework's, with heads, masks and embeddings.
@pytest.mark.parametrize("model", MODELS if NIGHTLY else MODELS[::20], ids=lambda each: each.name)
def test_a_saved_model_is_equal_in_every_peer_that_has_it(tmp_path: Path, model: Path) -> None:
    with np.load(model.with_suffix(".npz")) as arrays:
        x, options = arrays["x"], arrays["options"].tolist() if "options" in arrays else []
        expected = tmp_path / "expected.npy"
        np.save(expected, arrays["y"])
    names = [f"x_{i}" for i in range(x.shape[-1])]
    rows = [[n, *row] for n, steps in enumerate(x) for row in steps.tolist()]
    table = [",".join(map(str, row)) for row in (["sequence", *names], *rows)]
    (tmp_path / "x.csv").write_text("\n".join([*table, ""]))
    data = (tmp_path / "x.csv", "--group-by", "sequence", "--columns", ",".join(names))
    network = ("--weights", model, *options)
    report = verified(*data, *network, "--expected", expected)
    assert [item["name"] for item in report["results"][:2]] == [str(expected), "float64 loop"]
    assert all(item["verdict"] == "equal" or "note" in item for item in report["results"])
    results = of_peers(verified(*data, *network))
    assert list(results) == list(PEERS)
    for item in results.values():
        assert item["verdict"] == "equal" or LACKS.fullmatch(item["note"]), item
    own = {".keras": "keras", ".onnx": "onnxruntime"}.get(model.suffix)
    if own and not options:
        note = results[own]["note"]
        assert note.endswith("; built from its weights" if model.stem in ALONE else " itself"), note


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_a_file_is_run_by_its_axes_where_rounding_grows(tmp_path: Path, direction: str) -> None:
    """An LSTM of such weights moves right runs apart by more than 1 within 100 steps."""
    model, data = str(tmp_path / "m.onnx"), str(tmp_path / "x.npy")
    np.save(data, np.random.RandomState(0).normal(size=(500, 4)).astype(np.float32))
    options = ["--cell", "lstm", "--inputs", "4", "--hidden", "64", "--direction", direction]
    assert CliRunner().invoke(rnn, ["weights", *options, "-o", model]).exit_code == 0
    line = ["verify", data, "--weights", model, "--peer", "onnxruntime", "--json"]
    *_, peer = json.loads(CliRunner().invoke(rnn, line).stdout)["results"]
    assert (peer["verdict"], peer["note"]) == ("equal", "ran m.onnx itself")
    assert peer["difference"] > 1 > peer["step_error"]
