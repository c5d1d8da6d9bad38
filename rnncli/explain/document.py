"""Explained steps as one JSON document.

::

    {"model": as rnn run has it,
     "steps": [{"key": {column: value} with keys, "t", "x": [numbers],
                "note": where a model gives one row a sequence and this is not it,
                "masked": true at a row that is no step; it has no layers,
                "layers": [{"layer": from 1, "title", "kind": "rnn", "lstm", "gru",
                            "dense", ..., "input": [numbers],
                            "cells": [{"direction", "state": {"h": [numbers], ...},
                                       "t" and "input" of a backward cell that
                                       ended at another step,
                                       "quantities": [QUANTITY]}],
                            "merge": of two directions, "output": [numbers]}],
                "h": [numbers], "y": [numbers] of a head}]}

A layer without state has one cell, without direction and state. If it
multiplies or divides each value, these stand in "arrays". A QUANTITY::

    {"name": "i_t", "equation",
     "terms": [{"name", "values": [H numbers]}],
     "sum": [numbers], "function", "clip": if there is one,
     "values": [numbers], "saturated": [units],
     "of_unit": [{"name", "value", "left" and "weight" of a product}]}

A sum, a function and saturated units stand only where a function is applied;
the values are the sum of the terms elsewhere. The last quantity of a cell is
h_t, that of a layer without state y_t. With `unit` there are the layer and the
cells that have it; the quantities are of this unit alone, and "of_unit" has
every single term of their sums, the largest first.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, isinf
from typing import Any, TextIO

import numpy as np

from rnncli.explain.quantities import Quantity, Single
from rnncli.explain.steps import ExplainedCell, ExplainedLayer, Step
from rnncli.model.arrays import Floats
from rnncli.model.layers import Recurrent, name_of
from rnncli.model.network import Network
from rnncli.writers.digits import texts
from rnncli.writers.model import describe, layer_line


class Documents:
    """Makes items of a document of steps, with so many digits after the point."""

    def __init__(
        self,
        key_columns: Sequence[str] = (),
        keys: Sequence[tuple[str, ...]] = (),
        digits: int | None = None,
    ) -> None:
        self._key_columns, self._keys, self._digits = key_columns, keys, digits

    def step(self, step: Step) -> dict[str, Any]:
        """Return the item of a step."""
        item: dict[str, Any] = {}
        if step.key is not None and self._key_columns:
            item["key"] = dict(zip(self._key_columns, self._keys[step.key], strict=True))
        item |= {"t": step.t, "x": self._numbers(step.x)}
        if step.note:
            item["note"] = step.note
        if not step.layers:
            item["masked"] = True
        item |= {"layers": list(map(self._layer, step.layers)), "h": self._numbers(step.h)}
        return item if step.y is None else item | {"y": self._numbers(step.y)}

    def _layer(self, layer: ExplainedLayer) -> dict[str, Any]:
        merge = {"merge": layer.layer.settings["merge"]} if len(layer.cells) > 1 else {}
        return {
            "layer": layer.number,
            **described(layer.layer),
            "input": self._numbers(layer.input),
            "cells": list(map(self._cell, layer.cells)),
            **merge,
            "output": self._numbers(layer.output),
        }

    def _cell(self, cell: ExplainedCell) -> dict[str, Any]:
        given: dict[str, Any] = {name: self._numbers(array) for name, array in cell.given.items()}
        if cell.direction:
            given = {"direction": cell.direction, "state": given}
        elif given:
            given = {"arrays": given}
        if cell.input is not None:
            given |= {"t": cell.t, "input": self._numbers(cell.input)}
        return {**given, "quantities": list(map(self._quantity, cell.quantities))}

    def _quantity(self, quantity: Quantity) -> dict[str, Any]:
        terms = [{"name": t.name, "values": self._numbers(t.values)} for t in quantity.terms]
        item: dict[str, Any] = {"name": quantity.name, "equation": quantity.equation}
        item["terms"] = terms
        if quantity.sum is not None:
            item |= {"sum": self._numbers(quantity.sum), "function": str(quantity.function)}
        if not isinf(quantity.clip):
            item["clip"] = quantity.clip
        item["values"] = self._numbers(quantity.values)
        if quantity.saturated is not None:
            item["saturated"] = np.flatnonzero(quantity.saturated).tolist()
        if quantity.of_unit is not None:
            item["of_unit"] = list(map(self._single, quantity.of_unit))
        return item

    def _single(self, single: Single) -> dict[str, Any]:
        """Return a single term; what is not multiplied is its value alone."""
        name, *numbers = (value for value in single if value is not None)
        values = self._numbers(np.array(numbers))
        return {"name": name, **dict(zip(single._fields[1:], values, strict=False))}

    def _numbers(self, values: Floats) -> list[float | None]:
        """Return numbers that are written with these digits; null for those that JSON has not."""
        (row,) = texts(values[None], self._digits)
        return [n if isfinite(n) else None for n in map(float, row)]


def described(layer: Any) -> dict[str, str]:
    """Return the title and the kind of a layer."""
    model = describe(Network(layer), {}, "")
    if isinstance(layer, Recurrent):
        return {
            "title": layer_line({"layer": "recurrent", **model}),
            "kind": name_of(layer.cells[0]),
        }
    (only,) = model["layers"]
    return {"title": layer_line(only), "kind": only["layer"]}


def write_document(
    out: TextIO, model: Mapping[str, Any], steps: Iterable[Mapping[str, Any]]
) -> None:
    """Write one document; if the run fails, the steps before it and ``error``."""
    out.write(f'{{"model": {json.dumps(model)},\n"steps": [')
    begin = ""
    try:
        for step in steps:
            out.write(f"{begin}{json.dumps(step, allow_nan=False)}")
            begin = ",\n"
    except ValueError as error:
        out.write(f'],\n"error": {json.dumps(str(error))}}}\n')
        raise
    out.write("]}\n")
