"""What is known of the layers in a file before their weights are read.

A naming finds the layers by the names of their tensors, the file's metadata
completes them, and what the caller says fills in or must agree. The network
is built of what comes out, and only then are its weights read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.activations import SIGMOID, TANH
from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, Cell, Weights, extra_shapes, weight_shapes
from rnncli.model.errors import InputError, shown
from rnncli.model.formats.tensors import FLOATS, Tensors
from rnncli.model.layers import LAYERS, MERGES, Layer, Recurrent, merged_size
from rnncli.model.network import Network

# Merges that give as many values as one direction.
_NARROW = ", ".join(name for name in MERGES if merged_size(1, "bidirectional", name) == 1)
# What is taken for settings that frameworks leave out of their files.
_ASSUMED = {
    "activation": f"does not name the activation: {TANH} is taken",
    "recurrent_activation": f"does not name the activation of the gates: {SIGMOID} is taken",
    "reset": "does not say whether r multiplies after or before the product: after is taken",
}
PICK = "pick one with `layer` NAME"


class Layout(NamedTuple):
    """How the arrays of a cell stand in a file.

    Parameters
    ----------
    transposed : bool
        Whether matrices have a row for each unit that they lead to.
    orders : mapping
        By cell, the place that each of our gates has in the file; gates stand
        as ours where it is left out.
    """

    transposed: bool = False
    orders: Mapping[str, Sequence[int]] = {}

    def turned(self, shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the shape here of a shape there, and the other way round."""
        return shape[::-1] if self.transposed else shape

    def ours(self, array: Floats, cell: str) -> Floats:
        """Return an array of a file as the cell has it."""
        return _ordered(array.T if self.transposed else array, self.orders.get(cell, ()))

    def theirs(self, array: Floats, cell: str) -> Floats:
        """Return an array of a cell as the file has it."""
        array = _ordered(array, np.argsort(self.orders.get(cell, ())).tolist())
        return array.T if self.transposed else array


OURS = Layout()


# The tensors that one bias may be.
BIASES = ("b_h", "b_x", "b_r")


class CellSpec(NamedTuple):
    """What is known of a cell.

    Parameters
    ----------
    tensors : mapping
        Names of its tensors, by the names that `Weights` has for arrays. A
        bias may also be two: ``b_x`` is added to the input's product and
        ``b_r`` to the state's (PyTorch), ``b_xr`` is both, (2, G H) (Keras).
        Without a bias it is zeros.
    cell : str
        Of `CELLS`; empty where the shapes are of none.
    settings : mapping
        Those of `Cell.settings` that are known.
    layout : Layout
    """

    tensors: Mapping[str, str]
    cell: str
    settings: Mapping[str, Any] = {}
    layout: Layout = OURS


class LayerSpec(NamedTuple):
    """What is known of a layer.

    Parameters
    ----------
    cells : tuple of CellSpec
        One, or two for both directions, the forward one first; two have
        their direction among the settings. None in a layer without state.
    settings : mapping
        Those of `Layer.settings` that are known.
    kind : str
        Of `LAYERS`, for a layer without state; empty where nothing tells.
    tensors : mapping
        Names of its tensors, by the names that such a layer has for arrays.
    """

    cells: tuple[CellSpec, ...] = ()
    settings: Mapping[str, Any] = {}
    kind: str = ""
    tensors: Mapping[str, str] = {}


# Layers, the bottom one first, and a sentence for each thing taken for granted.
Found = tuple[Sequence[LayerSpec], Sequence[str]]


class Stack(NamedTuple):
    """Recurrent layers that belong together.

    Parameters
    ----------
    labels : tuple of str
        What picks it, or a part of it.
    find : callable
        Returns its layers; raises InputError where they do not go together.
    """

    labels: tuple[str, ...]
    find: Callable[[], Found]


def cell_of(tensors: Tensors, names: Mapping[str, str], layout: Layout = OURS) -> str:
    """Tell which cell has such arrays: by one that no other has, or by the shape of ``W_hh``.

    It is (H, H) in an RNN, (H, 3 H) in a GRU and (H, 4 H) in an LSTM.
    """
    for kind, cell in CELLS.items():
        if names.keys() & set(cell.extra_names):
            return kind
    entry = tensors.entries.get(names["W_hh"])
    H, *widths = layout.turned(entry.shape) if entry and entry.shape else (0,)
    return next((kind for kind, cell in CELLS.items() if widths == [cell.gates * H]), "")


