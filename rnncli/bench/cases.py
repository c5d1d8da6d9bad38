"""The default cases that are timed."""

from typing import NamedTuple

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.model.seeds import seeded
from rnncli.verification.case import Case


class Size(NamedTuple):
    """A default case: T steps, I features, H units and N sequences, weights drawn as by PyTorch."""

    T: int
    I: int
    H: int
    N: int = 1
    cell: str = "rnn"
    keeping: str = ""  # a gate with a bias of 5: the network forgets slowly, as trained ones do

    def title(self, precision: str) -> str:
        """Describe the case in one line."""
        size = f"T = {self.T:,}, N = {self.N:,}, I = {self.I}, H = {self.H}"
        bias = f", b_{self.keeping} = 5" if self.keeping else ""
        return f"{self.cell.upper()}: {size}, {precision}, init torch{bias}"

    def case(self, seed: int, precision: str) -> Case:
        """Draw the weights and a normal input, both from a seed."""
        network = seeded(self.I, self.H, seed, "torch", cell=self.cell)
        if self.keeping:
            (cell,) = network.layers[0].cells
            gate = cell.gate_names.index(self.keeping)
            cell.weights.b_h[gate * self.H : (gate + 1) * self.H] = 5
        random, dtype = np.random.RandomState(seed), PRECISIONS[precision].dtype
        x = random.standard_normal((self.N, self.T, self.I)).astype(dtype)
        h0 = np.zeros((self.N, network.state_size), dtype)
        return Case(network, x, h0, np.full(self.N, self.T), precision)


SIZES = (
    Size(1_000_000, 1, 4),
    Size(20_000, 64, 256),
    Size(50, 4, 16, 10_000),
    Size(100_000, 8, 64, cell="lstm"),
    Size(50_000, 8, 64, cell="lstm", keeping="f"),
    Size(256, 64, 256, 64, cell="lstm"),
    Size(50_000, 8, 64, cell="gru", keeping="z"),
    Size(50, 4, 16, 10_000, cell="gru"),
)
