"""What Keras and PyTorch draw by themselves, and the same networks in rnncli."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.cells import CELLS, GRU, LSTM, RNN, Weights
from rnncli.model.layers import DIRECTIONS, Recurrent
from rnncli.model.network import Network

Array = NDArray[np.floating]
Cell = RNN | LSTM | GRU

KERAS = {"rnn": "SimpleRNN", "lstm": "LSTM", "gru": "GRU"}


class Stack(NamedTuple):
    """Layers that are alike but for their sizes."""

    sizes: tuple[int, ...]
    direction: str = "forward"
    merge: str = "concat"
    cell: str = "rnn"
    bias: bool = True
    reset: str = "after"
    features: int = 3
    projected: int = 0  # only PyTorch's LSTM has it


def keras_model(stack: Stack, seed: int) -> Any:
    """Let Keras draw the weights of a model that returns all states."""
    import keras

    keras.utils.set_random_seed(seed)
    options = {"reset_after": stack.reset == "after"} if stack.cell == "gru" else {}
    layers = [keras.Input((None, stack.features))]
    for size in stack.sizes:
        layer = getattr(keras.layers, KERAS[stack.cell])(
            size,
            use_bias=stack.bias,
            return_sequences=True,
            go_backwards=stack.direction == "backward",
            **options,
        )
        if stack.direction == "bidirectional":
            layer = keras.layers.Bidirectional(layer, merge_mode=stack.merge)
        layers.append(layer)
    return keras.Sequential(layers)


def keras_network(stack: Stack, seed: int) -> Network:
    """Return what Keras draws as a network of rnncli."""
    arrays = iter(keras_model(stack, seed).get_weights())
    return _network(stack, lambda: _from_keras(stack, arrays))


def _from_keras(stack: Stack, arrays: Iterator[Array]) -> Cell:
    kernel, recurrent = next(arrays), next(arrays)
    bias = next(arrays) if stack.bias else np.zeros(kernel.shape[1], np.float32)
    if bias.ndim == 1:
        return _cell(stack, Weights(kernel, recurrent, bias))
    H = len(recurrent)
    of_input, of_state = bias[0], bias[1]
    kept = np.concatenate([of_state[: 2 * H], np.zeros(H, np.float32)])
    return _cell(stack, Weights(kernel, recurrent, of_input + kept, of_state[2 * H :]))


def torch_module(stack: Stack, seed: int) -> Any:
    """Let PyTorch draw the weights of a module."""
    import torch

    torch.manual_seed(seed)
    (size,) = set(stack.sizes)
    return getattr(torch.nn, stack.cell.upper())(
        stack.features,
        size,
        len(stack.sizes),
        bias=stack.bias,
        batch_first=True,
        bidirectional=stack.direction == "bidirectional",
        **({"proj_size": stack.projected} if stack.projected else {}),
    )


def torch_network(stack: Stack, seed: int) -> Network:
    """Return what PyTorch draws as a network of rnncli."""
    parameters = torch_module(stack, seed).parameters()
    arrays = iter([parameter.detach().numpy() for parameter in parameters])
    return _network(stack, lambda: _from_torch(stack, arrays))


def _from_torch(stack: Stack, arrays: Iterator[Array]) -> Cell:
    W_ih, W_hh = next(arrays), next(arrays)
    zeros = np.zeros(len(W_ih), np.float32)
    of_input, of_state = islice(arrays, 2) if stack.bias else (zeros, zeros)
    if stack.cell != "gru":
        W_hr = next(arrays).T if stack.projected else None
        return _cell(stack, Weights(W_ih.T, W_hh.T, of_input + of_state, W_hr=W_hr))
    columns = (_z_first(array.T) for array in (W_ih, W_hh, of_input, of_state))
    W_xh, W_hh, of_input, of_state = columns
    H = len(W_hh)
    kept = np.concatenate([of_state[: 2 * H], np.zeros(H, np.float32)])
    return _cell(stack, Weights(W_xh, W_hh, of_input + kept, of_state[2 * H :]))


def _z_first(array: Array) -> Array:
    """Turn the gates r z n of PyTorch into z r n."""
    r, z, n = np.split(array, 3, axis=-1)
    return np.concatenate([z, r, n], axis=-1)


def _cell(stack: Stack, weights: Weights) -> Cell:
    if stack.cell == "gru":
        return GRU(weights, reset=stack.reset)
    return CELLS[stack.cell](weights)


def _network(stack: Stack, next_cell: Callable[[], Cell]) -> Network:
    layers = [[next_cell() for _ in DIRECTIONS[stack.direction]] for _ in stack.sizes]
    return Network(
        *(Recurrent(*cells, direction=stack.direction, merge=stack.merge) for cells in layers)
    )
