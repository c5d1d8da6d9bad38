"""Models that Keras 3 and Keras 2 save, run from their files as the two run them.

What a model gives is compared with its own ``predict``, within 1e-6 relative
to max(1, |y|): weights are small enough that float32 ends no further from it.
"""

from itertools import product
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

# Of Keras's own: of NumPy's arrays, of files in HDF5, of rows of one value, and of masks that
# models in models are said to lose, which they do not.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning"),
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning"),
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
        x = self.features()
        if self.masked:
            x[self.random.uniform(size=(N, T)) < 0.4] = MASKED
        return x

    def features(self) -> Array:
        return self.random.normal(size=(N, T, I)).astype(np.float32)


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


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("library", LIBRARIES)
def test_models_give_what_they_give_in_keras(tmp_path: Path, library: str, seed: int) -> None:
    draw = Draw(LIBRARIES[library], seed)
    model, x = draw.model(), draw.input()
    draw.fill(model)
    path = tmp_path / f"model{EXTENSIONS[seed % 2]}"
    model.save(path)
    expected = np.asarray(model(x, training=False))
    assert furthest([given(path, x)], [expected]) <= 1e-6


def compare(path: Path, model: Any, x: Array) -> None:
    """Save a model, and compare what it gives with what we give."""
    model.save(path)
    assert furthest([given(path, x)], [np.asarray(model(x, training=False))]) <= 1e-6


def chained(draw: Draw, *layers: Any) -> Any:
    model = draw.library.Sequential([draw.layers.Input((None, I)), *layers])
    draw.fill(model)
    return model


