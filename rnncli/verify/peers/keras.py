"""The network in Keras: ``SimpleRNN``, ``LSTM``, ``GRU`` and ``Bidirectional`` layers."""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import chain
from math import isclose, pi
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike

from rnncli.engine.run import States
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
        LSTM: Kind("LSTM", (0, 1, 2, 3), ("clip", "peepholes", "projection")),
        GRU: Kind("GRU", (0, 1, 2), ("clip",)),
    },
    masks=True,
)
PRECISIONS = ("float32", "float64")
STDERR = 2

# Names of Keras's functions, and of their arguments for alpha.
ACTIVATIONS = dict(zip(KERAS, KERAS, strict=True)) | {
    "thresholded_relu": "threshold",
    "gelu_tanh": "gelu",
}
ALPHA = {"leaky_relu": "negative_slope", "thresholded_relu": "threshold", "elu": "alpha"}
# Of rows, in layers without state.
OF_ROWS = ("softmax", "log_softmax")
# What else a function is told.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "thresholded_relu": {"default_value": 0.0},
    "gelu": {"approximate": False},
    "gelu_tanh": {"approximate": True},
}
# Functions with constants that are rounded to float32 whatever the precision.
ROUNDED = ("leaky_relu", "gelu", "gelu_tanh")


def build(network: Network, *, precision: str = "float32", all_layers: bool = False) -> Peer:
    """Make the network of ``keras.layers``, on the CPU.

    A bidirectional layer is ``Bidirectional``, a backward one has
    ``go_backwards=True``, and its states are put in the order of the input.
    Lengths become a mask, beside those of layers that mask rows. With
    TensorFlow, all is one ``tf.function`` for batches and sequences of any
    size. See `rnncli.verify.peers.build`.
    """
    network = converted(LIBRARY.name, network, precision, PRECISIONS)
    layers = LIBRARY.layers(network)
    for layer, cells in layers:
        activation = stateless_activation(layer)
        if activation and activation.name not in OF_ROWS:
            _check_activation(activation, np.dtype(precision))
        if isinstance(layer, Masking):
            _check_rounding(f"the value {layer.value} of Masking", (layer.value,), precision)
        for cell in cells:
            _check(cell)
    title = LIBRARY.title_of(network)
    keras = _quiet_keras()
    drawn = random.getstate()  # Keras draws a seed for a layer whether it needs one or not
    forward = _forward(keras, network, layers, precision, all_layers=all_layers)
    random.setstate(drawn)
    forward = _compiled(keras, forward, network, precision)

    def run(x: Floats, h0: Floats, lengths: Integers | None = None) -> States:
        refuse_no_steps(title, x, lengths)
        arrays = [np.asarray(x, precision), np.asarray(h0, precision)]
        if lengths is not None:
            arrays.append(np.arange(x.shape[1]) < lengths[:, None])
        outputs, h_n, mask = forward(*arrays)
        given = [keras.ops.convert_to_numpy(output) for output in outputs]
        h_n = keras.ops.convert_to_numpy(h_n)
        if network.masking and h0.any():
            _check_begins(network, keras.ops.convert_to_numpy(mask), lengths)
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
    if activation.name in ROUNDED:
        what = "the slope" if activation.parameters else "the constants"
        _check_rounding(f"{what} of {activation}", activation.parameters or (pi,), dtype)


def _check_rounding(what: str, constants: Sequence[float], dtype: DTypeLike) -> None:
    """Raise `Unsupported` where constants have more digits than Keras takes in float64."""
    if np.dtype(dtype) == np.float64 and any(float(np.float32(c)) != c for c in constants):
        raise Unsupported(f"Keras on TensorFlow rounds {what} to float32")


