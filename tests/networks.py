"""Random networks and inputs for properties, and a few made by hand."""

from collections.abc import Iterable, Sequence
from math import inf
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from rnncli.engine.precision import PRECISIONS
from rnncli.model.activations import ACTIVATIONS, activation
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import CELLS, GRU, LSTM, RNN, Cell, Weights
from rnncli.model.layers import (
    DIRECTIONS,
    MERGES,
    Dense,
    Embedding,
    Layer,
    LayerNormalization,
    Masking,
    Normalization,
    Pointwise,
    Recurrent,
)
from rnncli.model.network import Network

# Parameters for activations that have none by default.
PARAMETERS: dict[str, tuple[float, ...]] = {
    "affine": (0.5, 0.1),
    "scaled_tanh": (1.7, 0.66),
    "maximum": (-0.3,),
    "minimum": (0.4,),
    "power": (1.0,),  # other powers of floats are not numbers, or overflow
}
ALL_ACTIVATIONS = [activation(name, *PARAMETERS.get(name, ())) for name in ACTIVATIONS]


def weight_shapes(
    I: int, H: int, gates: int = 1, P: int = 0, extra: Iterable[str] = ()
) -> dict[str, tuple[int, ...]]:
    """Return by name the shapes of the arrays that every cell has, and of some extra ones."""
    others = {"b_n": (H,), "w_ch": (3 * H,), "W_hr": (H, P)}
    shapes = {"W_xh": (I, gates * H), "W_hh": (P or H, gates * H), "b_h": (gates * H,)}
    return shapes | {name: others[name] for name in extra}


def slope(f: Any) -> float:
    """Return the steepest slope of an activation between -10 and 10, at least 1."""
    a = np.linspace(-10, 10, 20_001)
    values = np.empty_like(a)
    with np.errstate(all="ignore"):
        f.function()(a, values)
    steps = np.abs(np.diff(values)) / np.diff(a)
    return max(1.0, float(steps[steps < 100].max()))  # but for jumps


# Those of layers that run on: the exponential of a state overflows within some steps.
OF_LAYERS = [f for f in ALL_ACTIVATIONS if f.name not in ("exponential", "power")]
# Features of the rows that a layer masks.
MASKED = -9.0


class NetworkCase(NamedTuple):
    """A network of one to three recurrent layers, an input, lengths and initial states."""

    network: Network
    x: Floats  # (N, T, I)
    h0: Floats  # (N, S)
    lengths: Integers  # (N,)


@st.composite
def gated_cells(
    draw: st.DrawFn, kind: str, I: int, H: int, P: int, random: np.random.RandomState
) -> Cell:
    """An LSTM or a GRU of such sizes with any settings, and any arrays that only it may have."""
    settings: dict[str, Any] = {
        name: draw(st.sampled_from(OF_LAYERS)) for name in ("activation", "recurrent_activation")
    }
    settings["clip"] = draw(st.sampled_from([inf, 2.0]))
    arrays = draw(st.sets(st.sampled_from(CELLS[kind].extra_names))) - {"W_hr"}
    if kind == "lstm":
        settings["output_activation"] = draw(st.sampled_from(OF_LAYERS))
        arrays |= {"W_hr"} if P < H else set()
    else:
        settings["reset"] = "after" if arrays else draw(st.sampled_from(["after", "before"]))
    shapes = weight_shapes(I, H, CELLS[kind].gates, P, sorted(arrays))
    weights = {name: random.normal(0, 0.5, shape).astype("f") for name, shape in shapes.items()}
    return CELLS[kind](Weights(**weights), **settings)


@st.composite
def recurrent_layers(
    draw: st.DrawFn, kind: str, I: int, random: np.random.RandomState
) -> Recurrent:
    """A layer of cells of one kind, in any direction."""
    direction, H = draw(st.sampled_from(list(DIRECTIONS))), draw(st.integers(1, 5))
    P = draw(st.integers(1, H)) if kind == "lstm" else H
    cells: list[Cell] = []
    for _ in DIRECTIONS[direction]:
        if kind == "rnn":
            shapes = weight_shapes(I, H).values()
            weights = Weights(*(random.normal(0, 0.5, shape).astype("f") for shape in shapes))
            f, clip = draw(st.sampled_from(OF_LAYERS)), draw(st.sampled_from([inf, 2.0]))
            cells.append(RNN(weights, f, clip))
        else:
            cells.append(draw(gated_cells(kind, I, H, P, random)))
    return Recurrent(*cells, direction=direction, merge=draw(st.sampled_from(list(MERGES))))


