"""Arrays of Keras layers, as files number or list them.

Keras 3, and Keras 2 since 2.12, number the layers of each class, and the
arrays of each layer: ``layers/lstm_1/cell/vars/0``. Older files list the
names of layers and of their arrays, in attributes of groups.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats, in_dtype
from rnncli.model.errors import listed, shown

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

# Names of Keras's classes as words: LSTM, StackedRNNCells, CuDNNGRU.
_WORDS = (re.compile(r"(.)([A-Z][a-z]+)"), re.compile(r"([a-z])([A-Z])"))
FROZEN = (
    "lists the arrays of frozen parts after those of the others, which is not run here: save the "
    "model as .keras"
)


class Stored(NamedTuple):
    """A Keras file, without what only training needs."""

    path: str
    arrays: Arrays  # by their paths in HDF5
    config: Mapping[str, Any]  # of the model; empty where the file has weights alone
    group: "Group"  # all arrays
    title: str
    version: tuple[int, ...]


class Group(NamedTuple):
    """The arrays of a model, a layer or an object within."""

    paths: Mapping[str, str]  # by names within the group, in the order of ``layer.weights``
    listed: bool = False
    layers: Mapping[str, Mapping[str, str]] = {}  # of the file's model, where it lists them

    def inner(self, name: str) -> "Group":
        """Return the arrays of an attribute: where they are listed, of a direction a half."""
        if not self.listed:
            return self._within([name])[0]
        if name not in ("forward_layer", "backward_layer"):
            return self
        names = list(self.paths)
        halves = names[: len(names) // 2], names[len(names) // 2 :]
        first, second = ([f"/{name}".count("/forward_") for name in half] for half in halves)
        if max(second, default=0) > min(first, default=0):
            raise ValueError(FROZEN)
        half = halves[name == "backward_layer"]
        return Group({each: self.paths[each] for each in half}, listed=True)

    def children(self, layers: Mapping[str, str]) -> "list[Group]":
        """Return the arrays of the layers of a model, by their names and classes."""
        if not self.listed:
            return self._within(_number("layers", layers.values()))
        found = {name: dict(paths) for name, paths in self.layers.items()}
        for name, path in self.paths.items():
            for word in {*name.split("/")}:
                found.setdefault(word, {})[name] = path
        return [Group(found.get(name, {}), listed=True) for name in layers]

    def cells(self, kinds: Sequence[str], counts: Iterable[int]) -> "list[Group]":
        """Return the arrays of stacked cells of these classes, so many of each."""
        if not self.listed:
            return self._within(_number("cells", kinds))
        items = iter(self.paths.items())
        return [Group(dict(islice(items, count)), listed=True) for count in counts]

    def read(self, count: int, arrays: Arrays) -> dict[str, Floats]:
        """Read so many arrays, in the order of ``layer.weights``, by their paths."""
        names = list(self.paths) if self.listed else [f"vars/{k}" for k in range(count)]
        paths = [self.paths[name] for name in names[:count] if name in self.paths]
        if len(paths) < count:
            raise ValueError(f"expected {count} arrays, got {listed(paths)}")
        return {path: read_floats(path, arrays[path]) for path in paths}

    def _within(self, groups: Sequence[str]) -> "list[Group]":
        depth = groups[0].count("/") + 1 if groups else 0
        found: dict[str, dict[str, str]] = {}
        for name, path in self.paths.items():
            *head, rest = name.split("/", depth)
            found.setdefault("/".join(head), {})[rest] = path
        return [Group(found.get(each, {})) for each in groups]


def read_group(arrays: Arrays, attributes: Mapping[str, Mapping[str, Any]]) -> Group:
    """Return all arrays of a file, by layer where it lists them."""

    def names_of(group: str, name: str) -> list[str]:
        about, names = attributes.get(group[:-1], {}), list[str]()
        # Keras splits a long list: layer_names0, layer_names1; one of nothing is no text.
        for each in (name, *(f"{name}{k}" for k in range(len(about)))):
            if isinstance(found := about.get(each), list):
                names += [text for text in found if isinstance(text, str)]
        return names

    for root in ("model_weights/", ""):
        layers = {
            layer: {
                name: f"{root}{layer}/{name}"
                for name in names_of(f"{root}{layer}/", "weight_names")
                if f"{root}{layer}/{name}" in arrays
            }
            for layer in names_of(root, "layer_names")
        }
        if layers:
            return Group({}, listed=True, layers=layers)
    # Random generators have a state.
    return Group({path: path for path in arrays if "seed_generator/" not in path})


def _number(group: str, kinds: Iterable[str]) -> list[str]:
    """Name the groups of objects of these classes, as Keras numbers them."""
    seen: Counter[str] = Counter()
    names = []
    for kind in kinds:
        name = re.sub(r"\W+", "", kind)
        for word in _WORDS:
            name = word.sub(r"\1_\2", name)
        name = name.lower()
        names.append(f"{group}/{name}_{seen[name]}" if seen[name] else f"{group}/{name}")
        seen[name] += 1
    return names


def read_floats(path: str, array: NDArray[Any]) -> Floats:
    """Convert to floats of this machine, halves to float32."""
    if array.dtype.kind != "f":
        raise ValueError(f"{shown(path)}: expected floats, got {array.dtype}")
    return in_dtype(shown(path), array, np.dtype(f"f{max(4, array.dtype.itemsize)}"))
