"""What a weight file says of its network, and what the command line adds where it is silent."""

from collections.abc import Iterator, Sequence
from math import inf
from typing import NamedTuple, TypeVar

from rnncli.model.activations import TANH, Activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN, Weights
from rnncli.model.formats.tensors import (
    NamedCell,
    NamedLayer,
    NamedNetwork,
    Tensors,
    check_layer,
    read_biases,
    read_weights,
)
from rnncli.model.layers import MERGES, Recurrent, merged_size
from rnncli.model.network import Network

T = TypeVar("T")

# Merges that give as many values as one direction.
_NARROW = ", ".join(name for name in MERGES if merged_size(1, "bidirectional", name) == 1)


class Given(NamedTuple):
    """What the command line says of a network; None where it says nothing.

    Parameters
    ----------
    activation : Activation or None
    direction, merge : str or None
        As for `Recurrent`, in every layer.
    clip : float or None
        As for `RNN`, in every cell.
    """

    activation: Activation | None = None
    direction: str | None = None
    merge: str | None = None
    clip: float | None = None


class SaidCell(NamedTuple):
    """What a file says of a cell; None where it says nothing.

    Parameters
    ----------
    weights : Weights
    names : NamedCell
        Of its tensors.
    place : str
        Of its input weights, for messages.
    biases : tuple of arrays
        Those that the file has, whose sum is the bias.
    activation : Activation or None
    clip : float or None
    """

    weights: Weights
    names: NamedCell
    place: str
    biases: tuple[Floats, ...] = ()
    activation: Activation | None = None
    clip: float | None = None


class SaidLayer(NamedTuple):
    """What a file says of a layer; None where it says nothing.

    Parameters
    ----------
    cells : tuple of SaidCell
    direction, merge : str or None
    """

    cells: tuple[SaidCell, ...]
    direction: str | None
    merge: str | None


class Said(NamedTuple):
    """What a file says of a network.

    Parameters
    ----------
    layers : sequence of SaidLayer
        The bottom one first.
    notes : sequence of str
        What was taken for granted to read so much.
    """

    layers: Sequence[SaidLayer]
    notes: Sequence[str] = ()


def read_said(tensors: Tensors, named: NamedNetwork) -> Said:
    """Read the weights of a network whose tensors have been found.

    Every shape is checked before anything is read.

    Raises
    ------
    ValueError
        A tensor is missing, of another type or shape, damaged, or holds a
        value that is not finite.
    """
    for layer in named.layers:
        check_layer(tensors, layer, named.transposed)
    layers = [_read_layer(tensors, layer, named.transposed) for layer in named.layers]
    return Said(layers, named.notes)


def settle(path: str, said: Said, given: Given) -> tuple[Network, list[str]]:
    """Put together what a file says and what is given beside it.

    Parameters
    ----------
    path : str
        Of the file, for messages.
    said : Said
    given : Given

    Returns
    -------
    network : Network
    assumed : list of str
        What neither says, and was taken for granted.

    Raises
    ------
    ValueError
        The two differ, or the layers do not fit each other.
    """
    layers: list[Recurrent] = []
    silent = {"activation": False, "merge": False}
    for number, layer in enumerate(said.layers, start=1):
        place = f"{path}: layer {number}"
        direction = _direction(place, layer, given.direction)
        above = said.layers[number] if number < len(said.layers) else None
        merge = _merge(place, direction, layer, above, given.merge)
        cells = [_cell(place, cell, given) for cell in layer.cells]
        silent["activation"] |= any(cell.activation is None for cell in layer.cells)
        silent["merge"] |= direction == "bidirectional" and merge is None
        layers.append(Recurrent(*cells, direction=direction, merge=merge or "concat"))
        if above is not None:
            _check_width(layers[-1], above)
    return Network(*layers), [*said.notes, *_assumed(path, silent, given)]


def _read_layer(tensors: Tensors, layer: NamedLayer, transposed: bool) -> SaidLayer:
    cells = (
        SaidCell(
            read_weights(tensors, cell, transposed),
            cell,
            tensors.place(cell.W_xh),
            read_biases(tensors, cell),
        )
        for cell in layer.cells
    )
    return SaidLayer(tuple(cells), layer.direction, layer.merge)


def _agreed(place: str, what: str, said: T | None, given: T | None) -> T | None:
    """Take what the file says, or else what is given.

    Raises
    ------
    ValueError
        They differ.
    """
    if said is not None and given is not None and said != given:
        text = "none" if said == inf else said
        raise ValueError(
            f"{place}: the file says {what} {text}, --{what} {given} was given: leave it out"
        )
    return given if said is None else said


def _direction(place: str, layer: SaidLayer, given: str | None) -> str:
    if len(layer.cells) == 1 and layer.direction is None and given == "bidirectional":
        raise ValueError(
            f"{place}: the file holds one direction, --direction bidirectional was given: "
            "leave it out"
        )
    return _agreed(place, "direction", layer.direction, given) or "forward"


def _merge(
    place: str, direction: str, layer: SaidLayer, above: SaidLayer | None, given: str | None
) -> str | None:
    """Settle how the directions are merged; None where nothing tells."""
    if direction != "bidirectional":
        return layer.merge or given
    said = layer.merge
    if said is None and above is not None:
        H, taken = len(layer.cells[0].weights.W_hh), len(above.cells[0].weights.W_xh)
        if taken == 2 * H:
            said = "concat"
        elif taken == H and given in (None, "concat"):
            raise ValueError(
                f"{place}: the layer above takes {taken} values a step, as many as one direction "
                f"gives, so the two are not concatenated: give --merge, one of {_NARROW}"
            )
    return _agreed(place, "merge", said, given)


def _cell(place: str, cell: SaidCell, given: Given) -> RNN:
    activation = _agreed(place, "activation", cell.activation, given.activation)
    clip = _agreed(place, "clip", cell.clip, given.clip)
    return RNN(cell.weights, activation or TANH, inf if clip is None else clip)


def _check_width(layer: Recurrent, above: SaidLayer) -> None:
    """Refuse a layer that does not take what the one below gives."""
    cell = above.cells[0]
    taken = len(cell.weights.W_xh)
    if taken != layer.output_size:
        raise ValueError(
            f"{cell.place}: expected an input size of {layer.output_size}, as the layer below "
            f"gives so many values a step, got {taken}"
        )


def _assumed(path: str, silent: dict[str, bool], given: Given) -> Iterator[str]:
    if silent["activation"] and given.activation is None:
        yield f"{path}: does not name the activation: tanh is taken (--activation)"
    if silent["merge"]:
        yield f"{path}: does not say how directions are merged: concat is taken (--merge)"
