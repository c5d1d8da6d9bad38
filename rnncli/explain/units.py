"""One unit of a step: every single term of its sums."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rnncli.engine.run import c_size
from rnncli.explain.quantities import Quantity, Single, Term
from rnncli.explain.steps import ExplainedCell, ExplainedLayer, Step
from rnncli.model.errors import InputError, shown
from rnncli.model.layers import Layer, Recurrent
from rnncli.model.network import Network

# As `rnn run` names its columns, or the number of a unit of the top recurrent layer.
_NAME = re.compile(r"(?:(?:layer_([1-9]\d*)_)?([hcy])_)?(\d+)", re.ASCII)
# The first letters of weights that are added, or multiplied value by value, and their gate.
_WEIGHTS = re.compile(r"\b(b_h|b_n|b|w_ch)\b(?:\[(\w)\])?")


class Unit(NamedTuple):
    """A value that a layer gives, or that the state of its cells holds."""

    layer: int  # its number, from 1
    array: str  # h, c or y
    cell: int | None  # which cell of the layer has it; None for each of them
    place: int  # in the array of the cell
    name: str  # within its layer

    def of_step(self, step: Step) -> Step:
        """Return a step with nothing but what makes this unit."""
        layers = [self._of_layer(each) for each in step.layers if each.number == self.layer]
        return step._replace(layers=layers)

    def _of_layer(self, layer: ExplainedLayer) -> ExplainedLayer:
        cells = layer.cells if self.cell is None else [layer.cells[self.cell]]
        layer = layer._replace(cells=list(map(self._of_cell, cells)))
        if self.cell is not None:
            return layer
        return layer._replace(output=layer.output[self.place : self.place + 1])

    def _of_cell(self, cell: ExplainedCell) -> ExplainedCell:
        *others, last = cell.quantities
        found = cell.quantities
        W = last.terms[0].weights
        if others and len(last.terms) == 1 and W is not None and W.ndim > 1:
            # A projection, which has other units than the gates.
            found = [last] if self.array == "h" else others
        return cell._replace(quantities=[_of_unit(each, self.place) for each in found])


def find_unit(network: Network, name: str) -> Unit:
    """Return a unit by its number in the top recurrent layer, or the name of its column."""
    found = _NAME.fullmatch(name)
    layers, top = network.layers, len(network.layers) - network.head
    if found:
        array = found[2] or "h"
        number = int(found[1] or (len(layers) if array == "y" else top))
        place = int(found[3])
        if number <= len(layers) and place < _size(layers[number - 1], array):
            return _unit(layers[number - 1], number, array, place)
    names = ", ".join(
        f"{name}0" if size == 1 else f"{name}0 to {name}{size - 1}"
        for name, size in unit_names(network)
    )
    raise InputError("", f"there is no unit {shown(name)}", f"`unit` takes {names}")


def _unit(layer: Layer, number: int, array: str, place: int) -> Unit:
    name = f"{array}_{place}"
    if len(layer.cells) < 2:
        return Unit(number, array, 0, place, name)
    size = _size(layer, array) // 2
    if array == "c" or layer.settings["merge"] == "concat":
        return Unit(number, array, place // size, place % size, name)
    return Unit(number, array, None, place, name)


def _size(layer: Layer, array: str) -> int:
    """Count the values of an array of a layer; 0 if it has none."""
    if not isinstance(layer, Recurrent):
        return layer.output_size if array == "y" else 0
    if array == "c":
        return c_size(layer)
    return layer.output_size if array == "h" else 0


def unit_names(network: Network) -> list[tuple[str, int]]:
    """Return what the units are called but for their numbers, and how many there are of each.

    The top layers come first: ``h_``, and ``layer_1_h_``.
    """
    below, found = len(network.layers) - network.head, []
    for number, layer in reversed([*enumerate(network.layers, start=1)]):
        prefix = "" if number in (below, len(network.layers)) else f"layer_{number}_"
        sizes = {f"{prefix}{array}_": _size(layer, array) for array in "hcy"}
        found += [(name, size) for name, size in sizes.items() if size]
    return found


def _of_unit(quantity: Quantity, place: int) -> Quantity:
    """Return a quantity of one unit, with every single term of its sum, the largest first."""
    one = slice(place, place + 1)
    singles = [single for term in quantity.terms for single in _singles(term, place)]
    return quantity._replace(
        terms=[term._replace(values=term.values[one]) for term in quantity.terms],
        values=quantity.values[one],
        sum=None if quantity.sum is None else quantity.sum[one],
        of_unit=sorted(singles, key=lambda single: -abs(single.value)),
    )


def _singles(term: Term, place: int) -> Iterator[Single]:
    """Return what a term adds to the sum of a unit, one product at a time."""
    if term.left is None or term.weights is None:
        yield Single(_indexed(term.name, place), term.values[place])
    elif term.weights.ndim == 1:
        left, weight = term.left[place], term.weights[place]
        yield Single(_indexed(term.name, place), term.values[place], left, weight)
    else:
        left_name, _, right = term.name.partition(" @ ")
        name, _, gate = right.rstrip("]").partition("[")
        column = f"{gate}_{place}" if gate else f"{place}"
        weights = term.weights[:, place]
        with np.errstate(all="ignore"):
            products = term.left * weights
        for k, (left, weight, value) in enumerate(zip(term.left, weights, products, strict=True)):
            yield Single(f"{left_name}[{k}] {name}[{k}, {column}]", value, left, weight)


def _indexed(name: str, place: int) -> str:
    """Return the name of a term with the place of the unit: ``b_h[i_2]``."""

    def with_place(found: re.Match[str]) -> str:
        gate = f"{found[2]}_" if found[2] else ""
        return f"{found[1]}[{gate}{place}]"

    return _WEIGHTS.sub(with_place, name)
