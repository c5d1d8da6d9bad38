"""The contents of a model file: its components, each with the layers that it becomes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.model.activations import SIGMOID, TANH
from rnncli.model.arrays import Floats, in_dtype, name_type
from rnncli.model.cells import CELLS, Weights, checked
from rnncli.model.errors import InputError, OpenInputError, did_you_mean, listed, shown, verbatim
from rnncli.model.layers import Layer, Recurrent, Stateless, per_cell
from rnncli.model.network import Network

# Settings that frameworks leave out of their files, and their defaults.
_ASSUMED: dict[str, tuple[str, Any]] = {
    "activation": ("does not name the activation", TANH),
    "recurrent_activation": ("does not name the activation of the gates", SIGMOID),
    "reset": ("does not say whether r multiplies after or before the product", "after"),
}


class CellDraft(NamedTuple):
    """A cell whose weights are known, and whose settings the file may lack."""

    kind: str  # of CELLS
    weights: Weights  # in our layout and order of gates
    settings: Mapping[str, Any] = {}  # those in the file
    assumed: Mapping[str, Any] = {}  # replace the cell's defaults, with a note
    biases: tuple[Floats, ...] = ()  # the file's own two, in our order of gates, if it has two
    names: Mapping[str, str] = {}  # the file's name of each array, for messages


class Draft(NamedTuple):
    """A recurrent layer of a file: a cell for each direction, the forward one first."""

    cells: tuple[CellDraft, ...]
    settings: Mapping[str, Any] = {}  # direction and merge, where the file has them
    starts: Sequence[Sequence[Floats]] = ()  # of each cell, if they are not zeros

    @property
    def output_size(self) -> int:
        """Number of values in a row that it gives."""
        size, merge = len(self.cells[0].weights.W_hh), self.settings.get("merge", "concat")
        return size * len(self.cells) if merge == "concat" else size

    def reverse(self) -> "Draft":
        """Return the layer for rows that stand from the last step to the first."""
        way = self.settings["direction"]
        way = {"forward": "backward", "backward": "forward"}.get(way, way)
        return Draft(self.cells[::-1], {**self.settings, "direction": way})

    def make(self, path: str) -> Recurrent:
        """Make the layer; the path is for messages."""
        cells = []
        for draft in self.cells:
            with locate(path, draft.names):
                settings = {**draft.assumed, **draft.settings}
                cells.append(checked(CELLS[draft.kind](draft.weights, **settings)))
        with locate(path, self.cells[-1].names):
            return Recurrent(*cells, **self.settings, starts=self.starts)


FileLayer: TypeAlias = Draft | Stateless


class Component(NamedTuple):
    """A layer, a module or a node of a model, as its file has it."""

    name: str  # the file's own; `layer` picks the component by it
    kind: str  # its name in its framework: LSTM, nn.Linear
    arrays: Mapping[str, NDArray[Any]] = {}  # its arrays, by their names in the file
    layers: Sequence[FileLayer] = ()  # the layers that it becomes, the bottom one first
    why: str = ""  # the reason why it becomes no layer
    needed: bool = False  # the model cannot be run without it, though it has no layers
    reversed: bool = False  # it takes its rows from the last step to the first

    @property
    def recurrent(self) -> bool:
        """Return whether one of its layers has a state."""
        return any(isinstance(layer, Draft) for layer in self.layers)


class Contents(NamedTuple):
    """The contents of a file."""

    components: Sequence[Component]  # each takes the output of the one before, as far as known
    title: str = ""  # what wrote the file, or what it is: Keras 3.15.1
    ordered: bool = True  # the file tells that order; without it, only one may be recurrent
    last: str | None = None  # as for `Network`
    notes: Sequence[str] = ()  # a sentence for each assumption
    expected: str = ""  # the names that were looked for, for a file without a recurrent layer
    external_files: Sequence[str] = ()  # paths of other files with its arrays
    inputs: Mapping[str, int] = {}  # the widths of several, which are columns side by side
    outputs: Sequence[str] = ()  # names of all outputs, if the file tells them
    unused: Sequence[Component] = ()  # the output does not need them; `layer` can pick them
    alone: Sequence[Component] = ()  # refused where they stand; `layer` can pick one of them
    # Finds the layers, given the number of features, where the file leaves that open.
    resolve: "Callable[[int], Contents] | None" = None

    def pick(self, path: str, layer: str | None) -> "Contents":
        """Keep the components of this name or in a module of this name; None keeps all."""
        if layer is None:
            return self
        stem = layer.rstrip("./")
        if alone := [each for each in self.alone if each.name == stem]:
            changes: dict[str, Any] = {"unused": (), "alone": (), "inputs": {}}
            return self._replace(components=alone, last=None, resolve=None, **changes)
        components = [*self.components, *(each._replace(why="") for each in self.unused)]
        named = [c.name == stem or c.name.startswith((f"{stem}.", f"{stem}/")) for c in components]
        if not any(named):
            raise no_layer(path, stem, [c.name for c in components if c.layers or c.needed])
        start, stop = named.index(True), len(named) - named[::-1].index(True)
        pairs = zip(components[start:stop], named[start:stop], strict=True)
        chosen = [each for each, is_named in pairs if is_named or not each.name]
        layers = [layer for each in chosen for layer in each.layers]
        merges = any(isinstance(layer, Stateless) and layer.sources for layer in layers)
        if start and (merges or (layers and chosen[0].reversed)):
            raise InputError(f"{path}: {stem}", "takes what others give: it is not run alone")
        is_top = not any(each.layers or each.needed for each in components[stop:])
        last = self.last if is_top and any(each.recurrent for each in chosen) else None
        # Weights of a recurrent layer tell its features.
        resolve = None if all(each.recurrent for each in chosen) else self.resolve
        return self._replace(components=chosen, unused=(), last=last, resolve=resolve, inputs={})

    def layers(self, path: str) -> list[FileLayer]:
        """Return the layers of the network; raise InputError if it cannot be run."""
        if self.resolve:
            what = "does not tell how many features a step has"
            hint = "rnn run counts the columns, rnn weights takes `inputs`, rnncli.load input_size"
            raise OpenInputError(path, what, hint)
        recurrent = [each.name for each in self.components if each.recurrent]
        recurrent += [each.name for each in self.alone]
        refused = [each for each in self.components if each.needed and not each.layers]
        layers = [layer for each in self.components for layer in each.layers]
        if refused:
            why, pick = refused[0].why, ""
            names = [each.name or each.kind for each in refused if each.why == why]
            if recurrent:
                way = " or run a part with `layer`"
                way = way if "export the model" in why else "pick one with `layer` NAME:"
                pick = f"{way} {verbatim(listed(recurrent))}"
                pick += "" if self.ordered else "; `chain` joins several"
            raise InputError(f"{path}: {listed(names)}" if any(names) else path, why, pick)
        if not recurrent and (self.expected or not layers):
            got = listed(f"{c.name} ({c.kind})" if c.kind else c.name for c in self.components)
            raise InputError(path, f"holds no recurrent layer{self.expected}, got {got}")
        if len(recurrent) > 1 and not self.ordered:
            what = f"holds several recurrent modules: {listed(recurrent)}"
            raise InputError(path, what, "pick one with `layer` NAME; `chain` joins several")
        return layers


def no_layer(path: str, layer: str, names: Iterable[str]) -> InputError:
    """Return the error for a layer that the file does not have."""
    what = f"has no layer {shown(layer)}; it has {listed(names)}"
    return InputError(path, what, verbatim(did_you_mean(layer, names)))


def read_floats(path: str, name: str, array: NDArray[Any]) -> Floats:
    """Convert an array of a file to finite floats of this machine; halves become float32."""
    where = f"{path}: {shown(name)}"
    if array.dtype.kind != "f":
        raise InputError(where, f"expected floats, got {shown(name_type(array))}")
    with locate(""):
        return in_dtype(where, array, np.dtype(f"f{max(4, array.dtype.itemsize)}"))


def find_kind(path: str, W_hh: Floats, names: Mapping[str, str]) -> str:
    """Find the cell by an array that no other has, or by the shape of `W_hh`.

    `names` has the file's names by ours.
    """
    if W_hh.ndim == 2:
        kinds = [kind for kind in CELLS if names.keys() & {*CELLS[kind].extra_names}]
        kinds += [k for k in CELLS if 0 < len(W_hh) * CELLS[k].gates == W_hh.shape[1]]
        if kinds:
            return kinds[0]
    what = f"expected shape (H, H), (H, 3 H) or (H, 4 H), got {W_hh.shape}"
    raise InputError(f"{path}: {shown(names['W_hh'])}", what)


@contextmanager
def locate(path: str, names: Mapping[str, str] = {}) -> Iterator[None]:
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
    """Fill in the caller's settings where the file is silent; each must fit all its cells."""
    counts = [len(draft.cells) for draft in layers if isinstance(draft, Draft)]
    of_cells = {
        name: iter(per_cell(f"{path}: {name}", value, counts))
        for name, value in overrides.items()
        if name not in ("direction", "merge")
    }
    filled, used, none = list[FileLayer](), set[str](), np.empty(0)
    for layer in layers:
        if isinstance(layer, Draft):
            cells = []
            for cell in layer.cells:
                values = {name: next(values) for name, values in of_cells.items()}
                names = values.keys() & {*CELLS[cell.kind].setting_names}
                chosen = {name: values[name] for name in names}
                converted = CELLS[cell.kind](Weights(none, none, none), **chosen).settings
                settings = {name: converted[name] for name in names}
                cells.append(cell._replace(settings=_merge(path, cell.settings, settings)))
                used |= names
            names = {*("direction", "merge")[: len(cells)]} & overrides.keys()
            settings = {name: overrides[name] for name in names}
            settings = _merge(path, layer.settings, settings)
            layer = layer._replace(cells=tuple(cells), settings=settings)
            used |= names
        filled.append(layer)
    if unused := overrides.keys() - used:
        raise InputError(path, "has no layer with this setting", f"leave `{min(unused)}` out")
    return filled


