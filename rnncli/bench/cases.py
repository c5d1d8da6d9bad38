"""What is timed: the default cases, and a case as files for other processes."""

import os
from typing import NamedTuple

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.model.formats import load_network, save_network
from rnncli.model.initializers import seeded
from rnncli.model.network import Network
from rnncli.verify.case import Case


class Size(NamedTuple):
    """The size of a default case.

    Parameters
    ----------
    T, I, H, N : int
        Steps, input features, hidden units, sequences.
    init, cell : str
        Whose weights, and of which cell, as for `rnncli.seeded`.
    shortest : int, optional
        Lengths of sequences are drawn from this to T; all are T by default.
    """

    T: int
    I: int
    H: int
    N: int = 1
    init: str = "torch"
    cell: str = "rnn"
    shortest: int | None = None

    def case(self, seed: int, precision: str) -> Case:
        """Draw the weights and a normal input, both from a seed."""
        dtype = PRECISIONS[precision].dtype
        random = np.random.RandomState(seed)
        x = random.standard_normal((self.N, self.T, self.I)).astype(dtype)
        lengths = np.full(self.N, self.T)
        if self.shortest is not None:
            lengths = random.randint(self.shortest, self.T + 1, self.N)
        network = self.network(seed)
        return Case(network, x, np.zeros((self.N, network.state_size), dtype), lengths, precision)

    def network(self, seed: int) -> Network:
        """Draw the network."""
        return seeded(self.I, self.H, seed, self.init, cell=self.cell)


SIZES = (
    Size(1_000_000, 1, 4),
    Size(200_000, 1, 16),
    Size(200_000, 1, 16, init="keras"),
    Size(100_000, 8, 64),
    Size(100_000, 8, 64, init="keras"),
    Size(20_000, 64, 256),
    Size(256, 64, 256, 64),
    Size(50, 4, 16, 10_000),
    Size(200, 4, 16, 10_000, shortest=5),
    Size(100_000, 1, 16, init="tensorflow"),  # not contracting
    *(
        Size(T, I, H, N, cell=cell)
        for cell in ("lstm", "gru")
        for T, I, H, N in (
            (200_000, 1, 16, 1),
            (100_000, 8, 64, 1),
            (20_000, 64, 256, 1),
            (256, 64, 256, 64),
            (50, 4, 16, 10_000),
        )
    ),
    Size(20_000, 8, 64, init="tensorflow", cell="lstm"),  # not contracting
)


def first_steps(case: Case, steps: int) -> Case:
    """Cut a case to its first steps."""
    if steps >= case.x.shape[1]:
        return case
    x = np.ascontiguousarray(case.x[:, :steps])
    return case._replace(x=x, lengths=np.minimum(case.lengths, steps))


def save_case(folder: str, case: Case) -> None:
    """Write a case into a folder, over the one that is there."""
    with open(os.path.join(folder, "network.npz"), "wb") as file:
        save_network(file, case.network, ".npz")
    arrays = {name: getattr(case, name) for name in ("x", "h0", "lengths", "precision")}
    np.savez(os.path.join(folder, "input.npz"), **arrays)


def load_case(folder: str) -> Case:
    """Read the case in a folder."""
    network = load_network(os.path.join(folder, "network.npz")).network
    with np.load(os.path.join(folder, "input.npz"), allow_pickle=False) as arrays:
        precision = str(arrays["precision"])
        return Case(network, arrays["x"], arrays["h0"], arrays["lengths"], precision)