def _check_begins(network: Network, mask: Truths, lengths: Integers | None) -> None:
    """Raise `Unsupported` where a layer of one direction keeps its initial state at first."""
    for layer in network.layers:
        if len(layer.cells) == 1:
            N, T = mask.shape
            ends = np.full(N, T) if lengths is None else lengths
            first = ends - 1 if layer.directions == ("backward",) else np.zeros(N, np.intp)
            if not mask[np.arange(N), first].all():
                raise Unsupported(
                    "Keras gives 0 at rows that are masked before the first step, rnn the initial "
                    "state, and that is not 0"
                )


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
    keras: Any, network: Network, layers: Sequence[PeerLayer], precision: str, *, all_layers: bool
) -> Callable[..., Any]:
    """Return the function of (x, h0) or (x, h0, mask) that runs the layers.

    It returns their outputs, the final state, and the mask, which the layers
    themselves may have set.
    """
    made: list[Any] = [
        _recurrent(keras, layer, cells, masked=bool(network.masking))
        if isinstance(layer, Recurrent)
        else _stateless(keras, layer, precision)
        for layer, cells in layers
    ]

    def forward(x: Any, h0: Any, mask: Any = None) -> tuple[list[Any], Any, Any]:
        outputs: list[Any] = []
        finals: dict[int, Any] = {}
        for (layer, _), run, slices in zip(layers, made, network.state_slices, strict=True):
            if not isinstance(layer, Recurrent):
                if isinstance(layer, Embedding):
                    x = keras.ops.cast(x[..., 0], "int32")
                if layer.masks:
                    kept = run.compute_mask(x)
                    mask = kept if mask is None else keras.ops.logical_and(mask, kept)
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
        return outputs if all_layers else outputs[-1 - network.head :], h_n, mask

    return forward


def _stateless(keras: Any, layer: Layer, precision: str) -> Callable[[Any], Any]:
    """Make the Keras layer that is this layer without state."""
    layers, shape = keras.layers, (None, None, layer.input_size)
    if isinstance(layer, Normalization):
        return lambda x: normalized(layer, x, lambda array: array)
    if isinstance(layer, Masking):
        return cast(Callable[[Any], Any], layers.Masking(layer.value, dtype=precision))
    if isinstance(layer, Embedding):
        rows = layers.Embedding(
            *layer.W.shape, mask_zero=layer.mask_zero, trainable=False, dtype=precision
        )
        return _with_weights(rows, shape[:2], layer.W)
    if isinstance(layer, LayerNormalization):
        center = layer.shift is not None
        normal = layers.LayerNormalization(epsilon=layer.epsilon, center=center, dtype=precision)
        return _with_weights(normal, shape, *layer.arrays.values())
    activation = stateless_activation(layer)
    function = _activation(keras, activation) if activation else keras.activations.linear
    if not isinstance(layer, Dense):
        return function
    dense = layers.Dense(
        layer.output_size,
        activation=function,
        kernel_initializer="zeros",
        trainable=False,
        dtype=precision,
    )
    return _with_weights(dense, shape, layer.W, layer.b)


def _with_weights(made: Any, shape: Sequence[int | None], *arrays: Floats) -> Callable[[Any], Any]:
    made.build(shape)
    made.set_weights(arrays)
    return cast(Callable[[Any], Any], made)


def _recurrent(keras: Any, layer: Recurrent, cells: Sequence[PeerCell], *, masked: bool) -> Any:
    """Make the Keras layer that is this recurrent layer.

    At rows that a layer masks, and not only lengths, one direction gives what it
    gave before, as is Keras's default.
    """
    dtype = cells[0].weights.W_xh.dtype.name
    made = [
        getattr(keras.layers, LIBRARY.kinds[type(cell)].name)(
            layer.hidden_size,
            kernel_initializer="zeros",
            recurrent_initializer="zeros",
            return_sequences=True,
            return_state=True,
            go_backwards=direction == "backward",
            zero_output_for_mask=len(cells) > 1 or not masked,
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
    name = activation.name
    function: Callable[..., Any] = getattr(keras.activations, ACTIVATIONS.get(name, name))
    options = dict(ARGUMENTS.get(name, {}))
    if name in ALPHA:
        options[ALPHA[name]] = activation.parameters[0]
    return partial(function, **options) if options else function


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
