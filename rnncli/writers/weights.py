"""A network's weights, as tables for people or as one JSON document."""

import json
from collections.abc import Mapping
from typing import Any, TextIO

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import WEIGHT_NAMES
from rnncli.model.network import Network, Part
from rnncli.writers.digits import array_text, texts
from rnncli.writers.grid import GAP, Column, draw, page_rows, write_note
from rnncli.writers.model import model_line
from rnncli.writers.trajectory import unit_names

# On a terminal a larger array shows only its first and last rows and columns.
LARGE = 64
SHOWN_AT_ENDS = 8


def write_weights_json(out: TextIO, network: Network, model: Mapping[str, Any]) -> None:
    """Write one document: the model, and the arrays of each cell as lists of their rows."""
    cells = ",\n".join(map(_cell, network.parts()))
    out.write(f'{{"model": {json.dumps(model)},\n"weights": [{cells}]}}\n')


def write_weights_table(out: TextIO, network: Network, model: Mapping[str, Any]) -> None:
    """Draw each array: a row for every input or unit it comes from."""
    out.write(f"{model_line(model)}\n")
    several = len(network.cells) > 1
    for part in network.parts():
        W_xh = part.cell.weights.W_xh
        units = unit_names(W_xh.shape[1])
        labels = ([f"x_{i}" for i in range(len(W_xh))], units, [""])
        place = f"layer {part.layer}, {part.direction}: " if several else ""
        for name, array, rows in zip(WEIGHT_NAMES, part.cell.weights, labels, strict=True):
            out.write("\n")
            _draw_array(out, f"{place}{name}  {array.shape}", np.atleast_2d(array), rows, units)


def _cell(part: Part) -> str:
    W_xh, W_hh, b_h = part.cell.weights
    return (
        f'{{"layer": {part.layer}, "direction": "{part.direction}",\n'
        f'"W_xh": {_rows(W_xh)},\n"W_hh": {_rows(W_hh)},\n"b_h": {array_text(b_h)}}}'
    )


def _rows(array: Floats) -> str:
    return f"[{(',' + chr(10)).join(array_text(row) for row in array)}]"


def _draw_array(
    out: TextIO, heading: str, array: Floats, labels: list[str], units: list[str]
) -> None:
    rows, columns = (_shown(size, whole=not out.isatty()) for size in array.shape)
    names = [units[j] for j in columns]
    page = page_rows(len(columns))
    for start in range(0, len(rows), page):
        shown = rows[start : start + page]
        cells = zip(*texts(array[np.ix_(shown, columns)]), strict=True)
        label = Column("", [labels[i] for i in shown], "dim")
        drawn = [Column(name, column) for name, column in zip(names, cells, strict=True)]
        if len(rows) < len(labels):
            label, *drawn = (_with_gap(column) for column in (label, *drawn))
        if len(columns) < len(units):
            drawn.insert(SHOWN_AT_ENDS, Column(GAP, [GAP] * len(label.cells)))
        draw(out, heading, [label], drawn)
        heading = ""
    if len(rows) < len(labels) or len(columns) < len(units):
        write_note(out, f"Only the first and last {SHOWN_AT_ENDS} are shown: --json has all.")


def _shown(size: int, *, whole: bool) -> list[int]:
    """Positions to show along an axis."""
    ends = [*range(SHOWN_AT_ENDS), *range(size - SHOWN_AT_ENDS, size)]
    return list(range(size)) if whole or size <= LARGE else ends


def _with_gap(column: Column) -> Column:
    """Mark where rows are left out."""
    cells = column.cells
    return column._replace(cells=[*cells[:SHOWN_AT_ENDS], GAP, *cells[SHOWN_AT_ENDS:]])
