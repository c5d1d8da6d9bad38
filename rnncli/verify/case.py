"""What a result is a result of."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnncli.engine.run import run
from rnncli.model.arrays import Floats, Integers, Truths
from rnncli.model.network import Network


class Case(NamedTuple):
    """A network and an input: what a result is a result of.

    Parameters
    ----------
    network : Network
    x : array, shape (N, T, I)
    h0 : array, shape (N, S)
    lengths : array of int, shape (N,)
        Number of steps of each sequence.
    precision : str
        What it is computed in.
    biases : sequence of tuples of arrays
        Of each cell, in the order of ``Network.cells``, as a weight file has
        them: the input bias and the recurrent one, where there are two.
    """

    network: Network
    x: Floats
    h0: Floats
    lengths: Integers
    precision: str = "float32"
    biases: Sequence[tuple[Floats, ...]] = ()

    def running(self) -> Truths:
        """Tell which sequences have a step t, shape (N, T)."""
        return np.asarray(np.arange(self.x.shape[1]) < self.lengths[:, None])

    def states(self, unroll: str = "auto") -> tuple[Floats, ...]:
        """Run it: what every layer gives, the bottom one first."""
        return run(
            self.network,
            self.x,
            self.h0,
            lengths=self.lengths,
            precision=self.precision,
            unroll=unroll,
            all_layers=True,
        ).layers