def default_settings(cell: str) -> Mapping[str, Any]:
    """Return the settings that a cell has if nothing is said."""
    none = np.empty(0)
    return CELLS[cell](Weights(none, none, none)).settings


def checked_sizes(tensors: Tensors, layer: LayerSpec) -> tuple[int, int] | None:
    """Check types and shapes of a layer's tensors before any is read.

    Return how many values a recurrent layer takes and one direction gives at
    a step; a layer without state checks shapes itself.
    """
    for name in layer.tensors.values():
        _check_entry(tensors, name, layer.tensors)
    if not layer.cells:
        return None
    sizes = [_checked_cell(tensors, cell) for cell in layer.cells]
    forward, backward = (cell.tensors["W_xh"] for cell in (layer.cells[0], layer.cells[-1]))
    expected, got = tensors.entries[forward].shape, tensors.entries[backward].shape
    if got != expected:
        because = f"as {shown(forward)} has it forward"
        raise InputError(
            tensors.place(backward), f"expected shape {expected} backward too, {because}, got {got}"
        )
    if sizes[0] != sizes[-1]:
        place = tensors.place(layer.cells[-1].tensors["W_hh"])
        what = f"expected {sizes[0][1]} values a step backward too, as forward, got {sizes[-1][1]}"
        raise InputError(place, what)
    return sizes[0]


def with_overrides(
    tensors: Tensors,
    layers: Sequence[LayerSpec],
    sizes: Sequence[tuple[int, int] | None],
    overrides: Mapping[str, Any],
) -> list[LayerSpec]:
    """Fill in what the caller says where the file is silent.

    Parameters
    ----------
    tensors : Tensors
    layers : sequence of LayerSpec
        The bottom one first.
    sizes : sequence of pairs of int or None
        Of each layer, as `checked_sizes` returns them.
    overrides : mapping
        ``direction`` and ``merge`` of every layer; lists of settings of
        cells: one for all, one a layer, or one a cell.

    Raises
    ------
    InputError
        The two differ, no cell has such a setting, or the layers do not fit
        each other.
    """
    given = _given(tensors.path, layers, overrides)
    done = []
    for number, (layer, size, above) in enumerate(
        zip(layers, sizes, [*sizes[1:], None], strict=True), start=1
    ):
        if size is None:
            done.append(layer)
            continue
        place, H, taken = f"{tensors.path}: layer {number}", size[1], above[0] if above else None
        settings = _layer_settings(place, layer, H, taken, overrides)
        cells = tuple(
            cell._replace(settings=_agreed(place, cell.settings, next(given)))
            for cell in layer.cells
        )
        width = merged_size(H, settings["direction"], settings.get("merge", "concat"))
        if taken not in (None, width):
            raise InputError(
                tensors.place(layers[number].cells[0].tensors["W_xh"]),
                f"expected an input size of {width}, as the layer below gives so many values a "
                f"step, got {taken}",
            )
        done.append(layer._replace(cells=cells, settings=settings))
    return done


def assumptions(layers: Sequence[LayerSpec]) -> list[str]:
    """Return a sentence for each thing that nothing tells of complete layers."""
    silent = {
        name
        for layer in layers
        for cell in layer.cells
        for name in default_settings(cell.cell).keys() - cell.settings.keys()
    }
    found = [f"{sentence} (`{name}`)" for name, sentence in _ASSUMED.items() if name in silent]
    if any(len(layer.cells) == 2 and "merge" not in layer.settings for layer in layers):
        found.append("does not say how directions are merged: concat is taken (`merge`)")
    return found


