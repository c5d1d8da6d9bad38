"""Arrays of Keras layers, as files number or list them.

Keras 3, and Keras 2 since 2.12, number the layers of each class, and the
arrays of each layer: ``layers/lstm_1/cell/vars/0``. Older files list the
names of layers and of their arrays, in attributes of groups.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats, in_dtype
from rnncli.model.errors import shown


class Group(NamedTuple):
    """The arrays of a model, a layer or an object within."""

    paths: Mapping[str, str]  # by names within the group, in the order of ``layer.weights``
    listed: bool = False
    layers: Mapping[str, Mapping[str, str]] = {}  # of the file's model, where it lists them

    def children(self, layers: Mapping[str, str]) -> "list[Group]":
        """Return the arrays of the layers of a model, by their names and classes."""
        if not self.listed:
            return self.split("layers/", number(layers.values()))
        found = {name: dict(paths) for name, paths in self.layers.items()}
        for name, path in self.paths.items():
            for word in {*name.split("/")}:
                found.setdefault(word, {})[name] = path
        return [Group(found.get(name, {}), listed=True) for name in layers]

    def split(self, stem: str, names: Sequence[str], counts: Iterable[int] = ()) -> "list[Group]":
        """Return the arrays of objects behind a stem: where they are listed, so many of each."""
        if self.listed:
            items = iter(self.paths.items())
            return [Group(dict(islice(items, count)), listed=True) for count in counts]
        found: dict[str, dict[str, str]] = {name: {} for name in names}
        for name, path in self.paths.items():
            child, _, rest = name[name.find(stem) + len(stem) :].partition("/")
            if child in found:
                found[child][rest] = path
        return [Group(each) for each in found.values()]


class Stored(NamedTuple):
    """A Keras file, without what only training needs."""

    path: str
    arrays: Mapping[str, NDArray[Any]]  # by their paths in HDF5
    config: Mapping[str, Any]  # of the model; empty where the file has weights alone
    group: Group  # all arrays
    title: str
    version: tuple[int, int]
    old: bool  # whether Keras 2 wrote it


def read_group(
    arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Mapping[str, Any]]
) -> Group:
    """Return all arrays of a file, by layer where it lists them."""

    def names_of(group: str, name: str) -> list[str]:
        found = attributes.get(group[:-1], {}).get(name)
        return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []

    for root in ("model_weights/", ""):
        layers = {}
        for layer in names_of(root, "layer_names"):
            stem = f"{root}{layer}/"
            paths = {name: f"{stem}{name}" for name in names_of(stem, "weight_names")}
            layers[layer] = {name: path for name, path in paths.items() if path in arrays}
        if layers:
            return Group({}, listed=True, layers=layers)
    # Random generators have a state.
    return Group({path: path for path in arrays if "seed_generator/" not in path})


def number(kinds: Iterable[str]) -> list[str]:
    """Name the groups of objects of these classes, as Keras numbers them."""
    seen: Counter[str] = Counter()
    names = []
    for kind in kinds:  # LSTM, StackedRNNCells, CuDNNGRU
        name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
        name = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
        names.append(f"{name}_{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names


def read_floats(path: str, array: NDArray[Any]) -> Floats:
    """Convert to floats of this machine, halves to float32."""
    if array.dtype.kind != "f":
        raise ValueError(f"{shown(path)}: expected floats, got {array.dtype}")
    return in_dtype(shown(path), array, np.dtype(f"f{max(4, array.dtype.itemsize)}"))
