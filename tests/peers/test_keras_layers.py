"""Attention, layers over axes, shared layers and states given on, in Keras 3 and Keras 2."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tf_keras

from peers.nets import output
from rnncli.engine.run import run
from rnncli.model.formats.load import load_network

LIBRARIES = {"keras-3": keras, "keras-2": tf_keras}
STEPS = 12  # some models count them
Model = Callable[[Any, Any, Any], Any]  # of the layers of a library, x and rows of an LSTM


def give_states(L: Any, x: Any, _: Any) -> Any:
    h, c = L.LSTM(4, return_state=True)(x)[1:]
    return L.LSTM(4, return_sequences=True)(x, initial_state=[L.Dense(4, "tanh")(h), c])


def give_states_of_both(L: Any, x: Any, _: Any) -> Any:
    both = L.Bidirectional(L.GRU(2, return_state=True, return_sequences=True))(x)
    decoder = L.Bidirectional(L.GRU(2, return_sequences=True))
    return decoder(both[0], initial_state=[both[2], both[1]])


def share(L: Any, x: Any, _: Any) -> Any:
    layer = L.LSTM(3, return_sequences=True)
    return L.Dense(2)(layer(layer(x)))


def weigh(L: Any, _: Any, rows: Any) -> Any:
    weights = L.Permute((2, 1))(L.RepeatVector(4)(L.Softmax()(L.Flatten()(L.Dense(1)(rows)))))
    return L.GlobalAveragePooling1D()(L.Multiply()([rows, weights]))


def spectrogram(L: Any, x: Any, _: Any) -> Any:
    image = L.Conv2D(4, 3, padding="same", activation="relu")(L.Reshape((-1, 3, 1))(x))
    image = L.MaxPooling2D((1, 2), padding="same")(L.BatchNormalization()(image))
    return L.GRU(3, return_sequences=True)(L.Reshape((-1, 8))(image))


def each_step(L: Any, x: Any, _: Any) -> Any:
    images = L.TimeDistributed(L.Reshape((3, 1)))(x)
    images = L.TimeDistributed(L.Conv1D(2, 2))(images)
    return L.LSTM(3)(L.TimeDistributed(L.Flatten())(images))


MODELS: dict[str, Model] = {
    "attention": lambda L, _, rows: L.Attention(use_scale=True)([rows, rows]),
    "concat": lambda L, _, rows: L.Attention(score_mode="concat")([L.Dense(4)(rows), rows]),
    "additive": lambda L, _, rows: L.AdditiveAttention()([rows, L.Dense(4)(rows), rows]),
    "heads": lambda L, _, rows: L.MultiHeadAttention(3, 2, value_dim=4)(rows, rows),
    "separable": lambda L, x, _: L.LSTM(3)(L.SeparableConv1D(4, 3, depth_multiplier=2)(x)),
    "depthwise": lambda L, x, _: L.LSTM(3)(L.DepthwiseConv1D(3, padding="same")(x)),
    "dot": lambda L, _, rows: L.Dot(axes=1)([L.Softmax(axis=1)(L.Dense(2)(rows)), rows]),
    "slopes": lambda L, _, rows: L.PReLU(shared_axes=[1])(rows),
    "cell state": lambda L, x, _: L.Dense(2)(L.LSTM(4, return_state=True)(x)[2]),
    **{each.__name__: each for each in (give_states, give_states_of_both, share, weigh)},
    **{each.__name__: each for each in (spectrogram, each_step)},
}

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:You are saving your model:UserWarning"),
]


@pytest.mark.parametrize("extension", [".keras", ".h5"])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_layers(tmp_path: Path, library: str, name: str, extension: str) -> None:
    module: Any = LIBRARIES[library]
    x = module.Input((STEPS, 3))
    rows = module.layers.LSTM(4, return_sequences=True)(x)
    model, random = module.Model(x, MODELS[name](module.layers, x, rows)), np.random.RandomState(0)
    for weight in model.weights:
        weight.assign(np.abs(random.normal(scale=0.5, size=weight.shape)) + 0.1)
    path = tmp_path / f"m{extension}"
    model.save(path)
    network = load_network(str(path)).network
    for N in (1, 3):
        inputs = random.normal(size=(N, STEPS, 3)).astype("f4")
        expected = np.asarray(model(inputs, training=False))
        given = output(run(network, inputs))
        given = given if given.shape == expected.shape else given[:, -1].reshape(expected.shape)
        np.testing.assert_allclose(given, expected, rtol=2e-5, atol=2e-5)
