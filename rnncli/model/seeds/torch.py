"""PyTorch's draws: ``torch.manual_seed``, then modules one after the other."""

from collections.abc import Iterator, Sequence
from math import pi, sqrt

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
        self, cell: str, I: int, H: int, P: int | None, bias: bool, has_b_n: list[bool]
    ) -> Iterator[Weights]:
        """Draw from U(-1/sqrt(H), 1/sqrt(H)), in the order of ``named_parameters()``."""
        width = CELLS[cell].gates * H

        def draw(*shape: int) -> Floats:
            values = self._uniform(shape, 1 / sqrt(H)).T
            gru = cell == "gru"  # its gates are r z n
            return np.ascontiguousarray(ordered(values, (1, 0, 2)) if gru else values)

        for with_b_n in has_b_n:
            W_xh, W_hh = draw(width, I), draw(width, P or H)
            b_x, b_r = (draw(width) if bias else np.zeros(width, np.float32) for _ in range(2))
            b_n = b_r[-H:].copy() if with_b_n else None
            if with_b_n:
                b_r[-H:] = -0.0  # changes no bit of a sum
            yield Weights(W_xh, W_hh, b_x + b_r, b_n, W_hr=None if P is None else draw(P, H))

    def table(self, V: int, E: int) -> Floats:
        """Draw from N(0, 1), as ``torch.nn.Embedding``: 5 of 6 to the bit, others within 5e-7."""
        return self._normals(V * E).reshape(V, E)

    def dense(self, I: int, O: int) -> tuple[Floats, Floats | None]:
        """Draw from U(-1/sqrt(I), 1/sqrt(I)), as ``torch.nn.Linear(I, O)``."""
        weight, bias = (self._uniform(shape, 1 / sqrt(I)) for shape in ((O, I), (O,)))
        return np.ascontiguousarray(weight.T), bias

    def _uniform(self, shape: tuple[int, ...], bound: float) -> Floats:
        """``tensor.uniform_(-bound, bound)``."""
        high = np.float32(bound)
        low, width = float(-high), float(high - -high)
        # Exact in float64, rounded once: a fused multiply-add in float32.
        return fill(np.empty(shape, np.float32), lambda _, n: self._units(n) * width + low)

    def _normals(self, count: int) -> Floats:
        """``tensor.normal_()``: by sixteens, the last sixteen anew where they do not fill one."""
        values = np.empty(count, np.float32)
        if count >= 16:
            fill(values[: count - count % 16], lambda _, n: self._sixteens(n))
            if count % 16:
                self._units(count % 16)
                values[-16:] = self._sixteens(16)
            return values
        # Of few, a cosine and a sine of two draws of 53 bits.
        words = self._generator.randint(0, 2**32, (-(-count // 2), 2, 2), np.uint32)
        high, low = words.astype(np.uint64).transpose(2, 1, 0)
        u1, u2 = (high << np.uint64(32) | low) % 2**53 * 2.0**-53
        radius, angle = np.sqrt(-2 * np.log1p(-u2)), 2 * pi * u1
        waves = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return waves.astype(np.float32).reshape(-1)[:count]

    def _sixteens(self, count: int) -> Floats:
        """Make eight cosines and eight sines of sixteen draws, by Box and Muller's transform."""
        u1, u2 = self._units(count).astype(np.float32).reshape(-1, 2, 8).swapaxes(0, 1)
        radius = np.sqrt(-2 * np.log((1 - u1).astype(np.float64)).astype(np.float32))
        angle = (np.float32(2 * pi) * u2).astype(np.float64)
        waves = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
        return (waves * radius[:, None]).reshape(-1)

    def _units(self, count: int) -> Floats:
        """Draw from [0, 1), 24 bits each, in float64."""
        words = self._generator.randint(0, 2**32, count, np.uint32)
        return (words & np.uint32(2**24 - 1)) * 2.0**-24


def check_one_module(
    cell: str, hidden: Sequence[int], P: int | None, direction: str, merge: str
) -> None:
    """Refuse a stack that a single ``nn.RNN``, ``nn.LSTM`` or ``nn.GRU`` cannot be."""
    module = f"nn.{cell.upper()}"
    if len(set(hidden)) > 1:
        what = f"{module} has layers of one size, got {', '.join(map(str, hidden))}"
        raise InputError("init torch", what, "take equal sizes, or another init")
    if P is not None and hidden[0] <= P:
        what = f"{module} has a projection under hidden_size, {hidden[0]}, got {P}"
        raise InputError("init torch", what)
    if direction == "bidirectional" and merge != "concat" and len(hidden) > 1:
        what = f"between bidirectional layers {module} has merge concat, got {merge}"
        raise InputError("init torch", what)