def build(
    tensors: Tensors, layers: Sequence[LayerSpec]
) -> tuple[Network, list[tuple[Floats, ...]]]:
    """Read the weights of layers that have been checked; return the biases beside the network.

    Raises
    ------
    ValueError
        A value is not finite, or the file is damaged.
    """
    cells = [cell for layer in layers for cell in layer.cells]
    named = [*(layer.tensors for layer in layers), *(cell.tensors for cell in cells)]
    arrays = tensors.floats([name for names in named for name in names.values()])
    made: list[Layer] = []
    biases = []
    for number, layer in enumerate(layers, start=1):
        built: list[Cell] = []
        for cell in layer.cells:
            weights, both = _weights(tensors, cell, arrays)
            built.append(CELLS[cell.cell](weights, **cell.settings))
            biases.append(both)
        if built:
            made.append(Recurrent(*built, **layer.settings))
            continue
        own = {role: arrays[name] for role, name in layer.tensors.items()}
        try:
            made.append(LAYERS[layer.kind](**own, **layer.settings))
        except ValueError as error:
            raise InputError(f"{tensors.path}: layer {number}", str(error)) from error
    try:
        return Network(*made), biases
    except ValueError as error:  # where one of the layers has no state
        raise InputError(tensors.path, str(error)) from error


def both_biases(weights: Weights) -> tuple[Floats, Floats]:
    """Split the bias of a cell into two: all but `b_n` is the input's.

    The state's is -0.0 elsewhere, which changes no bit of the sum.
    """
    b_h, b_n = weights.b_h, weights.b_n
    if b_n is None:
        return b_h, np.full_like(b_h, -0.0)
    return b_h, np.concatenate([np.full(len(b_h) - len(b_n), -0.0, b_n.dtype), b_n])


def name_of(part: Cell | Layer) -> str:
    """Return the name that files have for a cell or a layer without state; empty without one."""
    named: dict[str, type] = {**CELLS, **LAYERS}
    return next((name for name, kind in named.items() if type(part) is kind), "")


def check_named(network: Network) -> None:
    """Check that files have a name for each of a network's layers and cells.

    Raises
    ------
    ValueError
        They have none for one of them.
    """
    for number, layer in enumerate(network.layers, start=1):
        for part in layer.cells or [layer]:
            if not name_of(part):
                what = f"files have no name for {type(part).__name__}"
                raise ValueError(f"layer {number}: {what}")


def _ordered(array: Floats, order: Sequence[int]) -> Floats:
    if not order:
        return array
    gates = np.split(array, len(order), axis=-1)
    return np.concatenate([gates[place] for place in order], axis=-1)


def _checked_cell(tensors: Tensors, cell: CellSpec) -> tuple[int, int]:
    for name in cell.tensors.values():
        _check_entry(tensors, name, cell.tensors)
    shapes = {role: tensors.entries[name].shape for role, name in cell.tensors.items()}
    turned = cell.layout.turned
    gates = [each.gates for kind, each in CELLS.items() if cell.cell in (kind, "")]
    P, width = turned(shapes["W_hh"]) if len(shapes["W_hh"]) == 2 else (0, 0)
    H = width // gates[0]
    if not cell.cell or P < 1 or H < 1 or width != gates[0] * (H if "W_hr" in shapes else P):
        rows = "P" if "W_hr" in shapes else "H"
        fitting = " or ".join(
            "({}, {})".format(*turned((rows, "H" if G == 1 else f"{G} H"))) for G in gates
        )
        place = tensors.place(cell.tensors["W_hh"])
        raise InputError(place, f"expected shape {fitting}, got {shapes['W_hh']}")
    because = f"as {shown(cell.tensors['W_hh'])} is {shapes['W_hh']}"
    I, columns = turned(shapes["W_xh"]) if len(shapes["W_xh"]) == 2 else (0, 0)
    if I < 1 or columns != width:
        shape = "({}, {})".format(*turned(("I", width)))
        hint = " (transposed?)" if width == I else ""
        raise InputError(
            tensors.place(cell.tensors["W_xh"]),
            f"expected shape {shape}, {because}, got {shapes['W_xh']}{hint}",
        )
    expected = weight_shapes(I, H, gates[0], P) | extra_shapes(H, P)
    expected |= {"b_x": (width,), "b_r": (width,), "b_xr": (2, width)}
    for role, got in shapes.items():
        if turned(got) != expected[role]:
            what = f"expected shape {turned(expected[role])}, {because}, got {got}"
            raise InputError(tensors.place(cell.tensors[role]), what)
    return I, P


