"""The content of a model file: its parts, each with the layers that it is here."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.model.activations import SIGMOID, TANH
from rnncli.model.arrays import Floats, in_dtype
from rnncli.model.cells import CELLS, Weights, checked
from rnncli.model.errors import InputError, OpenInputError, did_you_mean, listed, shown, verbatim
from rnncli.model.layers import Layer, Recurrent, Stateless, per_cell
from rnncli.model.network import Network

# Settings that frameworks leave out of their files, and what is taken.
_ASSUMED: dict[str, tuple[str, Any]] = {
    "activation": ("does not name the activation", TANH),
    "recurrent_activation": ("does not name the activation of the gates", SIGMOID),
    "reset": ("does not say whether r multiplies after or before the product", "after"),
}


class Budget:
    """How many objects, and how many bytes, may be made of a file."""

    def __init__(self, path: str, objects: int, size: int) -> None:
        self._path, self._objects, self._bytes = path, objects, size

    def spend(self, objects: int = 1, size: int = 0) -> None:
        """Make so many more objects and bytes, or raise InputError."""
        self._objects -= objects
        self._bytes -= size
        if self._objects < 0 or self._bytes < 0:
            raise InputError(self._path, "holds far more than its size tells: it is damaged")


class CellDraft(NamedTuple):
    """A cell whose weights are known, and whose settings the file may leave open."""

    kind: str  # of CELLS
    weights: Weights  # in our layout and order of gates
    settings: Mapping[str, Any] = {}  # that the file tells
    assumed: Mapping[str, Any] = {}  # to take, with a note, instead of the cell's defaults
    biases: tuple[Floats, ...] = ()  # the file's own two, in our order of gates, if it has two
    names: Mapping[str, str] = {}  # the file's name of each array, for messages


class Draft(NamedTuple):
    """A recurrent layer of a file: a cell for each direction, the forward one first."""

    cells: tuple[CellDraft, ...]
    settings: Mapping[str, Any] = {}  # of direction and merge, that the file tells

    def layer(self, path: str) -> Recurrent:
        """Make the layer; the path is for messages."""
        cells = []
        for draft in self.cells:
            with naming(path, draft.names):
                settings = {**draft.assumed, **draft.settings}
                cells.append(checked(CELLS[draft.kind](draft.weights, **settings)))
        with naming(path, self.cells[-1].names):
            return Recurrent(*cells, **self.settings)


FileLayer: TypeAlias = Draft | Stateless


class Component(NamedTuple):
    """A layer, a module or a node of a model, as its file has it."""

    name: str  # the file's own; `layer` picks the part by it
    kind: str  # what its framework calls it: LSTM, nn.Linear
    arrays: Mapping[str, NDArray[Any]] = {}  # those of the file that belong to it
    layers: Sequence[FileLayer] = ()  # what it is here, the bottom one first
    why: str = ""  # where it has none: why it is passed over or cannot be run
    needed: bool = False  # whether the model cannot be run without it, though it has no layers
    turned: bool = False  # whether a part below gives it the rows from the last step to the first

    @property
    def recurrent(self) -> bool:
        """Whether one of its layers has a state."""
        return any(isinstance(layer, Draft) for layer in self.layers)


class Contents(NamedTuple):
    """The contents of a file."""

    parts: Sequence[Component]  # each takes what the one before gives, as far as that is known
    title: str = ""  # what wrote the file, or what it is: Keras 3.15.1
    ordered: bool = True  # whether the file tells that order; if not, one part may be recurrent
    last: str | None = None  # as for `Network`
    notes: Sequence[str] = ()  # a sentence for each thing taken for granted
    expected: str = ""  # ends the message that there is no recurrent layer: what was looked for
    beside: Sequence[str] = ()  # paths of other files that hold its arrays
    aside: Sequence[Component] = ()  # the output does not depend on these, which `layer` can pick
    # Finds the layers for a number of features that the file leaves open.
    open: "Callable[[int], Contents] | None" = None

    def names(self) -> list[str]:
        """List the names of the parts that `layer` can pick."""
        every = (*self.parts, *self.aside)
        return [part.name for part in every if part.layers or part.needed]

    def pick(self, path: str, layer: str | None) -> "Contents":
        """Keep the parts named so, or in a module named so; all of them for None."""
        if layer is None:
            return self
        stem = layer.rstrip("./")
        every = [*self.parts, *(part._replace(why="") for part in self.aside)]
        named = [p.name == stem or p.name.startswith((f"{stem}.", f"{stem}/")) for p in every]
        if not any(named):
            raise no_layer(path, stem, self.names())
        start, stop = named.index(True), len(named) - named[::-1].index(True)
        chosen = zip(every[start:stop], named[start:stop], strict=True)
        parts = [part for part, own in chosen if own or not part.name]
        layers = [layer for part in parts for layer in part.layers]
        joined = any(isinstance(layer, Stateless) and layer.sources for layer in layers)
        if start and (joined or (layers and parts[0].turned)):
            raise InputError(f"{path}: {stem}", "takes what others give: it is not run alone")
        whole = not any(part.layers or part.needed for part in every[stop:])
        last = self.last if whole and any(part.recurrent for part in parts) else None
        found = self._replace(parts=parts, aside=(), last=last)
        # Weights of a recurrent layer tell its features.
        return found._replace(open=None) if all(part.recurrent for part in parts) else found

    def layers(self, path: str) -> list[FileLayer]:
        """Return the layers of the network, or raise an error with why it cannot be run."""
        if self.open:
            what = "does not tell how many features a step has"
            hint = "rnn run counts the columns, rnn weights takes `inputs`, rnncli.load input_size"
            raise OpenInputError(path, what, hint)
        recurrent = [part.name for part in self.parts if part.recurrent]
        needed = [part for part in self.parts if part.needed and not part.layers]
        pick = f"pick one with `layer` NAME: {verbatim(listed(recurrent))}" if recurrent else ""
        if needed:
            why = needed[0].why
            names = [part.name or part.kind for part in needed if part.why == why]
            place = f"{path}: {listed(names)}" if any(names) else path
            raise InputError(place, why, pick)
        if not recurrent and (self.expected or not any(part.layers for part in self.parts)):
            got = listed(f"{p.name} ({p.kind})" if p.kind else p.name for p in self.parts)
            raise InputError(path, f"holds no recurrent layer{self.expected}, got {got}")
        if len(recurrent) > 1 and not self.ordered:
            what = f"holds several recurrent modules: {listed(recurrent)}"
            raise InputError(path, what, "pick one with `layer` NAME")
        return [layer for part in self.parts for layer in part.layers]


def no_layer(path: str, layer: str, names: Iterable[str]) -> InputError:
    """Return the error for a name that no part of a file has."""
    what = f"has no layer {shown(layer)}; it has {listed(names)}"
    return InputError(path, what, verbatim(did_you_mean(layer, names)))


def read_floats(path: str, name: str, array: NDArray[Any]) -> Floats:
    """Convert an array of a file to finite floats of this machine; halves become float32."""
    place = f"{path}: {shown(name)}"
    if array.dtype.kind != "f":
        raise InputError(place, f"expected floats, got {array.dtype}")
    with naming("", {}):
        return in_dtype(place, array, np.dtype(f"f{max(4, array.dtype.itemsize)}"))


def widen_bfloat16(bits: NDArray[np.uint16]) -> Floats:
    """Return bfloat16, which NumPy does not have, as float32, of which it is the upper half."""
    return np.asarray(bits.astype(np.uint32) << 16).view(np.float32)


def find_kind(path: str, W_hh: Floats, names: Mapping[str, str]) -> str:
    """Find the cell by an array that no other has, or by the shape of `W_hh`.

    `names` are the file's, by ours.
    """
    if W_hh.ndim == 2:
        kinds = [kind for kind in CELLS if names.keys() & {*CELLS[kind].extra_names}]
        kinds += [k for k in CELLS if 0 < len(W_hh) * CELLS[k].gates == W_hh.shape[1]]
        if kinds:
            return kinds[0]
    what = f"expected shape (H, H), (H, 3 H) or (H, 4 H), got {W_hh.shape}"
    raise InputError(f"{path}: {shown(names['W_hh'])}", what)


def convert_setting(kind: str, name: str, value: Any) -> Any:
    """Convert a setting to its type in the cell; raise ValueError if there is none such."""
    none = np.empty(0)
    return CELLS[kind](Weights(none, none, none), **{name: value}).settings[name]


@contextmanager
def naming(path: str, names: Mapping[str, str]) -> Iterator[None]:
    """Add the path to a ValueError, and name an array of a cell as the file does."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        role, _, what = str(error).partition(": ")
        if role in names:
            raise InputError(f"{path}: {shown(names[role])}", what) from error
        raise InputError(path, str(error)) from error


