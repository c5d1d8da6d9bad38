"""Where the arrays of a layer lie in a Keras file.

Keras 3, and Keras 2 since 2.12, number the layers of each class, and the
arrays of each layer: ``layers/lstm_1/cell/vars/0``. Older files list the
names of layers and of their arrays, in attributes of groups.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, takewhile
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import InputError, shown
from rnncli.model.formats.keras.stored import Stored
from rnncli.model.formats.tensors import Derived, Entry, Tensors

_LAYER_NAMES, _WEIGHT_NAMES = "layer_names", "weight_names"
# The group of the weights in a file of a whole model.
_WHOLE = "model_weights"
# How Keras makes a name of a class: LSTM, StackedRNNCells, CuDNNGRU.
_WORDS = (re.compile(r"(.)([A-Z][a-z]+)"), re.compile(r"([a-z])([A-Z])"))
_HALVES = ("forward_layer", "backward_layer")


class Place(Protocol):
    """Where the arrays of one layer lie."""

    def children(self, layers: Sequence[tuple[str, str]]) -> "list[Place]":
        """Return the places of the layers of a model, of the name and class of each."""

    def inside(self, *names: str) -> "Place":
        """Return the place of a part: its attribute in Keras."""

    def cells(self, kinds: Sequence[str]) -> "list[Place]":
        """Return the places of stacked cells of such classes."""

    def take(self, number: int, of: int = 0) -> list[str]:
        """Return the names of the next arrays, in the order of ``layer.weights``.

        Parameters
        ----------
        number : int
            How many.
        of : int
            How many more there may be instead, none of them taken yet.
        """

    def left(self) -> list[str]:
        """Return the names of the arrays that have not been taken."""


class Numbered:
    """A place in a file whose arrays are numbered."""

    def __init__(self, tensors: Tensors, path: str = "") -> None:
        self._tensors, self._path, self._taken = tensors, path, 0
        self._parts: list[Numbered] = []

    def children(self, layers: Sequence[tuple[str, str]]) -> list[Place]:
        """Return places in which the layers of each class are numbered."""
        return self._numbered("layers", [kind for _, kind in layers])

    def cells(self, kinds: Sequence[str]) -> list[Place]:
        """Return places in which the cells of each class are numbered."""
        return self._numbered("cells", kinds)

    def _numbered(self, group: str, kinds: Sequence[str]) -> list[Place]:
        seen: Counter[str] = Counter()
        places: list[Place] = []
        for name in map(snake_case, kinds):
            places.append(self.inside(group, f"{name}_{seen[name]}" if seen[name] else name))
            seen[name] += 1
        return places

    def inside(self, *names: str) -> "Numbered":
        """Return the place of a part."""
        part = Numbered(self._tensors, "/".join(filter(None, [self._path, *names])))
        self._parts.append(part)
        return part

    def take(self, number: int, of: int = 0) -> list[str]:  # noqa: ARG002 - these are as old
        """Return the next names, also of arrays that should be there and are not."""
        first, self._taken = self._taken, self._taken + number
        return [self._name(k) for k in range(first, self._taken)]

    def left(self) -> list[str]:
        """Return what is numbered on."""
        names = map(self._name, count(self._taken))
        own = takewhile(self._tensors.entries.__contains__, names)
        return [*own, *(name for part in self._parts for name in part.left())]

    def _name(self, number: int) -> str:
        return f"{self._path}/vars/{number}"


class Listed:
    """A place in a file that lists names; parts take theirs one after the other."""

    def __init__(self, stored: Stored, group: str, names: list[str]) -> None:
        self._stored, self._group, self._names = stored, group, names
        self._parts: list[Listed] = []

    def children(self, layers: Sequence[tuple[str, str]]) -> list[Place]:
        """Pick the arrays that have the name of a layer in their own."""
        attributes = self._stored.attributes
        places: list[Place] = []
        for name, _ in layers:
            group = f"{self._group}/{name}".removeprefix("/")
            if self._names:
                group, all_names = self._group, self._names
                names = [each for each in all_names if name in each[len(group) :].split("/")]
            else:
                names = [
                    f"{group}/{each}" for each in texts(attributes.get(group, {}), _WEIGHT_NAMES)
                ]
            places.append(Listed(self._stored, group, names))
        return places

    def inside(self, *names: str) -> "Listed":
        """Return the place itself; the half of a direction, the forward one first."""
        if names[0] not in _HALVES:
            return self
        number = len(self._names) if self._parts else len(self._names) // 2
        self._parts.append(Listed(self._stored, self._group, self.take(number)))
        return self._parts[-1]

    def cells(self, kinds: Sequence[str]) -> list[Place]:
        """Return the place itself for each: they take their arrays one after the other."""
        return [self for _ in kinds]

    def take(self, number: int, of: int = 0) -> list[str]:
        """Return the next names."""
        number = of if of and len(self._names) == of else number
        if number > len(self._names):
            place = shown(self._group.rpartition("/")[2])
            raise InputError("", f"{place} lists {len(self._names)} arrays, expected {number}")
        taken, self._names[:number] = self._names[:number], []
        return taken

    def left(self) -> list[str]:
        """Return what has not been taken."""
        return [*self._names, *(name for part in self._parts for name in part.left())]


def root_of(stored: Stored) -> Place:
    """Return the place of the model."""
    for group in (_WHOLE, ""):
        if texts(stored.attributes.get(group, {}), _LAYER_NAMES):
            return Listed(stored, group, [])
    return Numbered(stored.tensors)


def version_of(stored: Stored) -> tuple[int, ...]:
    """Return the version of Keras, as far as it is numbers.

    Keras 1 did not say its own.
    """
    numbers = re.match(r"[0-9]{1,4}(\.[0-9]{1,4})*", stored.version)
    if numbers:
        return tuple(map(int, numbers[0].split(".")))
    return (3,) if isinstance(root_of(stored), Numbered) else (1,)


def texts(attributes: Mapping[str, Any], name: str) -> list[str]:
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
        self._tensors = tensors
        self._derived: dict[str, Derived] = {}

    def entry(self, name: str) -> Entry:
        """Return what a tensor is like; of one that is not there, no shape."""
        if name in self._derived:
            return self._derived[name].entry
        return self._tensors.entries.get(name, Entry((), "float32"))

    def size(self, name: str, axis: int) -> int:
        """Return the length of an axis of a matrix; 0 where there is none."""
        shape = self.entry(name).shape
        return shape[axis] if len(shape) == 2 else 0

    def derive(
        self, names: Sequence[str], entry: Entry, compute: Callable[..., NDArray[Any]]
    ) -> str:
        """Add a tensor that is computed from others; return its name.

        Where one of those is not there, it is the name of that one.
        """
        for name in names:
            if name not in self._tensors.entries and name not in self._derived:
                return name
        return self._add(f"{names[0]} (converted)", Derived(names, entry, compute))

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
