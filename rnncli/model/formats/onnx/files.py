"""``.onnx`` files."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import Any, BinaryIO

from numpy.typing import NDArray

from rnncli.model.errors import InputError
from rnncli.model.formats.containers import most_unpacked
from rnncli.model.formats.onnx.beside import path_beside, read_beside
from rnncli.model.formats.onnx.elements import Tensor
from rnncli.model.formats.onnx.graph import find
from rnncli.model.formats.onnx.messages import LARGEST, Graph, read_model
from rnncli.model.formats.parts import Find, Model
from rnncli.model.formats.tensors import Tensors
from rnncli.model.network import Network

# Files beside a model: one, but some programs write one a tensor.
_MOST_BESIDE = 64
# How many times the file layers may take: the halves become floats, and rows are filled in.
_MOST_TIMES = 3


@contextmanager
def open_model(path: str) -> Iterator[Find]:
    """Open an ``.onnx`` file; see `FORMATS`."""
    size = os.path.getsize(path)
    if size >= LARGEST:
        raise InputError(path, f"expected an .onnx file of under 2 GiB, got {size:,} bytes")
    with open(path, "rb") as file:
        data = memoryview(file.read())
    model = read_model(path, data, partial(read_beside, path))
    named = _tensors(model.graph)
    beside = list(
        dict.fromkeys(
            path_beside(path, each.place, each.where) for each in named.values() if each.where
        )
    )
    if len(beside) > _MOST_BESIDE:
        what = f"expected weights in at most {_MOST_BESIDE} files beside it, got {len(beside):,}"
        raise InputError(path, what, "write it anew with onnx.save_model, which takes one file")

    def read(names: Sequence[str]) -> list[NDArray[Any]]:
        return [named[name].array() for name in names]

    tensors = Tensors(path, {name: each.entry for name, each in named.items()}, read)

    def found(layer: str | None) -> Model:
        parts = find(model, tensors, layer)._replace(beside=beside)
        _check_size(parts, sum(map(os.path.getsize, (path, *beside))))
        return parts

    yield found


def _check_size(model: Model, size: int) -> None:
    """Check what layers take, some of which share their tensors or have them computed."""
    layers = [layer for part in model.parts for layer in part.layers]
    held = [layer.tensors for layer in layers]
    held += [cell.tensors for layer in layers for cell in layer.cells]
    names = [name for tensors in held for name in tensors.values()]
    entries = [model.tensors.entries[name] for name in names]
    total = sum(prod(shape) * (8 if dtype == "float64" else 4) for shape, dtype in entries)
    if total > most_unpacked(size, _MOST_TIMES):
        what = f"holds layers of {total:,} bytes, over {_MOST_TIMES} times its own {size:,}"
        raise InputError(model.tensors.path, what, "give each node weights of its own")


def _tensors(graph: Graph) -> dict[str, Tensor]:
    """Return the tensors of a graph by name: initializers, and the values of constants."""
    tensors = dict(graph.initializers)
    for node in graph.nodes:
        value = node.attributes.get("value")
        if node.op == "Constant" and node.outputs and isinstance(value, Tensor):
            name = node.outputs[0]
            tensors[name] = value._replace(name=name)
    return tensors


def save_model(file: BinaryIO, network: Network) -> list[str]:
    """Write a network as an ``.onnx`` file of float32; see `WRITTEN`."""
    from rnncli.model.formats.onnx.writing import model_bytes  # which reading does not need

    file.write(model_bytes(network))
    arrays = [
        array
        for layer in network.layers
        for arrays in (layer.arrays, *(cell.weights.arrays for cell in layer.cells))
        for array in arrays.values()
    ]
    wide = dict.fromkeys(array.dtype.name for array in arrays if array.dtype.itemsize > 4)
    return [
        f"its {name} weights are rounded to float32: ONNX Runtime has no recurrent nodes of {name}"
        for name in wide
    ]