@st.composite
def stateless_layers(draw: st.DrawFn, I: int, random: np.random.RandomState) -> Layer:
    """A layer without state that takes I values."""

    def vector(size: int = I) -> Any:
        return random.normal(size=size).astype("f")

    kind = draw(st.sampled_from(["dense", "normalization", "layer normalization", "pointwise"]))
    f: Any = draw(st.sampled_from([*OF_LAYERS, "softmax", "log_softmax"]))
    if kind == "dense":
        O = draw(st.integers(1, 3))
        return Dense(random.normal(size=(I, O)).astype("f"), vector(O), f)
    if kind == "pointwise":
        return Pointwise(f, I)
    shift, factor = (vector() if draw(st.booleans()) else None for _ in range(2))
    if kind == "normalization":
        return Normalization(vector(), random.uniform(0.5, 2, I).astype("f"), shift, factor)
    return LayerNormalization(vector(), shift)


@st.composite
def network_cases(
    draw: st.DrawFn, cells: Sequence[str] = ("rnn",), *, stateless: bool = False
) -> NetworkCase:
    """Layers of any size, direction, merge and settings, of any of these cells, in float32.

    With `stateless` there are layers without state below, between and above them, some of which
    mask rows, and the model may give one row.
    """
    random = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    N, T, I = draw(st.integers(1, 4)), draw(st.integers(0, 12)), draw(st.integers(1, 3))
    x = random.normal(size=(N, T, I))
    layers: list[Layer] = []
    bottom = draw(st.sampled_from(["", "masking", "embedding"])) if stateless else ""
    if bottom == "masking":
        layers.append(Masking(MASKED, I))
        x[random.random((N, T)) < 0.3] = MASKED
        x[random.random((N, T)) < 0.1, 0] = MASKED  # of several features, that is no such row
    elif bottom == "embedding":
        table = random.normal(size=(4, I)).astype("f")
        layers.append(Embedding(table, mask_zero=draw(st.booleans())))
        x = random.randint(0, 4, (N, T, 1)).astype(float)
    for _ in range(draw(st.integers(1, 3))):
        if stateless and draw(st.booleans()):
            layers.append(draw(stateless_layers(layers[-1].output_size if layers else I, random)))
        width = layers[-1].output_size if layers else I
        layers.append(draw(recurrent_layers(draw(st.sampled_from(cells)), width, random)))
    for _ in range(draw(st.integers(0, 2)) if stateless else 0):
        layers.append(draw(stateless_layers(layers[-1].output_size, random)))
    last = draw(st.sampled_from([None, "state", "step"])) if stateless else None
    network = Network(*layers, last=last)
    h0 = random.normal(size=(N, network.state_size))
    return NetworkCase(network, x.astype("f"), h0.astype("f"), random.randint(0, T + 1, N))


def in_precision(cell: RNN, precision: str) -> RNN:
    """Return a cell with its weights as a run in a precision has them."""
    convert = PRECISIONS[precision].convert
    return cell.replaced(cell.weights.converted(convert))


def drawn_weights(I: int, H: int, gates: int, seed: int, extra: str = "", P: int = 0) -> Weights:
    """Draw weights as small as PyTorch's, and the arrays that are named too."""
    random, k = np.random.RandomState(seed), 1 / np.sqrt(H)
    shapes = weight_shapes(I, H, gates, P, extra.split())
    arrays = {name: random.uniform(-k, k, shape) for name, shape in shapes.items()}
    return Weights(**{name: array.astype("f") for name, array in arrays.items()})


def gated_cell(variant: str, I: int, H: int, seed: int = 1) -> Cell:
    """Make a contracting cell: lstm or gru, and words such as peepholes, before or clip."""
    if variant.startswith("lstm"):
        P = max(1, H // 2) if "projection" in variant else 0
        extra = "w_ch " * ("peepholes" in variant) + "W_hr" * ("projection" in variant)
        weights = drawn_weights(I, H, 4, seed, extra, P)
        if "others" in variant:
            return LSTM(weights, "relu", "hard_sigmoid", "softsign", 2.0)
        return LSTM(weights, clip=0.3 if "clip" in variant else inf)
    weights = drawn_weights(I, H, 3, seed, "" if "before" in variant else "b_n")
    reset = "before" if "before" in variant else "after"
    if "others" in variant:
        return GRU(weights, "softsign", "hard_sigmoid", 2.0, reset)
    return GRU(weights, clip=0.3 if "clip" in variant else inf, reset=reset)
