"""Write files of Keras 3 and Keras 2 in ``tests/data/models``, run as a program.

Each is a model as people save them, and beside it is what the model gives.
What Keras 2 writes under other names than its own, it is asked to read first.
In ``tests/data/hdf5`` are files of h5py's.
"""

import json
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tf_keras
from hdf5_cases import ATTRIBUTES, VALUES
from tf_keras.src.layers.rnn.cudnn_gru import CuDNNGRU
from tf_keras.src.layers.rnn.cudnn_lstm import CuDNNLSTM

FOLDER = Path(__file__).parent.parent / "data" / "models"
HDF5 = FOLDER.parent / "hdf5"
RANDOM = np.random.RandomState(0)
MASKED = -1.0
X = RANDOM.normal(size=(3, 5, 2)).astype(np.float32)
# Each sequence has its own rows that count.
GAPS = np.where(RANDOM.uniform(size=(3, 5, 1)) < 0.4, np.float32(MASKED), X)
# Indices into an embedding; 0 is no word.
WORDS = RANDOM.randint(0, 7, size=(3, 5, 1)).astype(np.float32)


def filled(model: Any) -> Any:
    """Draw all weights, also biases and statistics."""
    for weight in model.weights:
        values = RANDOM.normal(0, 0.5, weight.shape).astype(np.float32)
        if "count" not in weight.name:
            weight.assign(abs(values) + 0.5 if "variance" in weight.name else values)
    for layer in model.layers:
        if type(layer).__name__ == "Normalization":
            layer.finalize_state()
    return model


def write_output(stem: str, model: Any, x: Any = X, *options: str) -> None:
    given = x[..., 0] if x is WORDS else x
    more: dict[str, Any] = {"options": np.array(options)} if options else {}
    np.savez(FOLDER / f"{stem}.npz", x=x, y=np.asarray(model(given, training=False)), **more)


def write(name: str, model: Any, x: Any = X) -> None:
    """Save a model, in one format or several, and what it gives."""
    stem, *extensions = name.split(".")
    for extension in extensions:
        model.save(FOLDER / f"{stem}.{extension}")
    write_output(stem, model, x)


def chained(library: Any, shape: tuple[int | None, ...], *layers: Any) -> Any:
    """Make a model of functions."""
    start = end = library.layers.Input(shape)
    for layer in layers:
        end = layer(end)
    return filled(library.Model(start, end))


def listed(library: Any, shape: tuple[int | None, ...], *layers: Any) -> Any:
    return filled(library.Sequential([library.layers.Input(shape), *layers]))


def keras_3() -> None:
    L, rows, whole = keras.layers, (None, 2), {"return_sequences": True}
    write("keras_lstm.keras", listed(keras, rows, L.LSTM(3, **whole), L.LSTM(2), L.Dense(1)))
    tagger = (L.Bidirectional(L.GRU(2, **whole)), L.TimeDistributed(L.Dense(3, "softmax")))
    embedding = L.Embedding(7, 2, mask_zero=True)
    write("keras_tagger.keras", listed(keras, (None,), embedding, *tagger), WORDS)
    plain = (L.SimpleRNN(3, "relu", **whole), L.Dropout(0.5), L.Dense(2, "swish"))
    write("keras_rnn.h5", listed(keras, rows, *plain))
    before = L.GRU(2, reset_after=False, use_bias=False)
    masked = (L.Masking(MASKED), L.LayerNormalization(), L.LSTM(3, **whole), before, L.Dense(2))
    write("keras_masked.keras.h5", chained(keras, rows, *masked), GAPS)
    stacked = (L.RNN([L.LSTMCell(3), L.GRUCell(2), L.LSTMCell(2)], **whole), L.Activation("elu"))
    write("keras_stacked.keras", listed(keras, rows, *stacked))
    encoder = keras.Sequential([L.Input(rows), L.GRU(3, **whole), L.BatchNormalization()])
    write("keras_nested.keras.h5", chained(keras, rows, encoder, L.SimpleRNN(2), L.LeakyReLU()))
    turned = (L.GRU(3, go_backwards=True, **whole), L.LSTM(2), L.Dense(2))
    write("keras_backward.keras", listed(keras, rows, *turned))
    both = {"merge_mode": "ave", "backward_layer": L.LSTM(2, "relu", go_backwards=True)}
    merged = (L.Bidirectional(L.GRU(2, **whole), "mul"), L.Bidirectional(L.LSTM(2), **both))
    write("keras_merged.keras", listed(keras, rows, *merged))
    scaled = (L.Normalization(), L.Rescaling(0.5, 0.25))
    gates = L.LSTM(3, recurrent_activation="hard_sigmoid", **whole)
    write("keras_scaled.keras", listed(keras, rows, *scaled, gates, L.Dense(2, "leaky_relu")))
    bare = listed(keras, rows, *(L.Bidirectional(L.LSTM(n, **whole)) for n in (2, 3)))
    bare.save_weights(FOLDER / "keras_bare.weights.h5")
    (FOLDER / "keras_bare.weights.h5").rename(FOLDER / "keras_bare.h5")
    write_output("keras_bare", bare)
    halves()


