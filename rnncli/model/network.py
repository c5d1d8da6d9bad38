"""A network: a stack of layers, each of which takes the output of the one below."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from copy import copy
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnncli.model.arrays import Floats, in_dtype, no_index, not_indices
from rnncli.model.cells import Cell, Weights
from rnncli.model.errors import choice
from rnncli.model.layers import Convert, Embedding, Layer, Recurrent, Stateless

# The rows of a sequence that a model may return alone.
LAST = {name: name for name in ("state", "step")}


class Network:
    """A stack of layers.

    Parameters
    ----------
    *layers : Layer, Cell or Weights
        The bottom one first. A cell is a forward layer of it, and weights are
        a vanilla cell with tanh.
    last : {None, "state", "step"}
        The row that the model returns for a sequence, if it returns only one:
        the output of its head for the final states (Keras:
        ``return_sequences=False``), or for the last step (PyTorch:
        ``out[:, -1]``). The two differ only if the top recurrent layer goes
        backward.
    front : sequence of Stateless
        Layers below all others whose output has fewer rows than their input,
        such as a convolution with strides; the other layers run over that.

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
        Number of input features, I, and of values of the top layer's output.
    head : int
        Number of layers above the top recurrent one; 0 without recurrent layers.
    state_size : int
        Number of values in the state of all cells together, S.
    state_names : dict of slices
        By name, the columns of the state arrays of all cells among the S
        values of the network's state: ``h`` first.
    """

    indices: int | None  # rows of the embedding at the bottom, if the network has one
    one_output: bool  # whether a sequence has a final output: it has a head, or `last`
    masking: int  # number of the top layer that masks rows, from 1; 0 if there is none
    final: list[int]  # numbers of the layers that compute the output of the final states
    start: Floats  # the state before the first step, (S,), unless the caller gives it
    by_row: bool  # whether the final output is the output of the last row
    needs_whole_sequences: bool  # whether a layer takes all steps at once, or goes backward
    state_slices: list[list[list[slice]]]  # like `state_names`, by layer, cell and array

    def __init__(
        self,
        *layers: Layer | Cell | Weights,
        last: str | None = None,
        front: Sequence[Stateless] = (),
    ) -> None:
        if not layers:
            raise ValueError("a network has at least one layer")
        self.last = choice("last", last, LAST) if last else None
        self.layers: tuple[Layer, ...] = tuple(
            layer if isinstance(layer, Recurrent | Stateless) else Recurrent(layer)
            for layer in layers
        )
        self.front = tuple(front)
        self._check_widths()
        bottom = self.front[0] if self.front else self.layers[0]
        self.input_size, self.output_size = bottom.input_size, self.layers[-1].output_size
        self.indices = len(bottom.W) if isinstance(bottom, Embedding) else None
        numbered = [*enumerate(self.layers, start=1)]
        recurrent = [number for number, layer in numbered if layer.cells]
        if last == "state" and not recurrent:
            raise ValueError("last: a network without recurrent layers has no final state")
        self.head = len(layers) - recurrent[-1] if recurrent else 0
        self.one_output = bool(self.head or last)
        self.final = self._find_final()
        self.by_row = last == "step" or not self.final
        self.masking = max((number for number, layer in numbered if layer.masks), default=0)
        if recurrent and self.masking > recurrent[0]:
            raise ValueError(f"layer {self.masking}: masks rows above a recurrent layer")
        self.needs_whole_sequences = any(
            layer.takes_sequences or "backward" in layer.directions
            for layer in (*front, *self.layers)
        )
        self._lay_out_states()

    def __repr__(self) -> str:
        return f"Network({', '.join(map(repr, (*self.front, *self.layers)))})"

    def _check_widths(self) -> None:
        """Check that each layer takes as many values as the ones below give."""
        for below, above in pairwise([*self.front, self.layers[0]]):
            if below.output_size != above.input_size:
                what = f"takes {above.input_size} values, {below.output_size} come from below"
                raise ValueError(f"front: {above!r} {what}")
        widths = [self.layers[0].input_size]
        for number, layer in enumerate(self.layers, start=1):
            if isinstance(layer, Embedding) and number > 1:
                raise ValueError(f"layer {number}: an embedding is the bottom layer")
            width = sum(widths[k] for k in layer.sources or (number - 1,))
            if layer.input_size != width:
                what = f"takes {layer.input_size} values, {width} come from below"
                raise ValueError(f"layer {number}: {what}")
            widths.append(layer.output_size)

    def _find_final(self) -> list[int]:
        """Find the layers that the output needs above recurrent states; none if it needs rows."""
        numbers = {len(self.layers)}
        for number in range(len(self.layers), 0, -1):
            layer = self.layers[number - 1]
            if number in numbers and not layer.cells:
                numbers |= {*(layer.sources or (number - 1,))}
                if layer.takes_sequences:
                    return []
        return [] if 0 in numbers else sorted(numbers)

    def _lay_out_states(self) -> None:
        """Assign columns of the state to the arrays of all cells, ordered by their names."""
        self.state_names: dict[str, slice] = {}
        self.state_slices = [[[] for _ in layer.cells] for layer in self.layers]
        self.state_size = 0
        cells = [cell for layer in self.layers for cell in layer.cells]
        cell_slices = list(chain.from_iterable(self.state_slices))
        for name in dict.fromkeys(name for cell in cells for name in cell.state_names):
            begin = end = self.state_size
            for cell, slices in zip(cells, cell_slices, strict=True):
                if name in cell.state_names:
                    start, end = end, end + cell.state_sizes[cell.state_names.index(name)]
                    slices.append(slice(start, end))
            self.state_names[name], self.state_size = slice(begin, end), end
        self.start = np.zeros(self.state_size)
        for layer, columns in zip(self.layers, self.state_slices, strict=True):
            for slices, arrays in zip(columns, getattr(layer, "starts", ()), strict=False):
                for each, array in zip(slices, arrays, strict=True):
                    self.start[each] = array

    def checked_input(self, x: NDArray[Any], dtype: np.dtype[np.floating]) -> Floats:
        """Convert rows of input, (..., I), to a float type; an index must have its row."""
        rows = in_dtype("x", x, dtype)
        if self.indices is not None:
            wrong = not_indices(rows, self.indices)
            if wrong.any():
                index = tuple(int(i) for i in np.argwhere(wrong)[0])
                raise ValueError(f"x: {no_index(x[index], self.indices)} at {list(index)}")
        return rows

    def checked_shape(self, x: ArrayLike) -> Floats:
        """Return an input of shape (T, I) or (N, T, I); one feature may come as (T,)."""
        try:
            array, I = np.asarray(x), self.input_size
        except ValueError:
            what = "x: expected an array, got sequences of unlike length"
            raise ValueError(f"{what}; fill them up to (N, T, I) and give `lengths`") from None
        array = array[:, None] if array.ndim == I == 1 else array
        if array.ndim not in (2, 3) or array.shape[-1] != I:
            raise ValueError(f"x: expected shape (T, {I}) or (N, T, {I}), got {array.shape}")
        return array

    def initial_state(self, h0: ArrayLike | None, N: int, dtype: np.dtype[np.floating]) -> Floats:
        """Return the state (N, S) before the first step; `h0` is (S,) or (N, S), or None."""
        S, array = self.state_size, np.asarray(self.start if h0 is None else h0)
        if h0 is not None and array.shape not in ((S,), (N, S)):
            what = f"expected shape ({S},) or ({N}, {S}), as the network has {S} units"
            raise ValueError(f"h0: {what}, got {array.shape}")
        state = np.empty((N, S), dtype)
        state[...] = in_dtype("h0", array, dtype)
        return state

    def select_inputs(self, number: int, outputs: Sequence[Floats]) -> Floats:
        """Return the input of layer `number`, from 1; `outputs` begin with the network's input."""
        chosen = [outputs[k] for k in self.layers[number - 1].sources or (number - 1,)]
        return chosen[0] if len(chosen) == 1 else np.concatenate(chosen, axis=-1)

    def name_layer(self, number: int) -> str:
        """Return the name of a layer, counted from 1, as its file has it."""
        name = self.layers[number - 1].name
        alike = [n for n, each in enumerate(self.layers, start=1) if each.name == name]
        if not name:
            return f"layer {number}"
        return name if len(alike) < 2 else f"layer {alike.index(number) + 1} of {name}"

    def with_below(self, layer: Stateless) -> Network:
        """Return the same network with a layer below all others."""
        if self.front:
            return Network(*self.layers, last=self.last, front=(layer, *self.front))
        layers = [copy(each) for each in self.layers]
        for each in layers:
            each.sources = tuple(number + 1 for number in each.sources)
        return Network(layer, *layers, last=self.last)

    def with_cells(self, change: Callable[[Cell], Cell]) -> Network:
        """Return the same network with each cell changed."""
        layers = list(self.layers)
        for n, each in enumerate(layers):
            if isinstance(each, Recurrent):
                layers[n] = copy(each)
                layers[n].cells = tuple(map(change, each.cells))
        return Network(*layers, last=self.last, front=self.front)

    def has_dtype(self, dtype: np.dtype[np.floating]) -> bool:
        """Whether all arrays have a float type."""
        layers = (*self.front, *self.layers)
        cells = [cell.weights for layer in layers for cell in layer.cells]
        return all(a.dtype == dtype for each in (*layers, *cells) for a in each.arrays.values())

    def converted(self, convert: Convert) -> Network:
        """Return the same network with its arrays converted."""
        network = copy(self)
        network.layers = tuple(layer.converted(convert) for layer in self.layers)
        network.front = tuple(layer.converted(convert) for layer in self.front)
        return network


def as_network(
    network: Network | str | os.PathLike[str], *, input_size: int | None = None
) -> Network:
    """Return a network, read from its model file if a name is given."""
    if isinstance(network, Network):
        return network
    from rnncli.model.formats.load import load  # few networks come from a file

    return load(network, input_size=input_size)
