"""One page of HTML with all steps of a run: it needs no network, and no other file."""

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from functools import reduce
from html import escape
from importlib.resources import files
from string import Template
from typing import Any, TextIO

import numpy as np
from numpy.typing import ArrayLike

from rnncli.engine.precision import PRECISIONS, Precision
from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError, printable
from rnncli.model.layers import Dense
from rnncli.model.network import Network
from rnncli.writers.model import model_line

# Bytes of numbers that a page may have: a browser shows them without delay.
MOST_BYTES = 4_000_000


def most_steps(network: Network, precision: str) -> int:
    """Count the steps whose numbers a page can hold, if no two of them are equal.

    A cell has its products with the input and the state, and their activation.
    """
    cells = (cell for layer in network.layers for cell in layer.cells)
    numbers = network.input_size + 3 * sum(cell.weights.W_hh.shape[1] for cell in cells)
    return MOST_BYTES // int(numbers * PRECISIONS[precision].dtype.itemsize)


def write_page(out: TextIO, document: Mapping[str, Any], network: Network) -> None:
    """Write a page that shows every step.

    The numbers of all steps stand in it once, bit by bit, and compressed. Sums
    and products that follow from other numbers, rounded as the run rounds,
    are left out: the page computes them.
    """
    model = document["model"]
    precision = PRECISIONS[model["precision"]]
    dtype = precision.dtype.newbyteorder("<")
    numbers = _Numbers(dtype)
    steps = [numbers.placed(_shortened(step, precision)) for step in document["steps"]]
    columns = model.get("columns", ())
    names = [printable(str(column)) for column in columns]
    shown = {
        "single": dtype.itemsize == 4,
        **({} if all(isinstance(each, int) for each in columns) else {"columns": names}),
        "steps": steps,
        "unit": document.get("unit"),
        "weights": numbers.placed(_weights(network.converted(precision.convert))),
    }
    style, script, page = (
        files("rnncli.explain").joinpath(f"page.{kind}").read_text(encoding="utf-8")
        for kind in ("css", "js", "html")
    )
    out.write(
        Template(page).substitute(
            title=escape(model_line(model)),
            style=style,
            style_hash=_hash(style),
            script=script,
            script_hash=_hash(script),
            size=dtype.itemsize,
            numbers=_packed(numbers.planes()),
            steps=_packed(json.dumps(shown, separators=(",", ":")).encode()),
        )
    )


class _Numbers:
    """Rows of numbers: equal ones have one place."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._places: dict[bytes, int] = {}
        self._count = 0

    def placed(self, part: Any) -> Any:
        """Return a part of a document with the place of each row of numbers in its stead."""
        if isinstance(part, Mapping):
            return {printable(name): self.placed(value) for name, value in part.items()}
        if isinstance(part, np.ndarray):
            return self._place(part) if part.ndim == 1 else [self._place(row) for row in part]
        if isinstance(part, list):
            if part and all(isinstance(value, float) for value in part):
                return self._place(part)
            return [self.placed(value) for value in part]
        return printable(part) if isinstance(part, str) else part

    def _place(self, values: Any) -> dict[str, int]:
        row = np.asarray(values, self._dtype)
        at = self._places.setdefault(row.tobytes(), self._count)
        if at == self._count:
            self._count += len(row)
            size = self._count * self._dtype.itemsize
            if size > MOST_BYTES:
                what = f"a page holds {MOST_BYTES // 10**6} MB of numbers, these steps have more"
                raise InputError("", what, "choose fewer by `steps`, or write them as JSON")
        return {"at": at, "n": len(row)}

    def planes(self) -> bytes:
        """Return the first bytes of all numbers, then the second ones, and so on."""
        each = np.frombuffer(b"".join(self._places), np.uint8)
        return each.reshape(-1, self._dtype.itemsize).T.tobytes()


def _shortened(step: Mapping[str, Any], precision: Precision) -> dict[str, Any]:
    """Leave out the numbers of a step that follow from others by the names in its terms."""
    layers = []
    for layer in step["layers"]:
        cells = []
        for cell in layer["cells"]:
            before = "t+1" if cell.get("direction") == "backward" else "t-1"
            named = {"x_t": cell.get("input", layer["input"])}
            named |= {f"{name}_{{{before}}}": rows for name, rows in cell.get("state", {}).items()}
            named |= {quantity["name"]: quantity["values"] for quantity in cell["quantities"]}
            vectors = {name: np.asarray(row, precision.dtype) for name, row in named.items()}
            quantities = [_quantity(each, vectors, precision) for each in cell["quantities"]]
            cells.append({**cell, "quantities": quantities})
        layers.append({**layer, "cells": cells})
    return {**step, "layers": layers}


def _quantity(
    quantity: Mapping[str, Any], vectors: Mapping[str, Floats], precision: Precision
) -> dict[str, Any]:
    terms = [np.asarray(term["values"], precision.dtype) for term in quantity["terms"]]
    kept = dict(quantity)
    if "sum" in kept and _same(kept["sum"], reduce(np.add, terms)):
        del kept["sum"]
    return kept | {"terms": [_term(term, vectors, precision) for term in quantity["terms"]]}


def _term(
    term: Mapping[str, Any], vectors: Mapping[str, Floats], precision: Precision
) -> dict[str, Any]:
    values = np.asarray(term["values"], precision.dtype)
    factors = [vectors[name] for name in term["name"].split(" ") if name in vectors]
    product = len(factors) == 2 == len(term["name"].split(" "))
    if product and _same(values, factors[0] * factors[1]):
        return {"name": term["name"]}
    kept = {"name": term["name"], "values": values}
    if precision.rounds and " @ " in term["name"]:
        left = term["name"].split(" @ ")[0].removeprefix("(").removesuffix(")")
        kept["left"] = precision.operand(vectors[left])
    return kept


def _same(values: ArrayLike, others: Floats) -> bool:
    """Whether these are the same numbers, zeros with the same sign."""
    return np.asarray(values, others.dtype).tobytes() == others.tobytes()


def _weights(network: Network) -> list[list[dict[str, Floats]]]:
    """Return the matrices that each cell of each layer multiplies by, as terms name them."""
    found = []
    for layer in network.layers:
        matrices: list[dict[str, Floats]] = [{} for _ in layer.cells]
        for cell, of_cell in zip(layer.cells, matrices, strict=True):
            for name, array in cell.weights.arrays.items():
                if cell.gates > 1 and name in ("W_xh", "W_hh"):
                    blocks = zip(cell.gate_names, np.split(array, cell.gates, axis=1), strict=True)
                    of_cell |= {f"{name}[{gate}]": block for gate, block in blocks}
                elif array.ndim == 2:
                    of_cell[name] = array
        found.append(matrices or [{"W": layer.W} if isinstance(layer, Dense) else {}])
    return found


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode()


def _hash(text: str) -> str:
    """Hash a style or a script for a policy that runs no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
