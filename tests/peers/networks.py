"""Small random networks, what they run on, and how far two results are apart."""

from collections.abc import Sequence
from math import inf, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.activations import parse
from rnncli.model.cells import RNN, Weights
from rnncli.model.layers import DIRECTIONS, MERGES, Recurrent
from rnncli.model.network import Network

Array = NDArray[np.floating]

SIZES = ((4,), (4, 4), (5, 3, 4))  # of the layers
# Directions, each with every merge that makes a difference to it.
WAYS = [("forward", "concat"), ("backward", "concat")]
WAYS += [("bidirectional", merge) for merge in MERGES]
ACTIVATIONS = (
    "tanh",
    "relu",
    "sigmoid",
    "linear",
    "affine:0.8,0.1",
    "leaky_relu:0.25",
    "thresholded_relu:0.5",
    "scaled_tanh:1.25,0.75",
    "hard_sigmoid:0.2,0.5",
    f"hard_sigmoid:{1 / 6!r},0.5",
    "elu:1.0",
    "elu:0.5",
    "softsign",
    "softplus",
)
BY_PEER = {
    "keras": [
        name
        for name in ACTIVATIONS
        if name.partition(":")[0] not in ("affine", "scaled_tanh") and ":0.2," not in name
    ],
    "torch": ["tanh", "relu"],
    "onnxruntime": list(ACTIVATIONS),
}


class Batch(NamedTuple):
    """Sequences of unequal lengths, and a state that each begins in."""

    x: Array  # (N, T, I)
    h0: Array  # (N, S)
    lengths: NDArray[np.intp]  # (N,)


def weights(random: np.random.RandomState, input_size: int, hidden_size: int) -> Weights:
    """Draw weights as PyTorch does by default; such a network is contracting."""
    shapes = ((input_size, hidden_size), (hidden_size, hidden_size), hidden_size)
    arrays = (random.uniform(-1, 1, shape) / sqrt(hidden_size) for shape in shapes)
    return Weights(*(array.astype(np.float32) for array in arrays))


def network(
    hidden_sizes: Sequence[int] = (4,),
    direction: str = "forward",
    merge: str = "concat",
    activations: Sequence[str] = ("tanh",),
    clips: Sequence[float] = (inf,),
) -> Network:
    """Draw a network of 3 inputs; its cells take the activations and the clips in turn."""
    random = np.random.RandomState(len(hidden_sizes))
    width, layers, number = 3, [], 0
    for hidden_size in hidden_sizes:
        cells = []
        for _ in DIRECTIONS[direction]:
            activation = parse(activations[number % len(activations)])
            clip = clips[number % len(clips)]
            cells.append(RNN(weights(random, width, hidden_size), activation, clip))
            number += 1
        layers.append(Recurrent(*cells, direction=direction, merge=merge))
        width = layers[-1].output_size
    return Network(*layers)


def stack(*layers: tuple[str, str, int]) -> Network:
    """Draw a network of 3 inputs whose layers go their own (direction, merge, size)."""
    made: list[Recurrent] = []
    for direction, merge, size in layers:
        random = np.random.RandomState(len(made))
        width = made[-1].output_size if made else 3
        cells = (RNN(weights(random, width, size)) for _ in DIRECTIONS[direction])
        made.append(Recurrent(*cells, direction=direction, merge=merge))
    return Network(*made)


def batch(network: Network, T: int = 30) -> Batch:
    """Draw four sequences, the shortest of one step; beyond an end stands what must not count."""
    random = np.random.RandomState(T)
    lengths = np.array([T, 1, T - 7, T // 2])
    x = random.normal(size=(len(lengths), T, network.input_size))
    for sequence, end in zip(x, lengths, strict=True):
        sequence[end:] = 1e3
    h0 = random.uniform(-1, 1, (len(lengths), network.state_size))
    return Batch(x.astype(np.float32), h0.astype(np.float32), lengths)


def furthest(given: Sequence[Array], expected: Sequence[Array]) -> float:
    """Largest distance of arrays of the same shapes, relative to max(1, |expected|)."""
    largest = 0.0
    for a, b in zip(given, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        distance = np.abs(a.astype(np.float64) - b) / np.maximum(1, np.abs(b))
        assert not np.isnan(distance).any()
        largest = max(largest, float(distance.max()))
    return largest
