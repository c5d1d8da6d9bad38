"""Small random networks, an input for them, and how far two results are apart."""

from collections.abc import Mapping, Sequence
from math import sqrt
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import rnncli
from rnncli.model.cells import CELLS, Weights
from rnncli.model.layers import DIRECTIONS, MERGES, Layer, Recurrent
from rnncli.model.network import Network
from rnncli.verification import peers
from rnncli.verification.case import case_of_batch

Array = NDArray[np.floating]

# Directions, each with every merge that makes a difference to it.
WAYS = [("forward", "concat"), ("backward", "concat")]
WAYS += [("bidirectional", merge) for merge in MERGES]
HARD_SIGMOID = f"hard_sigmoid:{1 / 6!r},0.5"  # of Keras and PyTorch
ACTIVATIONS = (
    *("tanh", "relu", "sigmoid", "linear", "affine:0.8,0.1", "leaky_relu:0.25"),
    *("thresholded_relu:0.5", "scaled_tanh:1.25,0.75", "hard_sigmoid:0.2,0.5", HARD_SIGMOID),
    *("elu:1.0", "elu:0.5", "softsign", "softplus"),
)
# Of whole runs of networks that forget: two right programs end no further from each other.
TOLERANCES = {"float32": 1e-6, "float64": 1e-14}


class Plan(NamedTuple):
    """A layer before it has weights; its cells take the values of each setting in turn."""

    cell: str = "rnn"
    size: int = 4
    direction: str = "forward"
    merge: str = "concat"
    extra: tuple[str, ...] = ()  # arrays beside the three of every cell
    settings: Mapping[str, Sequence[Any]] = MappingProxyType({})


class Batch(NamedTuple):
    """Sequences of unequal lengths, and a state that each begins in."""

    x: Array  # (N, T, I)
    h0: Array  # (N, S)
    lengths: NDArray[np.intp]  # (N,)


def drawn(*shape: int, seed: int = 0) -> Array:
    values: Array = np.random.RandomState(seed).uniform(-1, 1, shape).astype(np.float32)
    return values


def weights(random: np.random.RandomState, I: int, plan: Plan) -> Weights:
    """Draw weights as PyTorch does by default; a projection is to one value less."""
    H, gates = plan.size, CELLS[plan.cell].gates
    P = H - 1 if "W_hr" in plan.extra else H
    shapes: dict[str, Any] = {"W_xh": (I, gates * H), "W_hh": (P, gates * H), "b_h": gates * H}
    others = {"b_n": H, "w_ch": 3 * H, "W_hr": (H, P)}
    shapes |= {name: others[name] for name in plan.extra}
    arrays = {name: random.uniform(-1, 1, shape) / sqrt(H) for name, shape in shapes.items()}
    return Weights(**{name: array.astype(np.float32) for name, array in arrays.items()})


def network(*plans: Plan, below: Sequence[Layer] = (), above: Sequence[Layer] = ()) -> Network:
    """Draw a network of 3 inputs."""
    random, layers, width = np.random.RandomState(len(plans)), list(below), 3
    for plan in plans:
        cells = []
        for number, _ in enumerate(DIRECTIONS[plan.direction]):
            own = {name: values[number % len(values)] for name, values in plan.settings.items()}
            cells.append(CELLS[plan.cell](weights(random, width, plan), **own))
        layers.append(Recurrent(*cells, direction=plan.direction, merge=plan.merge))
        width = layers[-1].output_size
    return Network(*layers, *above)


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
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
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
    """Compare all layers of a peer with `rnncli.run`, for equal and for unequal lengths."""
    peer, given = peers.build(name, network, precision), batch(network, T)
    for lengths in (None, given.lengths):
        x = given.x if lengths is not None else given.x[:1]
        h0 = given.h0[: len(x)]
        ours = rnncli.run(network, x, h0, lengths=lengths, precision=precision, all_layers=True)
        case = case_of_batch(network, x, h0, lengths, precision)
        steps = np.arange(T) < (np.full(len(x), T) if lengths is None else lengths)[:, None]
        apart = furthest(peer(case.x, case.groups, case.h0), [h[steps] for h in ours.layers])
        assert apart <= (tolerance or TOLERANCES[precision])


def output(states: rnncli.States) -> Array:
    """Return the output at every step."""
    return states.h if states.y is None else states.y
