"""The default cases that are timed."""

from typing import NamedTuple

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.model.cells import Cell
from rnncli.model.seeds import seeded
from rnncli.verification.case import Case

# The gate that keeps the state.
KEEPING = {"lstm": "f", "gru": "z"}


class Size(NamedTuple):
    """A default case: T steps, I features, H units and N sequences, weights drawn as by PyTorch.

    A slow network forgets slowly, as trained ones do: its keeping gate has a bias of 5.
    """

    T: int
    I: int
    H: int
    N: int = 1
    cell: str = "rnn"
    slow: bool = False

    def title(self, precision: str) -> str:
        """Describe the case in one line."""
        size = f"T = {self.T:,}, N = {self.N:,}, I = {self.I}, H = {self.H}"
        bias = f", b_{KEEPING[self.cell]} = 5" if self.slow else ""
        return f"{self.cell.upper()}: {size}, {precision}, init torch{bias}"

    def case(self, seed: int, precision: str) -> Case:
        """Draw the weights and a normal input, both from a seed."""

        def slowed(cell: Cell) -> Cell:
            biases = cell.weights.b_h.reshape(cell.gates, -1).copy()
            biases[cell.gate_names.index(KEEPING[self.cell])] = 5
            return cell.replaced(cell.weights._replace(b_h=biases.reshape(-1)))

        network = seeded(self.I, self.H, seed, "torch", cell=self.cell)
        network = network.with_cells(slowed) if self.slow else network
        random, dtype = np.random.RandomState(seed), PRECISIONS[precision].dtype
        x = random.standard_normal((self.N, self.T, self.I)).astype(dtype)
        h0 = np.zeros((self.N, network.state_size), dtype)
        return Case(network, x, h0, np.full(self.N, self.T), precision)


SIZES = (
    Size(1_000_000, 1, 4),
    Size(20_000, 64, 256),
    Size(50, 4, 16, 10_000),
    Size(100_000, 8, 64, cell="lstm"),
    Size(50_000, 8, 64, cell="lstm", slow=True),
    Size(256, 64, 256, 64, cell="lstm"),
    Size(50_000, 8, 64, cell="gru", slow=True),
    Size(50, 4, 16, 10_000, cell="gru"),
)
