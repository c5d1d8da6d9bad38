"""Explained steps as JSON, or as text: the equations, and the numbers in them below each unit."""

import json
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, TextIO

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.explanation.quantities import Quantity, Term
from rnncli.explanation.steps import ExplainedCell, ExplainedLayer, Step
from rnncli.explanation.units import Unit
from rnncli.model.activations import NEAR_END
from rnncli.model.arrays import Floats
from rnncli.model.description import model_line
from rnncli.model.errors import word
from rnncli.writers.digits import texts
from rnncli.writers.grid import GAP, Column, draw, ends_shown, with_gaps, write_text

# On a terminal a wider layer shows only its first and last units.
WIDE, SHOWN_AT_ENDS = 16, 6


def as_json(record: Any, digits: int | None = None) -> Any:
    """Convert a record for JSON, without fields that are None and without matrices of weights."""
    if isinstance(record, np.ndarray):
        (row,) = texts(record[None], digits)
        return [n if isfinite(n) else None for n in map(float, row)]
    if isinstance(record, list):
        return [as_json(each, digits) for each in record]
    fields = record._asdict() if hasattr(record, "_asdict") else record
    if not isinstance(fields, Mapping):
        return fields
    return {
        name: as_json(value, digits)
        for name, value in fields.items()
        if value is not None and getattr(value, "ndim", 1) == 1
    }


def write_json(out: TextIO, model: Mapping[str, Any], steps: Iterable[Mapping[str, Any]]) -> None:
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


class Report:
    """Steps one below the other."""

    def __init__(self, out: TextIO, digits: int | None = None, unit: Unit | None = None) -> None:
        self.out, self.digits, self.unit = out, digits, unit
        self.names: Sequence[str | int] = ()  # of columns; a number where one has no name
        self.marked = self.cut = False

    def write(self, model: Mapping[str, Any], steps: Iterable[Step]) -> None:
        """Write what was run, each step, and what marks mean."""
        self.names = model.get("columns", ())
        self._text(model_line(model))
        for step in steps:
            self._step(step)
        precision = PRECISIONS[model.get("precision", "float32")]
        notes = []
        if precision.rounds:
            rounded = f"takes both sides rounded to {precision.mantissa} bits."
            notes.append(f"{precision.name}: each product (@) {rounded}")
        if self.marked:
            notes.append(f"* saturated: within {NEAR_END} of an end of its function.")
        if self.digits is not None:
            notes.append(f"Rounded to {self.digits} digits after the point (`digits`).")
        if self.cut:
            ends = f"Only the first and last {SHOWN_AT_ENDS} are shown"
            notes.append(f"{ends}: `unit` shows one, `output` FILE all.")
        if notes:
            self.out.write("\n")
        for note in notes:
            self._text(word(note), "italic")

    def _step(self, step: Step) -> None:
        key = ", ".join(map(" ".join, (step.key or {}).items()))
        self._text(f"\n{key}: t = {step.t}" if key else f"\nt = {step.t}")
        if step.note:
            self._text(step.note, "italic")
        self._vector("x_t", step.x, self.names)
        for name, values in (("h_t", step.h), ("y_t", step.y)):
            if not step.layers and values is not None:
                self._vector(name, values)
        for layer in step.layers:
            if len(step.layers) > 1 or self.unit:
                unit = f"Unit {self.unit.name} of layer" if self.unit else "Layer"
                sources = layer.sources or [layer.layer - 1]
                below = " and ".join(f"layer {k}" if k else "the input" for k in sources)
                self._text(f"\n{unit} {layer.layer}: {layer.title}, x_t from {below}")
            for cell in layer.cells:
                self._cell(layer, cell)
            if layer.merge and len(layer.cells) > 1:
                self._text(f"\nh_t = {layer.merge} of forward h_t and backward h_t")
                names = [f"unit {j}" for j in range(len(layer.output))]
                self._table(["h_t"], [[*texts(layer.output, self.digits)]], names)

    def _vector(self, name: str, values: Floats, names: Sequence[str | int] = ()) -> None:
        """Write values after each other, by their names if they have any."""
        shown = self._shown(len(values))
        cells = texts(values, self.digits, "missing")
        for j, column in enumerate(names):
            cells[j] = f"{column} {cells[j]}" if isinstance(column, str) else cells[j]
        row = with_gaps((cells[j] for j in shown if j is not None), shown)
        self._text(f"{name} = {', '.join(row)}", "cyan")

    def _cell(self, layer: ExplainedLayer, cell: ExplainedCell) -> None:
        x, *rest = cell.inputs.items()
        if layer.merge or cell.t:
            unit = f", unit {self.unit.column}" if self.unit else ""
            at = f", final state: t = {cell.t}" if cell.t else ""
            self._text(f"\n{str(cell.direction).capitalize()}{unit}{at}")
        if cell.t:
            self._vector(*x, self.names if layer.layer == 1 else ())
        for name, values in () if self.unit else rest:
            self._vector(name, values)
        for quantity in cell.quantities:
            self._quantity(quantity, "unit " if cell.direction else "y_")

    def _quantity(self, quantity: Quantity, unit: str) -> None:
        """Write an equation, and a table of its terms and what they make."""
        terms, named = quantity.terms, quantity.name != quantity.equation
        factors = bool(self.unit) and any(term.left is not None for term in terms)
        rows = [*terms] if factors or len(terms) > 1 or (quantity.function and named) else []
        if len(terms) > 1 and quantity.sum is not None:
            rows.append(Term("sum", quantity.sum))
        rows.append(Term(quantity.name, quantity.values))
        cells = list[list[str]]()
        for _, values, left, right in rows:
            cells.append([])
            for array in (left, right, values) if factors else (values,):
                cells[-1] += [""] if array is None else texts(array, self.digits)
        for j in quantity.saturated or ():
            cells[-1][j + 2 * factors] += "*"
            self.marked = True
        if named:
            self._text(f"\n{quantity.name} = {quantity.equation}")
        names = [f"{unit}{j}" for j in range(len(quantity.values))]
        if self.unit:
            names = ["left", "right", "product"] if factors else ["value"]
        self._table([row.name for row in rows], cells, names)

    def _table(self, labels: list[str], rows: list[list[str]], names: Sequence[str]) -> None:
        """Draw a row for each label, with columns by their names."""
        columns = []
        for j in self._shown(len(names)):
            name = GAP if j is None else names[j]
            columns.append(Column(name, [GAP if j is None else row[j] for row in rows]))
        draw(self.out, "", [Column("", labels, "dim")], columns)

    def _shown(self, size: int) -> list[int | None]:
        """Choose the values that are shown; None for those left out between."""
        shown = ends_shown(self.out, size, WIDE, SHOWN_AT_ENDS)
        self.cut |= None in shown
        return shown

    def _text(self, text: str, style: str = "bold") -> None:
        """Write text on as many lines as it takes."""
        if text.startswith("\n"):
            self.out.write("\n")
        write_text(self.out, text.lstrip("\n"), style, wrap=True)
