"""Explained steps for people: the equations, and the numbers in them below each unit."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isinf
from textwrap import wrap
from typing import Any, NamedTuple, TextIO

import numpy as np

from rnncli.explain.document import NEAR, described, saturated
from rnncli.explain.quantities import Quantity
from rnncli.explain.steps import ExplainedCell, ExplainedLayer, Step
from rnncli.model.arrays import Floats
from rnncli.model.errors import printable
from rnncli.writers.digits import texts_with_gaps
from rnncli.writers.grid import GAP, console_on, lines_beside
from rnncli.writers.model import model_line

# On a terminal a wider layer shows only its first and last units.
WIDE, SHOWN_AT_ENDS = 16, 6
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
    """A line of a table: a label and the text below each unit, a rule, or an equation.

    Parameters
    ----------
    label : str
    cells : list of str, optional
        None of an equation.
    style : str
        How Rich paints it.
    """

    label: str
    cells: list[str] | None = None
    style: str = ""
    rule: bool = False


class Report:
    """Steps on a stream, one below the other.

    Parameters
    ----------
    out : text stream
    names : sequence of str
        Of the features; none where they are not named.
    keys : sequence of tuples of str
        The key of each sequence; it grows as they come.
    digits : int, optional
        Digits after the point; by default as many as read back to the same.
    worded : callable
        Shows parameters between backticks as the user knows them.
    """

    def __init__(
        self,
        out: TextIO,
        names: Sequence[str] = (),
        keys: Sequence[tuple[str, ...]] = (),
        digits: int | None = None,
        worded: Callable[[str], str] = str,
    ) -> None:
        self._out, self._names, self._keys = out, names, keys
        self._digits, self._worded = digits, worded
        self._console = console_on(out)
        self._marked = self._cut = False

    def write(self, model: Mapping[str, Any], steps: Iterable[Step]) -> None:
        """Write what was run, each step, and what marks mean."""
        self._wrapped(model_line(model), EQUATION)
        for step in steps:
            self._step(step)
        if self._marked:
            self._note(f"{MARK} saturated: within {NEAR} of an end of its function.")
        if self._cut:
            self._note(
                f"Only the first and last {SHOWN_AT_ENDS} are shown: "
                "`unit` shows one, `output` FILE all."
            )

    def _step(self, step: Step) -> None:
        key = "" if step.key is None else f"{' '.join(self._keys[step.key])}: "
        self._print()
        self._print(f"{key}t = {step.t}", EQUATION)
        self._vector("x_t", step.x, self._names)
        if not step.layers:
            self._wrapped("The input has no step here: every state stays as it is.")
            self._vector("h_t", step.h)
        for layer in step.layers:
            self._layer(layer, several=len(step.layers) > 1)

    def _vector(self, name: str, values: Floats, names: Sequence[str] = ()) -> None:
        """Write values after each other, by their names if they have any."""
        cells = self._texts(values)
        if names:
            cells = [f"{name} {text}" for name, text in zip(names, cells, strict=True)]
        shown = _at(cells, self._shown(len(cells)))
        self._wrapped(f"{name} = {', '.join(shown)}", INPUT)

    def _layer(self, layer: ExplainedLayer, *, several: bool) -> None:
        if several:
            below = f", x_t is what layer {layer.number - 1} gives" if layer.number > 1 else ""
            title = described(layer.layer)["title"]
            self._print()
            self._wrapped(f"Layer {layer.number}: {title}{below}", EQUATION)
        for cell in layer.cells:
            if len(layer.cells) > 1:
                self._print()
                self._print(cell.direction.capitalize(), EQUATION)
            self._cell(cell)
        if len(layer.cells) > 1:
            self._merged(layer)

    def _cell(self, cell: ExplainedCell) -> None:
        before = {"": "", "backward": "_{t+1}"}.get(cell.direction, "_{t-1}")
        lines = [
            Line(f"{name}{before}", self._texts(values)) for name, values in cell.given.items()
        ]
        for quantity in cell.quantities:
            lines += self._quantity(quantity, first=not lines)
        self._table(lines, "unit " if cell.direction else "y_")

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
        equation = Line(f"h_t = {MERGED[merge]}", None, EQUATION)
        self._table([equation, Line("h_t", self._texts(layer.output), EQUATION)], "unit ")

    def _quantity(self, quantity: Quantity, *, first: bool) -> Iterator[Line]:
        if not first:
            yield Line("")
        if quantity.name != quantity.equation:
            yield Line(f"{quantity.name} = {quantity.equation}", None, EQUATION)
        several = len(quantity.terms) > 1
        if several or (quantity.sum is not None and quantity.name != quantity.equation):
            for term in quantity.terms:
                yield Line(term.name, self._texts(term.values))
            yield Line("", None, rule=True)
        if several and quantity.sum is not None:
            yield Line("sum", self._texts(quantity.sum))
        if quantity.sum is not None and not isinf(quantity.clip):
            limit = quantity.clip
            yield Line("clip(sum)", self._texts(np.clip(quantity.sum, -limit, limit)))
        units = saturated(quantity)
        values = self._texts(quantity.values)
        if units is not None and units.any():
            self._marked = True
            values = [
                f"{text}{MARK}" if at else text for text, at in zip(values, units, strict=True)
            ]
        yield Line(quantity.name, values, EQUATION)

    def _table(self, lines: Sequence[Line], name: str) -> None:
        """Draw lines below the units, as many side by side as fit."""
        shown = self._shown(max(len(line.cells) for line in lines if line.cells))
        rows = [[line.label, *_at(line.cells, shown)] for line in lines if line.cells]
        cells = "".join(f"{printable(cell)}\n" for row in rows for cell in row)
        names = ["", *(GAP if j is None else f"{name}{j}" for j in shown)]
        for heading, drawn in lines_beside(names, 1, cells, self._console.width):
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
                else:
                    self._wrapped(line.label, line.style)

    def _shown(self, size: int) -> list[int | None]:
        """Return which values are shown; None for those left out between."""
        if size <= WIDE or not self._out.isatty():
            return list(range(size))
        self._cut = True
        return [*range(SHOWN_AT_ENDS), None, *range(size - SHOWN_AT_ENDS, size)]

    def _texts(self, values: Floats) -> list[str]:
        (row,) = texts_with_gaps(values[None], "missing", self._digits)
        return row

    def _note(self, text: str) -> None:
        self._print()
        self._wrapped(self._worded(text), NOTE)

    def _wrapped(self, text: str, style: str = "") -> None:
        """Print text on as many lines as it takes; a product stays on one."""
        width = self._console.width
        whole = text.replace(" @ ", "\N{NO-BREAK SPACE}@\N{NO-BREAK SPACE}")
        lines = wrap(whole, width, subsequent_indent="    ", break_long_words=False)
        for line in lines or [""]:
            self._print(line.replace("\N{NO-BREAK SPACE}", " "), style)

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
