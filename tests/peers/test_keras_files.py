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
from conftest import NIGHTLY

from peers.nets import Array, furthest, output
from rnncli.engine.run import run
from rnncli.model.formats.load import load_network

LIBRARIES = {"keras-3": keras, "keras-2": tf_keras}
EACH_LIBRARY = pytest.mark.parametrize("library", LIBRARIES)
EXTENSIONS = (".keras", ".h5")
MODELS = 60 if NIGHTLY else 5
# By default the slow one, Keras 2, saves less.
SAVED = [(library, extension) for library in LIBRARIES for extension in EXTENSIONS]
SAVED = SAVED if NIGHTLY else SAVED[:1] + SAVED[-1:]
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
        self.numbers, self.masked, self.turning = map(self.chance, (0.3, 0.4, 0.3))

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
        both = [] if self.turning else ["both", "both"]
        shape = self.one_of("one", "one", *both, "cells", "cell")
        if shape == "both":
            layer = self.cell(return_sequences=sequences)
            merge = self.one_of("sum", "ave", "mul", "concat", "concat", "concat")
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


def predict(path: Path, x: Array, chain: str | None = None) -> Array:
    """Run the model in a file: it gives a row for each step, or one a sequence."""
    loaded = load_network(path, chain=chain)
    states = run(loaded.network, x if x.ndim == 3 else x[..., None])
    if loaded.network.last:
        assert states.y_n is not None
        return states.y_n
    turned = any("from the last step to the first" in note for note in loaded.assumptions)
    return output(states)[:, ::-1] if turned else output(states)


def compare(path: Path, model: Any, x: Array, tolerance: float = 1e-6) -> None:
    """Save a model, and compare what it gives with what we give."""
    model.save(path)
    assert furthest([predict(path, x)], [np.asarray(model(x, training=False))]) <= tolerance


def chained(draw: Draw, *layers: Any) -> Any:
    model = draw.library.Sequential([draw.layers.Input((None, I)), *layers])
    draw.fill(model)
    return model


@pytest.mark.parametrize("seed", range(MODELS))
@EACH_LIBRARY
def test_models_give_what_they_give_in_keras(tmp_path: Path, library: str, seed: int) -> None:
    draw = Draw(LIBRARIES[library], seed)
    model, x = draw.model(), draw.input()
    draw.fill(model)
    compare(tmp_path / f"model{EXTENSIONS[seed % 2]}", model, x)


class Branches(Draw):
    """Choices of one random model whose layers are no chain."""

    def rows_of(self, rows: list[Any]) -> Any:
        """A layer that takes the rows of others."""
        L, x, whole = self.layers, self.one_of(*rows), {"return_sequences": True}
        same = [each for each in rows if each.shape[-1] == I]
        kinds = (L.Add, L.Multiply, L.Maximum, L.Minimum, L.Average)
        units, kind = self.one_of(I, I, 2), self.one_of(L.LSTM, L.GRU, L.SimpleRNN)
        makers = [
            lambda: L.Conv1D(I, 3, padding=self.one_of("same", "causal"))(x),
            lambda: L.Dense(I, self.one_of(*FUNCTIONS))(x),
            lambda: kind(units, **whole)(x),
            lambda: L.Bidirectional(kind(units, **whole), "sum")(x),
            lambda: self.one_of(*kinds)()([self.one_of(*same) for _ in range(self.one_of(2, 3))]),
            lambda: L.Subtract()([self.one_of(*same), self.one_of(*same)]),
            lambda: L.Conv1D(I, 3)(L.ZeroPadding1D(self.one_of(1, (2, 0)))(x)),
            lambda: L.Concatenate()([x, self.one_of(*rows)]),
        ]
        return makers[self.random.randint(len(makers))]()

    def model(self) -> Any:
        L, start = self.layers, self.layers.Input((None, I))
        rows = [start]
        for _ in range(self.random.randint(3, 8)):
            rows.append(self.rows_of(rows))
        rows.append(L.GRU(2, return_sequences=True)(rows[-1]))
        ends = rows[-2:]
        if self.chance():
            pools = (L.GlobalMaxPooling1D, L.GlobalAveragePooling1D)
            fewer: Any = (lambda: L.Dropout(0.5), lambda: L.Conv1D(2, 3), lambda: L.MaxPooling1D(2))
            fewer = (*fewer, lambda: L.Cropping1D((1, 2)), lambda: L.ZeroPadding1D(1))
            kept = self.chance(0.3)
            ends = [self.one_of(*pools)(keepdims=kept)(self.one_of(*fewer)()(e)) for e in ends]
            ends = [L.Flatten()(each) for each in ends]  # a row, as ours is
        elif self.chance():
            ends = [L.GRU(2)(rows[-1]), L.LSTM(3)(rows[-2])]
        return self.library.Model(start, L.Dense(2)(L.Concatenate()(ends)))


