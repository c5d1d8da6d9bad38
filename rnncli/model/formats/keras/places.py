"""What a Keras file holds, and where the arrays of a layer lie in it.

Keras 3, and Keras 2 since 2.12, number the layers of each class, and the
arrays of each layer: ``layers/lstm_1/cell/vars/0``. Older files list the
names of layers and of their arrays, in attributes of groups.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, takewhile
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import InputError, shown
from rnncli.model.formats.tensors import Derived, Entry, Tensors

# The group of the weights in a file of a whole model.
_WHOLE = "model_weights"
# How Keras makes a name of a class: LSTM, StackedRNNCells, CuDNNGRU.
_WORDS = (re.compile(r"(.)([A-Z][a-z]+)"), re.compile(r"([a-z])([A-Z])"))
# What random numbers are drawn from.
SEEDS = "seed_generator/"
_HALVES = ("forward_layer", "backward_layer")
# What the name of the first begins with.
_FORWARD = "forward_"
_FROZEN = (
    "lists the arrays of frozen parts after those of the others, which is not run here",
    "save it as .keras",
)


class Stored(NamedTuple):
    """An open Keras file, none of whose tensors has been read yet.

    Parameters
    ----------
    tensors : Tensors
        By their paths in HDF5: ``layers/lstm/cell/vars/0``. The optimizer's
        are left out.
    config : mapping or None
        Of the model: ``class_name``, ``config``; None where the file has
        weights alone.
    version : str
        Of Keras; empty where the file does not tell.
    attributes : mapping
        Those of each group and dataset, by its path; the root's is empty. A
        text is a str, several are a list of them; numbers are NumPy's.
        Attributes of other types are left out.
    """

    tensors: Tensors
    config: Mapping[str, Any] | None
    version: str
    attributes: Mapping[str, Mapping[str, Any]]


# Where the arrays of one layer lie.
Place: TypeAlias = "Numbered | Listed"


class Numbered:
    """A place in a file whose arrays are numbered."""

    def __init__(self, tensors: Tensors, path: str = "", names: Sequence[str] = ()) -> None:
        self._tensors, self._path, self._taken = tensors, path, 0
        self._sorted = names or sorted(tensors.entries)
        self._parts: list[Numbered] = []

    def children(self, layers: Sequence[tuple[str, str]]) -> list[Place]:
        """Return the places of layers, of the name and class of each: each class is numbered."""
        return self._numbered("layers", [kind for _, kind in layers])

    def cells(self, kinds: Sequence[str], trained: Sequence[bool]) -> list[Place]:  # noqa: ARG002
        """Return the places of stacked cells of such classes, that are trained or frozen."""
        return self._numbered("cells", kinds)

    def _numbered(self, group: str, kinds: Sequence[str]) -> list[Place]:
        seen: Counter[str] = Counter()
        places: list[Place] = []
        for name in map(snake_case, kinds):
            places.append(self.inside(group, f"{name}_{seen[name]}" if seen[name] else name))
            seen[name] += 1
        return places

    def inside(self, *names: str) -> "Numbered":
        """Return the place of a part: its attribute in Keras."""
        path = "/".join(filter(None, [self._path, *names]))
        part = Numbered(self._tensors, path, self._sorted)
        self._parts.append(part)
        return part

    def take(self, number: int) -> list[str]:
        """Return the names of the next arrays, in the order of ``layer.weights``.

        Those that should be there and are not have names too.
        """
        first, self._taken = self._taken, self._taken + number
        return [self._name(k) for k in range(first, self._taken)]

    def left(self) -> list[str]:
        """Return what has not been taken: what is numbered on."""
        names = map(self._name, count(self._taken))
        own = takewhile(self._tensors.entries.__contains__, names)
        return [*own, *(name for part in self._parts for name in part.left())]

    def held(self) -> list[str]:
        """Return what is numbered in it and in its parts, but for what `SEEDS` holds."""
        # "0" is the sign after "/".
        first, end = (bisect_left(self._sorted, f"{self._path}{sign}") for sign in "/0")
        return [name for name in self._sorted[first:end] if SEEDS not in name]

    def _name(self, number: int) -> str:
        return f"{self._path}/vars/{number}"


class Listed:
    """A place in a file that lists names; parts take theirs one after the other.

    Parameters
    ----------
    layer : str
    arrays : sequence of pairs of str
        The name of each of its arrays, and its path.
    """

    def __init__(self, layer: str, arrays: Sequence[tuple[str, str]]) -> None:
        self._layer, self._arrays = layer, list(arrays)
        self._held = [path for _, path in arrays]
        self._parts: list[Listed] = []

    def children(self, layers: Sequence[tuple[str, str]]) -> list[Place]:
        """Pick the arrays that have the name of a layer within their own."""
        within: dict[str, list[tuple[str, str]]] = {}
        for name, path in self._arrays:
            for part in dict.fromkeys(name.split("/")):
                within.setdefault(part, []).append((name, path))
        return [Listed(name, within.get(name, [])) for name, _ in layers]

    def inside(self, *names: str) -> "Listed":
        """Return the place itself; the half of a direction, the forward one first."""
        if names[0] not in _HALVES:
            return self
        number = len(self._arrays) if self._parts else len(self._arrays) // 2
        forward = [f"/{name}".count(f"/{_FORWARD}") for name, _ in self._arrays]
        if max(forward[number:], default=0) > min(forward[:number], default=0):
            raise InputError("", *_FROZEN)
        taken, self._arrays = self._arrays[:number], self._arrays[number:]
        self._parts.append(Listed(self._layer, taken))
        return self._parts[-1]

    def cells(self, kinds: Sequence[str], trained: Sequence[bool]) -> list[Place]:
        """Return the place itself for each: they take their arrays one after the other."""
        if list(trained) != sorted(trained, reverse=True):
            raise InputError("", *_FROZEN)
        return [self for _ in kinds]

    def take(self, number: int) -> list[str]:
        """Return the next names."""
        if number > len(self._arrays):
            what = f"expected {number} arrays, {shown(self._layer)} lists {len(self._arrays)}"
            raise InputError("", what)
        taken, self._arrays = self._arrays[:number], self._arrays[number:]
        return [path for _, path in taken]

    def left(self) -> list[str]:
        """Return what has not been taken."""
        own = [path for _, path in self._arrays]
        return [*own, *(path for part in self._parts for path in part.left())]

    def held(self) -> list[str]:
        """Return what is listed."""
        return self._held


class _Root(Listed):
    """The place of a model whose layers list their arrays."""

    def __init__(self, arrays: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        super().__init__("", [])
        self._layers = arrays

    def children(self, layers: Sequence[tuple[str, str]]) -> list[Place]:
        """Return the place of each layer."""
        return [Listed(name, self._layers.get(name, [])) for name, _ in layers]


def root_of(stored: Stored) -> Place:
    """Return the place of the model."""
    arrays = listed_arrays(stored)
    return Numbered(stored.tensors) if arrays is None else _Root(arrays)


def listed_arrays(stored: Stored) -> dict[str, list[tuple[str, str]]] | None:
    """Return names and paths of the arrays of each layer; None where the file lists none."""
    for root in (_WHOLE, ""):
        layers = _texts(stored.attributes.get(root, {}), "layer_names")
        if layers:
            groups = {name: f"{root}/{name}".removeprefix("/") for name in layers}
            return {
                name: [
                    (each, f"{group}/{each}")
                    for each in _texts(stored.attributes.get(group, {}), "weight_names")
                ]
                for name, group in groups.items()
            }
    return None


def version_of(stored: Stored) -> tuple[int, ...]:
    """Return the version of Keras, as far as it is numbers.

    Keras 1 did not say its own.
    """
    numbers = re.match(r"[0-9]{1,4}(\.[0-9]{1,4})*", stored.version)
    if numbers:
        return tuple(map(int, numbers[0].split(".")))
    return (3,) if listed_arrays(stored) is None else (1,)


def _texts(attributes: Mapping[str, Any], name: str) -> list[str]:
    """Return a list of names; Keras splits a long one: ``layer_names0``, ``layer_names1``, ..."""
    parts: Iterator[Any] = (attributes.get(f"{name}{k}") for k in count())
    whole = attributes.get(name)
    lists = [whole] if whole is not None else takewhile(lambda part: part is not None, parts)
    # An empty list is one of numbers in HDF5.
    return [each for part in lists if isinstance(part, list) for each in part]


def snake_case(name: str) -> str:
    """Return what Keras calls objects of a class."""
    name = re.sub(r"\W+", "", name)
    for word in _WORDS:
        name = word.sub(r"\1_\2", name)
    return name.lower()


class Arrays:
    """The tensors of a file, and those that are computed from them.

    Parameters
    ----------
    tensors : Tensors
        Of the file.
    """

    def __init__(self, tensors: Tensors) -> None:
        self._tensors, self.entries = tensors, tensors.entries
        self._derived: dict[str, Derived] = {}

    def entry(self, name: str) -> Entry:
        """Return what a tensor is like; of one that is not there, no shape."""
        if name in self._derived:
            return self._derived[name].entry
        return self.entries.get(name, Entry((), "float32"))

    def size(self, name: str, axis: int) -> int:
        """Return the length of an axis of a matrix; 0 where there is none."""
        shape = self.entry(name).shape
        return shape[axis] if len(shape) == 2 else 0

    def derive(self, derived: Derived) -> str:
        """Add a tensor that is computed from others of the file; return its name.

        Where one of those is not there, it is the name of that one.
        """
        missing = [name for name in derived.names if name not in self.entries]
        return missing[0] if missing else self._add(f"{derived.names[0]} (converted)", derived)

    def constant(self, name: str, values: NDArray[np.float32], shape: tuple[int, ...]) -> str:
        """Add a tensor of values that the config says; return its name."""
        return self._add(
            name,
            Derived([], Entry(shape, "float32"), lambda: np.broadcast_to(values, shape)),
        )

    def _add(self, name: str, derived: Derived) -> str:
        self._derived[name] = derived
        return name

    def stored(self, names: Sequence[str]) -> list[str]:
        """Return the names in the file, instead of those of tensors that are computed."""
        return [
            each
            for name in names
            for each in (
                self.stored(self._derived[name].names) if name in self._derived else [name]
            )
        ]

    def tensors(self) -> Tensors:
        """Return all of them."""
        return self._tensors.with_derived(self._derived)
