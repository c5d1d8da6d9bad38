"""Explained steps for people: the equations, and the numbers in them below each unit."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isinf
from textwrap import wrap
from typing import Any, NamedTuple, TextIO

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.explain.document import described
from rnncli.explain.quantities import Quantity, Single
from rnncli.explain.steps import ExplainedCell, ExplainedLayer, Step
from rnncli.explain.units import Unit
from rnncli.model.activations import NEAR_END
from rnncli.model.arrays import Floats
from rnncli.model.errors import printable
from rnncli.writers.digits import texts_with_gaps
from rnncli.writers.grid import GAP, console_on, lines_beside
from rnncli.writers.labels import in_words
from rnncli.writers.model import model_line

# On a terminal a wider layer shows only its first and last units.
WIDE, SHOWN_AT_ENDS = 16, 6
# Behind it no new line begins.
NO_BREAK = "\N{NO-BREAK SPACE}"
# Marks a unit at an end of its function.
MARK = "*"
EQUATION, LABEL, INPUT, NOTE, SATURATED = "bold", "dim", "cyan", "italic", "yellow"
# What a layer of two directions gives.
MERGED = {
    "sum": "forward h_t + backward h_t",
    "ave": "(forward h_t + backward h_t) / 2",
    "mul": "forward h_t times backward h_t",
}


class Line(NamedTuple):
    """A line of a table: a label and the text below each unit, a rule, or an equation."""

    label: str
    cells: list[str] | None = None  # None of an equation
    style: str = ""
    rule: bool = False


class Report:
    """Steps on a stream, one below the other, or `unit` of each alone.

    `names` are those of the features; `worded` shows parameters between
    backticks as the user knows them.
    """

    def __init__(
        self,
        out: TextIO,
        names: Sequence[str] = (),
        key_columns: Sequence[str] = (),
        keys: Sequence[tuple[str, ...]] = (),
        digits: int | None = None,
        unit: Unit | None = None,
        worded: Callable[[str], str] = str,
    ) -> None:
        self._out, self._names, self._unit = out, names, unit
        self._key_columns, self._keys = key_columns, keys
        self._digits, self._worded = digits, worded
        self._console = console_on(out)
        self._marked = self._cut = False

    def write(self, model: Mapping[str, Any], steps: Iterable[Step]) -> None:
        """Write what was run, each step, and what marks mean."""
        self._wrapped(model_line(model), EQUATION)
        for step in steps:
            self._step(step)
        notes = list(self._notes(model.get("precision", "float32")))
        if notes:
            self._print()
        for note in notes:
            self._wrapped(self._worded(note), NOTE)

    def _notes(self, precision: str) -> Iterator[str]:
        """Yield notes on the marks, roundings and cuts."""
        bits = PRECISIONS[precision].mantissa
        if bits is not None:
            yield f"{precision}: each product (@) takes both sides rounded to {bits} bits."
        if self._marked:
            yield f"{MARK} saturated: within {NEAR_END} of an end of its function."
        if self._digits is not None:
            yield f"Rounded to {self._digits} digits after the point (`digits`)."
        if self._cut and self._unit:
            yield "The smaller terms are added up: `output` FILE has each."
        elif self._cut:
            ends = f"Only the first and last {SHOWN_AT_ENDS} are shown"
            yield f"{ends}: `unit` shows one, `output` FILE all."

    def _step(self, step: Step) -> None:
        key = "" if step.key is None else in_words(self._key_columns, self._keys[step.key])
        self._print()
        self._print(f"{key}: t = {step.t}" if key else f"t = {step.t}", EQUATION)
        if step.note:
            self._wrapped(step.note, NOTE)
        self._vector("x_t", step.x, self._names)
        if not step.layers:
            self._wrapped("This row is masked: every state stays as it is.")
            self._vector("h_t", step.h)
            if step.y is not None:
                self._vector("y_t", step.y)
        for layer in step.layers:
            self._layer(layer, several=len(step.layers) > 1)

    def _vector(self, name: str, values: Floats, names: Sequence[str] = ()) -> None:
        """Write values after each other, by their names if they have any."""
        cells = self._texts(values, "missing")
        if names:
            cells = [f"{name} {text}" for name, text in zip(names, cells, strict=True)]
        shown = _at(cells, self._shown(len(cells)))
        self._wrapped(f"{name} = {', '.join(shown)}", INPUT)

    def _layer(self, layer: ExplainedLayer, *, several: bool) -> None:
        whole = layer.layer
        if several or self._unit:
            unit = f"Unit {self._unit.name} of layer" if self._unit else "Layer"
            below = f", x_t is what layer {layer.number - 1} gives" if layer.number > 1 else ""
            self._print()
            self._wrapped(f"{unit} {layer.number}: {described(whole)['title']}{below}", EQUATION)
        for cell in layer.cells:
            if len(whole.cells) > 1 or cell.t is not None:
                unit = f", unit {self._unit.place}" if self._unit else ""
                at = "" if cell.t is None else f", final state: t = {cell.t}"
                self._print()
                self._print(f"{cell.direction.capitalize()}{unit}{at}", EQUATION)
            if cell.input is not None:
                self._vector("x_t", cell.input, self._names if layer.number == 1 else ())
            self._cell(cell)
        if len(layer.cells) > 1:
            self._merged(layer)

    def _cell(self, cell: ExplainedCell) -> None:
        if self._unit:
            for quantity in cell.quantities:
                self._of_unit(quantity)
            return
        before = {"": "", "backward": "_{t+1}"}.get(cell.direction, "_{t-1}")
        lines = [
            Line(f"{name}{before}", self._texts(values)) for name, values in cell.given.items()
        ]
        for quantity in cell.quantities:
            lines += self._quantity(quantity, first=not lines)
        self._units(lines, "unit " if cell.direction else "y_")

    def _merged(self, layer: ExplainedLayer) -> None:
        """Write what becomes of the states of two directions."""
        merge, size = layer.layer.settings["merge"], len(layer.output) // 2
        if merge == "concat":
            self._print()
            self._wrapped(
                f"h_0 to h_{size - 1} of the layer are the forward units, "
                f"h_{size} to h_{2 * size - 1} the backward ones."
            )
            return
        name, text = "h_t", MERGED[merge]
        if first := next((cell.t for cell in layer.cells if cell.t is not None), None):
            name, text = "h", text.replace("backward h_t", f"backward h_{first}")
        equation = Line(f"{name} = {text}", None, EQUATION)
        lines = [equation, Line(name, self._texts(layer.output), EQUATION)]
        if self._unit:
            self._table(lines, ["value"])
        else:
            self._units(lines, "unit ")

    def _quantity(self, quantity: Quantity, *, first: bool) -> Iterator[Line]:
        """Return the lines of a quantity: its equation, its terms, a rule, and what they make."""
        if not first:
            yield Line("")
        if quantity.name != quantity.equation:
            yield Line(f"{quantity.name} = {quantity.equation}", None, EQUATION)
        if len(quantity.terms) > 1 or (quantity.function and quantity.name != quantity.equation):
            for term in quantity.terms:
                yield Line(term.name, self._texts(term.values))
            yield Line("", rule=True)
        yield from self._made(quantity)

    def _made(self, quantity: Quantity) -> Iterator[Line]:
        """Return the lines of a sum, and of what the function makes of it."""
        if quantity.sum is not None and len(quantity.of_unit or quantity.terms) > 1:
            yield Line("sum", self._texts(quantity.sum))
        if quantity.sum is not None and not isinf(quantity.clip):
            limit = quantity.clip
            yield Line("clip(sum)", self._texts(np.clip(quantity.sum, -limit, limit)))
        units = quantity.saturated
        values = self._texts(quantity.values)
        if units is not None and units.any():
            self._marked = True
            marks = np.where(units, MARK, "")
            values = [f"{text}{mark}" for text, mark in zip(values, marks, strict=True)]
        yield Line(quantity.name, values, EQUATION)

    def _of_unit(self, quantity: Quantity) -> None:
        """Draw the single terms of a quantity, below each other."""
        singles = quantity.of_unit or []
        lines = list(self._quantity(quantity, first=True))
        if any(single.left is not None for single in singles):
            made = [
                line._replace(cells=["", "", *(line.cells or [])]) for line in self._made(quantity)
            ]
            equations = [line for line in lines if line.label and not line.cells]
            lines = [*equations, *self._singles(singles), Line("", rule=True), *made]
        names = ["left", "right", "product"] if len(lines[-1].cells or []) > 1 else ["value"]
        self._table(lines, names)

    def _singles(self, singles: Sequence[Single]) -> Iterator[Line]:
        """Return the lines of single terms; on a terminal many small ones share the last."""
        whole = len(singles) <= WIDE or not self._out.isatty()
        shown = len(singles) if whole else WIDE
        for single in singles[:shown]:
            numbers = (single.left, single.weight, single.value)
            cells = ["" if n is None else self._texts(np.array([n]))[0] for n in numbers]
            yield Line(single.name, cells)
        if not whole:
            self._cut = True
            rest = np.sum([single.value for single in singles[shown:]], keepdims=True)
            yield Line(f"the other {len(singles) - shown}", ["", "", *self._texts(rest)])

    def _units(self, lines: Sequence[Line], name: str) -> None:
        """Draw lines with the values of units below each other."""
        shown = self._shown(max(len(line.cells) for line in lines if line.cells))
        names = [GAP if j is None else f"{name}{j}" for j in shown]
        each = (line._replace(cells=line.cells and _at(line.cells, shown)) for line in lines)
        self._table(list(each), names)

    def _table(self, lines: Sequence[Line], names: Sequence[str]) -> None:
        """Draw lines, as many columns side by side as fit; an only equation stands above them."""
        equations = [line for line in lines if not (line.cells or line.rule or not line.label)]
        if len(equations) == 1:
            self._print()
            self._equation(equations[0].label)
            lines = [line for line in lines if line is not equations[0]]
        rows = [[line.label, *line.cells] for line in lines if line.cells]
        cells = "".join(f"{printable(cell)}\n" for row in rows for cell in row)
        for heading, drawn in lines_beside(["", *names], 1, cells, self._console.width):
            begin = len(heading) - len(heading.lstrip())
            rule = "-" if self._console.options.ascii_only else "─"
            rule *= max(map(len, [heading, *drawn])) - begin
            each = iter(drawn)
            self._print()
            self._print(heading, LABEL)
            for line in lines:
                if line.cells:
                    self._print(next(each), line.style)
                elif line.rule:
                    self._print(f"{' ' * begin}{rule}", LABEL)
                elif line.label:
                    self._equation(line.label)
                else:
                    self._print()

    def _shown(self, size: int) -> list[int | None]:
        """Choose the values that are shown; None for those left out between."""
        if size <= WIDE or not self._out.isatty():
            return list(range(size))
        self._cut = True
        return [*range(SHOWN_AT_ENDS), None, *range(size - SHOWN_AT_ENDS, size)]

    def _texts(self, values: Floats, gap: str = "nan") -> list[str]:
        (row,) = texts_with_gaps(values[None], gap, self._digits)
        return row

    def _equation(self, text: str) -> None:
        """Print an equation; only behind a sign may a new line begin."""
        self._wrapped(re.sub("(?<![+=]) ", NO_BREAK, text), EQUATION)

    def _wrapped(self, text: str, style: str = "") -> None:
        """Print text on as many lines as it takes."""
        width = self._console.width
        lines = wrap(text, width, subsequent_indent="    ", break_long_words=False)
        for line in lines or [""]:
            self._print(line.replace(NO_BREAK, " "), style)

    def _print(self, text: str = "", style: str = "") -> None:
        from rich.text import Text

        line = Text(printable(text), style=style)
        line.highlight_regex(rf"\S+\{MARK}", SATURATED)
        with self._console.capture() as drawn:
            self._console.print(line, soft_wrap=True)
        self._console.file.write(drawn.get())


def _at(cells: Sequence[str], shown: Sequence[int | None]) -> list[str]:
    """Return the cells of some units; there may be fewer cells than units."""
    return [GAP if j is None else cells[j] if j < len(cells) else "" for j in shown]
