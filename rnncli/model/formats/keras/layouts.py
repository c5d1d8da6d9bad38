"""Arrays of ``CuDNNLSTM`` and ``CuDNNGRU``, and how they become those of today.

Today's are a kernel, a recurrent kernel and a bias, with the gates side by
side: i f g o, or z r n.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.cells import CELLS
from rnncli.model.errors import InputError, shown
from rnncli.model.formats.tensors import Derived, Entry


def of_cudnn(cell: str, names: Sequence[str], entries: Mapping[str, Entry]) -> list[Derived]:
    """Turn the arrays of ``CuDNNLSTM`` and ``CuDNNGRU`` into those of today.

    The block of each gate stands transposed, that of the kernel in the shape
    that it has untransposed; the bias is two, one after the other.
    """
    for name in names:
        if name not in entries:
            raise InputError("", f"has no {shown(name)}")
    kernel, recurrent, bias = (entries[name] for name in names)
    if len(bias.shape) != 1 or bias.shape[0] % 2:
        raise InputError("", f"expected a bias of two halves, got shape {bias.shape}")
    half = bias.shape[0] // 2
    gates = CELLS[cell].gates
    two = cell == "gru"
    shapes = (kernel.shape, recurrent.shape, (2, half) if two else (half,))
    computes: tuple[Callable[..., NDArray[Any]], ...] = (
        partial(_blocks, gates=gates, refilled=True),
        partial(_blocks, gates=gates, refilled=False),
        _two_rows if two else _sum_of_halves,
    )
    return [
        Derived([name], Entry(shape, entries[name].dtype), compute)
        for name, shape, compute in zip(names, shapes, computes, strict=True)
    ]


def _blocks(array: NDArray[Any], *, gates: int, refilled: bool) -> NDArray[Any]:
    blocks = np.split(array, gates, axis=1)
    turned = [block.T.reshape(block.shape, order="F") if refilled else block.T for block in blocks]
    return np.concatenate(turned, axis=1)


def _two_rows(bias: NDArray[Any]) -> NDArray[Any]:
    return bias.reshape(2, -1)


def _sum_of_halves(bias: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # which is not finite then
        return np.asarray(np.add(*bias.astype(np.result_type(bias, np.float32)).reshape(2, -1)))