def _check_entry(tensors: Tensors, name: str, others: Mapping[str, str]) -> None:
    """Check that a tensor is there, and of floats."""
    if name not in tensors.entries:
        beside = [other for other in others.values() if other in tensors.entries]
        with_what = ", ".join(shown(tensors.prefix + other) for other in beside)
        missing = shown(tensors.prefix + name)
        what = f"has no {missing}, which goes with {with_what or 'the layers that it has'}"
        raise InputError(tensors.path, what)
    dtype = tensors.entries[name].dtype
    if dtype not in FLOATS:
        raise InputError(tensors.place(name), f"expected floats ({', '.join(FLOATS)}), got {dtype}")


def _given(
    path: str, layers: Sequence[LayerSpec], overrides: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Return what the caller says of each cell, layer by layer."""
    layers = [layer for layer in layers if layer.cells]
    cells = [(number, cell) for number, layer in enumerate(layers) for cell in layer.cells]
    given: list[dict[str, Any]] = [{} for _ in cells]
    for name in overrides.keys() - {"direction", "merge"}:
        having = [kind for kind in CELLS if name in default_settings(kind)]
        if not any(cell.cell in having for _, cell in cells):
            kinds = " or ".join(CELLS[kind].__name__ for kind in having)
            raise InputError(path, f"has no {kinds}", f"leave `{name}` out")
        values = overrides[name]
        if len(values) not in (1, len(layers), len(cells)):
            expected = f"expected 1, {len(layers)} (one a layer) or {len(cells)} (one a cell)"
            raise InputError(path, f"`{name}`: {expected}, got {len(values)}")
        for place, (number, cell) in enumerate(cells):
            if cell.cell in having:
                which = {1: 0, len(layers): number, len(cells): place}[len(values)]
                given[place][name] = values[which]
    return iter(given)


def _layer_settings(
    place: str, layer: LayerSpec, H: int, taken: int | None, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """Complete the settings of a layer; `taken` is the input size of the one above, if any."""
    known, given = dict(layer.settings), {"direction", "merge"} & overrides.keys()
    two = len(layer.cells) == 2
    if not two:
        given -= {"merge"}
    elif "merge" not in known and taken == 2 * H:
        known["merge"] = "concat"
    elif "merge" not in known and taken == H and overrides.get("merge", "concat") == "concat":
        raise InputError(
            place,
            f"the layer above takes {taken} values a step, as many as one direction gives, so the "
            "two are not concatenated",
            f"give `merge`, one of {_NARROW}",
        )
    settings = _agreed(place, known, {name: overrides[name] for name in given})
    if not two and settings.get("direction") == "bidirectional":
        hint = " `direction` bidirectional was given: leave it out"
        raise InputError(place, "the file holds one direction,", hint)
    return {"direction": "forward"} | settings


def _agreed(place: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the file says, and else what is given."""
    for name in known.keys() & given.keys():
        if known[name] != given[name]:
            text = "none" if known[name] == inf else known[name]
            hint = f" `{name}` {given[name]} was given: leave it out"
            raise InputError(place, f"the file says {name} {text},", hint)
    return {**given, **known}


def _weights(
    tensors: Tensors, cell: CellSpec, arrays: Mapping[str, Floats]
) -> tuple[Weights, tuple[Floats, ...]]:
    """Make the weights of a cell of a file's arrays; return its biases beside them."""
    ours = {role: cell.layout.ours(arrays[name], cell.cell) for role, name in cell.tensors.items()}
    parts = [*ours.pop("b_xr", ()), *(ours.pop(role) for role in BIASES if role in ours)]
    W_hh = ours["W_hh"]
    H = W_hh.shape[1] // CELLS[cell.cell].gates
    if not parts:
        return Weights(**ours, b_h=np.zeros(W_hh.shape[1], W_hh.dtype)), ()
    total, *others = parts
    for other in others:
        if cell.cell == "gru" and cell.settings.get("reset") != "before":
            # r multiplies this part; in the sum, -0.0 changes no bit.
            ours["b_n"] = other[-H:]
            other = np.concatenate([other[:-H], np.full(H, -0.0, other.dtype)])
        with np.errstate(over="ignore"):
            total = total + other
        if not np.isfinite(total).all():
            first = cell.tensors.get("b_x")
            what = f"the sum {f'with {shown(first)}' if first else 'of its rows'} is not finite"
            raise InputError(tensors.place(cell.tensors["b_r" if first else "b_xr"]), what)
    return Weights(**ours, b_h=total), tuple(parts)