@pytest.mark.parametrize("seed", [*range(MODELS // 2), 13])
@EACH_LIBRARY
def test_layers_that_are_no_chain(tmp_path: Path, library: str, seed: int) -> None:
    draw = Branches(LIBRARIES[library], seed)
    model = draw.model()
    draw.fill(model)
    compare(tmp_path / f"model{EXTENSIONS[seed % 2]}", model, draw.features())


@pytest.mark.parametrize("seed", range(MODELS))
@EACH_LIBRARY
def test_layers_below_that_give_fewer_rows(tmp_path: Path, library: str, seed: int) -> None:
    draw = Draw(LIBRARIES[library], seed)
    L, steps = draw.layers, 30
    makers = (
        lambda: L.Conv1D(4, draw.one_of(1, 3), strides=draw.one_of(1, 2), activation="relu"),
        lambda: L.Conv1D(2, 3, padding="causal", dilation_rate=2),
        lambda: draw.one_of(L.MaxPooling1D, L.AveragePooling1D)(
            2, strides=draw.one_of(1, 2), padding=draw.one_of("valid", "same")
        ),
        lambda: draw.one_of(L.BatchNormalization, L.ReLU, lambda: L.Dense(3, "tanh"))(),
        lambda: L.Dropout(0.5),
        lambda: L.Cropping1D(draw.one_of(1, (0, 2))),
    )
    rows = [makers[draw.random.randint(6)]() for _ in range(draw.random.randint(1, 5))]
    whole = draw.chance()
    above = [L.Bidirectional(draw.cell(return_sequences=True)), draw.cell(return_sequences=whole)]
    ends = [L.GlobalMaxPooling1D(), L.Dense(2)] if whole and draw.chance() else [L.Dense(2)]
    bottom = [L.Input((None,)), L.Embedding(NUMBERS, 3)] if draw.numbers else [L.Input((None, I))]
    model = draw.library.Sequential([*bottom, *rows, L.MaxPooling1D(2), *above, *ends])
    draw.fill(model)
    x = np.asarray(draw.random.randint(0, NUMBERS, (N, steps)), np.float32)
    x = x if draw.numbers else draw.random.normal(size=(N, steps, I)).astype(np.float32)
    # Some such stacks amplify rounding: ours and Keras's are up to 3e-6 from float64.
    compare(tmp_path / f"model{EXTENSIONS[seed % 2]}", model, x, 1e-5)


@EACH_LIBRARY
def test_branches_above_a_layer_that_gives_fewer_rows(tmp_path: Path, library: str) -> None:
    draw = Draw(LIBRARIES[library], 0)
    L, start = draw.layers, draw.layers.Input((None, I))
    below = L.Conv1D(4, 3, strides=2)(start)
    rows = L.Add()([below, L.Dropout(0.5)(below)])
    rows = L.Concatenate()([below, L.LSTM(3, return_sequences=True)(rows)])
    model = draw.library.Model(start, L.GRU(2)(L.Add()([L.Dense(4)(rows), below])))
    draw.fill(model)
    compare(tmp_path / "model.keras", model, draw.features())


def end(library: str, case: str) -> list[Any]:
    """Layers that take or give other steps than rows in order."""
    L = LIBRARIES[library].layers
    whole: dict[str, Any] = {"return_sequences": True}
    cases: dict[str, Any] = {
        "flat": lambda: [L.LSTM(4, **whole), L.Flatten(), L.Dense(2)],
        "decoder": lambda: [L.LSTM(4), L.RepeatVector(T), L.GRU(3, **whole), L.Dense(2)],
        "reshaped": lambda: [L.LSTM(4, **whole), L.Reshape((4 * T,)), L.Dense(2, "tanh")],
        "reversed": lambda: [
            L.GRU(4, go_backwards=True, **whole),
            L.Bidirectional(L.LSTM(3, **whole)),
            L.Bidirectional(L.GRU(2, **whole), merge_mode="sum"),
        ],
    }
    layers: list[Any] = cases[case]()
    return layers


@pytest.mark.parametrize("case", ["flat", "decoder", "reshaped", "reversed"])
@EACH_LIBRARY
def test_steps_that_are_counted_or_turned(tmp_path: Path, library: str, case: str) -> None:
    draw = Draw(LIBRARIES[library], 3)
    model = draw.library.Sequential([draw.layers.Input((T, I)), *end(library, case)])
    draw.fill(model)
    compare(tmp_path / "model.keras", model, draw.features())


NAMES = (
    *("celu", "elu", "gelu", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh"),
    *("leaky_relu", "linear", "mish", "relu", "relu6", "selu", "sigmoid", "silu"),
    *("softplus", "softsign", "swish", "tanh"),
)
OF_ROWS = ("log_softmax", "softmax", "exponential")


@EACH_LIBRARY
def test_every_activation_is_that_of_its_version(tmp_path: Path, library: str) -> None:
    draw = Draw(LIBRARIES[library], 0)
    L, known = draw.layers, [name for name in NAMES if has(library, name)]
    assert len(known) > 10
    layers = [L.Dense(4, name) for name in (*known, *filter(lambda n: has(library, n), OF_ROWS))]
    cells = [L.SimpleRNNCell(2, name) for name in known]
    model = chained(draw, L.RNN(cells, return_sequences=True), *layers)
    for layer in model.layers[1:]:  # sums of all sizes
        kernel, _ = layer.get_weights()
        layer.set_weights([kernel / 4, np.array([-3.5, -1, 1, 7])])
    compare(tmp_path / "m.keras", model, draw.features())


def has(library: str, activation: str) -> bool:
    try:
        LIBRARIES[library].activations.get(activation)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(("library", "extension"), SAVED)
def test_a_layer_may_be_an_activation_and_a_model_a_layer(
    tmp_path: Path, library: str, extension: str
) -> None:
    draw = Draw(LIBRARIES[library], 2)
    L, model = draw.layers, draw.library.Sequential
    lower = model(
        [L.Input((None, I)), L.Masking(MASKED), L.GRU(3, return_sequences=True)], name="lower"
    )
    start = L.Input((None, 3))
    upper = draw.library.Model(start, L.Bidirectional(L.LSTM(2, return_sequences=True))(start))
    head = [L.Dense(4, L.LeakyReLU(0.3)), L.Dense(3, L.ReLU(6.0)), L.Dense(3, L.ELU(0.5))]
    rows = model([*head, L.Dense(2), L.BatchNormalization(), L.Dense(3, "softmax")])
    cell = L.SimpleRNN(3, L.LeakyReLU(0.1), return_sequences=True)
    x = draw.features()
    x[0, 2:4] = MASKED
    whole = chained(draw, lower, cell, upper, rows)
    compare(tmp_path / f"m{extension}", whole, x)


@EACH_LIBRARY
def test_weights_alone(tmp_path: Path, library: str) -> None:
    draw = Draw(LIBRARIES[library], 5)
    L = draw.layers
    layers = [L.Bidirectional(L.LSTM(n, return_sequences=True)) for n in (2, 5)]
    path, x = tmp_path / "m.weights.h5", draw.features()
    model = chained(draw, *layers)
    model.save_weights(path)
    assert furthest([predict(path, x)], [np.asarray(model(x))]) <= 1e-6


@EACH_LIBRARY
def test_a_chain_of_weights_alone(tmp_path: Path, library: str) -> None:
    draw = Draw(LIBRARIES[library], 6)
    L, x = draw.layers, draw.random.randint(0, NUMBERS, (N, T))
    table, lstm = L.Embedding(NUMBERS, 3, name="table"), L.LSTM(4, return_sequences=True)
    norms = [L.LayerNormalization(epsilon=1e-3), L.BatchNormalization()]
    dense = [L.Dense(5, "relu", name="fc"), L.Dense(2, "softmax", name="top")]
    model = draw.library.Sequential([L.Input((None,)), table, lstm, *norms, *dense])
    draw.fill(model)
    model.save_weights(path := tmp_path / "m.weights.h5")
    # The file numbers the layers of each class.
    chain = "embedding,lstm,layer_normalization,batch_normalization,dense:relu,dense_1:softmax"
    y = predict(path, x.astype(float), chain=chain)
    assert furthest([y], [np.asarray(model(x))]) <= 1e-6
