"""The identity of a network: a hash of its weights, its settings and its structure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import GRU, LSTM, RNN
from rnncli.model.layers import Layer, Recurrent, name_of
from rnncli.model.network import Network


def fingerprint(network: Network, precision: str, *, whole: bool = True) -> str:
    """Return a SHA-256 that differs for different networks and precisions.

    Unless the precision is float64, arrays count in the narrowest type of their layer, the file's.
    Without `whole` it leaves out what `_list_rest` adds, as the first state files do.
    """
    import hashlib  # takes 3 ms

    digest = hashlib.sha256(precision.encode())

    def add(name: str, settings: Iterable[Any], arrays: Mapping[str, Floats]) -> None:
        digest.update(f"{name} {' '.join(map(str, settings))}".encode())
        narrowest = min((array.dtype for array in arrays.values()), default=None)
        for each in arrays.values():
            array = each if precision == "float64" else each.astype(narrowest, copy=False)
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(array.tobytes())

    for number, layer in enumerate(network.layers, start=1):
        for direction, cell in zip(layer.directions, layer.cells, strict=True):
            add(f"{number} {direction}", cell.settings.values(), cell.weights.arrays)
        if not layer.cells:
            settings = [*layer.arrays, *layer.settings.values(), *layer.sources]
            add(f"{number} {type(layer).__name__}", settings, layer.arrays)
        for rest in _list_rest(layer) if whole else []:
            for data in _flatten(rest):
                digest.update(data)
    if network.front and whole:
        digest.update(fingerprint(Network(*network.front), precision).encode())
    return digest.hexdigest()


def _list_rest(layer: Layer) -> list[Any]:
    """List what a layer is beside its weights and settings; nothing for most layers."""
    if not isinstance(layer, Recurrent):
        return [] if name_of(layer) else [layer]  # a graph is more than its constants
    rest: list[Any] = [
        (type(cell).__name__, [*cell.settings], [*cell.weights.arrays])
        for cell in layer.cells
        if type(cell) not in (RNN, LSTM, GRU)
    ]
    if len(layer.cells) > 1 or layer.sources or type(layer) is not Recurrent:
        rest.append((type(layer).__name__, layer.settings, layer.sources))
    return rest


def _flatten(value: Any) -> Iterator[bytes]:
    """Yield the bytes of all that a value holds."""
    if isinstance(value, np.ndarray | np.generic):
        yield f"{value.dtype}{value.shape}".encode()
        yield value.tobytes()
    elif isinstance(value, Mapping):
        yield from _flatten([*value.items()])
    elif isinstance(value, list | tuple):
        yield f"{type(value).__name__} {len(value)} ".encode()
        for each in value:
            yield from _flatten(each)
    elif hasattr(value, "__dict__"):
        yield f"{type(value).__name__} ".encode()
        yield from _flatten(sorted(vars(value).items()))
    else:
        yield f"{type(value).__name__} {value!r} ".encode()