NAMES = (
    *("celu", "elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "hard_swish"),
    *("leaky_relu", "linear", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu"),
    *("softmax", "softplus", "softsign", "swish", "tanh"),
)


def has(library: str, activation: str) -> bool:
    try:
        LIBRARIES[library].activations.get(activation)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("library", "name"), [each for each in product(LIBRARIES, NAMES) if has(*each)]
)
def test_every_activation_is_that_of_its_version(tmp_path: Path, library: str, name: str) -> None:
    draw = Draw(LIBRARIES[library], 0)
    layers = [draw.layers.GRU(3, return_sequences=True), draw.layers.Dense(4, name)]
    if "softmax" not in name and name != "exponential":
        layers.append(draw.layers.LSTM(2, name, return_sequences=True))
    compare(tmp_path / "m.keras", chained(draw, *layers), draw.features())


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_layer_may_be_an_activation(tmp_path: Path, library: str, extension: str) -> None:
    draw = Draw(LIBRARIES[library], 1)
    L = draw.layers
    head = [L.Dense(4, L.LeakyReLU(0.3)), L.Dense(3, L.ReLU(6.0)), L.Dense(3, L.ELU(0.5))]
    lower = L.SimpleRNN(3, L.LeakyReLU(0.1), return_sequences=True)
    compare(tmp_path / f"m{extension}", chained(draw, lower, *head), draw.features())


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("unrolled", [(), ("forward",), ("backward",)])
@pytest.mark.parametrize("library", LIBRARIES)
def test_masks_of_unrolled_layers(
    tmp_path: Path, library: str, unrolled: tuple[str, ...], sequences: bool
) -> None:
    draw = Draw(LIBRARIES[library], 0)
    cells = [
        draw.layers.GRU(
            2,
            name=name,
            return_sequences=sequences,
            unroll=name in unrolled,
            go_backwards=name == "backward",
        )
        for name in ("forward", "backward")
    ]
    both = draw.layers.Bidirectional(cells[0], backward_layer=cells[1])
    model = draw.library.Sequential([draw.layers.Input((3, 1)), draw.layers.Masking(0.0), both])
    path, x = tmp_path / "model.keras", np.array([[[1], [2], [0]]], np.float32)
    if unrolled == ("backward",) and sequences:
        model.save(path)
        with pytest.raises(ValueError, match="Keras takes that mask in the wrong direction"):
            given(path, x)
    else:
        compare(path, model, x)


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_models_in_models(tmp_path: Path, library: str, extension: str) -> None:
    draw = Draw(LIBRARIES[library], 2)
    L, model = draw.layers, draw.library.Sequential
    lower = model(
        [L.Input((None, I)), L.Masking(MASKED), L.GRU(3, return_sequences=True)], name="lower"
    )
    start = L.Input((None, 3))
    upper = draw.library.Model(start, L.Bidirectional(L.LSTM(2, return_sequences=True))(start))
    rows = model([L.Dense(2), L.BatchNormalization(), L.Dense(3, "softmax")])
    x = draw.features()
    x[0, 2:4] = MASKED
    compare(tmp_path / f"m{extension}", chained(draw, lower, upper, L.TimeDistributed(rows)), x)


@pytest.mark.parametrize(
    "settings", [{"axis": None}, {"mean": [1.0, 2.0, 0.5], "variance": [2.0, 0.5, 1.0]}]
)
@pytest.mark.parametrize("library", LIBRARIES)
def test_statistics_of_all_features_or_of_each(
    tmp_path: Path, library: str, settings: dict[str, Any]
) -> None:
    draw = Draw(LIBRARIES[library], 3)
    L = draw.layers
    layers = (L.Normalization(**settings), L.Rescaling([0.5, 2.0, 1.0], -0.5), L.LSTM(3))
    compare(tmp_path / "m.h5", chained(draw, *layers), draw.features())


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("library", LIBRARIES)
def test_frozen_parts_keep_their_arrays(
    tmp_path: Path, library: str, which: int, extension: str
) -> None:
    """Where a file lists them in another order, it is refused."""
    draw = Draw(LIBRARIES[library], 6)
    L = draw.layers
    both, cells = L.Bidirectional(L.GRU(3, return_sequences=True)), [L.LSTMCell(3), L.LSTMCell(3)]
    model, path = chained(draw, both, L.RNN(cells)), tmp_path / f"m{extension}"
    parts = [both.forward_layer, both.backward_layer, *cells]
    parts[which].trainable = False
    if extension == ".h5" and which in (0, 2):
        model.save(path)
        with pytest.raises(ValueError, match="frozen parts"):
            load_network(path)
    else:
        compare(path, model, draw.features())


@pytest.mark.parametrize("library", LIBRARIES)
def test_weights_of_16_bits_are_run_in_float32(tmp_path: Path, library: str) -> None:
    draw = Draw(LIBRARIES[library], 4)
    models = []
    for dtype in ("float16", "float32"):
        cells = [getattr(draw.layers, kind)(3, dtype=dtype) for kind in ("LSTMCell", "GRUCell")]
        layers = [draw.layers.RNN(cells, dtype=dtype), draw.layers.Dense(2, dtype=dtype)]
        models.append(draw.library.Sequential([draw.layers.Input((None, I)), *layers]))
    half, single = models
    draw.fill(single)
    half.set_weights([weight.astype(np.float16) for weight in single.get_weights()])
    single.set_weights([weight.astype(np.float32) for weight in half.get_weights()])
    half.save(tmp_path / "m.keras")
    x = draw.features()
    assert furthest([given(tmp_path / "m.keras", x)], [np.asarray(single(x))]) <= 1e-6


@pytest.mark.parametrize("library", LIBRARIES)
def test_weights_alone(tmp_path: Path, library: str) -> None:
    draw = Draw(LIBRARIES[library], 5)
    L = draw.layers
    layers = [L.Bidirectional(L.LSTM(n, return_sequences=True)) for n in (2, 5)]
    path, x = tmp_path / "m.weights.h5", draw.features()
    model = chained(draw, *layers)
    model.save_weights(path)
    assert furthest([given(path, x)], [np.asarray(model(x))]) <= 1e-6
    chained(draw, layers[0], L.GRU(5, return_sequences=True)).save_weights(path)
    with pytest.raises(ValueError, match=r"the order of .* is not in the file; .*model\.save"):
        given(path, x)
