"""What is timed: the default cases, and a case as files for other processes."""

import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell, Weights
from rnncli.model.formats import load_network, save_network
from rnncli.model.initializers import seeded
from rnncli.model.network import Network
from rnncli.verify.case import Case


def _held(gate: str, cell: Cell) -> Weights:
    """Set the bias of the gate that keeps the state: this then fades by 0.7% a step."""
    biases = cell.weights.b_h.reshape(cell.gates, -1).copy()
    biases[cell.gate_names.index(gate)] = 5
    return cell.weights._replace(b_h=biases.reshape(-1))


def _expanded(cell: Cell) -> Weights:
    """Scale W_hh, so that states near zero grow and only larger ones fade."""
    W_hh = cell.weights.W_hh
    return cell.weights._replace(W_hh=W_hh * (1.2 / np.abs(np.linalg.eigvals(W_hh)).max()))


# What drawn weights are changed to, as many trained ones are: their networks forget slowly.
CHANGES: dict[str, Callable[[Cell], Weights]] = {
    "b_f = 5": partial(_held, "f"),
    "b_z = 5": partial(_held, "z"),
    "spectral radius 1.2": _expanded,
}


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
    change : str, optional
        What is done to the weights, one of `CHANGES`.
    """

    T: int
    I: int
    H: int
    N: int = 1
    init: str = "torch"
    cell: str = "rnn"
    shortest: int | None = None
    change: str = ""

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
        """Draw the network, and change it if it is to be changed."""
        network = seeded(self.I, self.H, seed, self.init, cell=self.cell)
        if not self.change:
            return network
        change = CHANGES[self.change]
        return network.with_cells(lambda cell: cell.replaced(change(cell)))


SIZES = (
    Size(1_000_000, 1, 4),
    Size(200_000, 1, 16),
    Size(100_000, 8, 64),
    Size(20_000, 64, 256),
    Size(256, 64, 256, 64),
    Size(50, 4, 16, 10_000),
    Size(200, 4, 16, 10_000, shortest=5),
    Size(50_000, 8, 64, change="spectral radius 1.2"),
    Size(100_000, 1, 16, init="tensorflow"),  # not contracting
    *(
        Size(T, I, H, N, cell=cell, change=change)
        for cell, slow in (("lstm", "b_f = 5"), ("gru", "b_z = 5"))
        for T, I, H, N, change in (
            (200_000, 1, 16, 1, ""),
            (100_000, 8, 64, 1, ""),
            (20_000, 64, 256, 1, ""),
            (256, 64, 256, 64, ""),
            (50, 4, 16, 10_000, ""),
            (100_000, 1, 16, 1, slow),
            (50_000, 8, 64, 1, slow),
            (10_000, 64, 256, 1, slow),
        )
    ),
)


def first_steps(case: Case, steps: int) -> Case:
    """Cut a case to its first steps."""
    if steps >= case.x.shape[1]:
        return case
    x = np.ascontiguousarray(case.x[:, :steps])
    return case._replace(x=x, lengths=np.minimum(case.lengths, steps))


def steps_together(x: Floats) -> Floats:
    """Copy a batch (N, T, I), so that all first steps lie together, then all second ones."""
    return np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1)


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
