"""Weight files between rnncli, PyTorch and Keras, both ways.

What is read is compared to the bit. States are compared with a float64 loop
written out here, within 1e-6 relative to max(1, |h|): the networks forget,
so that float32 ends no further from it.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file as save_torch

from peers.networks import Array, furthest, network
from rnncli.model.activations import parse
from rnncli.model.cells import LSTM, RNN, Cell
from rnncli.model.formats import Loaded, load_network, save_network
from rnncli.model.network import Network

SIZES = ((4,), (4, 4), (4, 4, 4))
FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
}
MERGED: dict[str, Callable[[Array, Array], Array]] = {
    "concat": lambda a, b: np.concatenate([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "ave": lambda a, b: (a + b) / 2,
    "mul": lambda a, b: a * b,
}


@pytest.fixture(autouse=True)
def seeds() -> None:
    torch.manual_seed(0)


def sigmoid(a: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-a)))


def step(cell: Cell, x: Array, state: list[Array]) -> list[Array]:
    """One step of a cell in float64; h first in the state."""
    arrays = {name: array.astype(np.float64) for name, array in cell.weights.arrays.items()}
    W_hh, h = arrays["W_hh"], state[0]
    a = x @ arrays["W_xh"] + arrays["b_h"]
    if isinstance(cell, RNN):
        return [FUNCTIONS[cell.activation.name](a + h @ W_hh)]
    if isinstance(cell, LSTM):
        i, f, g, o = np.split(a + h @ W_hh, 4, axis=-1)
        c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        return [h @ arrays["W_hr"] if "W_hr" in arrays else h, c]
    H = W_hh.shape[0]
    z, r = np.split(sigmoid(a[:, : 2 * H] + h @ W_hh[:, : 2 * H]), 2, axis=-1)
    if cell.settings["reset"] == "after":
        recurrent = r * (h @ W_hh[:, 2 * H :] + arrays.get("b_n", 0))
    else:
        recurrent = (r * h) @ W_hh[:, 2 * H :]
    return [z * h + (1 - z) * np.tanh(a[:, 2 * H :] + recurrent)]


def loop(network: Network, x: Array) -> Array:
    """States (N, T, H) of the top layer, step by step in float64."""
    below: Array = x.astype(np.float64)
    for layer in network.layers:
        outputs = []
        for direction, cell in zip(layer.directions, layer.cells, strict=True):
            order = 1 if direction == "forward" else -1
            state: list[Array] = [np.zeros((len(x), size)) for size in cell.state_sizes]
            steps = []
            for x_t in np.moveaxis(below, 1, 0)[::order]:
                state = step(cell, x_t, state)
                steps.append(state[0])
            outputs.append(np.stack(steps[::order], axis=1))
        below = MERGED[layer.settings["merge"]](*outputs) if len(outputs) == 2 else outputs[0]
    return below


def inputs(size: int = 3) -> Array:
    return np.random.RandomState(1).normal(size=(2, 20, size)).astype(np.float32)


def close(states: Any, network: Network, x: Array) -> None:
    expected = loop(network, x)
    assert furthest([np.asarray(states).astype(np.float64)], [expected]) <= 1e-6


def written(path: Path, network: Network) -> dict[str, Array]:
    with path.open("wb") as file:
        save_network(file, network, path.suffix)
    tensors: dict[str, Array] = load_file(str(path))
    return tensors


def load(path: Path, layer: str | None = None, **given: Any) -> Loaded:
    return load_network(path, layer, given)


def ended(network: Network) -> Iterator[tuple[str, Cell]]:
    """Every cell, with the end that PyTorch gives the names of its parameters."""
    for number, layer in enumerate(network.layers):
        for direction, cell in zip(layer.directions, layer.cells, strict=True):
            yield f"_l{number}{'_reverse' if direction == 'backward' else ''}", cell


def cells_of(network: Network) -> list[Cell]:
    return [cell for layer in network.layers for cell in layer.cells]


def bits(weights: Sequence[Array]) -> list[bytes]:
    return [array.tobytes() for array in weights]


def from_torch(state: Any, stem: str, end: str) -> list[bytes]:
    """W_xh, W_hh and b_h out of a state dict, the biases summed by PyTorch."""
    ih, hh = (state[f"{stem}weight_{side}{end}"].numpy().T.copy() for side in ("ih", "hh"))
    bias = np.zeros(len(hh), hh.dtype)
    if f"{stem}bias_ih{end}" in state:
        bias = (state[f"{stem}bias_ih{end}"] + state[f"{stem}bias_hh{end}"]).numpy()
    return [ih.tobytes(), hh.tobytes(), bias.tobytes()]


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("sizes", SIZES)
def test_pytorch_takes_what_we_write(
    tmp_path: Path, sizes: tuple[int, ...], direction: str, activation: str
) -> None:
    ours = network(sizes, direction, activations=(activation,))
    written(tmp_path / "w.safetensors", ours)
    state = load_torch(str(tmp_path / "w.safetensors"))
    module = torch.nn.RNN(
        3,
        sizes[0],
        len(sizes),
        nonlinearity=activation,
        bidirectional=direction == "bidirectional",
        batch_first=True,
    )
    module.load_state_dict(state, strict=True)
    theirs = module.state_dict()
    for end, cell in ended(ours):
        assert from_torch(theirs, "", end) == bits(cell.weights[:3])
    with torch.no_grad():
        close(module(torch.from_numpy(inputs()))[0].numpy(), ours, inputs())


TORCH: dict[str, dict[str, Any]] = {
    "one layer": {},
    "both directions": {"bidirectional": True},
    "no biases": {"bias": False, "num_layers": 2},
    "twelve layers": {"num_layers": 12},
    "a stack of both directions": {"num_layers": 3, "bidirectional": True},
    "relu": {"nonlinearity": "relu"},
    "double": {"dtype": torch.float64},
}


@pytest.mark.parametrize("options", TORCH.values(), ids=TORCH)
@pytest.mark.parametrize("stem", ["", "encoder.rnn."])
def test_we_take_what_pytorch_writes(tmp_path: Path, options: dict[str, Any], stem: str) -> None:
    module = torch.nn.RNN(3, 5, batch_first=True, **options)
    state = {f"{stem}{name}": value for name, value in module.state_dict().items()}
    if stem:
        state |= {"head.weight": torch.ones(2, 5), "embedding.weight": torch.ones(9, 3)}
    save_torch(state, str(tmp_path / "w.safetensors"))
    activation = parse(options.get("nonlinearity", "tanh"))
    layer = stem.removesuffix(".") or None
    loaded = load(tmp_path / "w.safetensors", layer, activation=activation)
    assert loaded.assumptions == []
    assert len(loaded.network.layers) == options.get("num_layers", 1)
    for end, cell in ended(loaded.network):
        assert bits(cell.weights[:3]) == from_torch(state, stem, end)
    x = inputs()
    with torch.no_grad():
        states = module(torch.from_numpy(x).to(options.get("dtype", torch.float32)))[0]
    close(states.numpy(), loaded.network, x)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_halves_of_pytorch(tmp_path: Path, dtype: str) -> None:
    state = torch.nn.RNN(3, 5).to(getattr(torch, dtype)).state_dict()
    save_torch(state, str(tmp_path / "w.safetensors"))
    (cell,) = cells_of(load(tmp_path / "w.safetensors").network)
    wide = {name: value.float() for name, value in state.items()}
    assert bits(cell.weights[:3]) == from_torch(wide, "", "_l0")


def test_cells_of_pytorch(tmp_path: Path) -> None:
    cells = torch.nn.ModuleList([torch.nn.RNNCell(3, 4), torch.nn.RNNCell(4, 5)])
    save_torch(cells.state_dict(), str(tmp_path / "w.safetensors"))
    with pytest.raises(ValueError, match="several recurrent modules: 0, 1; pick one with `layer`"):
        load(tmp_path / "w.safetensors")
    for layer in ("0", "1"):
        (cell,) = cells_of(load(tmp_path / "w.safetensors", layer).network)
        assert bits(cell.weights[:3]) == from_torch(cells.state_dict(), f"{layer}.", "")


GATED: dict[str, dict[str, Any]] = {
    "one layer": {},
    "two layers": {"num_layers": 2},
    "three layers, both directions": {"num_layers": 3, "bidirectional": True},
    "no biases": {"num_layers": 2, "bias": False},
    "double": {"dtype": torch.float64},
}
MODULES = {
    **{f"{name}, {case}": (name, GATED[case]) for name in ("LSTM", "GRU") for case in GATED},
    "LSTM, a projection": ("LSTM", {"proj_size": 2}),
    "LSTM, projections": ("LSTM", {"proj_size": 3, "num_layers": 3, "bidirectional": True}),
}
ORDERS = {"RNN": [0], "LSTM": [0, 1, 2, 3], "GRU": [1, 0, 2]}


def gated_from_torch(kind: str, state: Any, end: str, H: int) -> dict[str, bytes]:
    """What `Weights` should hold, of a state dict; gates picked apart by their rows."""
    rows = [slice(gate * H, gate * H + H) for gate in ORDERS[kind]]
    ih, hh = (state[f"weight_{side}{end}"] for side in ("ih", "hh"))
    arrays = {
        "W_xh": torch.cat([ih[row].T for row in rows], dim=1),
        "W_hh": torch.cat([hh[row].T for row in rows], dim=1),
        "b_h": torch.zeros(len(ih), dtype=ih.dtype),
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


def all_bits(cell: Cell) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in cell.weights.arrays.items()}


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")  # of PyTorch's speed
@pytest.mark.parametrize(("kind", "options"), MODULES.values(), ids=MODULES)
def test_gated_modules_of_pytorch(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    """What it writes we take, and it takes what we write of that."""
    module = getattr(torch.nn, kind)(3, 5, batch_first=True, **options)
    save_torch(module.state_dict(), str(tmp_path / "w.safetensors"))
    loaded = load(tmp_path / "w.safetensors")
    assert loaded.assumptions == []
    assert len(loaded.network.layers) == options.get("num_layers", 1)
    for end, cell in ended(loaded.network):
        assert all_bits(cell) == gated_from_torch(kind, module.state_dict(), end, 5)
    x = inputs()
    with torch.no_grad():
        expected = module(torch.from_numpy(x).to(options.get("dtype", torch.float32)))[0].numpy()
    close(expected, loaded.network, x)
    written(tmp_path / "ours.safetensors", loaded.network)
    state = load_torch(str(tmp_path / "ours.safetensors"))
    biased = getattr(torch.nn, kind)(3, 5, batch_first=True, **options | {"bias": True})
    biased.load_state_dict(state, strict=True)
    with torch.no_grad():
        again = biased(torch.from_numpy(x).to(options.get("dtype", torch.float32)))[0].numpy()
    close(again, loaded.network, x)
    reloaded = load(tmp_path / "ours.safetensors").network
    for before, after in zip(cells_of(loaded.network), cells_of(reloaded), strict=True):
        zeros = {"b_n": all_bits(after)["b_n"]} if kind == "GRU" else {}  # -0.0, without biases
        assert all_bits(after) == zeros | all_bits(before)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gated_cells_of_pytorch(tmp_path: Path, kind: str) -> None:
    module = getattr(torch.nn, f"{kind}Cell")(3, 5)
    save_torch(module.state_dict(), str(tmp_path / "w.safetensors"))
    loaded = load(tmp_path / "w.safetensors")
    (cell,) = cells_of(loaded.network)
    assert all_bits(cell) == gated_from_torch(kind, module.state_dict(), "", 5)
    biases = [module.bias_ih.detach().numpy(), module.bias_hh.detach().numpy()]
    for given, expected in zip(loaded.biases[0], biases, strict=True):
        gates = [expected[5 * gate : 5 * gate + 5] for gate in ORDERS[kind]]
        assert given.tobytes() == np.concatenate(gates).tobytes()
