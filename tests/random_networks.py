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


# Activations of layers that run on: the exponential of a state overflows within some steps.
OF_LAYERS = [f for f in ALL_ACTIVATIONS if f.name != "exponential"]
STATELESS = ("dense", "normalization", "layer normalization", "pointwise")
# Features of the rows that a layer masks.
MASKED = -9.0


class Choices(NamedTuple):
    """Choices for a random network."""

    cells: Sequence[str] = tuple(CELLS)
    arrays: Sequence[str] = ("w_ch", "b_n")  # that a cell may have or not
    projections: Sequence[bool] = (False, True)
    functions: Sequence[Any] = OF_LAYERS  # of cells
    row_functions: Sequence[Any] = (*OF_LAYERS, "softmax", "log_softmax")
    clips: Sequence[float] = (inf, 2.0)
    resets: Sequence[str] = ("after", "before")
    directions: Sequence[str] = tuple(DIRECTIONS)
    merges: Sequence[str] = tuple(MERGES)
    alike: bool = False  # the cells of a layer have one clip and one reset
    bottoms: Sequence[str] = ("", "masking", "embedding")
    stateless: Sequence[str] = STATELESS
    between: bool = True  # layers without state stand below and between recurrent ones too
    above: int = 2  # the most layers without state at the top
    lasts: Sequence[Any] = (None, "state", "step")
    dtypes: Sequence[str] = ("f",)


class NetworkCase(NamedTuple):
    """A network of one to three recurrent layers, an input, lengths and initial states."""

    network: Network
    x: Floats  # (N, T, I)
    h0: Floats  # (N, S)
    lengths: Integers  # (N,)


@st.composite
def recurrent_layers(
    draw: st.DrawFn, choices: Choices, I: int, random: np.random.RandomState
) -> Recurrent:
    """A layer of cells of one kind, each with settings and arrays of its own."""
    kind = draw(st.sampled_from(choices.cells))
    direction = draw(st.sampled_from(choices.directions))
    H = draw(st.integers(1, 5))
    projected = kind == "lstm" and draw(st.sampled_from(choices.projections))
    P = draw(st.integers(1, H)) if projected else 0
    names = CELLS[kind].setting_names
    values = {"clip": st.sampled_from(choices.clips), "reset": st.sampled_from(choices.resets)}
    settings: Any = st.fixed_dictionaries({name: values[name] for name in values if name in names})
    shared, cells = draw(settings), list[Cell]()
    for _ in DIRECTIONS[direction]:
        own = shared if choices.alike else draw(settings)
        functions = {
            name: draw(st.sampled_from(choices.functions)) for name in names if name not in values
        }
        own_arrays = {"gru": ("b_n",), "lstm": ("w_ch",)}.get(kind, ())
        extra = [name for name in choices.arrays if name in own_arrays]
        extra = [name for name in extra if own.get("reset") != "before" and draw(st.booleans())]
        shapes = weight_shapes(I, H, CELLS[kind].gates, P, [*extra, *["W_hr"] * projected])
        dtype = draw(st.sampled_from(choices.dtypes))
        arrays = {name: random.normal(0, 0.5, shape) for name, shape in shapes.items()}
        weights = Weights(**{name: array.astype(dtype) for name, array in arrays.items()})
        cells.append(CELLS[kind](weights, **functions, **own))
    return Recurrent(*cells, direction=direction, merge=draw(st.sampled_from(choices.merges)))


@st.composite
def stateless_layers(
    draw: st.DrawFn, choices: Choices, I: int, random: np.random.RandomState
) -> Layer:
    """A layer without state that takes I values."""

    def normal(*shape: int) -> Any:
        return random.normal(size=shape).astype(draw(st.sampled_from(choices.dtypes)))

    kind, f = draw(st.sampled_from(choices.stateless)), draw(st.sampled_from(choices.row_functions))
    if kind == "dense":
        O = draw(st.integers(1, 3))
        return Dense(normal(I, O), normal(O) if draw(st.booleans()) else None, f)
    if kind == "pointwise":
        return Pointwise("tanh" if str(f) == "linear" else f, I)  # no file keeps a linear one
    shift, factor = (normal(I) if draw(st.booleans()) else None for _ in range(2))
    if kind == "normalization":
        return Normalization(normal(I), random.uniform(0.5, 2, I).astype("f"), shift, factor)
    return LayerNormalization(normal(I), shift, draw(st.sampled_from([1e-3, 1e-5])))


@st.composite
def network_cases(draw: st.DrawFn, choices: Choices) -> NetworkCase:
    """Layers of any size and settings, some of which may mask rows; the model may give one row."""
    random = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    N, T, I = draw(st.integers(1, 4)), draw(st.integers(0, 12)), draw(st.integers(1, 3))
    x = random.normal(size=(N, T, I))
    layers: list[Layer] = []
    bottom = draw(st.sampled_from(choices.bottoms))
    if bottom == "masking":
        layers.append(Masking(MASKED, I))
        x[random.random((N, T)) < 0.3] = MASKED
        x[random.random((N, T)) < 0.1, 0] = MASKED  # of several features, that is no such row
    elif bottom == "embedding":
        table = random.normal(size=(5, I)).astype("f")
        layers.append(Embedding(table, mask_zero=draw(st.booleans())))
        x = random.randint(0, 5, (N, T, 1)).astype(float)
    for _ in range(draw(st.integers(1, 3))):
        if choices.between and draw(st.booleans()):
            width = layers[-1].output_size if layers else I
            layers.append(draw(stateless_layers(choices, width, random)))
        width = layers[-1].output_size if layers else I
        layers.append(draw(recurrent_layers(choices, width, random)))
    for _ in range(draw(st.integers(0, choices.above))):
        layers.append(draw(stateless_layers(choices, layers[-1].output_size, random)))
    network = Network(*layers, last=draw(st.sampled_from(choices.lasts)))
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
    """Make a contracting cell: lstm or gru, and choices such as peepholes, before or clip."""
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


def difference(a: Floats, b: Floats) -> float:
    """Return the largest distance of two runs, relative to max(1, |b|); infinite if not finite."""
    assert a.shape == b.shape
    with np.errstate(invalid="ignore"):
        distance = np.abs(a.astype(np.float64) - b) / np.maximum(1, np.abs(b))
    return float(np.where(np.isfinite(distance), distance, np.inf).max(initial=0.0))
