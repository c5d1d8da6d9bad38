"""Models that Keras 3 and Keras 2 save, run from their files as the two run them.

What a model gives is compared with its own ``predict``, within 1e-6 relative
to max(1, |y|): weights are small enough that float32 ends no further from it.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tf_keras

from peers.networks import Array, furthest
from rnncli.engine.run import run
from rnncli.model.formats import load_network

LIBRARIES = {"keras-3": keras, "keras-2": tf_keras}
EXTENSIONS = (".keras", ".h5")
FUNCTIONS = (
    *("tanh", "relu", "sigmoid", "softsign", "elu", "hard_sigmoid", "linear", "swish", "gelu"),
    *("selu", "softplus"),
)
N, T, I = 4, 7, 3
MASKED, NUMBERS = -1.0, 6

# Of Keras's own: of NumPy's arrays, of files in HDF5, and of rows of one value.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Exception encountered when calling Softmax:UserWarning"),
    pytest.mark.filterwarnings("ignore:You are saving your model:UserWarning"),
]


@pytest.fixture(autouse=True)
def seeds() -> None:
    keras.utils.set_random_seed(0)
    tf_keras.utils.set_random_seed(0)


class Draw:
    """Choices of one random model."""

    def __init__(self, library: Any, seed: int) -> None:
        self.library, self.layers = library, library.layers
        self.random = np.random.RandomState(seed)
        self.numbers, self.masked, self.turning = (
            self.chance(0.3),
            self.chance(0.4),
            self.chance(0.3),
        )

    def one_of(self, *values: Any) -> Any:
        return values[self.random.randint(len(values))]

    def chance(self, share: float = 0.5) -> bool:
        return bool(self.random.uniform() < share)

    def cell(self, ending: str = "", **settings: Any) -> Any:
        """A recurrent layer, or with the ending ``Cell`` a cell."""
        kind = self.one_of("SimpleRNN", "LSTM", "GRU")
        settings |= {
            "units": int(self.random.randint(1, 5)),
            "activation": self.one_of("tanh", *FUNCTIONS),
            "use_bias": self.chance(0.8),
        }
        if kind != "SimpleRNN":
            settings["recurrent_activation"] = self.one_of("sigmoid", "sigmoid", "hard_sigmoid")
        if kind == "GRU":
            settings["reset_after"] = self.chance()
        return getattr(self.layers, f"{kind}{ending}")(**settings)

    def recurrent(self, *, top: bool) -> Any:
        """A layer of one cell or several, which gives a sequence if it is not the top one."""
        sequences = not top or self.chance()
        shape = self.one_of("one", "one", "both", "both", "cells", "cell")
        if shape == "both":
            layer = self.cell(return_sequences=sequences)
            merge = self.one_of("sum", "ave", "mul", *([] if self.turning else ["concat"] * 3))
            config = {**layer.get_config(), "go_backwards": True, "name": "other"}
            other = type(layer).from_config(config) if self.chance(0.3) else None
            return self.layers.Bidirectional(layer, merge_mode=merge, backward_layer=other)
        # Masks are not turned with the rows, which is refused.
        turned = self.turning and (top or not self.masked) and self.chance()
        settings: dict[str, Any] = {"return_sequences": sequences, "go_backwards": turned}
        if shape == "one":
            return self.cell(**settings)
        cells = [self.cell("Cell") for _ in range(self.random.randint(2, 4))]
        return self.layers.RNN(cells if shape == "cells" else cells[0], **settings)

    def rows(self) -> Any:
        """A layer without state."""
        L = self.layers
        makers = [
            lambda: L.Dense(3, activation=self.one_of(*FUNCTIONS, "softmax")),
            lambda: L.Activation(self.one_of(*FUNCTIONS, "softmax", "leaky_relu")),
            lambda: L.BatchNormalization(scale=self.chance(), center=self.chance()),
            lambda: L.Dropout(0.5),
            lambda: L.GaussianNoise(0.5),
            lambda: L.ActivityRegularization(0.1),
            lambda: L.ReLU(),
            lambda: L.ReLU(negative_slope=0.25),
            lambda: L.ReLU(threshold=0.5),
            lambda: L.LeakyReLU(),
            lambda: L.ELU(0.5),
            # Rows of two near values are not to become far ones.
            lambda: L.LayerNormalization(epsilon=0.1, scale=self.chance(), center=self.chance()),
        ]
        if not self.masked:
            makers += [
                lambda: L.Softmax(),
                lambda: L.Normalization(),
                lambda: L.Normalization(mean=0.5, variance=2.0),
                lambda: L.Rescaling(0.5, 0.25),
            ]
        return makers[self.random.randint(len(makers))]()

    def model(self) -> Any:
        """A chain of layers: Sequential, or of functions."""
        L, layers = self.layers, []
        if self.numbers:
            layers.append(L.Embedding(NUMBERS, 3, mask_zero=self.masked))
        elif self.masked:
            layers.append(L.Masking(MASKED))
        depth = self.random.randint(1, 4)
        for number in range(depth):
            if self.chance(0.3):
                layers.append(self.rows())
            layers.append(self.recurrent(top=number == depth - 1))
        if self.chance(0.7):
            head = L.Dense(2, activation=self.one_of("linear", "softmax", "sigmoid"))
            sequences = layers[-1].return_sequences
            layers.append(L.TimeDistributed(head) if sequences and self.chance() else head)
        start = L.Input((None,) if self.numbers else (None, I))
        if self.chance():
            return self.library.Sequential([start, *layers])
        end = start
        for layer in layers:
            end = layer(end)
        return self.library.Model(start, end)

    def fill(self, model: Any) -> None:
        """Draw all weights, biases and statistics too."""
        for weight in model.weights:
            values = self.random.normal(0, 0.4, weight.shape)
            if "variance" in weight.name:
                values = 0.5 + np.abs(values)
            weight.assign(values.astype(np.float32) if "count" not in weight.name else 1)
        for layer in model.layers:
            if isinstance(layer, self.layers.Normalization):
                layer.finalize_state()

    def input(self) -> Array:
        """A batch of sequences, each with its own masked rows if there is a mask."""
        if self.numbers:
            return np.asarray(self.random.randint(0, NUMBERS, (N, T)), np.float32)
        x = self.random.normal(size=(N, T, I)).astype(np.float32)
        if self.masked:
            x[self.random.uniform(size=(N, T)) < 0.4] = MASKED
        return x


def given(path: Path, x: Array) -> Array:
    """What the model in a file gives: a row for each step, or one a sequence."""
    loaded = load_network(path)
    network = loaded.network
    states = run(network, x if x.ndim == 3 else x[..., None])
    if network.last:
        assert states.y_n is not None
        return states.y_n
    y = states.h if states.y is None else states.y
    turned = any("from the last step to the first" in note for note in loaded.assumptions)
    return y[:, ::-1] if turned else y


@pytest.mark.parametrize("seed", range(400))
@pytest.mark.parametrize("library", LIBRARIES)
def test_models_give_what_they_give_in_keras(tmp_path: Path, library: str, seed: int) -> None:
    draw = Draw(LIBRARIES[library], seed)
    model, x = draw.model(), draw.input()
    draw.fill(model)
    path = tmp_path / f"model{EXTENSIONS[seed % 2]}"
    model.save(path)
    expected = np.asarray(model(x, training=False))
    assert furthest([given(path, x)], [expected]) <= 1e-6
