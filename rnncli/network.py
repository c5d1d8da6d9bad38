"""What a network is: its layers, their weights and shapes, checked once, here."""

from collections.abc import Iterable, Iterator
from math import inf
from typing import NamedTuple

from rnncli.activations import TANH, Activation
from rnncli.arrays import Floats, as_floats
from rnncli.choices import choice
from rnncli.merges import MERGES, output_size

WEIGHT_NAMES = ("W_xh", "W_hh", "b_h")

# The directions of the cells of a layer, by the layer's own.
DIRECTIONS = {
    "forward": ("forward",),
    "backward": ("backward",),
    "bidirectional": ("forward", "backward"),
}


class Weights(NamedTuple):
    """The weights of one cell.

    Parameters
    ----------
    W_xh : array, shape (I, H)
        Input weights (Keras: ``kernel``; PyTorch: ``weight_ih``, transposed).
    W_hh : array, shape (H, H)
        Recurrent weights (Keras: ``recurrent_kernel``; PyTorch:
        ``weight_hh``, transposed).
    b_h : array, shape (H,)
        Bias (PyTorch: ``bias_ih + bias_hh``).
    """

    W_xh: Floats
    W_hh: Floats
    b_h: Floats


class Cell(NamedTuple):
    """What takes one step: weights, and the function of their sum.

    ``h_t = f(x_t @ W_xh + h_{t-1} @ W_hh + b_h)``: the recurrent network of
    Elman (1990), ``SimpleRNN`` in Keras, ``RNN`` in PyTorch and ONNX.

    Parameters
    ----------
    weights : Weights
    activation : Activation
        The function f.
    clip : float
        The sum is limited to ±`clip` before f (ONNX); infinite for no limit.
    """

    weights: Weights
    activation: Activation = TANH
    clip: float = inf


class Layer:
    """One or two cells that run over a sequence.

    Parameters
    ----------
    *cells : Cell or Weights
        One, or for both directions two of the same shape, the forward one
        first. Weights are a cell with tanh. Arrays are kept C-contiguous;
        integers become float64, halves float32.
    direction : {"forward", "backward", "bidirectional"}
        ``backward`` goes from the last step to the first. States stand in
        the order of the input whichever way.
    merge : {"concat", "sum", "ave", "mul"}
        What becomes of the two states at a step (Keras: ``merge_mode``).

    Raises
    ------
    ValueError
        A shape does not fit the others, a size is 0, a value is not finite,
        or the cells are not as many as the directions.
    """

    def __init__(
        self, *cells: Cell | Weights, direction: str = "forward", merge: str = "concat"
    ) -> None:
        self.direction, self.merge = direction, merge
        self.directions = choice("direction", direction, DIRECTIONS)
        choice("merge", merge, MERGES)
        self.cells = tuple(map(_checked, cells))
        if len(cells) != len(self.directions):
            raise ValueError(
                f"a {direction} layer has {_counted(len(self.directions))}, got {len(cells)}"
            )
        first, *others = (cell.weights.W_xh.shape for cell in self.cells)
        for shape in others:
            if shape != first:
                raise ValueError(
                    f"W_xh: expected shape {first} backward too, as it is forward, got {shape}"
                )

    @property
    def input_size(self) -> int:
        """Number of input features, I."""
        return len(self.cells[0].weights.W_xh)

    @property
    def hidden_size(self) -> int:
        """Number of hidden units of a cell, H."""
        return len(self.cells[0].weights.W_hh)

    @property
    def output_size(self) -> int:
        """Number of values a step: 2 H where two directions are concatenated."""
        return output_size(self.hidden_size, self.direction, self.merge)


class Network:
    """A recurrent network: layers, each of which takes the states of the one below.

    Parameters
    ----------
    *layers : Layer or Weights
        The bottom one first. Weights are a forward layer with tanh.

    Raises
    ------
    ValueError
        There is none, or a layer's input size is not what the layer below
        gives.
    """

    def __init__(self, *layers: Layer | Weights) -> None:
        self.layers = tuple(layer if isinstance(layer, Layer) else Layer(layer) for layer in layers)
        if not layers:
            raise ValueError("a network has at least one layer")
        for number, (below, layer) in enumerate(
            zip(self.layers, self.layers[1:], strict=False), start=2
        ):
            if layer.input_size != below.output_size:
                raise ValueError(
                    f"layer {number}: W_xh: expected {below.output_size} rows, as layer "
                    f"{number - 1} gives so many values a step, got {layer.input_size}"
                )

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Cells of all layers: the bottom layer first, forward before backward."""
        return tuple(cell for layer in self.layers for cell in layer.cells)

    @property
    def input_size(self) -> int:
        """Number of input features, I."""
        return self.layers[0].input_size

    @property
    def output_size(self) -> int:
        """Number of values that the top layer gives a step."""
        return self.layers[-1].output_size

    @property
    def state_size(self) -> int:
        """Number of hidden units of all cells together, S."""
        return sum(len(cell.weights.b_h) for cell in self.cells)

    @property
    def needs_whole_sequences(self) -> bool:
        """Whether a layer begins at the last step."""
        return any("backward" in layer.directions for layer in self.layers)

    def with_cells(self, cells: Iterable[Cell]) -> "Network":
        """Make a network like this one of other cells, in the order of `cells`."""
        each = iter(cells)
        return Network(
            *(
                Layer(
                    *(next(each) for _ in layer.cells), direction=layer.direction, merge=layer.merge
                )
                for layer in self.layers
            )
        )

    def parts(self) -> "Iterator[Part]":
        """Go through the cells, each with its place."""
        start = 0
        for number, layer in enumerate(self.layers, start=1):
            for direction, cell in zip(layer.directions, layer.cells, strict=True):
                stop = start + layer.hidden_size
                yield Part(number, direction, cell, slice(start, stop))
                start = stop


class Part(NamedTuple):
    """A cell and its place in a network.

    Parameters
    ----------
    layer : int
        Counted from 1, the bottom one.
    direction : {"forward", "backward"}
    cell : Cell
    state : slice
        Its units among the S of the network's state.
    """

    layer: int
    direction: str
    cell: Cell
    state: slice


def weight_shapes(input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
    """Shape of each array of a cell's weights, by name.

    Raises
    ------
    ValueError
        A size is under 1.
    """
    _check_sizes(input_size, hidden_size)
    return {
        "W_xh": (input_size, hidden_size),
        "W_hh": (hidden_size, hidden_size),
        "b_h": (hidden_size,),
    }


def _checked(cell: Cell | Weights) -> Cell:
    """Check and convert a cell's weights."""
    if isinstance(cell, Weights):
        cell = Cell(cell)
    if not cell.clip > 0:
        raise ValueError(f"clip: expected a number over 0, got {cell.clip}")
    weights = Weights(*map(as_floats, WEIGHT_NAMES, cell.weights))
    if weights.W_xh.ndim != 2:
        raise ValueError(f"W_xh: expected shape (I, H), got {weights.W_xh.shape}")
    expected = weight_shapes(*weights.W_xh.shape)
    for name, array in zip(WEIGHT_NAMES, weights, strict=True):
        if array.shape != expected[name]:
            raise ValueError(
                f"{name}: expected shape {expected[name]}, as W_xh is {weights.W_xh.shape}, "
                f"got {array.shape}"
            )
    return cell._replace(weights=weights, clip=float(cell.clip))


def _counted(cells: int) -> str:
    return "1 cell" if cells == 1 else f"{cells} cells"


def _check_sizes(input_size: int, hidden_size: int) -> None:
    for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
        if size < 1:
            raise ValueError(f"{name}: expected at least 1, got {size}")
