"""One unit of a step: every single term of its sums."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rnncli.engine.run import c_size
from rnncli.explain.quantities import Quantity, Single, Term
from rnncli.explain.steps import ExplainedCell, ExplainedLayer, Step
from rnncli.model.errors import InputError, shown
from rnncli.model.layers import Layer
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
    """Find a unit by its number in the top recurrent layer, or by the name of its column."""
    found, layers, units = _NAME.fullmatch(name), network.layers, []
    array, top = (found and found[2]) or "h", len(layers) - network.head
    wanted = int((found and found[1]) or (len(layers) if array == "y" else top))
    for number, layer in reversed([*enumerate(layers, start=1)]):
        prefix = "" if number in (top, len(layers)) else f"layer_{number}_"
        sizes = {"h": layer.output_size, "c": c_size(layer)}
        for each, size in sizes.items() if layer.cells else [("y", layer.output_size)]:
            if found and (each, number) == (array, wanted) and int(found[3]) < size:
                return _unit(layer, number, array, int(found[3]), size)
            first, last = (f"{prefix}{each}_{place}" for place in (0, size - 1))
            units += [first if size == 1 else f"{first} to {last}"] if size else []
    raise InputError("", f"there is no unit {shown(name)}", f"`unit` takes {', '.join(units)}")


def _unit(layer: Layer, number: int, array: str, place: int, size: int) -> Unit:
    """Find the cell of a unit: both, where a merge adds or multiplies their states."""
    cell: int | None = 0
    name = f"{array}_{place}"
    if len(layer.cells) > 1:
        apart = array == "c" or layer.settings["merge"] == "concat"
        cell, place = divmod(place, size // 2) if apart else (None, place)
    return Unit(number, array, cell, place, name)


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
    """Yield the products that a term adds to the sum of a unit."""
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
