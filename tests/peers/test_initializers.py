"""Draws against the frameworks themselves, over many seeds and architectures."""

import os
from importlib import import_module
from itertools import product
from typing import Any

import numpy as np
import pytest
from drawn import check, keras_arrays, torch_arrays

from rnncli import Network, seeded
from rnncli.model.cells import CELLS, Cell
from rnncli.model.initializers.keras import _orthogonal
from rnncli.model.initializers.tensorflow import _stream, normals

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# By name: the types of the frameworks are not there where the peers are not installed.
keras: Any = import_module("keras")
tf: Any = import_module("tensorflow")
torch: Any = import_module("torch")

SEEDS = (*range(16), 42, 2**31 - 1, 2**31, 2**32 - 1)
STACKS = ((4,), (3, 5), (6, 2, 4))
MERGES = [
    ("forward", "concat"),
    ("backward", "concat"),
    *(("bidirectional", merge) for merge in ("concat", "sum", "ave", "mul")),
]


def cells(network: Network) -> list[Cell]:
    return [cell for layer in network.layers for cell in layer.cells]


def units_apart(drawn: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Distance in units of the last place."""
    assert drawn.shape == expected.shape
    distance = np.abs(drawn.astype(np.float64) - expected)
    return np.ravel(distance / np.spacing(np.abs(expected)))


def test_tensorflow_over_a_million_draws() -> None:
    apart = []
    for seed in (0, 1, 2**31 - 1, 2**32 - 1):
        for I, sizes, direction in (
            (1, (4,), "forward"),
            (2, (3, 5), "bidirectional"),
            (300, (250, 70), "backward"),
            (100, (200, 150), "bidirectional"),
        ):
            tf.random.set_seed(seed)
            for cell in cells(seeded(I, sizes, seed, direction=direction)):
                for drawn in cell.weights[:2]:
                    apart.append(units_apart(drawn, tf.random.normal(drawn.shape).numpy()))
        for kind in ("lstm", "gru"):
            tf.random.set_seed(seed)
            network = seeded(1, (20, 3), seed, cell=kind, embedding=(50, 7), head=5)
            embedding, *recurrent, dense = network.layers
            weights = [w for layer in recurrent for w in layer.cells[0].weights[:2]]
            for drawn in (embedding.arrays["W"], *weights, dense.arrays["W"]):
                apart.append(units_apart(drawn, tf.random.normal(drawn.shape).numpy()))
    units = np.concatenate(apart)
    assert len(units) > 10**6
    # TensorFlow's own log, sin and cos are approximations in float32.
    assert np.mean(units == 0) >= 0.98
    assert units.max() <= 4


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_tensorflow_replaces_a_pair_of_zero_seeds(seed: int) -> None:
    tf.random.set_seed(seed)
    expected = tf.random.normal((8,), seed=seed).numpy()
    assert units_apart(normals((8,), _stream(seed, seed)), expected).max() <= 4


KERAS = {"rnn": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("direction", "merge"), MERGES)
def test_keras_stacks(direction: str, merge: str, cell: str) -> None:
    for seed in SEEDS:
        sizes, bias = STACKS[seed % 3], bool(seed % 2)
        reset: dict[str, Any] = (
            {"reset": ("after", "before")[seed // 2 % 2]} if cell == "gru" else {}
        )
        keras.utils.set_random_seed(seed)
        layers = [keras.Input((None, 3))]
        for size in sizes:
            layer = getattr(keras.layers, KERAS[cell])(
                size,
                return_sequences=True,
                go_backwards=direction == "backward",
                use_bias=bias,
                **({"reset_after": reset["reset"] == "after"} if reset else {}),
            )
            if direction == "bidirectional":
                layer = keras.layers.Bidirectional(layer, merge_mode=merge)
            layers.append(layer)
        weights = keras.Sequential(layers).get_weights()
        network = seeded(
            3, sizes, seed, "keras", direction=direction, merge=merge, cell=cell, bias=bias, **reset
        )
        # A QR in float32 is off by a few of its units; a square one is the worse determined.
        atol = 2e-5 if cell == "rnn" else 1e-6
        check(network, keras_arrays(weights, cell, bias=bias, **reset), W_hh=atol)


@pytest.mark.parametrize("cell", CELLS)
def test_keras_embeddings_and_heads(cell: str) -> None:
    for seed in SEEDS:
        V, E, H, O = np.random.RandomState(seed).randint(1, 30, 4).tolist()
        way = ("forward", "bidirectional")[seed % 2]
        keras.utils.set_random_seed(seed)
        embedding = keras.layers.Embedding(V, E)
        layer = getattr(keras.layers, KERAS[cell])(H, return_sequences=True)
        if way == "bidirectional":
            layer = keras.layers.Bidirectional(layer)
        model = keras.Sequential([embedding, layer, keras.layers.Dense(O)])
        model.build((None, None))
        network = seeded(1, H, seed, "keras", direction=way, cell=cell, embedding=(V, E), head=O)
        expected = keras_arrays(model.get_weights(), cell, embedding=True, head=True)
        check(network, expected, W_hh=2e-5 if cell == "rnn" else 1e-6)


@pytest.mark.parametrize("H", [1, 2, 3, 4, 7, 16, 33, 64])
def test_keras_recurrent_kernels(H: int) -> None:
    for seed in range(1, 41):
        expected = keras.initializers.Orthogonal(seed=seed)((H, H)).numpy()
        _, r = keras.ops.qr(keras.random.normal((H, H), seed=seed))
        # A column is the worse determined, the shorter it is without those before it; the last
        # is what they leave. Measured over 25,600 kernels: 1.5 units * H at most.
        shortest = np.abs(np.diag(r.numpy()))[:-1].min(initial=1)
        atol = 4 * H * np.finfo(np.float32).eps / shortest
        np.testing.assert_allclose(
            _orthogonal(H, H, seed), expected, rtol=0, atol=atol, strict=True
        )


@pytest.mark.parametrize("gates", [3, 4])
@pytest.mark.parametrize("H", [1, 2, 3, 4, 7, 16, 33, 64])
def test_keras_recurrent_kernels_of_gates(H: int, gates: int) -> None:
    for seed in range(1, 41):
        expected = keras.initializers.Orthogonal(seed=seed)((H, gates * H)).numpy()
        drawn = _orthogonal(H, gates * H, seed)
        # Measured over 1,500 kernels, H from 1 to 256: 3.3e-7 at most.
        np.testing.assert_allclose(drawn, expected, rtol=0, atol=1e-6, strict=True)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_torch_to_the_bit(cell: str, layers: int, direction: str, bias: bool) -> None:
    for seed, (I, H) in product(SEEDS, ((1, 4), (5, 3), (2, 1), (9, 40))):
        torch.manual_seed(seed)
        module = torch_module(cell, I, H, layers, direction, bias=bias)
        network = seeded(I, [H] * layers, seed, "torch", direction=direction, cell=cell, bias=bias)
        check(network, torch_arrays(numpy(module), cell))


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_torch_projections(layers: int, direction: str) -> None:
    for seed, (H, P) in product(SEEDS, ((4, 1), (5, 4), (40, 7))):
        torch.manual_seed(seed)
        module = torch.nn.LSTM(
            3, H, layers, bidirectional=direction == "bidirectional", proj_size=P
        )
        network = seeded(
            3, [H] * layers, seed, "torch", direction=direction, cell="lstm", projected_size=P
        )
        check(network, torch_arrays(numpy(module), "lstm"))


@pytest.mark.parametrize("cell", CELLS)
def test_torch_embeddings_and_heads(cell: str) -> None:
    tables = []
    for seed in SEEDS:
        V, E, H, O = np.random.RandomState(seed).randint(1, 30, 4).tolist()
        way = ("forward", "bidirectional")[seed % 2]
        torch.manual_seed(seed)
        embedding = torch.nn.Embedding(V, E)
        module = torch_module(cell, E, H, 2, way)
        head = torch.nn.Linear(H * module.bidirectional + H, O)
        parameters = (
            {"embedding.weight": numpy(embedding)["weight"]}
            | numpy(module)
            | {f"head.{name}": array for name, array in numpy(head).items()}
        )
        network = seeded(
            1, (H, H), seed, "torch", direction=way, cell=cell, embedding=(V, E), head=O
        )
        # PyTorch takes logarithms and waves in float32: a unit of the largest numbers.
        check(network, torch_arrays(parameters, cell), table=5e-7)
        tables.append(network.layers[0].arrays["W"] == parameters["embedding.weight"])
    assert np.concatenate([table.ravel() for table in tables]).mean() > 0.8


@pytest.mark.parametrize("V", [1, 7, 8, 1001, 2**12 + 1])
def test_torch_tables_of_any_size(V: int) -> None:
    torch.manual_seed(V)
    expected = numpy(torch.nn.Embedding(V, 33 if V > 8 else 2))["weight"]
    table = seeded(1, 1, V, "torch", embedding=expected.shape).layers[0].arrays["W"]
    np.testing.assert_allclose(table, expected, rtol=0, atol=5e-7, strict=True)


def torch_module(
    cell: str, I: int, H: int, layers: int, direction: str, *, bias: bool = True
) -> Any:
    kind = getattr(torch.nn, cell.upper())
    return kind(I, H, layers, bias=bias, bidirectional=direction == "bidirectional")


def numpy(module: Any) -> dict[str, np.ndarray]:
    return {name: each.detach().numpy() for name, each in module.named_parameters()}
