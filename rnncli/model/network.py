"""A network: layers, each of which takes what the one below gives."""

from collections.abc import Callable, Sequence
from copy import copy
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats, in_dtype, no_index, not_indices
from rnncli.model.cells import Cell, Weights
from rnncli.model.errors import choice
from rnncli.model.layers import Convert, Embedding, Layer, Recurrent, Stateless

# Rows that a model may give alone.
LAST = {name: name for name in ("state", "step")}


class Network:
    """A stack of layers.

    Parameters
    ----------
    *layers : Layer, Cell or Weights
        The bottom one first. A cell is a forward layer of it, and weights are
        a vanilla cell with tanh.
    last : {None, "state", "step"}
        Which row the model gives of a sequence, if it gives but one: what its
        head makes of the final states (Keras: ``return_sequences=False``), or
        what it gives at the last step (PyTorch: ``out[:, -1]``). The two are
        one but where the top recurrent layer goes backward.

    Raises
    ------
    ValueError
        There is no such row, there is no layer, or a layer's input size is
        not the output size of the layer below.

    Attributes
    ----------
    layers : tuple of Layer
    last : str or None
    input_size, output_size : int
        Number of input features, I, and of values that the top layer gives a
        step.
    head : int
        Number of layers above the top recurrent one; 0 where there is none.
    indices : int or None
        If the input is an index into an embedding: how many rows that has.
    one_output : bool
        Whether the network has an output of a sequence, beside its states: the
        model gives one row, or there is a head.
    masking : int
        Number of layers at the bottom that say which rows are masked; 0 if none
        does.
    state_size : int
        Number of values in the state of all cells together, S.
    needs_whole_sequences : bool
        Whether a layer begins at the last step.
    state_names : dict of slices
        By name, where the state arrays of all cells stand among the S values
        of the network's state: ``h`` first.
    state_slices : list of lists of lists of slices
        The same for each array of each cell, by layer and cell.
    """

    def __init__(self, *layers: Layer | Cell | Weights, last: str | None = None) -> None:
        self.last = choice("last", last, LAST) if last else None
        self.layers: tuple[Layer, ...] = tuple(
            part if isinstance(part, Recurrent | Stateless) else Recurrent(part) for part in layers
        )
        if not layers:
            raise ValueError("a network has at least one layer")
        for number, (below, layer) in enumerate(pairwise(self.layers), start=2):
            if isinstance(layer, Embedding):
                raise ValueError(
                    f"layer {number}: an embedding takes whole numbers: it is the bottom layer"
                )
            if layer.input_size != below.output_size:
                name, unit = taken_by(layer)
                raise ValueError(
                    f"layer {number}: {name}: expected {below.output_size} {unit}, as layer "
                    f"{number - 1} gives so many values a step, got {layer.input_size}"
                )
        self.input_size, self.output_size = self.layers[0].input_size, self.layers[-1].output_size
        recurrent = [number for number, layer in enumerate(self.layers) if layer.cells]
        if last and not recurrent:
            raise ValueError("last: a network without recurrent layers has no final state")
        self.head = len(layers) - 1 - recurrent[-1] if recurrent else 0
        self.one_output = bool(self.head or last)
        masking = [number for number, layer in enumerate(self.layers, start=1) if layer.masks]
        self.masking = max(masking, default=0)
        if recurrent and self.masking > recurrent[0]:
            raise ValueError(
                f"layer {self.masking}: a layer that masks rows stands below all recurrent ones, "
                f"layer {recurrent[0] + 1} is one"
            )
        bottom = self.layers[0]
        self.indices = len(bottom.W) if isinstance(bottom, Embedding) else None
        self.state_names, self.state_slices = _state_slices(self.layers)
        self.state_size = max((place.stop for place in self.state_names.values()), default=0)
        self.needs_whole_sequences = any("backward" in each.directions for each in self.layers)

    def __repr__(self) -> str:
        return f"Network({', '.join(map(repr, self.layers))})"

    def checked_input(self, x: NDArray[Any], dtype: np.dtype[np.floating]) -> Floats:
        """Convert rows of input, (..., I), to a float type.

        Raises
        ------
        ValueError
            A value is not finite there, or not one that an `Embedding` has a
            row for. The message gives its place as an index.
        """
        rows = in_dtype("x", x, dtype)
        if self.indices is not None:
            wrong = not_indices(rows, self.indices)
            if wrong.any():
                place = tuple(int(i) for i in np.argwhere(wrong)[0])
                what = no_index(x[place], self.indices)
                raise ValueError(f"x: {what} at {list(place)}")
        return rows

    def with_cells(self, change: Callable[[Cell], Cell]) -> "Network":
        """Return the same network with each cell changed."""
        return Network(
            *(
                type(layer)(*map(change, layer.cells), direction=layer.direction, merge=layer.merge)
                if isinstance(layer, Recurrent)
                else layer
                for layer in self.layers
            ),
            last=self.last,
        )

    def converted(self, convert: Convert) -> "Network":
        """Return the same network with its arrays converted."""
        network = copy(self)
        network.layers = tuple([layer.converted(convert) for layer in self.layers])
        return network


def taken_by(layer: Layer) -> tuple[str, str]:
    """Return what sets the input size of a layer, and what there are so many of."""
    if isinstance(layer, Embedding):
        return "an embedding", "feature"
    if layer.cells:
        return "W_xh", "rows"
    for name, array in layer.arrays.items():
        return name, "rows" if array.ndim > 1 else "values"
    return type(layer).__name__, "features"


def _state_slices(layers: Sequence[Layer]) -> tuple[dict[str, slice], list[list[list[slice]]]]:
    """Place the state arrays of all cells side by side: all of one name, then the next."""
    nested: list[list[list[slice]]] = [[[] for _ in layer.cells] for layer in layers]
    each = [
        (cell, places)
        for layer, slices in zip(layers, nested, strict=True)
        for cell, places in zip(layer.cells, slices, strict=True)
    ]
    named, end = {}, 0
    for name in dict.fromkeys(name for cell, _ in each for name in cell.state_names):
        begin = end
        for cell, places in each:
            if name in cell.state_names:
                size = cell.state_sizes[cell.state_names.index(name)]
                places.append(slice(end, end + size))
                end += size
        named[name] = slice(begin, end)
    return named, nested
