"""A network's weights, as tables for people or as one JSON document."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import WEIGHT_NAMES, Cell
from rnncli.model.network import Network
from rnncli.writers.digits import array_text, texts
from rnncli.writers.grid import GAP, Heading, draw_cells, page_rows, write_note
from rnncli.writers.model import model_line
from rnncli.writers.trajectory import unit_names

# On a terminal a larger array shows only its first and last rows and columns.
LARGE = 64
SHOWN_AT_ENDS = 8


def write_weights_json(out: TextIO, network: Network, model: Mapping[str, Any]) -> None:
    """Write one document: the model, and the arrays of each cell as lists of their rows."""
    cells = ",\n".join(
        f'{{"layer": {layer}, "direction": "{direction}",\n{_arrays(cell)}}}'
        for layer, direction, cell in _cells(network)
    )
    out.write(f'{{"model": {json.dumps(model)},\n"weights": [{cells}]}}\n')


def write_weights_table(
    out: TextIO, network: Network, model: Mapping[str, Any], whole: str
) -> None:
    """Draw each array: a row for every input or unit it comes from.

    Parameters
    ----------
    out : text stream
    network : Network
    model : mapping
        As `describe` returns it.
    whole : str
        Where all values are, for a note on those that a terminal does not
        show.
    """
    out.write(f"{model_line(model)}\n")
    cells = list(_cells(network))
    for layer, direction, cell in cells:
        W_xh, W_hh, _ = cell.weights[:3]
        labels = ([f"x_{i}" for i in range(len(W_xh))], unit_names(len(W_hh)), [""])
        place = f"layer {layer}, {direction}: " if len(cells) > 1 else ""
        for name, array, rows in zip(WEIGHT_NAMES, cell.weights[:3], labels, strict=True):
            out.write("\n")
            title = f"{place}{name}  {array.shape}"
            if _draw_array(out, title, np.atleast_2d(array), rows):
                write_note(out, f"Only the first and last {SHOWN_AT_ENDS} are shown: {whole}.")


def _cells(network: Network) -> Iterator[tuple[int, str, Cell]]:
    """Go through the cells, each with the number of its layer and its direction."""
    for number, layer in enumerate(network.layers, start=1):
        for direction, cell in zip(layer.directions, layer.cells, strict=True):
            yield number, direction, cell


def _arrays(cell: Cell) -> str:
    W_xh, W_hh, b_h = cell.weights[:3]
    return f'"W_xh": {_rows(W_xh)},\n"W_hh": {_rows(W_hh)},\n"b_h": {array_text(b_h)}'


def _rows(array: Floats) -> str:
    return f"[{(',' + chr(10)).join(array_text(row) for row in array)}]"


def _draw_array(out: TextIO, title: str, array: Floats, labels: Sequence[str]) -> bool:
    """Draw an array, and return whether rows or columns are left out."""
    units = unit_names(array.shape[1])
    rows, columns = (_shown(size, whole=not out.isatty()) for size in array.shape)
    names = _with_gap([units[j] for j in columns], len(units))
    headings = [Heading("", "dim"), *map(Heading, names)]
    page = page_rows(len(columns))
    for start in range(0, len(rows), page):
        shown = rows[start : start + page]
        lines = [
            [labels[i], *_with_gap(row, len(units))]
            for i, row in zip(shown, texts(array[np.ix_(shown, columns)]), strict=True)
        ]
        if len(rows) < len(labels):
            lines.insert(SHOWN_AT_ENDS, [GAP] * len(headings))
        cells = "".join(f"{cell}\n" for line in lines for cell in line)
        draw_cells(out, title, headings, 1, cells)
        title = ""
    return len(rows) < len(labels) or len(columns) < len(units)


def _shown(size: int, *, whole: bool) -> list[int]:
    """Return the positions to show along an axis."""
    ends = [*range(SHOWN_AT_ENDS), *range(size - SHOWN_AT_ENDS, size)]
    return list(range(size)) if whole or size <= LARGE else ends


def _with_gap(cells: list[str], size: int) -> list[str]:
    """Mark where columns are left out."""
    left_out = len(cells) < size
    return [*cells[:SHOWN_AT_ENDS], GAP, *cells[SHOWN_AT_ENDS:]] if left_out else cells
