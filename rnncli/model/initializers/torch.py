"""PyTorch's draws: ``torch.manual_seed``, then ``nn.RNN``, ``nn.LSTM`` or ``nn.GRU``."""

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import Weights
from rnncli.model.errors import InputError
from rnncli.model.layers import Architecture

if TYPE_CHECKING:
    from numpy.random import RandomState

# Draws made at once: their temporaries stay in the cache however large the tensor.
CHUNK = 2**16


def draw(architecture: Architecture, seed: int) -> list[list[Weights]]:
    """Draw weights and biases from U(-1/sqrt(H), 1/sqrt(H)).

    The same numbers, to the bit, as in PyTorch on a CPU::

        torch.manual_seed(seed)
        torch.nn.RNN(I, H, num_layers, bias=..., bidirectional=...)

    or ``LSTM`` or ``GRU``, with ``W_xh`` and ``W_hh`` the transposed
    ``weight_ih`` and ``weight_hh``, and ``b_h = bias_ih + bias_hh``, added
    in float32, or zeros without biases. The gates r z n of a ``GRU`` stand
    as z r n; where it resets after the product, as PyTorch's does, ``b_n``
    is the part of ``bias_hh`` for n, which `b_h` then lacks. A backward
    layer has the numbers of a forward one.

    Parameters
    ----------
    architecture : Architecture
    seed : int
        What ``torch.manual_seed`` gets, 0 ... 2**32 - 1.

    Returns
    -------
    list of lists of Weights
        Of the cells of each layer, float32.

    Raises
    ------
    InputError
        No single module has this architecture.
    """
    sizes = architecture.sizes()
    _check_one_module(architecture)
    generator = np.random.RandomState(seed)
    return [
        [_cell(architecture, I, H, b_n, generator) for b_n in layer]
        for (I, H), layer in zip(sizes, architecture.candidate_biases(), strict=True)
    ]


def _check_one_module(architecture: Architecture) -> None:
    """Refuse what a single ``nn.RNN``, ``nn.LSTM`` or ``nn.GRU`` cannot be."""
    hidden_sizes, module = architecture.hidden_sizes, f"nn.{architecture.cell.upper()}"
    if len(set(hidden_sizes)) > 1:
        raise InputError(
            "init torch",
            f"{module} has layers of one size, got {', '.join(map(str, hidden_sizes))}",
            "take equal sizes, or another init",
        )
    both = architecture.direction == "bidirectional"
    if both and len(hidden_sizes) > 1 and architecture.merge != "concat":
        raise InputError(
            "init torch",
            f"between bidirectional layers {module} has merge concat, got {architecture.merge}",
            "take concat, one layer, or another init",
        )


def _cell(
    architecture: Architecture, I: int, H: int, b_n: bool, generator: "RandomState"
) -> Weights:
    """Draw the parameters of a cell, in the order of ``named_parameters()``."""

    def drawn(*shape: int) -> Floats:
        values = _uniform(generator, shape, H)
        if architecture.cell != "gru":
            return values
        r, z, n = np.split(values, 3)
        return np.concatenate([z, r, n])

    width = architecture.gates * H
    W_xh, W_hh = (np.ascontiguousarray(drawn(width, size).T) for size in (I, H))
    bias_ih, bias_hh = (
        drawn(width) if architecture.bias else np.zeros(width, np.float32) for _ in range(2)
    )
    if not b_n:
        return Weights(W_xh, W_hh, bias_ih + bias_hh)
    added, candidate = np.split(bias_hh, [2 * H])
    bias_ih[: 2 * H] += added
    return Weights(W_xh, W_hh, bias_ih, candidate)


def _uniform(generator: "RandomState", shape: tuple[int, ...], H: int) -> Floats:
    """``tensor.uniform_(-1 / sqrt(H), 1 / sqrt(H))`` on a CPU."""
    high = np.float32(1 / sqrt(H))
    low, width = float(-high), float(high - -high)
    values = np.empty(shape, np.float32)
    flat = values.reshape(-1)
    for start in range(0, len(flat), CHUNK):
        part = flat[start : start + CHUNK]
        words = generator.randint(0, 2**32, len(part), np.uint32)
        unit = (words & np.uint32(2**24 - 1)) * 2.0**-24
        # Exact in float64, rounded once: a fused multiply-add in float32.
        part[:] = unit * width + low
    return values
