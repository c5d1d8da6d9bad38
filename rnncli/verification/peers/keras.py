"""The network in Keras, on the CPU."""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from rnncli.model.activations import KERAS, Activation
from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.cells import GRU, LSTM, RNN
from rnncli.model.cells.gates import two_biases
from rnncli.model.layers import (
    Dense,
    Embedding,
    Layer,
    LayerNormalization,
    Masking,
    Normalization,
    Recurrent,
)
from rnncli.verification.peers import Unsupported, lacks, normalize, row_activation

TITLE, PRECISIONS = "Keras", ("float32", "float64")
LACKS = ("clip", "peepholes", "projection")
NAMES = {RNN: "SimpleRNN", LSTM: "LSTM", GRU: "GRU"}
STDERR = 2
# Functions by their names there, what they are told, and their argument for alpha.
FUNCTIONS = dict(zip(KERAS, KERAS, strict=True)) | {
    "thresholded_relu": "threshold",
    "gelu_tanh": "gelu",
    "softmax": "softmax",
    "log_softmax": "log_softmax",
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "thresholded_relu": {"default_value": 0.0},
    "gelu": {"approximate": False},
    "gelu_tanh": {"approximate": True},
}
ALPHA = {"leaky_relu": "negative_slope", "thresholded_relu": "threshold", "elu": "alpha"}
# Functions with constants that are rounded to float32 whatever the precision.
ROUNDED = ("leaky_relu", "gelu", "gelu_tanh")


def make(layer: Layer) -> Callable[..., tuple[Floats, Sequence[Floats]]]:
    """Make a layer; with TensorFlow it is one ``tf.function`` for inputs of any size.

    A backward layer has ``go_backwards=True``, and its states are put in the order of the input.
    At rows that a layer masks, and not only lengths, one direction repeats what it gave before.
    """
    _check(layer)
    keras = _quiet_keras()
    drawn = random.getstate()  # Keras draws a seed for a layer whether it needs one or not
    made: Any = (
        _recurrent(keras, layer) if isinstance(layer, Recurrent) else _stateless(keras, layer)
    )
    random.setstate(drawn)

    def run(x: Any, mask: Any, *start: Any) -> Any:
        if isinstance(layer, Masking):
            return [keras.ops.where(mask[..., None], x, 0.0)]
        if not isinstance(layer, Recurrent):
            return [made(x)]
        h, *finals = made(x, initial_state=list(start), mask=mask)
        return [keras.ops.flip(h, axis=1) if layer.direction == "backward" else h, *finals]

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        run = tf.function(run, autograph=False, reduce_retracing=True)

    def forward(
        x: Floats, start: Sequence[Floats], _lengths: Integers | None, mask: Truths | None
    ) -> tuple[Floats, Sequence[Floats]]:
        # Of each cell in turn, as Keras has them, and not of each array of the states.
        states = [array[d] for d in range(len(layer.cells)) for array in start]
        tensors = [keras.ops.convert_to_tensor(each) for each in (x, *states)]
        kept = None if mask is None else keras.ops.convert_to_tensor(mask)
        h, *finals = map(keras.ops.convert_to_numpy, run(tensors[0], kept, *tensors[1:]))
        return h, [np.stack(finals[k :: len(start)]) for k in range(len(start))]

    return forward


def open_file(path: str) -> Callable[..., Sequence[Floats]] | None:
    """Run a model that Keras saved whole, without code of its own."""
    if not path.lower().endswith((".keras", ".h5", ".hdf5")):
        return None
    keras = _quiet_keras()
    model = keras.models.load_model(path, compile=False, safe_mode=True)
    return lambda x, _: [*map(np.asarray, keras.tree.flatten(model(x, training=False)))]


