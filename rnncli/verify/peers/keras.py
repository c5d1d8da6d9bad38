"""The network in Keras: ``SimpleRNN``, ``LSTM``, ``GRU`` and ``Bidirectional`` layers."""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import chain
from math import isclose
from typing import Any, cast

import numpy as np

from rnncli.engine.run import States
from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import GRU, LSTM, RNN
from rnncli.model.cells.gates import two_biases
from rnncli.model.layers import Dense, Embedding, Layer, Normalization, Recurrent
from rnncli.model.network import Network
from rnncli.verify.peers import (
    Kind,
    Library,
    Peer,
    PeerCell,
    PeerLayer,
    Unsupported,
    activations,
    as_states,
    converted,
    lacks,
    normalized,
    refuse_no_steps,
    stateless_activation,
)

# Its gates are in our order.
LIBRARY = Library(
    "Keras",
    "Keras's {}",
    {
        RNN: Kind("SimpleRNN", (0,), ("clip",)),
        LSTM: Kind("LSTM", (0, 1, 2, 3), ("clip", "coupled gates", "peepholes", "projection")),
        GRU: Kind("GRU", (0, 1, 2), ("clip",)),
    },
)
PRECISIONS = ("float32", "float64")
STDERR = 2

# Names of Keras's functions, and of their arguments for alpha.
ACTIVATIONS = {
    "tanh": ("tanh", ""),
    "relu": ("relu", ""),
    "sigmoid": ("sigmoid", ""),
    "linear": ("linear", ""),
    "leaky_relu": ("leaky_relu", "negative_slope"),
    "thresholded_relu": ("threshold", "threshold"),
    "hard_sigmoid": ("hard_sigmoid", ""),
    "elu": ("elu", "alpha"),
    "softsign": ("softsign", ""),
    "softplus": ("softplus", ""),
}


def build(network: Network, *, precision: str = "float32", all_layers: bool = False) -> Peer:
    """Make the network of ``keras.layers``, on the CPU.

    A bidirectional layer is ``Bidirectional``, a backward one has
    ``go_backwards=True``, and its states are put in the order of the input.
    Lengths become a mask. With TensorFlow, all is one ``tf.function`` for
    batches and sequences of any size. See `rnncli.verify.peers.build`.
    """
    network = converted(LIBRARY.name, network, precision, PRECISIONS)
    layers = LIBRARY.layers(network)
    for layer, cells in layers:
        if activation := stateless_activation(layer):
            _check_activation(activation, np.dtype(precision))
        for cell in cells:
            _check(cell)
    title = LIBRARY.title_of(network)
    keras = _quiet_keras()
    drawn = random.getstate()  # Keras draws a seed for a layer whether it needs one or not
    forward = _forward(keras, network, layers, all_layers=all_layers)
    random.setstate(drawn)
    forward = _compiled(keras, forward, network, precision)

    def run(x: Floats, h0: Floats, lengths: Integers | None = None) -> States:
        refuse_no_steps(title, x, lengths)
        arrays = [np.asarray(x, precision), np.asarray(h0, precision)]
        if lengths is not None:
            arrays.append(np.arange(x.shape[1]) < lengths[:, None])
        outputs, h_n = forward(*arrays)
        given = [keras.ops.convert_to_numpy(output) for output in outputs]
        h_n = keras.ops.convert_to_numpy(h_n)
        return as_states(network, given, h_n, lengths, all_layers=all_layers)

    return run


def _check(cell: PeerCell) -> None:
    dtype = cell.weights.W_xh.dtype
    for activation in activations(cell):
        _check_activation(activation, dtype)
    if isinstance(cell, LSTM) and cell.output_activation != cell.activation:
        raise Unsupported(
            f"{LIBRARY.title(cell)} has one activation for the candidate and the output, "
            f"and the network has {cell.activation} and {cell.output_activation}"
        )


def _check_activation(activation: Activation, dtype: np.dtype[Any]) -> None:
    if activation.name not in ACTIVATIONS:
        raise lacks(LIBRARY.name, "activation", activation, ACTIVATIONS)
    if activation.name == "hard_sigmoid":
        alpha, beta = activation.parameters
        if beta != 0.5 or not isclose(alpha, 1 / 6, rel_tol=float(np.finfo(dtype).eps)):
            raise Unsupported(f"Keras's hard_sigmoid is x/6 + 0.5, the network's is {activation}")
    if activation.name == "leaky_relu" and dtype == np.float64:
        (alpha,) = activation.parameters
        if alpha != float(np.float32(alpha)):
            raise Unsupported(f"Keras on TensorFlow rounds the slope of {activation} to float32")


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
    except OSError:
        terminal = None
    if terminal is None:  # it is closed
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), STDERR)
    try:
        yield
    finally:
        os.dup2(terminal, STDERR)
        os.close(terminal)


