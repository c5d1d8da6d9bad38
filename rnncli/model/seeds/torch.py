"""PyTorch's draws: ``torch.manual_seed``, then modules one after the other."""

from collections.abc import Iterator, Sequence
from math import sqrt

import numpy as np

from rnncli.model.arrays import Floats, fill
from rnncli.model.cells import CELLS, Weights
from rnncli.model.cells.gates import ordered
from rnncli.model.errors import InputError


class Draws:
    """The draws of PyTorch on a CPU."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.RandomState(seed)

    def layer(
        self, cell: str, I: int, H: int, bias: bool, has_b_n: list[bool]
    ) -> Iterator[Weights]:
        """Draw from U(-1/sqrt(H), 1/sqrt(H)), in the order of ``named_parameters()``."""
        width = CELLS[cell].gates * H

        def draw(*shape: int) -> Floats:
            values = self._uniform(shape, 1 / sqrt(H)).T
            gru = cell == "gru"  # its gates are r z n
            return np.ascontiguousarray(ordered(values, (1, 0, 2)) if gru else values)

        for with_b_n in has_b_n:
            W_xh, W_hh = draw(width, I), draw(width, H)
            b_x, b_r = (draw(width) if bias else np.zeros(width, np.float32) for _ in range(2))
            b_n = b_r[-H:].copy() if with_b_n else None
            if with_b_n:
                b_r[-H:] = -0.0  # changes no bit of a sum
            yield Weights(W_xh, W_hh, b_x + b_r, b_n)

    def dense(self, I: int, O: int) -> tuple[Floats, Floats | None]:
        """Draw from U(-1/sqrt(I), 1/sqrt(I)), as ``torch.nn.Linear(I, O)``."""
        weight, bias = (self._uniform(shape, 1 / sqrt(I)) for shape in ((O, I), (O,)))
        return np.ascontiguousarray(weight.T), bias

    def _uniform(self, shape: tuple[int, ...], bound: float) -> Floats:
        """Draw ``tensor.uniform_(-bound, bound)``."""
        high = np.float32(bound)
        low, width = float(-high), float(high - -high)

        def draw_some(_start: int, count: int) -> Floats:
            words = self._generator.randint(0, 2**32, count, np.uint32) & np.uint32(2**24 - 1)
            # Exact in float64, rounded once: a fused multiply-add in float32.
            return words * 2.0**-24 * width + low

        return fill(np.empty(shape, np.float32), draw_some)


def check_one_module(cell: str, hidden: Sequence[int], direction: str, merge: str) -> None:
    """Refuse a stack that a single ``nn.RNN``, ``nn.LSTM`` or ``nn.GRU`` cannot be."""
    several = len(hidden) > 1 and direction == "bidirectional"
    if len(set(hidden)) > 1 or (several and merge != "concat"):
        what = f"nn.{cell.upper()} has layers of one size, and merge concat between directions"
        raise InputError("init torch", what, "take another init")
