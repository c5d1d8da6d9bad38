"""The cases that are timed where no network and no input are given."""

from typing import NamedTuple

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.model.initializers import seeded
from rnncli.verify.case import Case


class Size(NamedTuple):
    """Sizes of a network and an input, and whose weights they are.

    Parameters
    ----------
    T, I, H, N : int
        Steps, input features, hidden units, sequences.
    init : str
        As for `rnncli.seeded`.
    shortest : int, optional
        The lengths of the sequences are drawn from this to T; all are T by
        default.
    """

    T: int
    I: int
    H: int
    N: int = 1
    init: str = "torch"
    shortest: int | None = None

    def case(self, seed: int, precision: str) -> Case:
        """Draw the weights from a seed, and a normal input from the same."""
        network = seeded(self.I, self.H, seed, self.init)
        dtype = PRECISIONS[precision].dtype
        random = np.random.RandomState(seed)
        x = random.standard_normal((self.N, self.T, self.I)).astype(dtype)
        lengths = np.full(self.N, self.T)
        if self.shortest is not None:
            lengths = random.randint(self.shortest, self.T + 1, self.N)
        return Case(network, x, np.zeros((self.N, self.H), dtype), lengths, precision)


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
    Size(100_000, 1, 16, init="tensorflow"),  # does not forget
)