def _forward(
    keras: Any, network: Network, layers: Sequence[PeerLayer], *, all_layers: bool
) -> Callable[..., Any]:
    """Return the function of (x, h0) or (x, h0, mask) that runs the layers."""
    made: list[Any] = [
        _recurrent(keras, layer, cells)
        if isinstance(layer, Recurrent)
        else _stateless(keras, layer)
        for layer, cells in layers
    ]

    def forward(x: Any, h0: Any, mask: Any = None) -> tuple[list[Any], Any]:
        outputs: list[Any] = []
        finals: dict[int, Any] = {}
        for (layer, _), run, slices in zip(layers, made, network.state_slices, strict=True):
            if not isinstance(layer, Recurrent):
                x = run(x)
                outputs.append(x)
                continue
            places = list(chain.from_iterable(slices))
            x, *final = run(x, initial_state=[h0[:, place] for place in places], mask=mask)
            if layer.direction == "backward":
                x = keras.ops.flip(x, axis=1)
            outputs.append(x)
            finals |= {place.start: array for place, array in zip(places, final, strict=True)}
        h_n = keras.ops.concatenate([finals[start] for start in sorted(finals)], axis=-1)
        return outputs if all_layers else outputs[-1 - network.head :], h_n

    return forward


def _stateless(keras: Any, layer: Layer) -> Callable[[Any], Any]:
    """Make the Keras layer that is this layer without state."""
    layers = keras.layers
    if isinstance(layer, Normalization):
        return lambda x: normalized(layer, x, lambda array: array)
    if isinstance(layer, Embedding):
        table = layers.Embedding(*layer.W.shape, trainable=False, dtype=layer.W.dtype.name)
        table.build((None, None))
        table.set_weights([layer.W])
        return lambda x: table(keras.ops.cast(x[..., 0], "int32"))
    activation = stateless_activation(layer)
    function = _activation(keras, activation) if activation else keras.activations.softmax
    if not isinstance(layer, Dense):
        return function
    dense = layers.Dense(
        layer.output_size,
        activation=function,
        kernel_initializer="zeros",
        trainable=False,
        dtype=layer.W.dtype.name,
    )
    dense.build((None, None, layer.input_size))
    dense.set_weights([layer.W, layer.b])
    return cast(Callable[[Any], Any], dense)


def _recurrent(keras: Any, layer: Recurrent, cells: Sequence[PeerCell]) -> Any:
    """Make the Keras layer that is this recurrent layer."""
    dtype = cells[0].weights.W_xh.dtype.name
    made = [
        getattr(keras.layers, LIBRARY.kinds[type(cell)].name)(
            layer.hidden_size,
            kernel_initializer="zeros",
            recurrent_initializer="zeros",
            return_sequences=True,
            return_state=True,
            go_backwards=direction == "backward",
            zero_output_for_mask=True,
            trainable=False,
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
        rnn.cell.activation = _activation(keras, cell.activation)
        if not isinstance(cell, RNN):
            rnn.cell.recurrent_activation = _activation(keras, cell.recurrent_activation)
    return whole


def _activation(keras: Any, activation: Activation) -> Callable[[Any], Any]:
    name, alpha = ACTIVATIONS[activation.name]
    function: Callable[..., Any] = getattr(keras.activations, name)
    if not alpha:
        return function
    options = {"default_value": 0.0} if name == "threshold" else {}
    return partial(function, **{alpha: activation.parameters[0]}, **options)


def _compiled(
    keras: Any, forward: Callable[..., Any], network: Network, precision: str
) -> Callable[..., Any]:
    """Return the function as graphs, one without and one with a mask, if the backend has graphs."""
    if keras.backend.backend() != "tensorflow":
        return forward
    import tensorflow as tf

    inputs = (
        tf.TensorSpec((None, None, network.input_size), precision),
        tf.TensorSpec((None, network.state_size), precision),
        tf.TensorSpec((None, None), "bool"),
    )

    @cache
    def graph(count: int) -> Callable[..., Any]:
        traced = tf.function(forward, autograph=False)
        return cast(Callable[..., Any], traced.get_concrete_function(*inputs[:count]))

    graph(2)
    return lambda *arrays: graph(len(arrays))(*map(tf.convert_to_tensor, arrays))