def _merge(path: str, known: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the settings of a file and of the caller; the two may not disagree."""
    for name in known.keys() & chosen.keys():
        if known[name] != chosen[name]:
            hint = f" `{name}` {chosen[name]} was given: leave it out"
            raise InputError(path, f"the file says {name} {known[name]},", hint)
    return {**chosen, **known}


def make_layers(path: str, layers: Sequence[FileLayer]) -> list[Layer]:
    """Make the layers of a network."""
    return [layer.make(path) if isinstance(layer, Draft) else layer for layer in layers]


def make_network(path: str, drafts: Sequence[FileLayer], last: str | None) -> Network:
    """Make the network of the layers of a file."""
    with locate(path):
        layers = make_layers(path, drafts)
        count = max((n for n, layer in enumerate(layers, 1) if layer.shortens), default=0)
        if layers and count == len(layers):
            raise InputError(path, "gives fewer rows than it takes: it is run below another layer")
        front = [layer for layer in layers[:count] if isinstance(layer, Stateless)]
        if any(layer.sources for layer in front) or len(front) < count:
            what = "takes what lies below a layer that gives fewer rows, which is not run here"
            raise InputError(path, what)
        above = [copy(layer) for layer in layers[count:]]
        for layer in above:  # which are numbered from the first above the front
            layer.sources = tuple(number - count for number in layer.sources)
        return Network(*above, last=last, front=front)


def assumptions(layers: Sequence[FileLayer]) -> list[str]:
    """Return a sentence for each setting that neither the file nor the caller has."""
    drafts = [layer for layer in layers if isinstance(layer, Draft)]
    cells = [cell for draft in drafts for cell in draft.cells]
    sentences = []
    for name, (text, default) in _ASSUMED.items():
        silent = [c for c in cells if name in {*CELLS[c.kind].setting_names} - c.settings.keys()]
        if defaults := dict.fromkeys(str(cell.assumed.get(name, default)) for cell in silent):
            sentences.append(f"{text}: {', '.join(defaults)} is taken (`{name}`)")
    if any(len(draft.cells) == 2 and "merge" not in draft.settings for draft in drafts):
        sentences.append("does not say how directions are merged: concat is taken (`merge`)")
    return sentences
