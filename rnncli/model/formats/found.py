"""The content of a model file: its parts, each with the layers that it is here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from math import inf
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.model.activations import SIGMOID, TANH
from rnncli.model.arrays import Floats, in_dtype
from rnncli.model.cells import CELLS, Weights, checked
from rnncli.model.errors import InputError, did_you_mean, listed, sentence, shown, verbatim
from rnncli.model.layers import MERGES, Recurrent, Stateless, merged_size, name_of

NOTHING = "does nothing at inference"
PICK = "pick one with `layer` NAME"

# Merges that give as many values as one direction.
_NARROW = ", ".join(name for name in MERGES if merged_size(1, "bidirectional", name) == 1)
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

    def fill(
        self,
        place: str,
        cells: Sequence[Mapping[str, Any]],
        given: Mapping[str, Any],
        above: int | None,
    ) -> "Draft":
        """Fill in what the caller says of each cell and of the layer; the file may not disagree.

        `above` is how many values the layer above takes, where that is known.
        """
        drafts = []
        for cell, said in zip(self.cells, cells, strict=True):
            known, wanted = (
                {name: convert_setting(cell.kind, name, value) for name, value in each.items()}
                for each in (cell.settings, said)
            )
            drafts.append(cell._replace(settings=_agree(place, known, wanted)))
        known, given, width = dict(self.settings), dict(given), len(drafts[0].weights.W_hh)
        if len(drafts) == 1:
            given.pop("merge", None)
        elif "merge" not in known and above == 2 * width:
            known["merge"] = "concat"
        elif "merge" not in known and above == width and given.get("merge", "concat") == "concat":
            what = f"the layer above takes {above} values a step, as many as one direction gives"
            raise InputError(place, what, f"give `merge`, one of {_NARROW}")
        settings = _agree(place, known, given)
        if len(drafts) == 1 and settings.get("direction") == "bidirectional":
            hint = " `direction` bidirectional was given: leave it out"
            raise InputError(place, "the file holds one direction,", hint)
        return Draft(tuple(drafts), settings)

    def turn(self) -> "Draft":
        """Take the steps in the other direction."""
        turned = {"forward": "backward", "backward": "forward"}
        known = self.settings.get("direction", "forward")
        settings = {**self.settings, "direction": turned.get(known, known)}
        return Draft(self.cells[::-1], settings)

    def layer(self, path: str) -> Recurrent:
        """Make the layer; the path is for messages."""
        cells = []
        for draft in self.cells:
            with naming(path, draft.names):
                cell = CELLS[draft.kind](draft.weights, **{**draft.assumed, **draft.settings})
                cells.append(checked(cell))
        with naming(path, self.cells[-1].names):
            return Recurrent(*cells, **self.settings)


# A layer, or what makes one that is as wide as the layer below.
FileLayer: TypeAlias = Draft | Stateless | Callable[[int], Stateless]


class Part(NamedTuple):
    """A layer, a module or a node of a model, as its file has it."""

    name: str  # the file's own; `layer` picks the part by it
    kind: str  # what its framework calls it: LSTM, nn.Linear
    arrays: Mapping[str, NDArray[Any]] = {}  # those of the file that belong to it
    layers: Sequence[FileLayer] = ()  # what it is here, the bottom one first
    why: str = ""  # where it has none: why it is passed over or cannot be run
    hint: str = ""  # what to do about that, as in InputError
    needed: bool = False  # whether the model cannot be run without it, though it has no layers
    turned: bool = False  # whether a part below gives it the rows from the last step to the first

    @property
    def recurrent(self) -> bool:
        """Whether one of its layers has a state."""
        return any(isinstance(layer, Draft) for layer in self.layers)


class Found(NamedTuple):
    """The contents of a file."""

    parts: Sequence[Part]  # each takes what the one before gives, as far as that is known
    title: str = ""  # what wrote the file, or what it is: Keras 3.15.1
    ordered: bool = True  # whether the file tells that order; if not, one part may be recurrent
    last: str | None = None  # as for `Network`
    notes: Sequence[str] = ()  # a sentence for each thing taken for granted
    expected: str = ""  # ends the message that there is no recurrent layer: what was looked for
    beside: Sequence[str] = ()  # paths of other files that hold its arrays
    aside: Sequence[Part] = ()  # the output does not depend on these, which `layer` can pick

    def names(self) -> list[str]:
        """List the names of the parts that `layer` can pick."""
        every = (*self.parts, *self.aside)
        return [part.name for part in every if part.layers or part.needed]

    def pick(self, path: str, layer: str | None) -> "Found":
        """Keep the parts named so, or in a module named so; all of them for None."""
        if layer is None:
            return self
        stem = layer.rstrip("./")
        every = [*self.parts, *(part._replace(why="") for part in self.aside)]
        named = [p.name == stem or p.name.startswith((f"{stem}.", f"{stem}/")) for p in every]
        if not any(named):
            names = self.names()
            others = sentence("", f"{stem}; it has {listed(names)}", did_you_mean(stem, names))
            raise InputError(path, "has no layer", f" {verbatim(others)}")
        start = named.index(True)
        stop = len(named) - named[::-1].index(True)
        kept = [k for k in range(start, stop) if named[k] or not every[k].name]
        below = sum(len(part.layers) for part in every[:start])
        turned = next((every[k].turned for k in kept if every[k].recurrent), False)
        parts = []
        for part in (every[k] for k in kept):
            layers = [_renumber(path, part.name, each, below) for each in part.layers]
            if turned:  # without the parts below
                layers = [each.turn() if isinstance(each, Draft) else each for each in layers]
            parts.append(part._replace(layers=layers))
        whole = stop <= len(self.parts) and not any(
            part.layers or part.needed for part in self.parts[stop:]
        )
        return self._replace(parts=parts, aside=(), last=self.last if whole else None)

    def layers(self, path: str) -> list[FileLayer]:
        """Return the layers of the network, or say why it cannot be run."""
        recurrent = [part.name for part in self.parts if part.recurrent]
        needed = [part for part in self.parts if part.needed and not part.layers]
        if needed:
            first = needed[0]
            names = [part.name or part.kind for part in needed if part.why == first.why]
            place = f"{path}: {listed(names)}" if any(names) else path
            others = f"{PICK}: {verbatim(listed(recurrent))}" if recurrent else ""
            raise InputError(place, first.why, first.hint or others)
        if not recurrent and (self.expected or not any(part.layers for part in self.parts)):
            got = listed(
                (f"{part.name} ({part.kind})" if part.name else part.kind) if part.kind else name
                for part in self.parts
                for name in part.arrays or [part.name]
            )
            raise InputError(path, f"holds no recurrent layer{self.expected}, got {got}")
        if len(recurrent) > 1 and not self.ordered:
            raise InputError(path, f"holds several recurrent modules: {listed(recurrent)}", PICK)
        return [layer for part in self.parts for layer in part.layers]


def _renumber(path: str, name: str, layer: FileLayer, below: int) -> FileLayer:
    """Return a layer whose sources are numbered without so many layers below."""
    if not isinstance(layer, Stateless) or not layer.sources or not below:
        return layer
    if min(layer.sources) < below:
        raise InputError(f"{path}: {name}", "takes what other layers give: it is not run alone")
    layer = copy(layer)
    layer.sources = tuple(number - below for number in layer.sources)
    return layer


def read_floats(path: str, name: str, array: NDArray[Any]) -> Floats:
    """Convert an array of a file to finite floats of this machine; halves become float32."""
    place = f"{path}: {shown(name)}"
    if array.dtype.kind != "f":
        raise InputError(place, f"expected floats, got {array.dtype}")
    try:
        return in_dtype(place, array, np.dtype(f"f{max(4, array.dtype.itemsize)}"))
    except ValueError as error:
        raise InputError("", str(error)) from error


def widen_bfloat16(bits: NDArray[np.uint16]) -> Floats:
    """Return bfloat16, which NumPy does not have, as float32, of which it is the upper half."""
    return np.asarray(bits.astype(np.uint32) << 16).view(np.float32)


def find_kind(path: str, W_hh: Floats, names: Mapping[str, str]) -> str:
    """Find the cell by an array that no other has, or by the shape of `W_hh`.

    `names` are the file's, by ours.
    """
    for kind, cell in CELLS.items():
        if names.keys() & set(cell.extra_names):
            return kind
    for kind, cell in CELLS.items():
        if W_hh.ndim == 2 and 0 < len(W_hh) * cell.gates == W_hh.shape[1]:
            return kind
    what = f"expected shape (H, H), (H, 3 H) or (H, 4 H), got {W_hh.shape}"
    raise InputError(f"{path}: {shown(names['W_hh'])}", what)


def convert_setting(kind: str, name: str, value: Any) -> Any:
    """Convert a setting to what the cell has for it; raise ValueError where there is no such."""
    none = np.empty(0)
    return CELLS[kind](Weights(none, none, none), **{name: value}).settings[name]


def kind_of(layer: FileLayer) -> str:
    """Name the cells of a layer, or the layer without state."""
    if isinstance(layer, Draft):
        return " ".join(dict.fromkeys(cell.kind for cell in layer.cells))
    return name_of(layer) if isinstance(layer, Stateless) else ""


def _agree(place: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the settings of a file and those given; the two may not disagree."""
    for name in known.keys() & given.keys():
        if known[name] != given[name]:
            text = "none" if known[name] == inf else known[name]
            hint = f" `{name}` {given[name]} was given: leave it out"
            raise InputError(place, f"the file says {name} {text},", hint)
    return {**given, **known}


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


def assumptions(layers: Sequence[FileLayer]) -> list[str]:
    """Return a sentence for each thing that neither the file nor the caller says."""
    drafts = [layer for layer in layers if isinstance(layer, Draft)]
    cells = [cell for draft in drafts for cell in draft.cells]
    found = []
    for name, (text, default) in _ASSUMED.items():
        taken = dict.fromkeys(
            str(cell.assumed.get(name, default))
            for cell in cells
            if name in CELLS[cell.kind].setting_names and name not in cell.settings
        )
        if taken:
            found.append(f"{text}: {', '.join(taken)} is taken (`{name}`)")
    if any(len(draft.cells) == 2 and "merge" not in draft.settings for draft in drafts):
        found.append("does not say how directions are merged: concat is taken (`merge`)")
    return found


def input_size(layer: FileLayer) -> int | None:
    """Return how many values a layer takes a step, where that is known."""
    if isinstance(layer, Draft):
        return int(layer.cells[0].weights.W_xh.shape[0])
    return layer.input_size if isinstance(layer, Stateless) else None
