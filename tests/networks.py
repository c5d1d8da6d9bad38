"""Random networks and inputs for property tests."""

from collections.abc import Sequence
from math import inf, isfinite
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from rnncli.engine.precision import PRECISIONS
from rnncli.model.activations import ACTIVATIONS, TANH, activation
from rnncli.model.arrays import Floats, Integers
from rnncli.model.cells import CELLS, RNN, Cell, Weights, extra_shapes, weight_shapes
from rnncli.model.layers import DIRECTIONS, MERGES, Recurrent
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
# Those of layers that run on: the exponential of a state overflows within some steps.
OF_LAYERS = [f for f in ALL_ACTIVATIONS if isfinite(f.slope)]


class Case(NamedTuple):
    """A cell, an input in its precision, and a batch of initial states."""

    cell: RNN
    x: Floats  # (N, T, I)
    h0: Floats  # (N, H)
    precision: str

    @property
    def network(self) -> Network:
        """A network of the cell alone."""
        return Network(Recurrent(self.cell))


@st.composite
def cases(draw: st.DrawFn, /, **fixed: Any) -> Case:
    """Cells of any size, gain and precision, with tanh; `fixed` sets some of them."""

    def pick(name: str, strategy: st.SearchStrategy[Any]) -> Any:
        return fixed[name] if name in fixed else draw(strategy)

    T = pick("T", st.integers(0, 40))
    N = pick("N", st.integers(1, 5))
    I = pick("I", st.integers(1, 20))
    H = pick("H", st.integers(1, 40))
    gain = pick("gain", st.sampled_from([1e-3, 0.3, 1.0, 4.0]))
    precision = pick("precision", st.sampled_from(list(PRECISIONS)))
    random = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    dtype = PRECISIONS[precision].dtype
    arrays = (gain * random.normal(size=shape) / np.sqrt(H) for shape in ((I, H), (H, H), H))
    weights = Weights(*(array.astype(np.float32) for array in arrays))
    scale = 10.0 ** random.randint(-3, 4)
    x = (scale * random.normal(size=(N, T, I))).astype(dtype)
    cell = RNN(weights, fixed.get("activation", TANH), fixed.get("clip", inf))
    return Case(cell, x, random.uniform(-1, 1, (N, H)).astype(dtype), precision)


class NetworkCase(NamedTuple):
    """A network of one to three layers, an input, lengths and initial states."""

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
    shapes = weight_shapes(I, H, CELLS[kind].gates, P) | {
        name: shape for name, shape in extra_shapes(H, P).items() if name in arrays
    }
    weights = {name: random.normal(0, 0.5, shape).astype("f") for name, shape in shapes.items()}
    return CELLS[kind](Weights(**weights), **settings)


@st.composite
def network_cases(draw: st.DrawFn, cells: Sequence[str] = ("rnn",)) -> NetworkCase:
    """Layers of any size, direction, merge, settings, and any of these cells, in float32."""
    random = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    N, T, I = draw(st.integers(1, 4)), draw(st.integers(0, 12)), draw(st.integers(1, 3))
    layers: list[Recurrent] = []
    for _ in range(draw(st.integers(1, 3))):
        direction = draw(st.sampled_from(list(DIRECTIONS)))
        width, H = layers[-1].output_size if layers else I, draw(st.integers(1, 5))
        kind = draw(st.sampled_from(cells))
        P = draw(st.integers(1, H)) if kind == "lstm" else H
        shapes = weight_shapes(width, H)
        made: list[Cell] = [
            RNN(
                Weights(*(random.normal(0, 0.5, shape).astype("f") for shape in shapes.values())),
                draw(st.sampled_from(OF_LAYERS)),
                draw(st.sampled_from([inf, 2.0])),
            )
            if kind == "rnn"
            else draw(gated_cells(kind, width, H, P, random))
            for _ in DIRECTIONS[direction]
        ]
        merge = draw(st.sampled_from(list(MERGES)))
        layers.append(Recurrent(*made, direction=direction, merge=merge))
    network = Network(*layers)
    x, h0 = random.normal(size=(N, T, I)), random.normal(size=(N, network.state_size))
    lengths = random.randint(0, T + 1, N)
    return NetworkCase(network, x.astype("f"), h0.astype("f"), lengths)


def in_precision(cell: RNN, precision: str) -> RNN:
    """Return a cell with its weights as a run in a precision has them."""
    convert = PRECISIONS[precision].convert
    return cell.replaced(cell.weights.converted(convert))
