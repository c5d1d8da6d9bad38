"""What a network asks of a layer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from rnncli.model.arrays import Floats, Truths
from rnncli.model.cells import Cell, State

# unroll(cell, x, state, direction): the outputs of a cell at all steps, in the
# order of the input, and its state after its last step.
Unroll: TypeAlias = Callable[[Cell, Floats, State, str], tuple[Floats, State]]
# convert(name, array): an array in the type that a run computes in.
Convert: TypeAlias = Callable[[str, Floats], Floats]
# multiply(x, W): a new array, ``x @ W`` for rows (..., K), as a run computes it.
Multiply: TypeAlias = Callable[[Floats, Floats], Floats]


class Layer(Protocol):
    """What a network asks of a layer, with or without state."""

    @property
    def input_size(self) -> int:
        """Number of values that it takes at a step."""

    @property
    def output_size(self) -> int:
        """Number of values that it gives at a step."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """What carries a state from step to step; nothing in a layer without state."""

    @property
    def directions(self) -> tuple[str, ...]:
        """``forward`` or ``backward`` for each of the cells."""

    @property
    def arrays(self) -> Mapping[str, Floats]:
        """Its own arrays by name, those of its cells apart."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the layer is beside its arrays and cells."""

    @property
    def masks(self) -> bool:
        """Whether there are rows at which the layers above keep their state."""

    def __call__(
        self,
        x: Floats,
        states: Sequence[State],
        unroll: Unroll,
        multiply: Multiply = np.matmul,
    ) -> tuple[Floats, Sequence[State]]:
        """Run over all steps.

        Parameters
        ----------
        x : array, shape (..., input_size)
            A row for each step of each sequence.
        states : sequence of tuples of arrays
            The state of each cell before its first step.
        unroll : callable
            Runs a cell over the steps.
        multiply : callable
            Computes a product of rows and a matrix.

        Returns
        -------
        array, shape (..., output_size)
        sequence of tuples of arrays
            The state of each cell after its last step.
        """

    def converted(self, convert: Convert) -> "Layer":
        """Return the same layer with its arrays converted."""


class Masks(Layer, Protocol):
    """A layer that masks rows."""

    def masked(self, x: Floats) -> Truths:
        """Return which rows of its input, (..., input_size), are masked."""
