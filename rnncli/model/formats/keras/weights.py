"""Where the arrays of Keras layers lie in a file.

Keras 3, and Keras 2 since 2.12, number the layers of each class, and the
arrays of each layer: ``layers/lstm_1/cell/vars/0``. Older files list the
names of layers and of their arrays, in attributes of groups.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, takewhile
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats, in_dtype
from rnncli.model.cells import CELLS
from rnncli.model.errors import listed, shown

# The group of the weights in a file of a whole model.
_WHOLE = "model_weights"
# How Keras makes a name of a class: LSTM, StackedRNNCells, CuDNNGRU.
_WORDS = (re.compile(r"(.)([A-Z][a-z]+)"), re.compile(r"([a-z])([A-Z])"))
# The states of random generators.
_SEEDS = "seed_generator/"
_FROZEN = (
    "lists the arrays of frozen parts after those of the others, which is not run here: save the "
    "model as .keras"
)


class Stored(NamedTuple):
    """A Keras file, without what only training needs."""

    path: str
    arrays: Mapping[str, NDArray[Any]]  # by their paths in HDF5
    attributes: Mapping[str, Mapping[str, Any]]  # of each group and array; the root's path is empty
    config: Mapping[str, Any]  # of the model; empty where the file has weights alone
    written_by: str  # the version of Keras; empty where the file does not tell

    @property
    def version(self) -> tuple[int, ...]:
        """The version of Keras, as far as it is numbers; Keras 1 did not say its own."""
        numbers = re.match(r"[0-9]{1,4}(\.[0-9]{1,4})*", self.written_by)
        if numbers:
            return tuple(map(int, numbers[0].split(".")))
        return (3,) if self.listed() is None else (1,)

    def listed(self) -> dict[str, dict[str, str]] | None:
        """List the paths of the arrays of each layer by name; None where the file does not."""
        for root in (_WHOLE, ""):
            if layers := _texts(self.attributes.get(root, {}), "layer_names"):
                groups = {name: f"{root}/{name}".removeprefix("/") for name in layers}
                return {
                    name: {
                        each: f"{group}/{each}"
                        for each in _texts(self.attributes.get(group, {}), "weight_names")
                        if f"{group}/{each}" in self.arrays
                    }
                    for name, group in groups.items()
                }
        return None

    def numbered(self) -> dict[str, str]:
        """Return the paths of all arrays, by themselves, but for states of random generators."""
        return {path: path for path in self.arrays if _SEEDS not in path}


def _texts(attributes: Mapping[str, Any], name: str) -> list[str]:
    """Return a list of names; Keras splits a long one: ``layer_names0``, ``layer_names1``, ..."""
    parts: Iterator[Any] = (attributes.get(f"{name}{k}") for k in count())
    whole = attributes.get(name)
    lists = [whole] if whole is not None else takewhile(lambda part: part is not None, parts)
    # An empty list is one of numbers in HDF5.
    return [each for part in lists if isinstance(part, list) for each in part]


class Group(NamedTuple):
    """The arrays of a model, a layer or a part of one."""

    arrays: Mapping[str, NDArray[Any]]  # all those of the file
    paths: Mapping[str, str]  # by names within the group, in the order of ``layer.weights``
    listed: bool
    layers: Mapping[str, Mapping[str, str]] = {}  # of the file's model, where it lists them

    def part(self, name: str) -> "Group":
        """Return a part: its attribute in Keras. Of listed arrays a direction has a half."""
        if not self.listed:
            return self._within([name])[0]
        if name not in ("forward_layer", "backward_layer"):
            return self
        names = list(self.paths)
        halves = names[: len(names) // 2], names[len(names) // 2 :]
        first, second = ([f"/{name}".count("/forward_") for name in half] for half in halves)
        if max(second, default=0) > min(first, default=0):
            raise ValueError(_FROZEN)
        half = halves[name == "backward_layer"]
        return self._replace(paths={name: self.paths[name] for name in half})

    def children(self, layers: Sequence[tuple[str, str]]) -> "list[Group]":
        """Return the groups of the layers of a model, of the name and the class of each."""
        if not self.listed:
            return self._within(_number("layers", [kind for _, kind in layers]))
        found = {name: dict(paths) for name, paths in self.layers.items()}
        for name, path in self.paths.items():
            for part in dict.fromkeys(name.split("/")):
                found.setdefault(part, {})[name] = path
        return [Group(self.arrays, found.get(name, {}), self.listed) for name, _ in layers]

    def cells(self, cells: Sequence[tuple[str, int, bool]]) -> "list[Group]":
        """Return the groups of stacked cells, of the class, number of arrays and if it learns."""
        if not self.listed:
            return self._within(_number("cells", [kind for kind, _, _ in cells]))
        learns = [each for _, _, each in cells]
        if learns != sorted(learns, reverse=True):
            raise ValueError(_FROZEN)
        names = iter(self.paths)
        groups = [
            {name: self.paths[name] for _, name in zip(range(n), names, strict=False)}
            for _, n, _ in cells
        ]
        return [self._replace(paths=paths) for paths in groups]

    def _within(self, prefixes: Sequence[str]) -> "list[Group]":
        """Return the groups of arrays whose names begin so, up to a slash."""
        depth = prefixes[0].count("/") + 1 if prefixes else 0
        found: dict[str, dict[str, str]] = {}
        for name, path in self.paths.items():
            *head, rest = name.split("/", depth)
            found.setdefault("/".join(head), {})[rest] = path
        return [self._replace(paths=found.get(each, {})) for each in prefixes]

    def read(self, number: int) -> dict[str, Floats]:
        """Read so many arrays, in the order of ``layer.weights``, by their paths."""
        names = list(self.paths) if self.listed else [f"vars/{k}" for k in range(number)]
        paths = [self.paths[name] for name in names[:number] if name in self.paths]
        if len(paths) < number:
            raise ValueError(f"expected {number} arrays, got {listed(paths)}")
        return {path: read_floats(path, self.arrays[path]) for path in paths}


def root_group(stored: Stored) -> Group:
    """Return the group of the model."""
    layers = stored.listed()
    if layers is None:
        return Group(stored.arrays, stored.numbered(), listed=False)
    return Group(stored.arrays, {}, listed=True, layers=layers)


def _number(group: str, kinds: Sequence[str]) -> list[str]:
    """Name the groups of objects of these classes, as Keras numbers them."""
    seen: Counter[str] = Counter()
    found = []
    for kind in kinds:
        name = re.sub(r"\W+", "", kind)
        for word in _WORDS:
            name = word.sub(r"\1_\2", name)
        name = name.lower()
        found.append(f"{group}/{name}_{seen[name]}" if seen[name] else f"{group}/{name}")
        seen[name] += 1
    return found


def read_floats(path: str, array: NDArray[Any]) -> Floats:
    """Convert to floats of this machine, halves to float32."""
    if array.dtype.kind != "f":
        raise ValueError(f"{shown(path)}: expected floats, got {array.dtype}")
    return in_dtype(shown(path), array, np.dtype(f"f{max(4, array.dtype.itemsize)}"))


def unpack_cudnn(cell: str, arrays: Mapping[str, Floats]) -> dict[str, Floats]:
    """Lay the arrays of ``CuDNNLSTM`` and ``CuDNNGRU`` out as those of ``LSTM`` and ``GRU``.

    The block of each gate stands transposed, that of the kernel in the shape
    that it has untransposed; the bias is two, one after the other.
    """
    kernel, recurrent, bias = arrays.values()
    if kernel.ndim != 2 or recurrent.ndim != 2 or bias.ndim != 1 or len(bias) % 2:
        what = "expected two matrices and a bias of two halves, got shapes"
        raise ValueError(f"{what} {kernel.shape}, {recurrent.shape} and {bias.shape}")
    gates = CELLS[cell].gates
    blocks = [block.T.reshape(block.shape, order="F") for block in np.split(kernel, gates, axis=1)]
    turned = [block.T for block in np.split(recurrent, gates, axis=1)]
    both = bias.reshape(2, -1)
    with np.errstate(over="ignore"):  # the sum is not finite then, which the cell refuses
        b = both if cell == "gru" else both[0] + both[1]
    return dict(zip(arrays, (np.concatenate(blocks, 1), np.concatenate(turned, 1), b), strict=True))
