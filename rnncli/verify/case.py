"""A case: what a result is a result of."""

from collections.abc import Sequence
from math import inf, isinf
from typing import NamedTuple

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.engine.run import States, run
from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.cells import Cell
from rnncli.model.network import Network


class Case(NamedTuple):
    """A network and the whole of an input.

    Parameters
    ----------
    network : Network
    x : array, shape (N, T, I)
    h0 : array, shape (N, S)
        The state before the first step: all arrays of all cells, as
        ``Network.state_slices`` places them.
    lengths : array of int, shape (N,)
        Number of steps of each sequence, 0 to T.
    precision : str
        What it is computed in, one of `rnncli.engine.precision.PRECISIONS`.
    biases : sequence of tuples of arrays
        Of each cell, layer by layer, as a weight file has them: the input
        bias and the recurrent one, where there are two.
    """

    network: Network
    x: Floats
    h0: Floats
    lengths: Integers
    precision: str = "float32"
    biases: Sequence[tuple[Floats, ...]] = ()

    def network_as_run(self) -> Network:
        """Return the network with weights and clips in the precision, as a run has them."""
        precision = PRECISIONS[self.precision]

        def with_clip(cell: Cell) -> Cell:
            clip = cell.settings.get("clip", inf)
            return cell if isinf(clip) else cell.replaced(clip=float(precision.dtype.type(clip)))

        return self.network.converted(precision.convert).with_cells(with_clip)

    def running(self) -> Truths:
        """Return whether each sequence has a step t, shape (N, T)."""
        return np.asarray(np.arange(self.x.shape[1]) < self.lengths[:, None])

    def rows(self) -> Truths:
        """Return which rows of a result there are, (N, T): the steps.

        Of a network that gives one row a sequence (`Network.last`) it is (N, 1).
        """
        running = self.running()
        return np.asarray(running.any(axis=1, keepdims=True)) if self.network.last else running

    def outputs(self, unroll: str = "auto") -> tuple[Floats, ...]:
        """Run it, and return the output (N, T, O) of every layer, the bottom one first.

        Of a network that gives one row a sequence it is that alone, (N, 1, O).
        """
        states = self.run(unroll)
        if self.network.last and states.y_n is not None:
            return (states.y_n[:, None],)
        return states.layers

    def run(self, unroll: str = "auto") -> States:
        """Run it, and return the outputs of all layers too."""
        return run(
            self.network,
            self.x,
            self.h0,
            lengths=self.lengths,
            precision=self.precision,
            unroll=unroll,
            all_layers=True,
        )
