"""A network's weights, as tables for people or as one JSON document."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TextIO

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.network import Network
from rnncli.writers.digits import joined, texts
from rnncli.writers.grid import GAP, Heading, draw_cells, page_rows, write_note
from rnncli.writers.model import model_line

# On a terminal a larger array shows only its first and last rows and columns.
LARGE = 64
SHOWN_AT_ENDS = 8
# What the rows of a matrix are called, and the columns of an array whose are not the gates.
_ROWS = {"W_xh": "x_", "W_hh": "h_", "W_hr": "c_"}
_COLUMNS = {"b_n": ("n",), "w_ch": ("i", "f", "o"), "W_hr": ("h",), "W": ("y",), "b": ("y",)}


class Part(NamedTuple):
    """The arrays of a cell, or of a layer without state.

    Parameters
    ----------
    place : mapping
        The number of the layer, and the direction of a cell.
    gates : sequence of str
        Of a cell.
    arrays : mapping
        By name.
    """

    place: Mapping[str, Any]
    gates: Sequence[str]
    arrays: Mapping[str, Floats]


def write_weights_json(out: TextIO, network: Network, model: Mapping[str, Any]) -> None:
    """Write one document: the model, and the arrays of each part as lists of their rows."""
    parts = ",\n".join(map(_as_json, _parts(network)))
    out.write(f'{{"model": {json.dumps(model)},\n"weights": [{parts}]}}\n')


def write_weights_table(
    out: TextIO, network: Network, model: Mapping[str, Any], whole: str
) -> None:
    """Draw each array: a row for every input or unit it comes from, columns gate by gate."""
    out.write(f"{model_line(model)}\n")
    parts = list(_parts(network))
    for part in parts:
        number, *direction = map(str, part.place.values())
        place = f"{', '.join([f'layer {number}', *direction])}: " if len(parts) > 1 else ""
        for name, array in part.arrays.items():
            rows = [f"{_ROWS.get(name, '')}{i}" for i in range(len(array))]
            out.write("\n")
            title = f"{place}{name}  {array.shape}"
            labels = rows if array.ndim > 1 else [""]
            blocks = _COLUMNS.get(name) or part.gates or ("x",)
            if _draw_array(out, title, np.atleast_2d(array), labels, blocks):
                write_note(out, f"Only the first and last {SHOWN_AT_ENDS} are shown: {whole}.")


def _parts(network: Network) -> Iterator[Part]:
    """Go through the cells, and the layers without state that have arrays."""
    for number, layer in enumerate(network.layers, start=1):
        for direction, cell in zip(layer.directions, layer.cells, strict=True):
            place = {"layer": number, "direction": direction}
            yield Part(place, cell.gate_names, cell.weights.arrays)
        if layer.arrays:
            yield Part({"layer": number}, (), layer.arrays)


def _as_json(part: Part) -> str:
    gates = {"gates": part.gates} if len(part.gates) > 1 else {}
    place = json.dumps({**part.place, **gates})
    arrays = ",\n".join(f'"{name}": {_rows(array)}' for name, array in part.arrays.items())
    return f"{place[:-1]},\n{arrays}}}"


def _rows(array: Floats) -> str:
    rows = [f"[{row}]" for row in joined(np.atleast_2d(array), ", ")]
    return rows[0] if array.ndim == 1 else f"[{(',' + chr(10)).join(rows)}]"


def _draw_array(
    out: TextIO, title: str, array: Floats, labels: Sequence[str], blocks: Sequence[str]
) -> bool:
    """Draw an array, and return whether rows or columns are left out."""
    size = array.shape[1] // len(blocks)
    rows, within = _shown(len(labels), len(labels), out), _shown(size, array.shape[1], out)
    columns = [n * size + j for n in range(len(blocks)) for j in within]
    left_out = len(within) < size
    names = _with_gaps([f"{block}_{j}" for block in blocks for j in within], left_out=left_out)
    headings = [Heading("", "dim"), *map(Heading, names)]
    page = page_rows(len(columns))
    for start in range(0, len(rows), page):
        shown = rows[start : start + page]
        lines = [
            [labels[i], *_with_gaps(row, left_out=left_out)]
            for i, row in zip(shown, texts(array[np.ix_(shown, columns)]), strict=True)
        ]
        if len(rows) < len(labels):
            lines.insert(SHOWN_AT_ENDS, [GAP] * len(headings))
        cells = "".join(f"{cell}\n" for line in lines for cell in line)
        draw_cells(out, title, headings, 1, cells)
        title = ""
    return len(rows) < len(labels) or left_out


def _shown(size: int, together: int, out: TextIO) -> list[int]:
    """Return the positions to show in each block of an axis, which all together may be large."""
    if size <= 2 * SHOWN_AT_ENDS or together <= LARGE or not out.isatty():
        return list(range(size))
    return [*range(SHOWN_AT_ENDS), *range(size - SHOWN_AT_ENDS, size)]


def _with_gaps(cells: list[str], *, left_out: bool) -> list[str]:
    """Mark where cells are left out in the middle of each block."""
    if left_out:
        for middle in reversed(range(SHOWN_AT_ENDS, len(cells), 2 * SHOWN_AT_ENDS)):
            cells.insert(middle, GAP)
    return cells
