"""Arrays under the names of MLX and Flax, against states that these frameworks gave.

Recorded with MLX 0.32.4 and Flax 0.12.8: the last row, from `make_arrays` and `X`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_files import layers, load, refusal
from safetensors.numpy import save_file

import rnncli

Shapes = dict[str, Any]
X = np.random.default_rng(2).uniform(-1, 1, (1, 4, 2)).astype(np.float32)


def name_gates(stem: str, gates: str, sep: str, biased: str) -> Shapes:
    kernels = {f"{side}{gate}": n for side, n in (("i", 2), ("h", 3)) for gate in gates.split()}
    biases = {f"{stem}{each}{sep}bias": (3,) for each in biased.split()}
    return {f"{stem}{each}{sep}kernel": (n, 3) for each, n in kernels.items()} | biases


def name_dense(gates: int, biased: str) -> Shapes:
    kernels = {f"cell.dense_{side}.kernel": (n, 3 * gates) for side, n in (("i", 2), ("h", 3))}
    return kernels | {f"cell.{biased}.bias": (3 * gates,)}


CELL = "params/cell/"
IF_ = {"cell.if_.kernel": (2, 3)}
OF_LSTM = name_gates("cell.", "i f g o", ".", "hi hf hg ho")
del OF_LSTM["cell.if.kernel"]
# The shapes, the cell, and the framework's last row.
RECORDED: dict[str, tuple[Shapes, str, list[float]]] = {
    "MLX LSTM": (
        {"Wx": (12, 2), "Wh": (12, 3), "bias": (12,)},
        "LSTM 3",
        [-0.417803, -0.004547, 0.064447],
    ),
    "MLX GRU": (
        {"Wx": (9, 2), "Wh": (9, 3), "b": (9,), "bhn": (3,)},
        "GRU 3",
        [0.546487, -0.630844, 0.538781],
    ),
    "MLX RNN": (
        {"Wxh": (3, 2), "Whh": (3, 3), "bias": (3,)},
        "RNN 3",
        [-0.33628, -0.40867, -0.378075],
    ),
    "linen LSTMCell": (
        name_gates(CELL, "i f g o", "/", "hi hf hg ho"),
        "LSTM 3",
        [-0.128421, 0.328414, -0.132982],
    ),
    "linen GRUCell": (
        name_gates(CELL, "r z n", "/", "ir iz in hn"),
        "GRU 3",
        [0.273108, -0.18715, -0.333558],
    ),
    "linen SimpleCell": (
        name_gates(CELL, "", "/", "i") | {f"{CELL}i/kernel": (2, 3), f"{CELL}h/kernel": (3, 3)},
        "RNN 3",
        [-0.704699, 0.565206, 0.649218],
    ),
    "nnx LSTMCell": (OF_LSTM | IF_, "LSTM 3", [-0.128421, 0.328414, -0.132982]),
    "nnx OptimizedLSTMCell": (
        name_dense(4, "dense_h"),
        "LSTM 3",
        [0.060744, -0.013349, -0.048333],
    ),
    "nnx GRUCell": (name_dense(3, "dense_i"), "GRU 3", [0.482472, 0.687456, 0.19666]),
    "nnx SimpleCell": (name_dense(1, "dense_i"), "RNN 3", [-0.704699, 0.565206, 0.649218]),
}


def make_arrays(shapes: Shapes) -> dict[str, Any]:
    draws = np.random.default_rng(1)
    return {n: np.float32(draws.uniform(-1, 1, shapes[n])) for n in sorted(shapes)}


@pytest.mark.parametrize(("shapes", "cell", "expected"), RECORDED.values(), ids=RECORDED)
def test_recorded_cells(tmp_path: Path, shapes: Shapes, cell: str, expected: list[float]) -> None:
    arrays = make_arrays(shapes)
    save_file(arrays, tmp_path / "w.safetensors")
    np.savez(tmp_path / "w.npz", **arrays)
    for path in (tmp_path / "w.safetensors", tmp_path / "w.npz"):
        network, notes = load(path)
        assert layers(network) == cell
        assert "names: activations" in notes[0]
        np.testing.assert_allclose(rnncli.run(network, X).h[0, -1], expected, atol=1e-6)


def test_layers_around_a_cell(tmp_path: Path) -> None:
    around = {"Embed_0/embedding": (7, 2), "Dense_0/kernel": (3, 4), "Dense_0/bias": (4,)}
    shapes = RECORDED["linen GRUCell"][0] | {f"params/{name}": n for name, n in around.items()}
    np.savez(tmp_path / "w.npz", **make_arrays(shapes))
    network, notes = load(tmp_path / "w.npz")
    assert layers(network) == "Embedding 2, GRU 3, Dense 4"
    assert len(notes) == 3
    assert layers(load(tmp_path / "w.npz", layer="params.cell")[0]) == "GRU 3"


REFUSED: dict[str, Shapes] = {
    "rows that may be columns": {"Wxh": (3, 3), "Whh": (3, 3)},
    "weights whose gates are columns": {"Wx": (2, 12), "Wh": (3, 12), "bias": (12,)},
    "half a GRU's biases": {"Wx": (9, 2), "Wh": (9, 3), "b": (9,)},
    "a gate too few": name_gates(CELL, "i f g", "/", ""),
    "unlike gates": name_gates(CELL, "r z n", "/", "") | {f"{CELL}ir/kernel": (4, 3)},
}


@pytest.mark.parametrize("shapes", REFUSED.values(), ids=REFUSED)
def test_other_arrays_are_refused(tmp_path: Path, shapes: Shapes) -> None:
    np.savez(tmp_path / "w.npz", **make_arrays(shapes))
    assert refusal(tmp_path / "w.npz")
