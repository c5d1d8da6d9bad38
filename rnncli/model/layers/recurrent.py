"""The layer with state: one or two cells that run over a sequence."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, RNN, Cell, Weights, checked, weight_shapes
from rnncli.model.errors import choice
from rnncli.model.layers.stateless import Convert

# The directions of the cells of a layer, by the layer's own.
DIRECTIONS = {
    "forward": ("forward",),
    "backward": ("backward",),
    "bidirectional": ("forward", "backward"),
}
# What becomes of the two outputs that a bidirectional layer has at a step.
MERGES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "concat": lambda forward, backward: np.concatenate([forward, backward], axis=-1),
    "sum": lambda forward, backward: forward + backward,
    "ave": lambda forward, backward: (forward + backward) / 2,
    "mul": lambda forward, backward: forward * backward,
}


class Recurrent:
    """One or two cells that run over a sequence.

    Parameters
    ----------
    *cells : Cell or Weights
        One, or for both directions two of the same shape, the forward one
        first. Weights are a vanilla cell with tanh. Arrays are kept
        C-contiguous; integers become float64, halves float32.
    direction : {"forward", "backward", "bidirectional"}
        ``backward`` goes from the last step to the first. Outputs stand in
        the order of the input either way.
    merge : {"concat", "sum", "ave", "mul"}
        What becomes of the two outputs at a step (Keras: ``merge_mode``).

    Raises
    ------
    ValueError
        A shape does not fit the others, a size is 0, a value is not finite,
        or the cells are not as many as the directions.

    Attributes
    ----------
    cells : tuple of Cell
    input_size, hidden_size : int
        Number of input features, I, and of hidden units of a cell, H.
    output_size : int
        Number of values a step: 2 H where two directions are concatenated.
    """

    arrays: Mapping[str, Floats] = {}
    masks = False

    def __init__(
        self, *cells: Cell | Weights, direction: str = "forward", merge: str = "concat"
    ) -> None:
        self.direction, self.merge = direction, merge
        self.directions = choice("direction", direction, DIRECTIONS)
        choice("merge", merge, MERGES)
        self.cells = tuple(checked(RNN(c) if isinstance(c, Weights) else c) for c in cells)
        if len(cells) != len(self.directions):
            has = "1 cell" if len(self.directions) == 1 else "2 cells"
            raise ValueError(f"a {direction} layer has {has}, got {len(cells)}")
        first, *others = (cell.weights.W_xh.shape for cell in self.cells)
        for shape in others:
            if shape != first:
                raise ValueError(
                    f"W_xh: expected shape {first} backward too, as it is forward, got {shape}"
                )
        if len({cell.state_sizes[0] for cell in self.cells}) > 1:
            raise ValueError("both directions have to have as many hidden units")
        self.input_size, self.hidden_size = first[0], self.cells[0].hidden_size
        self.output_size = merged_size(self.cells[0].state_sizes[0], direction, merge)
        self.settings = {"direction": direction, "merge": merge}

    def __repr__(self) -> str:
        direction = "" if self.direction == "forward" else f" {self.direction}"
        return f"{type(self.cells[0]).__name__} {self.hidden_size}{direction}"

    @property
    def ends(self) -> tuple[float, float] | None:
        """The values between which what the layer gives lies, if its cells have the same two."""
        found = {cell.ends for cell in self.cells}
        of_cells = len(self.cells) == 1 or self.merge == "concat"
        return found.pop() if of_cells and len(found) == 1 else None

    def merged(self, outputs: Sequence[Floats]) -> Floats:
        """Return what the layer gives, of the outputs of its cells."""
        return outputs[0] if len(outputs) == 1 else MERGES[self.merge](*outputs)

    def converted(self, convert: Convert) -> "Recurrent":
        """Return the same layer with its weights converted."""
        layer = copy(self)
        layer.cells = tuple(cell.replaced(cell.weights.converted(convert)) for cell in self.cells)
        return layer


# I and H of each cell of a layer, and whether it has a `b_n`.
CellSizes: TypeAlias = list[tuple[int, int, bool]]


class Architecture(NamedTuple):
    """Sizes and directions of a stack of recurrent layers, whose weights are to be drawn.

    Parameters
    ----------
    input_size : int
        Number of input features, I.
    hidden_sizes : sequence of int
        Number of hidden units of each layer, the bottom one first.
    direction, merge : str
        As for `Recurrent`, in every layer.
    cell : {"rnn", "lstm", "gru"}
    bias : bool
        Whether the framework's layers have biases; the arrays are zeros
        where they have none.
    reset : str or sequence of str
        As for `GRU`: of every cell, or as `per_cell` takes it.
    projected_size : int, optional
        Columns of the `W_hr` of an LSTM, P.
    """

    input_size: int
    hidden_sizes: Sequence[int]
    direction: str = "forward"
    merge: str = "concat"
    cell: str = "rnn"
    bias: bool = True
    reset: str | Sequence[str] = "after"
    projected_size: int | None = None

    @property
    def directions(self) -> tuple[str, ...]:
        """Directions of the cells of each layer."""
        return choice("direction", self.direction, DIRECTIONS)

    @property
    def gates(self) -> int:
        """How many blocks of H columns the weights of a cell have."""
        return choice("cell", self.cell, CELLS).gates

    @property
    def cell_counts(self) -> list[int]:
        """How many cells each layer has."""
        return [len(self.directions)] * len(self.hidden_sizes)

    def sizes(self) -> list[CellSizes]:
        """Return I and H of each cell of each layer, and whether it has a `b_n`.

        A GRU that resets after the product has one.

        Raises
        ------
        ValueError
            A size is under 1, there are no layers, a name is unknown, or the
            cell has no projection.
        """
        gates, counts = self.gates, self.cell_counts
        choice("merge", self.merge, MERGES)
        if not self.hidden_sizes:
            raise ValueError("hidden_size: expected at least one layer, got none")
        if self.projected_size is not None and self.cell != "lstm":
            raise ValueError(f"projected_size: {CELLS[self.cell].__name__} has none")
        layers = []
        width = self.input_size
        resets = per_cell("reset", self.reset, counts)
        for hidden_size, layer in zip(self.hidden_sizes, resets, strict=True):
            weight_shapes(width, hidden_size, gates, self.projected_size)
            layers.append(
                [(width, hidden_size, self.cell == "gru" and reset == "after") for reset in layer]
            )
            width = merged_size(self.projected_size or hidden_size, self.direction, self.merge)
        return layers

    def weight_count(self) -> int:
        """Count the numbers in the weights, ``(I + H + 1) * gates * H`` a cell and H a `b_n`.

        With a projection it is ``(I + P + 1) * gates * H``, and ``H * P`` of `W_hr`.
        """
        P = self.projected_size
        return sum(
            ((I + (P or H) + 1) * self.gates + b_n + (P or 0)) * H
            for layer in self.sizes()
            for I, H, b_n in layer
        )


def merged_size(hidden_size: int, direction: str, merge: str) -> int:
    """Count the values that a recurrent layer gives at a step."""
    return hidden_size * (2 if direction == "bidirectional" and merge == "concat" else 1)


def per_cell(name: str, given: Any, cells: Sequence[int]) -> list[list[Any]]:
    """Return the value of a setting for each cell of each layer.

    Parameters
    ----------
    name : str
        Of the setting.
    given : value or iterable of values
        One for all cells, one a layer, or one a cell; of the bottom
        layer first, and forward before backward.
    cells : sequence of int
        How many each layer has.

    Raises
    ------
    ValueError
        There is another number of values.
    """
    several = isinstance(given, Iterable) and not isinstance(given, str | Activation)
    values = list(given) if several else [given]
    layers, total = len(cells), sum(cells)
    if len(values) == layers:
        values = [value for value, count in zip(values, cells, strict=True) for _ in range(count)]
    elif len(values) == 1:
        values *= total
    if len(values) != total:
        counts = ["1 value"]
        counts += [f"{layers} (one a layer)"] * (layers > 1)
        counts += [f"{total} (one a cell)"] * (total > layers)
        expected = " or ".join(filter(None, [", ".join(counts[:-1]), counts[-1]]))
        raise ValueError(f"{name}: expected {expected}, got {len(values)}")
    each = iter(values)
    return [list(islice(each, count)) for count in cells]
