"""The network in Keras, on the CPU: recurrent layers and Dense."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import GRU, LSTM, RNN
from rnncli.model.cells.gates import two_biases
from rnncli.model.layers import Layer, Recurrent

TITLE, PRECISIONS = "Keras", ("float32", "float64")
NAMES = {RNN: "SimpleRNN", LSTM: "LSTM", GRU: "GRU"}
# Its functions that have our names and no parameters.
FUNCTIONS = (
    *("tanh", "relu", "sigmoid", "linear", "softmax", "log_softmax", "softsign", "softplus"),
    *("relu6", "silu", "selu", "mish", "exponential"),
)
CELL = {"activation": FUNCTIONS, "recurrent_activation": FUNCTIONS, "clip": ("inf",)}
SETTINGS = {
    "RNN": CELL,
    "LSTM": CELL | {"activation": ("tanh",), "output_activation": ("tanh",)},
    "GRU": CELL,
    "Dense": {"activation": FUNCTIONS},
}


def make(layers: Sequence[Layer]) -> Callable[..., Sequence[Floats]]:
    """Make the layers; with TensorFlow they are one ``tf.function`` for inputs of any size.

    A backward layer has ``go_backwards=True``, and its states are put in the order of the input.
    """
    keras = _quiet_keras()
    made = [
        _recurrent(keras, each) if isinstance(each, Recurrent) else _dense(keras, each)
        for each in layers
    ]

    def run(x: Any, starts: Any) -> Any:
        outputs = []
        for layer, module, start in zip(layers, made, starts, strict=True):
            x = module(x, initial_state=start) if layer.cells else module(x)
            x = keras.ops.flip(x, axis=1) if layer.directions == ("backward",) else x
            outputs.append(x)
        return outputs

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        run = tf.function(run, autograph=False, reduce_retracing=True)

    def forward(x: Floats, states: Sequence[Sequence[Floats]]) -> Sequence[Floats]:
        # Of each cell in turn, as Keras has them, and not of each array of the states.
        starts = [
            [
                keras.ops.convert_to_tensor(array[d])
                for d in range(len(layer.cells))
                for array in each
            ]
            for layer, each in zip(layers, states, strict=True)
        ]
        return [*map(keras.ops.convert_to_numpy, run(keras.ops.convert_to_tensor(x), starts))]

    return forward


def open_file(path: str) -> Callable[..., Sequence[Floats]] | None:
    """Run a model that Keras saved whole, without code of its own."""
    if not path.lower().endswith((".keras", ".h5", ".hdf5")):
        return None
    keras = _quiet_keras()
    model = keras.models.load_model(path, compile=False, safe_mode=True)
    return lambda x, _: [*map(np.asarray, keras.tree.flatten(model(x, training=False)))]


def _dense(keras: Any, layer: Layer) -> Any:
    dtype, f = layer.arrays["W"].dtype.name, str(layer.settings["activation"])
    made = keras.layers.Dense(layer.output_size, activation=f, dtype=dtype)
    made.build((None, None, layer.input_size))
    made.set_weights([*layer.arrays.values()])
    return made


def _recurrent(keras: Any, layer: Recurrent) -> Any:
    cells, dtype = layer.cells, layer.cells[0].weights.W_xh.dtype.name
    made = []
    for cell, direction in zip(cells, layer.directions, strict=True):
        options: dict[str, Any] = {
            n: str(f) for n, f in cell.settings.items() if n[-10:] == "activation"
        }
        options.pop("output_activation", None)
        if isinstance(cell, GRU):
            options["reset_after"] = cell.reset == "after"
        backward = direction == "backward"
        options |= {"return_sequences": True, "go_backwards": backward, "dtype": dtype}
        made.append(getattr(keras.layers, NAMES[type(cell)])(layer.hidden_size, **options))
    whole = made[0]
    if len(made) > 1:
        options = {"backward_layer": made[1], "merge_mode": layer.merge, "dtype": dtype}
        whole = keras.layers.Bidirectional(made[0], **options)
        made = [whole.forward_layer, whole.backward_layer]
    whole.build((None, None, layer.input_size))
    for rnn, cell in zip(made, cells, strict=True):
        W_xh, W_hh, b_h = cell.weights[:3]
        after = isinstance(cell, GRU) and cell.reset == "after"
        rnn.set_weights([W_xh, W_hh, np.stack(two_biases(cell.weights)) if after else b_h])
    return whole


def _quiet_keras() -> Any:
    """Import Keras; a backend that is not yet loaded leaves the GPU and the terminal alone.

    TensorFlow writes on standard error when it is loaded, below Python, at any log level.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    stderr, terminal = 2, None
    with suppress(OSError), open(os.devnull, "wb") as nowhere:  # it may be closed
        terminal = os.dup(stderr)
        os.dup2(nowhere.fileno(), stderr)
    try:
        import keras
    finally:
        if terminal is not None:
            os.dup2(terminal, stderr)
            os.close(terminal)
    return keras
