"""Arrays of Keras layers, as files number or list them.

Keras 3, and Keras 2 since 2.12, number the layers of each class, and the
arrays of each layer: ``layers/lstm_1/cell/vars/0``. Older files list the
names of layers and of their arrays, in attributes of groups.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray


class Group(NamedTuple):
    """The arrays of a model, a layer or an object within."""

    paths: Mapping[str, str]  # by names within the group, in the order of ``layer.weights``
    listed: bool = False
    layers: Mapping[str, Mapping[str, str]] = {}  # of the file's model, where it lists them

    def children(self, layers: Mapping[str, str]) -> "list[Group]":
        """Return the arrays of the layers of a model, by their names and classes."""
        if not self.listed:
            return self.split("layers/", name_groups(layers.values()))
        groups = {name: dict(paths) for name, paths in self.layers.items()}
        for name, path in self.paths.items():
            for word in {*name.split("/")}:
                groups.setdefault(word, {})[name] = path
        return [Group(groups.get(name, {}), listed=True) for name in layers]

    def split(self, stem: str, names: Iterable[str]) -> "list[Group]":
        """Return the arrays of objects behind a stem; if they are listed, each takes its own."""
        if self.listed:
            return [self for _ in names]
        groups: dict[str, dict[str, str]] = {name: {} for name in names}
        for name, path in self.paths.items():
            child, _, rest = name[name.find(stem) + len(stem) :].partition("/")
            if child in groups:
                groups[child][rest] = path
        return [Group(each) for each in groups.values()]


class KerasFile(NamedTuple):
    """A Keras file."""

    path: str
    arrays: Mapping[str, NDArray[Any]]  # by their paths in HDF5
    config: Mapping[str, Any]  # of the model; empty where the file has weights alone
    group: Group  # all arrays of layers
    title: str
    version: tuple[int, int]


def read_group(
    arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Mapping[str, Any]]
) -> Group:
    """Return the arrays of all layers, by layer where the file lists them."""
    for root in ("model_weights/", ""):
        layers = {}
        for layer in attributes.get(root[:-1], {}).get("layer_names", ()):
            names = attributes.get(root + layer, {}).get("weight_names", ())
            paths = {name: f"{root}{layer}/{name}" for name in names}
            layers[layer] = {name: path for name, path in paths.items() if path in arrays}
        if layers:
            return Group({}, listed=True, layers=layers)
    # Optimizers, metrics and random generators have a state.
    return Group(
        {p: p for p in arrays if not re.search(r"\A(optimizer|metrics)/|seed_generator/", p)}
    )


def name_groups(kinds: Iterable[str]) -> list[str]:
    """Name the groups of objects of these classes, as Keras numbers them."""
    seen: Counter[str] = Counter()
    names = []
    for kind in kinds:  # LSTM, StackedRNNCells, CuDNNGRU
        name = re.sub("(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", kind).lower()
        names.append(f"{name}_{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names