def halves() -> None:
    """Write weights of 16 bits, and what they give in float32."""
    models = []
    for dtype in ("float16", "float32"):
        layers = [keras.layers.GRU(3, dtype=dtype), keras.layers.Dense(2, dtype=dtype)]
        models.append(keras.Sequential([keras.layers.Input((None, 2)), *layers]))
    half, single = models
    half.set_weights([weight.astype(np.float16) for weight in filled(single).get_weights()])
    single.set_weights([weight.astype(np.float32) for weight in half.get_weights()])
    half.save(FOLDER / "keras_float16.keras")
    write_output("keras_float16", single)


def keras_2() -> None:
    L, rows, whole = tf_keras.layers, (None, 2), {"return_sequences": True}
    plain = (L.LSTM(3, **whole), L.GRU(2), L.Dense(1, "sigmoid"))
    write("keras2_gates.keras.h5", listed(tf_keras, rows, *plain))
    gates = {"recurrent_activation": "hard_sigmoid"}
    hard = (L.Bidirectional(L.LSTM(2, **gates, **whole)), L.GRU(2, **gates, **whole))
    write("keras2_hard.h5", listed(tf_keras, rows, *hard))
    masked = (L.Masking(MASKED), L.Bidirectional(L.SimpleRNN(2, **whole)), L.LSTM(2), L.Dense(2))
    write("keras2_masked.keras.h5", chained(tf_keras, rows, *masked), GAPS)
    stacked = (L.RNN([L.LSTMCell(3), L.GRUCell(2)], **whole), L.ThresholdedReLU(0.1))
    write("keras2_stacked.h5", listed(tf_keras, rows, *stacked))
    packed = listed(tf_keras, (5, 2), CuDNNLSTM(3, **whole), CuDNNGRU(2, **whole))
    packed.save(FOLDER / "keras2_cudnn.h5")
    packed.save_weights(FOLDER / "keras2_cudnn_bare.h5")
    # cuDNN needs a GPU: Keras 2 reads its weights into these.
    same = listed(tf_keras, (5, 2), L.LSTM(3, **whole), L.GRU(2, **whole))
    same.load_weights(FOLDER / "keras2_cudnn.h5")
    write_output("keras2_cudnn", same)
    write_output("keras2_cudnn_bare", same)


