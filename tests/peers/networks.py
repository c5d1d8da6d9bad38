"""Small random networks, what they run on, and how far two results are apart."""

from collections.abc import Sequence
from math import inf, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import rnncli
from rnncli.model.cells import CELLS, Weights, weight_shapes
from rnncli.model.layers import DIRECTIONS, MERGES, Recurrent
from rnncli.model.network import Network
from rnncli.verify import peers

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


# Of whole runs of networks that are contracting.
TOLERANCES = {"float32": 1e-6, "float64": 1e-14}


class Batch(NamedTuple):
    """Sequences of unequal lengths, and a state that each begins in."""

    x: Array  # (N, T, I)
    h0: Array  # (N, S)
    lengths: NDArray[np.intp]  # (N,)


def weights(
    random: np.random.RandomState,
    input_size: int,
    hidden_size: int,
    cell: str = "rnn",
    extra: Sequence[str] = (),
) -> Weights:
    """Draw weights as PyTorch does by default; such a network is contracting.

    `extra` names the arrays beside the three of every cell. A projection is
    to one value less.
    """
    H, gates = hidden_size, CELLS[cell].gates
    P = H - 1 if "W_hr" in extra else H
    shapes: dict[str, Any] = weight_shapes(input_size, H, gates, P)
    others = {"b_n": H, "w_ch": 3 * H, "W_hr": (H, P)}
    shapes |= {name: others[name] for name in extra}
    arrays = {name: random.uniform(-1, 1, shape) / sqrt(H) for name, shape in shapes.items()}
    return Weights(**{name: array.astype(np.float32) for name, array in arrays.items()})


def network(
    hidden_sizes: Sequence[int] = (4,),
    direction: str = "forward",
    merge: str = "concat",
    activations: Sequence[str] = ("tanh",),
    clips: Sequence[float] = (inf,),
    cell: str = "rnn",
    extra: Sequence[str] = (),
    **settings: Sequence[Any],
) -> Network:
    """Draw a network of 3 inputs; its cells take the values of each setting in turn."""
    random = np.random.RandomState(len(hidden_sizes))
    settings |= {"activation": activations, "clip": clips}
    width, layers, number = 3, [], 0
    for hidden_size in hidden_sizes:
        cells = []
        for _ in DIRECTIONS[direction]:
            own = {name: values[number % len(values)] for name, values in settings.items()}
            drawn = weights(random, width, hidden_size, cell, extra)
            cells.append(CELLS[cell](drawn, **own))
            number += 1
        layers.append(Recurrent(*cells, direction=direction, merge=merge))
        width = layers[-1].output_size
    return Network(*layers)


def stack(*layers: tuple[str, str, int], cells: Sequence[str] = ("rnn",)) -> Network:
    """Draw a network of 3 inputs whose layers go their own (direction, merge, size).

    They take the kinds of cells in turn.
    """
    made: list[Recurrent] = []
    for direction, merge, size in layers:
        random = np.random.RandomState(len(made))
        width = made[-1].output_size if made else 3
        kind = cells[len(made) % len(cells)]
        both = (CELLS[kind](weights(random, width, size, kind)) for _ in DIRECTIONS[direction])
        made.append(Recurrent(*both, direction=direction, merge=merge))
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


def check(
    name: str,
    network: Network,
    precision: str = "float32",
    tolerance: float | None = None,
    T: int = 30,
) -> None:
    """Compare a peer with `rnncli.run`, all layers, for equal and for unequal lengths."""
    peer = peers.build(name, network, precision=precision, all_layers=True)
    given = batch(network, T)
    for lengths in (None, given.lengths):
        x = given.x if lengths is not None else given.x[:1]
        h0 = given.h0[: len(x)]
        ours = rnncli.run(network, x, h0, lengths=lengths, precision=precision, all_layers=True)
        theirs = peer(x, h0, lengths)
        apart = furthest(flat(theirs), flat(ours))
        assert apart <= (tolerance or TOLERANCES[precision])


def flat(states: rnncli.States) -> list[Array]:
    """List the outputs of the top layer, the final states, and the outputs of all layers."""
    return [states.h, states.h_n, *states.layers]
