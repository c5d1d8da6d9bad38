"""Layers without state are those of Keras and PyTorch; rows that they mask those of Keras.

Networks that mask have cells of Keras's own initializers, over few steps: two right
programs in float32 end within 1e-6 of each other.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import rnncli
from peers.networks import WAYS, Array, furthest
from rnncli import (
    Dense,
    Embedding,
    LayerNormalization,
    Masking,
    Network,
    Normalization,
    Pointwise,
    Recurrent,
    Weights,
)
from rnncli.model.cells import GRU, LSTM, RNN, Cell
from rnncli.model.layers import Layer

keras = pytest.importorskip("keras")
torch = pytest.importorskip("torch")

TOLERANCE = 1e-6
# Ours by Keras's names; the parameters are Keras's defaults.
ACTIVATIONS = {
    "linear": "linear",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "relu": "relu",
    "elu": "elu",
    "leaky_relu": "leaky_relu:0.2",
    "hard_sigmoid": f"hard_sigmoid:{1 / 6!r},0.5",
    "softplus": "softplus",
    "softsign": "softsign",
    "softmax": "softmax",
    "log_softmax": "log_softmax",
    "relu6": "relu6",
    "silu": "silu",
    "gelu": "gelu",
    "selu": "selu",
    "mish": "mish",
    "exponential": "exponential",
    "hard_silu": "hard_silu",
}
# PyTorch's modules.
MODULES: dict[str, Callable[[], Any]] = {
    "relu6": torch.nn.ReLU6,
    "silu": torch.nn.SiLU,
    "gelu": torch.nn.GELU,
    "gelu_tanh": lambda: torch.nn.GELU(approximate="tanh"),
    "selu": torch.nn.SELU,
    "mish": torch.nn.Mish,
    "hard_silu": torch.nn.Hardswish,
    "log_softmax": lambda: torch.nn.LogSoftmax(dim=-1),
}
RANDOM = np.random.RandomState(3)
X = RANDOM.normal(0, 2, (4, 9, 3)).astype("f")


def near(layers: Sequence[Layer], model: Any, x: Array = X) -> None:
    """Compare what a network gives with a Keras model, over a batch."""
    network = Network(*layers)
    states = rnncli.run(network, x)
    ours = states.h if states.y is None else states.y
    assert furthest([ours], [np.asarray(model(x))]) <= TOLERANCE


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_dense_and_activations(name: str) -> None:
    dense = keras.layers.Dense(5, activation=name, bias_initializer="glorot_normal")
    dense.build(X.shape)
    W, b = (np.asarray(variable) for variable in dense.weights)
    near([Dense(W, b, ACTIVATIONS[name])], dense)
    near([Pointwise(ACTIVATIONS[name], 3)], keras.layers.Activation(name))


def test_gelu_by_tanh() -> None:
    near([Pointwise("gelu_tanh", 3)], lambda x: keras.activations.gelu(x, approximate=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODULES)
def test_activations_of_pytorch(name: str, dtype: str) -> None:
    """Of sums of all sizes, none of which overflows."""
    a = np.concatenate([np.linspace(-8, 8, 801), [100, -100, 1e-40, -1e-40, 0, -0.0, 30]])
    rows = np.resize(a, (102, 8))
    with np.errstate(all="raise", under="ignore"):
        ours = rnncli.run(Network(Pointwise(name, 8)), rows, precision=dtype).h
    theirs = MODULES[name]()(torch.from_numpy(rows.astype(dtype))).numpy()
    tolerance = TOLERANCE if dtype == "float32" else 1e-14
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shifted", [True, False])
def test_layer_normalization(shifted: bool) -> None:
    layer = keras.layers.LayerNormalization(epsilon=0.01, center=shifted)
    layer.build(X.shape)
    layer.set_weights([RANDOM.uniform(0.5, 2, 3) for _ in layer.weights])
    arrays = [np.asarray(variable) for variable in layer.weights]
    ours = LayerNormalization(arrays[0], arrays[1] if shifted else None, 0.01)
    near([ours], layer)
    module = torch.nn.LayerNorm(3, 0.01, bias=shifted)
    for parameter, array in zip(module.parameters(), arrays, strict=True):
        parameter.data = torch.from_numpy(array.copy())
    near([ours], lambda x: module(torch.from_numpy(x)).detach().numpy())


def test_normalization() -> None:
    mean, variance = np.array([[0.5, -1, 2], [4, 0, 0.25]], "f")
    layer = keras.layers.Normalization(mean=mean, variance=variance)
    layer.build(X.shape)
    scale = np.maximum(np.sqrt(variance), keras.backend.epsilon())
    x = X.copy()
    x[..., 1] = -1  # a feature that never varied
    near([Normalization(mean, scale)], layer, x)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("shifted", [True, False])
def test_batch_normalization(scaled: bool, shifted: bool) -> None:
    layer = keras.layers.BatchNormalization(scale=scaled, center=shifted, epsilon=0.01)
    layer.build(X.shape)
    layer.set_weights([RANDOM.uniform(0.5, 2, 3) for _ in layer.weights])
    *learned, mean, variance = (np.asarray(variable) for variable in layer.weights)
    factor = learned.pop(0) if scaled else None
    shift = learned.pop(0) if shifted else None
    near([Normalization(mean, np.sqrt(variance + 0.01), shift, factor)], layer)


def test_embedding() -> None:
    layer = keras.layers.Embedding(6, 3)
    index = np.array([[1, 0, 5, 5], [2, 3, 4, 0]])
    table = np.asarray(layer(index)), np.asarray(layer.embeddings)
    ours = rnncli.run(Network(Embedding(table[1])), index[..., None]).h
    assert ours.tobytes() == table[0].tobytes()


def cell_of(layer: Any) -> Cell:
    """Return our cell of a layer of Keras's."""
    kernel, recurrent, bias = (np.asarray(variable) for variable in layer.cell.weights)
    if isinstance(layer, keras.layers.GRU):
        b_h, b_n = bias[0].copy(), bias[1, -layer.units :]
        b_h[: -layer.units] += bias[1, : -layer.units]
        return GRU(Weights(kernel, recurrent, b_h, b_n))
    kind = LSTM if isinstance(layer, keras.layers.LSTM) else RNN
    return kind(Weights(kernel, recurrent, bias))