def fill_layers(
    path: str, layers: Sequence[FileLayer], overrides: Mapping[str, Any]
) -> list[FileLayer]:
    """Fill in what the caller says where the file is silent; a value must fit all cells."""
    counts = [len(draft.cells) for draft in layers if isinstance(draft, Draft)]
    of_cells = {
        name: iter(per_cell(f"{path}: {name}", value, counts))
        for name, value in overrides.items()
        if name not in ("direction", "merge")
    }
    filled, used = list[FileLayer](), set[str]()
    for layer in layers:
        if isinstance(layer, Draft):
            cells = []
            for cell in layer.cells:
                values = {name: next(values) for name, values in of_cells.items()}
                names = values.keys() & {*CELLS[cell.kind].setting_names}
                given = {name: convert_setting(cell.kind, name, values[name]) for name in names}
                cells.append(cell._replace(settings=_agree(path, cell.settings, given)))
                used |= names
            names = {*("direction", "merge")[: len(cells)]} & overrides.keys()
            given = {name: overrides[name] for name in names}
            layer = Draft(tuple(cells), _agree(path, layer.settings, given))
            used |= names
        filled.append(layer)
    if unused := overrides.keys() - used:
        raise InputError(path, "has no layer with this setting", f"leave `{min(unused)}` out")
    return filled


