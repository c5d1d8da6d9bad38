"""What a hypothesis yields, and how it changes a case."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell
from rnncli.model.network import Network
from rnncli.verify.case import Case

# What an explanation is called, a case, and a result (N, T, O).
Tried: TypeAlias = tuple[str, Case, Floats]
Hypothesis: TypeAlias = Callable[[Case, Floats], Iterator[Tried]]

# change(number, cell): a cell as a mistake would make it, by its number in the
# network, the bottom layer first, forward before backward. Where the mistake
# changes nothing it is the same object.
Change: TypeAlias = Callable[[int, Cell], Cell]
# The same, where the number does not matter.
CellChange: TypeAlias = Callable[[Cell], Cell]


def cells_of(network: Network) -> list[Cell]:
    """Return the cells of a network, the bottom layer first, forward before backward."""
    return [cell for layer in network.layers for cell in layer.cells]


def with_cells(case: Case, change: Change, numbers: Sequence[int]) -> Case | None:
    """Change the cells of these numbers; None where that changes nothing."""
    cells = cells_of(case.network)
    changed = [change(n, cell) if n in numbers else cell for n, cell in enumerate(cells)]
    if all(new is old for new, old in zip(changed, cells, strict=True)):
        return None
    left = iter(changed)
    return case._replace(network=case.network.with_cells(lambda _: next(left)))


def all_cells(network: Network) -> Sequence[int]:
    """Return the numbers of all cells."""
    return range(len(cells_of(network)))


def parts(network: Network) -> Mapping[str, Sequence[int]]:
    """Return the numbers of the cells in each layer, each direction, and both, by what they are."""
    placed = [
        (f"layer {number}", f"the {direction} direction")
        for number, layer in enumerate(network.layers, start=1)
        for direction in layer.directions
    ]
    layers, directions = ({place[axis]: None for place in placed} for axis in (0, 1))
    names = [*layers] if len(layers) > 1 else []
    if len(directions) > 1:
        names += directions
    both = {" of ".join(place[::-1]): [n] for n, place in enumerate(placed)}
    found = {name: [n for n, place in enumerate(placed) if name in place] for name in names}
    return found | (both if len(layers) > 1 and len(directions) > 1 else {})


def with_layers(case: Case, numbers: Sequence[int]) -> Case:
    """Return a network of some of the layers, from 0, and the states before the first step.

    Raises
    ------
    ValueError
        They do not fit each other, or none is recurrent where the network gives
        one row a sequence.
    """
    before = case.network
    network = Network(*(before.layers[number] for number in numbers), last=before.last)
    h0 = np.empty((len(case.h0), network.state_size), case.h0.dtype)
    for number, cells in zip(numbers, network.state_slices, strict=True):
        for places, sources in zip(cells, before.state_slices[number], strict=True):
            for place, source in zip(places, sources, strict=True):
                h0[:, place] = case.h0[:, source]
    return case._replace(network=network, h0=h0)
