"""Explained steps for people: the equations, and the numbers in them below each unit."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any, NamedTuple, TextIO

import numpy as np

from rnncli.engine.precision import PRECISIONS
from rnncli.explanation.quantities import Quantity
from rnncli.explanation.steps import ExplainedCell, ExplainedLayer, Step
from rnncli.explanation.units import Unit
from rnncli.model.activations import NEAR_END
from rnncli.model.arrays import Floats
from rnncli.model.errors import printable, word
from rnncli.writers.digits import texts
from rnncli.writers.grid import GAP, console_on, lines_beside
from rnncli.writers.model import model_line

# On a terminal a wider layer shows only its first and last units.
WIDE, SHOWN_AT_ENDS = 16, 6
NO_BREAK = "\N{NO-BREAK SPACE}"
EQUATION, LABEL, INPUT, NOTE, SATURATED = "bold", "dim", "cyan", "italic", "yellow"
# What a layer of two directions gives.
MERGED = {
    "concat": "forward h_t, backward h_t",
    "sum": "forward h_t + backward h_t",
    "ave": "(forward h_t + backward h_t) / 2",
    "mul": "forward h_t times backward h_t",
}


class Line(NamedTuple):
    """A line of a table: a label and the text below each unit, or an equation without cells."""

    label: str
    cells: list[str] | None = None
    style: str = ""


RULE, BLANK = Line("rule"), Line("")


class Report:
    """Steps one below the other."""

    def __init__(
        self,
        out: TextIO,
        names: Sequence[str] = (),
        digits: int | None = None,
        unit: Unit | None = None,
    ) -> None:
        self.names, self.digits, self.unit = names, digits, unit
        self.console, self.terminal = console_on(out), out.isatty()
        self.marked = self.cut = False

    def write(self, model: Mapping[str, Any], steps: Iterable[Step]) -> None:
        """Write what was run, each step, and what marks mean."""
        self._wrap(model_line(model), EQUATION)
        for step in steps:
            self._step(step)
        precision = PRECISIONS[model.get("precision", "float32")]
        rounded = f"takes both sides rounded to {precision.mantissa} bits."
        ends = f"Only the first and last {SHOWN_AT_ENDS} are shown: `unit` shows one"
        notes = {
            f"{precision.name}: each product (@) {rounded}": precision.rounds,
            f"* saturated: within {NEAR_END} of an end of its function.": self.marked,
            f"Rounded to {self.digits} digits after the point (`digits`).": self.digits is not None,
            f"{ends}, `output` FILE all.": self.cut,
        }
        if any(notes.values()):
            self._print()
        for note in filter(notes.get, notes):
            self._wrap(word(note), NOTE)

    def _step(self, step: Step) -> None:
        self._print()
        key = ", ".join(map(" ".join, (step.key or {}).items()))
        self._print(f"{key}: t = {step.t}" if key else f"t = {step.t}", EQUATION)
        if step.note:
            self._wrap(step.note, NOTE)
        self._vector("x_t", step.x, self.names)
        if not step.layers:
            self._vector("h_t", step.h)
            if step.y is not None:
                self._vector("y_t", step.y)
        for layer in step.layers:
            if len(step.layers) > 1 or self.unit:
                unit = f"Unit {self.unit.name} of layer" if self.unit else "Layer"
                below = f", x_t is what layer {layer.layer - 1} gives" if layer.layer > 1 else ""
                self._print()
                self._wrap(f"{unit} {layer.layer}: {layer.title}{below}", EQUATION)
            for cell in layer.cells:
                self._cell(layer, cell)
            if layer.merge and len(layer.cells) > 1:
                equation = Line(f"h_t = {MERGED[layer.merge]}", style=EQUATION)
                h_t = Line("h_t", self._texts(layer.output), EQUATION)
                self._table([equation, h_t], *(["value"] if self.unit else []))

    def _vector(self, name: str, values: Floats, names: Sequence[str] = ()) -> None:
        """Write values after each other, by their names if they have any."""
        cells = self._texts(values, "missing")
        if names:
            cells = [f"{name} {text}" for name, text in zip(names, cells, strict=True)]
        self._wrap(f"{name} = {', '.join(_at(cells, self._shown(len(cells))))}", INPUT)

    def _cell(self, layer: ExplainedLayer, cell: ExplainedCell) -> None:
        x, *others = cell.inputs.items()
        if layer.merge or cell.t:
            unit = f", unit {self.unit.place}" if self.unit else ""
            at = f", final state: t = {cell.t}" if cell.t else ""
            self._print()
            self._print(f"{str(cell.direction).capitalize()}{unit}{at}", EQUATION)
        if cell.t:
            self._vector(*x, self.names if layer.layer == 1 else ())
        if self.unit:
            for quantity in cell.quantities:
                lines = list(self._quantity(quantity))
                several = len(lines[-1].cells or ()) > 1
                self._table(lines, *(("left", "right", "product") if several else ("value",)))
            return
        lines = [Line(name, self._texts(values)) for name, values in others]
        for quantity in cell.quantities:
            lines += [*([BLANK] if lines else []), *self._quantity(quantity)]
        self._table(lines, unit="unit " if cell.direction else "y_")

    def _quantity(self, quantity: Quantity) -> Iterator[Line]:
        """Yield the lines of a quantity: its equation, its terms, a rule, and what they make."""
        terms, named = quantity.terms, quantity.name != quantity.equation
        factors = bool(self.unit) and any(term.left is not None for term in terms)
        if named:
            yield Line(f"{quantity.name} = {quantity.equation}", style=EQUATION)
        if factors or len(terms) > 1 or (quantity.function and named):
            for term in terms:
                each = [term.left, term.right, term.values] if factors else [term.values]
                texts = [[""] if values is None else self._texts(values) for values in each]
                yield Line(term.name, [text for row in texts for text in row])
            yield RULE
        before = ["", ""] if factors else []
        if quantity.sum is not None and len(terms) > 1:
            yield Line("sum", before + self._texts(quantity.sum))
        if quantity.sum is not None and quantity.clip:
            clipped = np.clip(quantity.sum, -quantity.clip, quantity.clip)
            yield Line("clip(sum)", before + self._texts(clipped))
        values = self._texts(quantity.values)
        for unit in quantity.saturated or ():
            values[unit] += "*"
            self.marked = True
        yield Line(quantity.name, before + values, EQUATION)

    def _table(self, lines: list[Line], *names: str, unit: str = "unit ") -> None:
        """Draw lines below names, or below each unit; an only equation stands above them."""
        if not names:
            shown = self._shown(max(len(line.cells) for line in lines if line.cells))
            names = tuple(GAP if j is None else f"{unit}{j}" for j in shown)
            lines = [line._replace(cells=line.cells and _at(line.cells, shown)) for line in lines]
        equations = [line for line in lines if not line.cells and line not in (RULE, BLANK)]
        if len(equations) == 1:
            self._print()
            self._equation(equations[0].label)
            lines = [line for line in lines if line is not equations[0]]
        rows = [[line.label, *line.cells] for line in lines if line.cells]
        cells = "".join(f"{printable(cell)}\n" for row in rows for cell in row)
        for heading, drawn in lines_beside(["", *names], 1, cells, self.console.width):
            begin = len(heading) - len(heading.lstrip())
            rule = "-" if self.console.options.ascii_only else "─"
            rule *= max(map(len, [heading, *drawn])) - begin
            each = iter(drawn)
            self._print()
            self._print(heading, LABEL)
            for line in lines:
                if line.cells:
                    self._print(next(each), line.style)
                elif line in (RULE, BLANK):
                    self._print(f"{' ' * begin}{rule}" if line == RULE else "", LABEL)
                else:
                    self._equation(line.label)

    def _shown(self, size: int) -> list[int | None]:
        """Choose the values that are shown; None for those left out between."""
        if size <= WIDE or not self.terminal:
            return list(range(size))
        self.cut = True
        return [*range(SHOWN_AT_ENDS), None, *range(size - SHOWN_AT_ENDS, size)]

    def _texts(self, values: Floats, gap: str = "nan") -> list[str]:
        return list(texts(values, self.digits, gap))

    def _equation(self, text: str) -> None:
        """Print an equation; only behind a sign may a new line begin."""
        self._wrap(re.sub("(?<![+=]) ", NO_BREAK, text), EQUATION)

    def _wrap(self, text: str, style: str = "") -> None:
        """Print text on as many lines as it takes."""
        width = self.console.width
        lines = wrap(text, width, subsequent_indent="    ", break_long_words=False)
        for line in lines or [""]:
            self._print(line.replace(NO_BREAK, " "), style)

    def _print(self, text: str = "", style: str = "") -> None:
        from rich.text import Text

        line = Text(printable(text), style=style)
        line.highlight_regex(r"\S+\*", SATURATED)
        with self.console.capture() as drawn:
            self.console.print(line, soft_wrap=True)
        self.console.file.write(drawn.get())


def _at(cells: Sequence[str], shown: Sequence[int | None]) -> list[str]:
    """Return the cells of some units; there may be fewer cells than units."""
    return [GAP if j is None else cells[j] if j < len(cells) else "" for j in shown]