def branches(library: Any, names: tuple[str, str]) -> None:
    """Write models whose layers are no chain."""
    L, whole = library.layers, {"return_sequences": True}
    x = L.Input((None, 2))
    below = L.Conv1D(4, 3, padding="causal", activation="relu")(x)
    added = L.Add()([below, L.LSTM(4, **whole)(below)])
    both = L.Concatenate()([added, L.GRU(3, **whole)(x)])
    write(names[0], filled(library.Model(x, L.Dense(2, "softmax")(both))))
    rows = L.Bidirectional(L.GRU(3, **whole))(L.Conv1D(3, 2, padding="same", dilation_rate=2)(x))
    fewer = L.MaxPooling1D(2)(L.Conv1D(2, 2, activation="relu")(rows))
    pools = [L.GlobalMaxPooling1D()(fewer), L.GlobalAveragePooling1D()(rows)]
    gated = L.Multiply()([L.Dense(2, "sigmoid")(L.Concatenate()(pools)), L.Dense(2)(pools[0])])
    write(names[1], filled(library.Model(x, gated)))


def constants(library: Any, name: str) -> None:
    """Write a model with constants, padding, three layers merged and a row of one step."""
    L, whole, x = library.layers, {"return_sequences": True}, library.layers.Input((None, 2))
    below = L.Normalization(mean=[0.3, -0.2], variance=[2.0, 0.5])(x)
    below = L.Conv1D(3, 3)(L.ZeroPadding1D((2, 0))(below))
    rows = [L.LSTM(4, **whole)(below), L.GRU(4, **whole)(below), L.SimpleRNN(4, **whole)(x)]
    rows = [L.Average()(rows), L.Add()(rows), L.Multiply()(rows)]
    rows = L.Cropping1D((1, 0))(L.UnitNormalization()(L.Concatenate()(rows)))
    row = L.Flatten()(L.GlobalAveragePooling1D(keepdims=True)(rows))
    write(name, filled(library.Model(x, L.Dense(2)(row))))


def outputs() -> None:
    """Write a model of two outputs, of which the lower one is the first."""
    L, x = keras.layers, keras.layers.Input((None, 2))
    rows = L.LSTM(3, activation="hard_tanh", return_sequences=True)(x)
    low, high = L.Dense(2, "hard_tanh", name="low")(rows), L.Dense(1, name="high")(L.GRU(2)(rows))
    filled(keras.Model(x, {"b": high, "a": low})).save(FOLDER / "keras_outputs.keras")
    model = keras.models.load_model(FOLDER / "keras_outputs.keras")
    write_output("keras_outputs", keras.Model(model.inputs, model.output["a"]))


def unshaped() -> None:
    """Write a model as the first versions of Keras 2 did, without the shape of its input."""
    L, layers = tf_keras.layers, tf_keras.Sequential
    masked = L.Masking(MASKED), L.Dropout(0.5), L.LSTM(3, return_sequences=True), L.Dense(2)
    model = layers([*masked])
    model(GAPS)
    write("keras2_unshaped.h5", filled(model), GAPS)
    with h5py.File(FOLDER / "keras2_unshaped.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        found = config["config"]["layers"]
        config["config"]["layers"] = [e for e in found if e["class_name"] != "InputLayer"]
        file.attrs["model_config"] = json.dumps(config)


def write_hdf5(path: Path) -> None:
    """Write a file of all kinds of values that are read."""
    with h5py.File(path, "w") as file:
        for name, value in VALUES.items():
            file[name] = value
        for name, attributes in ATTRIBUTES.items():
            for key, value in attributes.items():
                file[name or "/"].attrs[key] = np.array(value, "S") if key == "fixed" else value
        file["names/soft"] = file["layers/soft"] = h5py.SoftLink("/layers")


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    tf_keras.utils.set_random_seed(0)
    keras_3()
    keras_2()
    branches(keras, ("keras_branches.keras", "keras_pooled.h5"))
    branches(tf_keras, ("keras2_branches.h5", "keras2_pooled.keras"))
    constants(keras, "keras_constants.keras")
    constants(tf_keras, "keras2_constants.h5")
    outputs()
    unshaped()
    write_hdf5(HDF5 / "earliest.h5")


if __name__ == "__main__":
    main()
