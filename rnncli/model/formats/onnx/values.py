"""What is known of the values in a graph: constants, rows on their way, and the rest."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.model.formats.onnx.elements import Tensor
from rnncli.model.formats.onnx.messages import Node
from rnncli.model.formats.parts import Part
from rnncli.model.formats.spec import LayerSpec
from rnncli.model.formats.tensors import FLOATS, Derived, Entry, Shape

# Factors of a size that is not known; a graph that multiplies more is refused.
_MOST_FACTORS = 8

# Axes of rows, and parts that rows go through.
_MOST_AXES, _MOST_PARTS = 16, 1_000
# Numbers of a list that is an input.
_MOST_LISTED = 64
# Lists that may hold sizes which only a run tells.
_SIZED = ("shape", "starts", "ends")
# Values that are computed while a graph is read, beside those that its file holds.
_MOST_COMPUTED = 2**22


class RefusedError(Exception):
    """A node that cannot be read.

    Parameters
    ----------
    why, hint : str
        As for `Part`.
    """

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.why, self.hint = why, hint


class Size:
    """A number of steps, sequences or features that only a run tells, or a multiple of it.

    It is equal to no number.

    Parameters
    ----------
    names : tuple of str
        The axes whose sizes are multiplied.
    factor : int
    """

    def __init__(self, names: tuple[str, ...], factor: int = 1) -> None:
        if len(names) > _MOST_FACTORS:
            raise RefusedError("multiplies too many sizes")
        self.names, self.factor = tuple(sorted(names)), factor

    def __mul__(self, other: Any) -> "Size | int":
        if isinstance(other, Size):
            return Size(self.names + other.names, self.factor * other.factor)
        return Size(self.names, self.factor * int(other)) if other else 0

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> "Size | int":
        names = list(self.names)
        for name in getattr(other, "names", ()):
            if name not in names:
                raise RefusedError("divides sizes that are not known")
            names.remove(name)
        factor, rest = divmod(self.factor, getattr(other, "factor", other))
        if rest:
            raise RefusedError("divides sizes that are not known")
        return Size(tuple(names), factor) if names else factor

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Size):
            return (self.names, self.factor) == (other.names, other.factor)
        return False

    def __hash__(self) -> int:
        return hash((self.names, self.factor))


class Chain:
    """Parts that rows went through; chains share what is below.

    Parameters
    ----------
    top : Part, optional
        The last one; none where rows are an input of the graph.
    below : Chain, optional
    """

    def __init__(self, top: Part | None = None, below: "Chain | None" = None) -> None:
        self.top = top or Part("", "")
        self.below = below
        self.length: int = below.length + 1 if below is not None else 0

    def then(self, part: Part) -> "Chain":
        """Return the chain with one more part."""
        if self.length >= _MOST_PARTS:
            raise RefusedError(f"comes after more than {_MOST_PARTS:,} others")
        return Chain(part, self)

    def changed(self, part: Part) -> "Chain":
        """Return the chain with another part for its last one."""
        return Chain(part, self.below)

    def downward(self) -> "Iterator[Chain]":
        """Return the chains that this one begins with, itself first, down to the first part."""
        chain = self
        while chain.below is not None:
            yield chain
            chain = chain.below

    def parts(self) -> list[Part]:
        """Return the parts, the bottom one first."""
        return [chain.top for chain in self.downward()][::-1]


# Of rows that are an input of the graph.
INPUT = Chain()


class Axis(NamedTuple):
    """An axis of rows.

    Parameters
    ----------
    name : str
        ``T``, ``N``, ``D`` (directions), ``L`` (layers) or ``F`` (features)
        above a recurrent node; below the first one the input's and the axis's number; empty for
        one that a graph adds.
    size : int or Size
    parts : tuple of Axis
        Those that a graph made one of.
    """

    name: str
    size: Any
    parts: tuple["Axis", ...] = ()


class Constant(NamedTuple):
    """An array that does not depend on the input, or the sizes of one that does.

    Parameters
    ----------
    entry : Entry
    read : callable
        ``read()`` returns it; of `Size` and `int` objects where it has sizes.
    stored : str
        The name of the file's tensor, if it is one.
    spread : bool
        Whether it is one value throughout, and an axis of size 1 may stand
        for one whose size is not known.
    """

    entry: Entry
    read: Callable[[], NDArray[Any]]
    stored: str = ""
    spread: bool = False


class Rows(NamedTuple):
    """Rows that layers made of an input of the graph.

    Parameters
    ----------
    origin : str
        The input; above a recurrent node also which of its axes are steps.
    axes : tuple of Axis
    chains : tuple of Chain
        What they went through; one for each place of the axis ``D``, all of
        one place of ``L`` before those of the next.
    feature : str
        Name of the axis that layers have taken for that of features.
    last : {"", "step", "first", "state", "cell"}
        What they are instead of all steps: those of the last or first step,
        or the final h or c.
    backwards : str
        Name of the axis whose last place stands first; empty if none does.
    text : str
        Which function they are of rows below, as `Formulas` writes it.
    """

    origin: str
    axes: tuple[Axis, ...]
    chains: tuple[Chain, ...] = (INPUT,)
    feature: str = ""
    last: str = ""
    backwards: str = ""
    text: str = ""

    @property
    def chain(self) -> Chain:
        """What they went through.

        Raises
        ------
        RefusedError
            They are those of several directions beside each other.
        """
        if len(self.chains) > 1:
            raise RefusedError("takes two directions before they are merged")
        return self.chains[0]

    def through(self, chain: Chain) -> "Rows":
        """Return such rows that went through another chain."""
        return self._replace(chains=(chain,), text="")

    def with_axes(self, axes: Iterable[Axis]) -> "Rows":
        """Return such rows of other axes."""
        found = tuple(axes)
        if len(found) > _MOST_AXES:
            raise RefusedError(f"has more than {_MOST_AXES} axes")
        return self._replace(axes=found)

    def replaced(self, place: int, *axes: Axis) -> "Rows":
        """Return such rows with other axes, or none, in the place of one."""
        return self._replace(axes=(*self.axes[:place], *axes, *self.axes[place + 1 :]))

    @property
    def names(self) -> list[str]:
        """The names of the axes."""
        return [axis.name for axis in self.axes]

    def place(self, name: str) -> int | None:
        """Return which axis has this name."""
        return next((k for k, axis in enumerate(self.axes) if axis.name == name), None)

    @property
    def size(self) -> int:
        """The number of features; 1 where a graph dropped their axis."""
        place = self.place(self.feature)
        size = 1 if place is None else self.axes[place].size
        if isinstance(size, Size):
            raise RefusedError("the number of features is not known")
        return int(size)

    def featured(self, axis: int) -> "Rows":
        """Return rows of which this axis is known to be that of features."""
        if not 0 <= axis < len(self.axes):
            raise RefusedError(f"expected an axis of features, got {len(self.axes)} axes")
        name = self.axes[axis].name
        if name in ("", "T", "N", "D", "L") or name != (self.feature or name):
            raise RefusedError("takes another axis for features than the layer below")
        return self._replace(feature=name)

    def widened(self, size: int) -> "Rows":
        """Return rows of so many features."""
        axes = (Axis(axis.name, size) if axis.name == self.feature else axis for axis in self.axes)
        return self.with_axes(axes)

    def at(self, place: int) -> int:
        """Return the number of an axis, which may be counted from the end."""
        if not -len(self.axes) <= place < len(self.axes):
            raise RefusedError(f"has no axis {place}")
        return place % len(self.axes)


class Unknown(NamedTuple):
    """A value of which nothing is known: the chain ends with the node that was refused."""

    origin: str
    chain: Chain


Value: TypeAlias = Constant | Rows | Unknown


def constant(array: NDArray[Any], *, spread: bool = False) -> Constant:
    """Return an array as a constant."""
    return Constant(Entry(array.shape, str(array.dtype)), lambda: array, spread=spread)


class Formulas:
    """What chains are as functions of others: ``Mul(x1,Sigmoid(x1))``."""

    def __init__(self) -> None:
        self.chains: dict[str, Chain] = {}
        self._names: dict[tuple[str, int], str] = {}

    def text(self, rows: Rows) -> str:
        """Return the text of rows; those that are no function yet have a name of their own."""
        text = rows.text or self._names.setdefault(
            (rows.origin, id(rows.chain)), f"x{len(self._names)}"
        )
        self.chains[text] = rows.chain
        return text


class Work:
    """What is shared by all nodes of a graph while it is read.

    Parameters
    ----------
    inputs : set of str
        Names of the values that nodes take.

    Attributes
    ----------
    derived : dict
        Tensors that are computed from those of the file.
    formulas : Formulas
    left : int
        How many more values are computed.
    """

    def __init__(self, inputs: set[str]) -> None:
        self.inputs = inputs
        self.derived: dict[str, Derived] = {}
        self.formulas = Formulas()
        self.left = _MOST_COMPUTED
        self._known: set[str] = set()

    def spend(self, values: int) -> None:
        """Count values that are computed."""
        self.left -= values
        if self.left < 0:
            raise RefusedError("needs more values to be computed than are while a graph is read")

    def array(self, found: Constant) -> NDArray[Any]:
        """Read a constant; a tensor of the file is counted from the second time on."""
        size = prod(found.entry.shape)
        if found.stored in self._known or not found.stored:
            self.spend(size)
            return found.read()
        array = found.read()
        self._known.add(found.stored)
        self.left += 2 * size  # what is made of it
        return array


class Call(NamedTuple):
    """A node and what it takes.

    Parameters
    ----------
    name : str
        The node's own, or that of its first output; no other node has it.
    node : Node
    inputs : sequence of Value or None
        None where one is left out.
    opset : int
    notes : list
        Takes a sentence for each thing to be told.
    work : Work
    """

    name: str
    node: Node
    inputs: Sequence[Value | None]
    opset: int
    notes: list[str]
    work: Work

    def given(self, place: int) -> Value | None:
        """Return an input, if there is one."""
        return self.inputs[place] if place < len(self.inputs) else None

    def rows(self, place: int = 0) -> Rows:
        """Return an input that is rows."""
        found = self.given(place)
        if not isinstance(found, Rows):
            raise RefusedError(f"input {place + 1}: expected rows, got a constant")
        return found

    def constant(self, place: int) -> Constant:
        """Return an input that is a constant."""
        found = self.given(place)
        if not isinstance(found, Constant):
            got = "nothing" if found is None else "what depends on the input"
            raise RefusedError(f"input {place + 1}: expected a constant, got {got}")
        return found

    def weights(self) -> list[str]:
        """Return the names of the file's tensors of floats among the inputs."""
        stored = (each for each in self.inputs if isinstance(each, Constant) and each.stored)
        return [each.stored for each in stored if each.entry.dtype in FLOATS]

    def whole(self, place: int, attribute: str) -> list[Any] | None:
        """Return whole numbers and sizes: an input, or an attribute as in older versions."""
        if self.given(place) is None:
            return self.integers(attribute)
        found = self.constant(place)
        if len(found.entry.shape) > 1 or prod(found.entry.shape) > _MOST_LISTED:
            raise RefusedError(f"input {place + 1}: expected a list of whole numbers")
        array = self.work.array(found)
        if array.dtype.kind not in ("iuO" if attribute in _SIZED else "iu"):
            raise RefusedError(f"input {place + 1}: expected a list of whole numbers")
        return list(array.reshape(-1).tolist())

    def integers(self, name: str) -> list[int] | None:
        """Return an attribute."""
        found = self.node.attributes.get(name)
        if found is None:
            return None
        return [self._checked(name, each, int) for each in self._checked(name, found, list)]

    def integer(self, name: str, default: int = 0) -> int:
        """Return an attribute."""
        return int(self._checked(name, self.node.attributes.get(name, default), int))

    def number(self, name: str, default: float) -> float:
        """Return an attribute."""
        return float(self._checked(name, self.node.attributes.get(name, default), float))

    def text(self, name: str, default: str) -> str:
        """Return an attribute."""
        return str(self._checked(name, self.node.attributes.get(name, default), str))

    def _checked(self, name: str, value: Any, kind: type) -> Any:
        if not isinstance(value, kind):
            raise RefusedError(
                f"attribute {name}: expected {kind.__name__}, got {type(value).__name__}"
            )
        return value

    def tensor(self, place: int, role: str) -> str:
        """Return the name of a tensor for a constant, one of the file's or one that is added."""
        found = self.constant(place)
        return found.stored or self.computed(place, role, found.entry.shape, lambda array: array)

    def computed(
        self,
        place: int,
        role: str,
        shape: Shape,
        compute: Callable[[NDArray[Any]], NDArray[Any]],
    ) -> str:
        """Add a tensor that is computed of a constant; return its name."""
        found = self.constant(place)
        entry = Entry(shape, found.entry.dtype)
        if found.stored:
            return self.added(role, Derived([found.stored], entry, compute))
        return self.added(role, Derived([], entry, lambda: compute(found.read())))

    def added(self, role: str, derived: Derived) -> str:
        """Add a tensor; return its name."""
        name = f"{self.name}: {role}"
        self.work.derived[name] = derived
        return name

    def row(self, place: int, role: str, size: int, factor: float = 1.0) -> str:
        """Name a constant as a row of so many features; a single value serves all of them."""
        shape, dtype = self.constant(place).entry
        if dtype not in FLOATS:
            raise RefusedError(f"input {place + 1}: expected floats, got {dtype}")
        if shape == (size,) and factor == 1.0:
            return self.tensor(place, role)
        if prod(shape) not in (1, size) or prod(shape) != max(shape, default=1):
            raise RefusedError(f"input {place + 1}: expected {size} values, got shape {shape}")

        def compute(array: NDArray[Any]) -> NDArray[Any]:
            return np.broadcast_to(array.dtype.type(factor) * array.reshape(-1), (size,)).copy()

        return self.computed(place, role, (size,), compute)

    def filled(self, role: str, size: int, value: float) -> str:
        """Add a row of one value."""
        entry = Entry((size,), "float32")
        return self.added(role, Derived([], entry, lambda: np.full(size, value, np.float32)))

    def layer(self, rows: Rows, *specs: LayerSpec) -> Rows:
        """Return rows that went through more layers."""
        tensors = [name for spec in specs for name in spec.tensors.values()]
        part = self.part(tensors=tensors, layers=specs)
        return rows.through(rows.chain.then(part))

    def part(self, **fields: Any) -> Part:
        """Return the part that the node is."""
        return Part(self.name, self.node.op, **fields)


def stored(tensor: Tensor) -> Constant:
    """Return a tensor of the file as a constant."""
    return Constant(tensor.entry, tensor.array, tensor.name)


def single(found: Constant) -> float | None:
    """Return the number that a constant is, if it is one."""
    several = found.spread or any(size != 1 for size in found.entry.shape)
    if several or found.entry.dtype == "object":
        return None
    return float(found.read().reshape(-1)[0])


def is_input(rows: Rows) -> bool:
    """Return whether rows are an input of the graph, which may have been cast to whole numbers."""
    return all(chain.top.kind == "Cast" for chain in rows.chain.downward())


def as_array(values: Sequence[Any]) -> NDArray[Any]:
    """Return whole numbers as an array; of objects where there are sizes."""
    sizes = any(isinstance(value, Size) for value in values)
    return np.array(values, object if sizes else np.int64)
