"""PyTorch's draws: ``torch.manual_seed``, then modules one after the other."""

from math import pi, sqrt

import numpy as np

from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import Weights
from rnncli.model.cells.gates import ordered, summed
from rnncli.model.errors import InputError
from rnncli.model.layers import Architecture, CellSizes, Dense, Embedding

# Draws made at once: their temporaries stay in the cache however large the tensor.
CHUNK = 2**16


class Draws:
    """What PyTorch on a CPU draws for one module after the other.

    Parameters
    ----------
    seed : int
        What ``torch.manual_seed`` gets, 0 ... 2**32 - 1.
    """

    def __init__(self, seed: int) -> None:
        self._generator = np.random.RandomState(seed)

    def layer(self, architecture: Architecture, sizes: CellSizes) -> list[Weights]:
        """Draw weights and biases from U(-1/sqrt(H), 1/sqrt(H)).

        The same numbers, to the bit, as::

            torch.nn.RNN(I, H, num_layers, bias=..., bidirectional=...)

        or ``LSTM`` or ``GRU``, with ``W_xh`` and ``W_hh`` the transposed
        ``weight_ih`` and ``weight_hh``, and ``b_h = bias_ih + bias_hh``,
        added in float32, or zeros without biases. The gates r z n of a
        ``GRU`` stand as z r n; where it resets after the product, as
        PyTorch's does, ``b_n`` is the part of ``bias_hh`` for n, which
        `b_h` then lacks. ``W_hr`` is the transposed ``weight_hr`` of an
        ``LSTM`` with ``proj_size``. A backward layer has the numbers of a forward one.
        """
        _check_one_module(architecture)
        return [self._cell(architecture, I, H, b_n) for I, H, b_n in sizes]

    def embedding(self, V: int, E: int) -> Embedding:
        """Draw a table from N(0, 1), as ``torch.nn.Embedding(V, E)``.

        5 of 6 numbers are equal to the bit, the others within 5e-7
        (PyTorch 2.13); what is drawn next is to the bit.
        """
        return Embedding(self._normals(V * E).reshape(V, E))

    def dense(self, I: int, O: int, activation: str | Activation = "linear") -> Dense:
        """Draw weights and a bias from U(-1/sqrt(I), 1/sqrt(I)), as ``torch.nn.Linear(I, O)``.

        To the bit, with ``W`` the transposed ``weight``.
        """
        weight, bias = (self._uniform(shape, 1 / sqrt(I)) for shape in ((O, I), (O,)))
        return Dense(np.ascontiguousarray(weight.T), bias, activation)

    def _cell(self, architecture: Architecture, I: int, H: int, b_n: bool) -> Weights:
        """Draw the parameters of a cell, in the order of ``named_parameters()``."""

        def drawn(*shape: int) -> Floats:
            values = self._uniform(shape, 1 / sqrt(H)).T
            is_gru = architecture.cell == "gru"  # r z n
            return np.ascontiguousarray(ordered(values, (1, 0, 2)) if is_gru else values)

        width, P = architecture.gates * H, architecture.projected_size
        W_xh, W_hh = (drawn(width, size) for size in (I, P or H))
        bias, recurrent_bias = (
            drawn(width) if architecture.bias else np.zeros(width, np.float32) for _ in range(2)
        )
        W_hr = None if P is None else drawn(P, H)
        biases = summed(bias, recurrent_bias, H if b_n else 0)
        narrow = {name: array.astype(np.float32) for name, array in biases.items()}
        return Weights(W_xh, W_hh, **narrow, W_hr=W_hr)

    def _uniform(self, shape: tuple[int, ...], bound: float) -> Floats:
        """``tensor.uniform_(-bound, bound)``."""
        high = np.float32(bound)
        low, width = float(-high), float(high - -high)
        values = np.empty(shape, np.float32)
        flat = values.reshape(-1)
        for start in range(0, len(flat), CHUNK):
            part = flat[start : start + CHUNK]
            # Exact in float64, rounded once: a fused multiply-add in float32.
            part[:] = self._units(len(part)) * width + low
        return values

    def _normals(self, count: int) -> Floats:
        """``tensor.normal_()``: by sixteens, the last sixteen anew where they do not fill one."""
        if count < 16:
            return self._few_normals(count)
        values = np.empty(count, np.float32)
        for start in range(0, count - count % 16, CHUNK):
            part = values[start : min(start + CHUNK, count - count % 16)]
            part[:] = self._sixteens(len(part))
        if count % 16:
            self._units(count % 16)
            values[-16:] = self._sixteens(16)
        return values

    def _sixteens(self, count: int) -> Floats:
        """Make eight cosines and eight sines of sixteen draws, by Box and Muller's transform."""
        u1, u2 = self._units(count).astype(np.float32).reshape(-1, 2, 8).swapaxes(0, 1)
        radius = np.sqrt(-2 * np.log((1 - u1).astype(np.float64)).astype(np.float32))
        angle = (np.float32(2 * pi) * u2).astype(np.float64)
        waves = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
        return (waves * radius[:, None]).reshape(-1)

    def _few_normals(self, count: int) -> Floats:
        """Make a cosine and a sine of two draws of 53 bits."""
        words = self._generator.randint(0, 2**32, (-(-count // 2), 2, 2), np.uint32)
        high, low = words.astype(np.uint64).transpose(2, 1, 0)
        u1, u2 = (high << np.uint64(32) | low) % 2**53 * 2.0**-53
        radius, angle = np.sqrt(-2 * np.log1p(-u2)), 2 * pi * u1
        waves = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return waves.astype(np.float32).reshape(-1)[:count]

    def _units(self, count: int) -> Floats:
        """Draw from [0, 1), 24 bits each, in float64."""
        words = self._generator.randint(0, 2**32, count, np.uint32)
        return (words & np.uint32(2**24 - 1)) * 2.0**-24


def _check_one_module(architecture: Architecture) -> None:
    """Refuse what a single ``nn.RNN``, ``nn.LSTM`` or ``nn.GRU`` cannot be."""
    hidden_sizes, module = architecture.hidden_sizes, f"nn.{architecture.cell.upper()}"
    projected, merge = architecture.projected_size, architecture.merge
    both = architecture.direction == "bidirectional"
    if len(set(hidden_sizes)) > 1:
        what = f"{module} has layers of one size, got {', '.join(map(str, hidden_sizes))}"
        hint = "equal sizes"
    elif projected is not None and projected >= hidden_sizes[0]:
        what = f"{module} has a projection under hidden_size, {hidden_sizes[0]}, got {projected}"
        hint = "a smaller one"
    elif both and len(hidden_sizes) > 1 and merge != "concat":
        what = f"between bidirectional layers {module} has merge concat, got {merge}"
        hint = "concat, one layer"
    else:
        return
    raise InputError("init torch", what, f"take {hint}, or another init")
