"""The contents of a model file: its components, each with the layers that it becomes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats, in_dtype, name_type
from rnncli.model.cells import CELLS, Cell, Weights, checked
from rnncli.model.errors import InputError, OpenInputError, did_you_mean, listed, shown, verbatim
from rnncli.model.layers import Layer, Recurrent, Stateless, per_cell
from rnncli.model.network import Network

# Settings that change numbers and that frameworks leave out of their files.
_ASSUMED = {
    "activation": "does not name the activation",
    "recurrent_activation": "does not name the activation of the gates",
    "reset": "does not say whether r multiplies after or before the product",
}


class Component(NamedTuple):
    """A layer, a module or a node of a model, as its file has it."""

    name: str  # the file's own; `layer` picks the component by it
    kind: str  # its name in its framework: LSTM, nn.Linear
    arrays: Mapping[str, NDArray[Any]] = {}  # its arrays, by their names in the file
    layers: Sequence[Layer] = ()  # the layers that it becomes, the bottom one first
    why: str = ""  # the reason why it becomes no layer
    needed: bool = False  # the model cannot be run without it, though it has no layers
    reversed: bool = False  # it takes its rows from the last step to the first

    @property
    def recurrent(self) -> bool:
        """Return whether one of its layers has a state."""
        return any(layer.cells for layer in self.layers)


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
    chain: str = ""  # of all components, where the file does not tell their order
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

    def layers(self, path: str) -> list[Layer]:
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
                pick += "" if self.ordered else f"; {self._name_chain()}"
            raise InputError(f"{path}: {listed(names)}" if any(names) else path, why, pick)
        recurs = recurrent or any(layer.recurs for layer in layers)
        if not recurs and (self.expected or not layers):
            got = listed(f"{c.name} ({c.kind})" if c.kind else c.name for c in self.components)
            raise InputError(path, f"holds no recurrent layer{self.expected}, got {got}")
        if len(recurrent) > 1 and not self.ordered:
            what = f"holds several recurrent modules: {listed(recurrent)}"
            raise InputError(path, what, f"pick one with `layer` NAME; {self._name_chain()}")
        return layers

    def _name_chain(self) -> str:
        """Return the way out by `chain`."""
        if not self.chain:
            return "`chain` joins several"
        text, last = verbatim(self.chain), verbatim(self.chain.rpartition(",")[2])
        how = f"add activations, as in {last}:softmax"
        return f"`chain` {text} joins all in the one order that fits: {how}"


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


def find_kind(path: str, weights: Weights, names: Mapping[str, str]) -> str:
    """Find the first cell of `CELLS` that has these arrays, by the shapes of the matrices.

    `names` has the file's names by ours.
    """
    W_xh, W_hh = weights[:2]
    shapes = {kind: cell.shapes(weights) for kind, cell in CELLS.items() if W_xh.ndim == 2}
    shapes = {kind: each for kind, each in shapes.items() if weights.arrays.keys() <= each.keys()}
    fitting = {k: each["W_hh"] for k, each in shapes.items() if each["W_xh"] == W_xh.shape}
    for kind, shape in fitting.items():
        if shape == W_hh.shape:
            return kind
    if fitting:
        expected = " or ".join(map(str, dict.fromkeys(fitting.values())))
        what = f"expected shape {expected}, as W_xh is {W_xh.shape}, got {W_hh.shape}"
        raise InputError(f"{path}: {shown(names['W_hh'])}", what)
    return next(iter(shapes or CELLS))  # whose check names another array


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


def make_cell(
    path: str, kind: str, weights: Weights, settings: Mapping[str, Any],
    names: Mapping[str, str] = {}, biases: tuple[Floats, ...] = (),
) -> Cell:  # fmt: skip
    """Make a cell of `CELLS`; `names` has the file's names of its arrays, for messages."""
    with locate(path, names):
        cell = checked(CELLS[kind](weights, **settings))
    cell.biases, cell.open = biases, {*cell.setting_names}.difference(settings)
    return cell


def make_layer(
    path: str, cells: Sequence[Cell], names: Mapping[str, str], **settings: str
) -> Recurrent:
    """Make a layer; `names` has the file's names of the arrays of its last cell, for messages."""
    known: dict[str, Any] = {"direction": "bidirectional" if cells[1:] else "forward", **settings}
    with locate(path, names):
        layer = Recurrent(*cells, **known)
    layer.open = {"merge" if cells[1:] else "direction"}.difference(settings)
    return layer


def fill_settings(path: str, layers: Sequence[Layer], chosen: Mapping[str, Any]) -> Sequence[Layer]:
    """Set the caller's settings where the file leaves them open; elsewhere they must agree."""
    if not chosen:
        return layers
    cells = [cell for layer in layers for cell in layer.cells]
    known = {name for cell in cells for name in cell.setting_names}
    known |= {"direction", "merge"} if any(layer.cells[1:] for layer in layers) else {"direction"}
    if unused := chosen.keys() - known:
        raise InputError(path, "has no layer with this setting", f"leave `{min(unused)}` out")
    counts = [len(layer.cells) for layer in layers if layer.cells]
    of_cells = {
        name: iter(per_cell(f"{path}: {name}", value, counts))
        for name, value in chosen.items()
        if name not in ("direction", "merge")
    }
    return [
        _fill_layer(path, layer, of_cells, chosen) if isinstance(layer, Recurrent) else layer
        for layer in layers
    ]


def _fill_layer(
    path: str, layer: Recurrent, of_cells: Mapping[str, Iterator[Any]], chosen: Mapping[str, Any]
) -> Recurrent:
    """Set the caller's settings of a layer and of its cells."""
    cells = []
    for cell in layer.cells:
        values = {name: next(each) for name, each in of_cells.items()}
        values = {name: value for name, value in values.items() if name in cell.setting_names}
        with locate(path):
            filled = cell.replaced(**values)
        _compare(path, cell, filled.settings)
        filled.open = {*cell.open}.difference(values)
        cells.append(filled)
    names = ("direction", "merge")[: len(cells)]
    settings = layer.settings | {name: chosen[name] for name in names if name in chosen}
    _compare(path, layer, settings)
    with locate(path):
        result = Recurrent(*cells, **settings, starts=layer.starts)
    result.open = {*layer.open}.difference(chosen)
    return result


def _compare(path: str, known: Cell | Recurrent, settings: Mapping[str, Any]) -> None:
    """Refuse settings that are not as the file has them."""
    for name, value in known.settings.items():
        if value != settings[name] and name not in known.open:
            hint = f" `{name}` {settings[name]} was given: leave it out"
            raise InputError(path, f"the file says {name} {value},", hint)


def make_network(path: str, layers: Sequence[Layer], last: str | None) -> Network:
    """Make the network of the layers of a file."""
    with locate(path):
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


def assumptions(layers: Sequence[Layer]) -> list[str]:
    """Return a sentence for each setting that neither the file nor the caller has."""
    recurrent = [layer for layer in layers if isinstance(layer, Recurrent)]
    sentences, cells = [], [cell for layer in recurrent for cell in layer.cells]
    for name, text in _ASSUMED.items():
        if defaults := dict.fromkeys(str(c.settings[name]) for c in cells if name in c.open):
            sentences.append(f"{text}: {', '.join(defaults)} is taken (`{name}`)")
    if any(layer.cells[1:] and "merge" in layer.open for layer in recurrent):
        sentences.append("does not say how directions are merged: concat is taken (`merge`)")
    return sentences