def _agree(path: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the settings of a file and those given; the two may not disagree."""
    for name in known.keys() & given.keys():
        if known[name] != given[name]:
            hint = f" `{name}` {given[name]} was given: leave it out"
            raise InputError(path, f"the file says {name} {known[name]},", hint)
    return {**given, **known}


def make_layers(path: str, layers: Sequence[FileLayer]) -> list[Layer]:
    """Make the layers."""
    return [layer.layer(path) if isinstance(layer, Draft) else layer for layer in layers]


def make_network(path: str, layers: Sequence[FileLayer], last: str | None) -> Network:
    """Make the network."""
    with naming(path, {}):
        made = make_layers(path, layers)
        count = max((n for n, layer in enumerate(made, 1) if layer.shortens), default=0)
        if made and count == len(made):
            raise InputError(path, "gives fewer rows than it takes: it is run below another layer")
        front = [layer for layer in made[:count] if isinstance(layer, Stateless)]
        for layer in made[count:]:  # which are numbered from the first above the front
            layer.sources = tuple(number - count for number in layer.sources)
        return Network(*made[count:], last=last, front=front)


def assumptions(layers: Sequence[FileLayer]) -> list[str]:
    """Return a sentence for each thing that neither the file nor the caller says."""
    drafts = [layer for layer in layers if isinstance(layer, Draft)]
    cells = [cell for draft in drafts for cell in draft.cells]
    sentences = []
    for name, (text, default) in _ASSUMED.items():
        silent = [c for c in cells if name in {*CELLS[c.kind].setting_names} - c.settings.keys()]
        if taken := dict.fromkeys(str(cell.assumed.get(name, default)) for cell in silent):
            sentences.append(f"{text}: {', '.join(taken)} is taken (`{name}`)")
    if any(len(draft.cells) == 2 and "merge" not in draft.settings for draft in drafts):
        sentences.append("does not say how directions are merged: concat is taken (`merge`)")
    return sentences
