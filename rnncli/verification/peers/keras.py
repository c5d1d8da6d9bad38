"""Cells and Dense in Keras, on the CPU."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import split_bias

TITLE, PRECISIONS, FILES = "Keras", ("float32", "float64"), (".keras", ".h5", ".hdf5")
# Activations have our names, and no parameters: Keras itself refuses others.
CELL: dict[str, tuple[str, ...]] = {"clip": ("inf",)}
LSTM = CELL | {"activation": ("tanh",), "output_activation": ("tanh",)}
SETTINGS = {"RNN": CELL, "LSTM": LSTM, "GRU": CELL, "Dense": {}}


def make(layer: Any) -> Callable[..., Floats]:
    """Make a layer of one cell, or Dense; with TensorFlow it is one ``tf.function``."""
    keras, settings = _quiet_keras(), layer.settings
    arrays = getattr(layer, "weights", layer).arrays
    options: dict[str, Any] = {
        name: str(settings[name])
        for name in ("activation", "recurrent_activation")
        if name in settings
    }
    weights, name = [*arrays.values()][:3], type(layer).__name__.replace("RNN", "SimpleRNN")
    if name != "Dense":
        options["return_sequences"] = True
    if "reset" in settings:
        options["reset_after"] = settings["reset"] == "after"
        if options["reset_after"]:
            weights[2] = np.stack(split_bias(layer.weights))
    size = getattr(layer, "hidden_size", weights[0].shape[1])
    module = getattr(keras.layers, name)(size, dtype=weights[0].dtype.name, **options)
    module.build((None, None, len(weights[0])))
    module.set_weights(weights)
    run, tensor = module.__call__, keras.ops.convert_to_tensor
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        run = tf.function(run, autograph=False, reduce_retracing=True)

    def forward(x: Floats, states: Sequence[Floats] = ()) -> Floats:
        more = {"initial_state": [*map(tensor, states)]} if states else {}
        return np.asarray(keras.ops.convert_to_numpy(run(tensor(x), **more)))

    return forward


def open_file(path: str) -> Callable[..., Sequence[Floats]]:
    """Run a model that Keras saved whole, without code of its own."""
    keras = _quiet_keras()
    model = keras.models.load_model(path, compile=False, safe_mode=True)
    return lambda x, *_: [*map(np.asarray, keras.tree.flatten(model(x, training=False)))]


def _quiet_keras() -> Any:
    """Import Keras, whose backend leaves the GPU and the terminal alone."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    stderr, terminal = 2, os.dup(2)  # TensorFlow writes there, below Python, at any log level
    os.dup2(os.open(os.devnull, os.O_WRONLY), stderr)
    try:
        import keras
    finally:
        os.dup2(terminal, stderr)
    return keras