def _check(layer: Layer) -> None:
    """Raise `Unsupported` if Keras lacks the functions of a layer."""
    own = [f for cell in layer.cells for f in cell.settings.values() if isinstance(f, Activation)]
    arrays = [*layer.arrays.values(), *(cell.weights.b_h for cell in layer.cells)]
    wide = any(array.dtype == np.float64 for array in arrays)
    for activation in [*own, *filter(None, [row_activation(layer)])]:
        if activation.name not in FUNCTIONS:
            raise lacks(TITLE, f"activation {activation}", FUNCTIONS)
        if activation.name in ROUNDED and wide:
            raise lacks(TITLE, f"{activation} in float64: it rounds constants to float32")
        if activation.name == "hard_sigmoid" and not np.allclose(
            activation.parameters, (1 / 6, 0.5), rtol=1e-15 if wide else 1e-7, atol=0
        ):
            raise Unsupported(f"Keras's hard_sigmoid is x/6 + 0.5, the network's is {activation}")
    for cell in layer.cells:
        if isinstance(cell, LSTM) and cell.output_activation != cell.activation:
            raise Unsupported("Keras's LSTM has one activation for the candidate and the output")


def _stateless(keras: Any, layer: Layer) -> Callable[[Any], Any]:
    layers = keras.layers
    if isinstance(layer, Normalization):
        return lambda x: normalize(x, **layer.arrays)
    if isinstance(layer, Embedding):
        return lambda x: keras.ops.take(layer.W, keras.ops.cast(x[..., 0], "int32"), axis=0)
    f = _activation(keras, row_activation(layer) or Activation("linear"))
    if isinstance(layer, LayerNormalization):
        options = {"epsilon": layer.epsilon, "center": layer.shift is not None}
        made = layers.LayerNormalization(**options, dtype=layer.factor.dtype.name)
    elif isinstance(layer, Dense):
        made = layers.Dense(layer.output_size, activation=f, dtype=layer.W.dtype.name)
    else:
        return f
    made.build((None, None, layer.input_size))
    made.set_weights([*layer.arrays.values()])
    return made  # type: ignore[no-any-return]


def _recurrent(keras: Any, layer: Recurrent) -> Any:
    cells, dtype = layer.cells, layer.cells[0].weights.W_xh.dtype.name
    made = [
        getattr(keras.layers, NAMES[type(cell)])(
            layer.hidden_size,
            kernel_initializer="zeros",
            recurrent_initializer="zeros",
            return_sequences=True,
            return_state=True,
            go_backwards=direction == "backward",
            zero_output_for_mask=len(cells) > 1,
            dtype=dtype,
            **({"reset_after": cell.reset == "after"} if isinstance(cell, GRU) else {}),
        )
        for cell, direction in zip(cells, layer.directions, strict=True)
    ]
    whole = made[0]
    if layer.direction == "bidirectional":
        whole = keras.layers.Bidirectional(
            made[0], backward_layer=made[1], merge_mode=layer.merge, dtype=dtype
        )
        made = [whole.forward_layer, whole.backward_layer]
    whole.build((None, None, layer.input_size))
    for rnn, cell in zip(made, cells, strict=True):
        W_xh, W_hh, b_h = cell.weights[:3]
        after = isinstance(cell, GRU) and cell.reset == "after"
        rnn.set_weights([W_xh, W_hh, np.stack(two_biases(cell.weights)) if after else b_h])
        # Not arguments: Bidirectional copies its layer, and a partial function has no copy.
        rnn.cell.activation = _activation(keras, cell.settings["activation"])
        if "recurrent_activation" in cell.settings:
            rnn.cell.recurrent_activation = _activation(
                keras, cell.settings["recurrent_activation"]
            )
    return whole


def _activation(keras: Any, activation: Activation) -> Callable[[Any], Any]:
    name, parameters = activation
    options = dict(ARGUMENTS.get(name, {}))
    if name in ALPHA:
        options[ALPHA[name]] = parameters[0]
    return partial(getattr(keras.activations, FUNCTIONS[name]), **options)


def _quiet_keras() -> Any:
    """Import Keras; a backend that is not yet loaded leaves the GPU and the terminal alone."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    with _hushed():
        import keras
    return keras


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep off the terminal what TensorFlow writes on loading, below Python, at any log level."""
    try:
        terminal = os.dup(STDERR)
    except OSError:  # it is closed
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), STDERR)
    try:
        yield
    finally:
        os.dup2(terminal, STDERR)
        os.close(terminal)
