"""Files of float32 that run in float64, as their models do in float64: within 1e-12."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import rnncli
from peers.models_torch import Normed, Rows
from peers.nets import output

X = np.random.RandomState(0).normal(size=(3, 20, 4))
CELLS: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
pytestmark = pytest.mark.filterwarnings("ignore")


def check(path: Path, expected: Any, x: Any = X) -> None:
    found = rnncli.run(rnncli.load(path), x, precision="float64")
    assert output(found).dtype == np.float64
    assert np.abs(output(found) - np.asarray(expected)).max() <= 1e-12


def saved(folder: Path, model: Any) -> list[Path]:
    """Save a module in every format that has one."""
    paths = [folder / f"w{extension}" for extension in (".pt", ".safetensors", ".npz", ".onnx")]
    state = model.state_dict()
    torch.save(state, paths[0])
    safetensors.torch.save_file(state, paths[1])
    np.savez(paths[2], **{name: tensor.numpy() for name, tensor in state.items()})
    torch.onnx.export(model, (torch.zeros(1, 2, 4),), paths[3], dynamo=False)
    return paths


@pytest.mark.parametrize("cell", CELLS)
def test_two_biases_of_pytorch(tmp_path: Path, cell: str) -> None:
    torch.manual_seed(0)
    model = Rows(CELLS[cell](4, 5, 2, batch_first=True, bidirectional=True)).eval()
    paths = saved(tmp_path, model)
    with torch.no_grad():
        expected = model.double()(torch.from_numpy(X))
    for path in paths:
        check(path, expected)
    # A file of ours has the sum, and the types of a float32 file.
    for again in (tmp_path / "ours.npz", tmp_path / "ours.safetensors", tmp_path / "ours.onnx"):
        rnncli.save(rnncli.load(paths[0]), again)
        check(again, expected)
    state = safetensors.torch.load_file(tmp_path / "ours.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


def test_batch_normalization_of_pytorch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Normed()
    model(torch.from_numpy(np.float32(X[..., :2])))  # in training, which sets the statistics
    torch.jit.script(model.eval()).save(tmp_path / "w.pt")
    with torch.no_grad():
        expected = model.double()(torch.from_numpy(X[..., :2]))
    check(tmp_path / "w.pt", expected, X[..., :2])


def keras_model(dtype: str) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((20, 4), dtype=dtype),
            layers.BatchNormalization(dtype=dtype),
            layers.GRU(5, return_sequences=True, dtype=dtype),
            layers.Dense(2, dtype=dtype),
        ]
    )


def test_keras(tmp_path: Path) -> None:
    model, wide = keras_model("float32"), keras_model("float64")
    random = np.random.RandomState(0)
    model.set_weights([random.uniform(0.1, 0.9, each.shape) for each in model.get_weights()])
    model.save(tmp_path / "w.keras")
    wide.set_weights(model.get_weights())
    check(tmp_path / "w.keras", wide(X))
