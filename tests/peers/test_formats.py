"""Weight files between rnncli and PyTorch, both ways.

What is read is compared exactly, sums of biases in float64. States are within
1e-6 of PyTorch's relative to max(1, |h|), or 1e-14 in float64: the networks
forget, so that neither ends further from exact sums.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file as save_torch

import rnncli
from peers.networks import TOLERANCES, Array, furthest
from rnncli.model.cells import Cell
from rnncli.model.formats import load_network
from rnncli.model.network import Network

ORDERS = {"RNN": [0], "LSTM": [0, 1, 2, 3], "GRU": [1, 0, 2]}
OPTIONS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "two layers": {"num_layers": 2},
    "three layers, both directions": {"num_layers": 3, "bidirectional": True},
    "no biases": {"num_layers": 2, "bias": False},
    "double": {"dtype": torch.float64},
}
MODULES: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"{name}, {case}": (name, OPTIONS[case]) for name in ORDERS for case in OPTIONS},
    "RNN, relu": ("RNN", {"nonlinearity": "relu"}),
    "RNN, twelve layers": ("RNN", {"num_layers": 12}),
    "LSTM, a projection": ("LSTM", {"proj_size": 2}),
    "LSTM, projections": ("LSTM", {"proj_size": 3, "num_layers": 3, "bidirectional": True}),
}


@pytest.fixture(autouse=True)
def seeds() -> None:
    torch.manual_seed(0)


def ended(network: Network) -> Iterator[tuple[str, Cell]]:
    """Every cell, with the end that PyTorch gives the names of its parameters."""
    for number, layer in enumerate(network.layers):
        for direction, cell in zip(layer.directions, layer.cells, strict=True):
            yield f"_l{number}{'_reverse' if direction == 'backward' else ''}", cell


def from_torch(kind: str, state: Any, end: str, H: int = 5) -> dict[str, bytes]:
    """Make `Weights` of a state dict, gates picked apart by their rows; in float64."""
    state = {name: value.double() for name, value in state.items()}
    rows = [slice(gate * H, gate * H + H) for gate in ORDERS[kind]]
    ih, hh = (state[f"weight_{side}{end}"] for side in ("ih", "hh"))
    arrays = {
        "W_xh": torch.cat([ih[row].T for row in rows], dim=1),
        "W_hh": torch.cat([hh[row].T for row in rows], dim=1),
        "b_h": torch.zeros(len(ih), dtype=torch.float64),
    }
    if f"weight_hr{end}" in state:
        arrays["W_hr"] = state[f"weight_hr{end}"].T
    if f"bias_ih{end}" in state:
        b_x, b_r = (state[f"bias_{side}{end}"] for side in ("ih", "hh"))
        sums = [b_x[row] + b_r[row] for row in rows]
        if kind == "GRU":
            sums[2], arrays["b_n"] = b_x[rows[2]], b_r[rows[2]]
        arrays["b_h"] = torch.cat(sums)
    return {name: array.contiguous().numpy().tobytes() for name, array in arrays.items()}


def bits(cell: Cell) -> dict[str, bytes]:
    return {name: array.astype(float).tobytes() for name, array in cell.weights.arrays.items()}


def check(module: Any, network: Network) -> None:
    """Run both over the same rows."""
    dtype = next(module.parameters()).dtype
    precision = "float64" if dtype == torch.float64 else "float32"
    x: Array = np.random.RandomState(1).normal(size=(2, 20, 3)).astype(precision)
    with torch.no_grad():
        theirs = module(torch.from_numpy(x))[0].numpy()
    assert (
        furthest([theirs], [rnncli.run(network, x, precision=precision).h]) <= TOLERANCES[precision]
    )


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")  # of PyTorch's speed
@pytest.mark.filterwarnings("ignore:.*do not tell activation relu:UserWarning")
@pytest.mark.parametrize(("kind", "options"), MODULES.values(), ids=MODULES)
def test_modules(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    """Files of PyTorch are read, and PyTorch reads them as they are written again."""
    module = getattr(torch.nn, kind)(3, 5, batch_first=True, **options)
    save_torch(module.state_dict(), str(tmp_path / "w.safetensors"))
    said = {"activation": options.get("nonlinearity", "tanh")} if kind == "RNN" else {}
    loaded = load_network(tmp_path / "w.safetensors", None, said)
    assert loaded.assumptions == []
    assert len(loaded.network.layers) == options.get("num_layers", 1)
    for end, cell in ended(loaded.network):
        assert bits(cell) == from_torch(kind, module.state_dict(), end)
    check(module, loaded.network)
    rnncli.save(loaded.network, tmp_path / "ours.safetensors")
    biased = getattr(torch.nn, kind)(3, 5, batch_first=True, **options | {"bias": True})
    biased.load_state_dict(load_torch(str(tmp_path / "ours.safetensors")), strict=True)
    check(biased, loaded.network)
    reloaded = load_network(tmp_path / "ours.safetensors").network
    for (_, before), (_, after) in zip(ended(loaded.network), ended(reloaded), strict=True):
        zeros = {"b_n": bits(after)["b_n"]} if kind == "GRU" else {}  # -0.0, without biases
        assert bits(after) == zeros | bits(before)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_halves(tmp_path: Path, dtype: str) -> None:
    state = torch.nn.RNN(3, 5).to(getattr(torch, dtype)).state_dict()
    save_torch(state, str(tmp_path / "w.safetensors"))
    ((_, cell),) = ended(load_network(tmp_path / "w.safetensors").network)
    assert bits(cell) == from_torch("RNN", state, "_l0")


@pytest.mark.parametrize("kind", ORDERS)
def test_cells(tmp_path: Path, kind: str) -> None:
    module = getattr(torch.nn, f"{kind}Cell")(3, 5)
    save_torch(module.state_dict(), str(tmp_path / "w.safetensors"))
    loaded = load_network(tmp_path / "w.safetensors")
    ((_, cell),) = ended(loaded.network)
    assert bits(cell) == from_torch(kind, module.state_dict(), "")
    biases = [module.bias_ih.detach().numpy(), module.bias_hh.detach().numpy()]
    for given, expected in zip(loaded.biases[0], biases, strict=True):
        gates = [expected[5 * gate : 5 * gate + 5] for gate in ORDERS[kind]]
        assert given.tobytes() == np.concatenate(gates).tobytes()