def ours(layer: Any) -> Recurrent:
    """Return our layer of a recurrent one of Keras's, or of both directions."""
    if not isinstance(layer, keras.layers.Bidirectional):
        return Recurrent(cell_of(layer))
    cells = cell_of(layer.forward_layer), cell_of(layer.backward_layer)
    return Recurrent(*cells, direction="bidirectional", merge=layer.merge_mode)


# Gaps of one row and of several, at the start and at the end; a sequence without any row.
MASKED = np.array(
    [
        [1, 1, 0, 0, 1, 0, 1, 1, 0],
        [0, 0, 1, 0, 0, 0, 0, 1, 1],
        [1, 1, 1, 1, 1, 1, 1, 1, 1],
        [0, 0, 0, 0, 0, 0, 0, 0, 0],
    ],
    bool,
)


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
@pytest.mark.parametrize(("direction", "merge"), [way for way in WAYS if way[0] != "backward"])
def test_masked_rows(kind: str, direction: str, merge: str) -> None:
    """Two layers and a head over them, at every step, and the final states."""
    keras.utils.set_random_seed(1)
    x = X.copy()
    x[MASKED] = 7

    def layer(**how: Any) -> Any:
        how = {"bias_initializer": "glorot_normal", "return_sequences": True, **how}
        one = getattr(keras.layers, kind)(4, **how)
        return one if direction == "forward" else keras.layers.Bidirectional(one, merge_mode=merge)

    given = keras.Input(X.shape[1:])
    masked = keras.layers.Masking(7)(given)
    lower, upper, head = layer(), layer(return_state=True), keras.layers.Dense(2, "tanh")
    below = lower(masked)
    above, *finals = upper(below)
    model = keras.Model(given, [below, above, head(above), *finals])
    theirs = [np.asarray(output) for output in model(x)]

    W, b = (np.asarray(variable) for variable in head.weights)
    network = Network(Masking(7, 3), ours(lower), ours(upper), Dense(W, b, "tanh"))
    states = rnncli.run(network, x, all_layers=True)
    assert furthest(states.layers[1:], theirs[:3]) <= TOLERANCE
    places = [place for cell in network.state_slices[2] for place in cell]
    assert furthest([states.h_n[:, place] for place in places], theirs[3:]) <= TOLERANCE


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
@pytest.mark.parametrize("both", [False, True])
def test_an_embedding_that_masks_zeros_and_a_head_over_the_final_state(
    kind: str, both: bool
) -> None:
    keras.utils.set_random_seed(2)
    embedding = keras.layers.Embedding(6, 3, mask_zero=True)
    layer, head = getattr(keras.layers, kind)(4), keras.layers.Dense(2, "softmax")
    layer = keras.layers.Bidirectional(layer) if both else layer
    model = keras.Sequential([embedding, layer, head])
    index = np.where(MASKED, 0, RANDOM.randint(1, 6, MASKED.shape))
    theirs = np.asarray(model(index))
    W, b = (np.asarray(variable) for variable in head.weights)
    table = np.asarray(embedding.embeddings)
    network = Network(Embedding(table, mask_zero=True), ours(layer), Dense(W, b, "softmax"))
    states = rnncli.run(network, index[..., None])
    assert states.y_n is not None
    assert furthest([states.y_n], [theirs]) <= TOLERANCE
