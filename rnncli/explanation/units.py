"""One unit of a step: every single term of its sums."""

import re
from typing import NamedTuple

import numpy as np

from rnncli.explanation.quantities import Quantity, Term
from rnncli.explanation.steps import ExplainedCell, Step
from rnncli.model.errors import InputError, listed, shown
from rnncli.model.network import Network

# Weights that are added, or multiplied value by value, and their gate.
_WEIGHTS = re.compile(r"\b(b_h|b_n|b|w_ch)\b(?:\[(\w)\])?")


class Unit(NamedTuple):
    """A value that a layer gives, or that the state of its cells holds."""

    layer: int  # its number, from 1
    array: str  # h, c or y
    cell: int | None  # which cell of the layer has it; None for each of them
    column: int  # in the array of the cell
    name: str  # within its layer

    def of_step(self, step: Step) -> Step:
        """Return a step with nothing but what makes this unit."""
        layers = []
        for layer in step.layers[self.layer - 1 : self.layer]:
            cells, output = layer.cells, layer.output[self.column : self.column + 1]
            if self.cell is not None:
                cells, output = [cells[self.cell]], layer.output
            layers = [layer._replace(cells=list(map(self._of_cell, cells)), output=output)]
        return step._replace(layers=layers)

    def _of_cell(self, cell: ExplainedCell) -> ExplainedCell:
        *rest, last = quantities = cell.quantities
        W = last.terms[0].right
        if rest and len(last.terms) == 1 and W is not None and W.ndim > 1:
            # A projection, which has other units than the gates.
            quantities = [last] if self.array == "h" else rest
        return cell._replace(quantities=[_of_unit(each, self.column) for each in quantities])


def find_unit(network: Network, name: str) -> Unit:
    """Find a unit by its number in the top recurrent layer, or by the name of its column."""
    top, units = len(network.layers) - network.head, dict[str, Unit]()
    for number, layer in enumerate(network.layers, start=1):
        sizes = {"h": layer.output_size, "c": layer.c_size}
        for array, size in sizes.items() if layer.cells else [("y", layer.output_size)]:
            split = array == "c" or layer.settings.get("merge") == "concat"
            for n in range(size):
                cell, column = divmod(n, size // len(layer.cells)) if split else (None, n)
                cell = 0 if len(layer.cells) < 2 else cell
                unit = Unit(number, array, cell, column, f"{array}_{n}")
                units[f"layer_{number}_{unit.name}"] = unit
                if number in (top, len(network.layers)):
                    units[unit.name] = unit
                if number == top and array != "c":
                    units[str(n)] = unit
    if name not in units:
        known = listed(each for each in units if each[:2] in ("h_", "c_", "y_"))
        gate, _, which = name.partition("_")
        names = [
            each for layer in network.layers for cell in layer.cells for each in cell.gate_names
        ]
        if gate in names and f"h_{which}" in units:
            raise InputError("", f"{name} is a gate", f"`unit` h_{which} shows it")
        raise InputError("", f"there is no unit {shown(name)}", f"`unit` takes {known}")
    return units[name]


def _of_unit(quantity: Quantity, column: int) -> Quantity:
    """Return a quantity of one unit, with a term for each product, in the order of the inputs."""
    terms, one = [], slice(column, column + 1)
    for name, values, left, right in quantity.terms:
        if left is None or right is None or right.ndim == 1:
            factors = () if left is None or right is None else (left[one], right[one])
            name = _WEIGHTS.sub(lambda m: f"{m[1]}[{m[2] + '_' if m[2] else ''}{column}]", name)
            terms.append(Term(name, values[one], *factors))
            continue
        vector, _, matrix = name.partition(" @ ")
        W, _, gate = matrix.rstrip("]").partition("[")
        label = f"{gate}_{column}" if gate else f"{column}"
        with np.errstate(all="ignore"):
            products = left * right[:, column]
        for k in range(len(left)):
            factors = (left[k : k + 1], right[k : k + 1, column])
            terms.append(Term(f"{vector}[{k}] {W}[{k}, {label}]", products[k : k + 1], *factors))
    total = None if quantity.sum is None else quantity.sum[one]
    saturated = quantity.saturated and [0 for unit in quantity.saturated if unit == column]
    return quantity._replace(
        terms=terms, values=quantity.values[one], sum=total, saturated=saturated
    )
