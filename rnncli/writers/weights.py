"""A network's weights, as tables for people or as one JSON document."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from rnncli.model.arrays import Floats
from rnncli.model.description import model_line
from rnncli.model.errors import word
from rnncli.model.network import Network
from rnncli.writers.digits import texts
from rnncli.writers.grid import GAP, Column, draw, ends_shown, with_gaps, write_note

# On a terminal a larger array shows only its first and last rows and columns.
LARGE = 64
SHOWN_AT_ENDS = 8
# Prefixes of the rows of a matrix; columns of the arrays whose columns are not the gates.
_ROWS = {"W_xh": "x_", "W_hh": "h_", "W_hr": "c_"}
_COLUMNS = {"b_n": ("n",), "w_ch": ("i", "f", "o"), "W_hr": ("h",), "W": ("y",), "b": ("y",)}


def write_weights_json(out: TextIO, network: Network, model: Mapping[str, Any]) -> None:
    """Write one document: the model, and the arrays of each cell or layer, row by row."""
    out.write(f'{{"model": {json.dumps(model)},\n"weights": [')
    separator = ""
    for location, gates, arrays in _arrays(network):
        head = json.dumps(location | ({"gates": gates} if len(gates) > 1 else {}))
        out.write(f"{separator}{head[:-1]}")
        for name, array in arrays.items():
            out.write(f',\n"{name}": {_nest(texts(array))}')
        out.write("}")
        separator = ",\n"
    out.write("]}\n")


def write_weights_table(out: TextIO, network: Network, model: Mapping[str, Any]) -> None:
    """Draw each array: a row for every input or unit it comes from, columns gate by gate."""
    out.write(f"{model_line(model)}\n")
    entries = list(_arrays(network))
    for location, gates, arrays in entries:
        number, *direction = map(str, location.values())
        where = f"{', '.join([f'layer {number}', *direction])}: " if len(entries) > 1 else ""
        for name, array in arrays.items():
            matrix = array.reshape(-1, *array.shape[-1:] or (1,))
            blocks = _COLUMNS.get(name) or gates or ("x",)
            size = matrix.shape[1] // len(blocks)
            rows, columns = (ends_shown(out, n, LARGE, SHOWN_AT_ENDS) for n in matrix.shape)
            known = [i for i in rows if i is not None]
            labels = [f"{_ROWS.get(name, '')}{i}" if array.ndim > 1 else "" for i in known]
            cells = texts(matrix[known].T)
            drawn = [
                Column(GAP, [GAP] * len(rows))
                if j is None
                else Column(f"{blocks[j // size]}_{j % size}", with_gaps(cells[j], rows))
                for j in columns
            ]
            label = Column("", with_gaps(labels, rows), "dim")
            out.write("\n")
            draw(out, f"{where}{name}  {array.shape}", [label], drawn)
            if None in rows or None in columns:
                note = f"Only the first and last {SHOWN_AT_ENDS} are shown: `json` has all."
                write_note(out, word(note))


def _arrays(
    network: Network,
) -> Iterator[tuple[dict[str, Any], Sequence[str], Mapping[str, Floats]]]:
    """Yield location, gates and arrays by name of each cell, and of each layer without state."""
    for number, layer in enumerate(network.layers, start=1):
        for direction, cell in zip(layer.directions, layer.cells, strict=True):
            location = {"layer": number, "direction": direction}
            yield location, cell.gate_names, cell.weights.arrays
        if layer.arrays:
            yield {"layer": number}, (), layer.arrays


def _nest(values: Any) -> str:
    """Write nested lists of numbers, a row a line."""
    if isinstance(values, str):
        return values
    between = ",\n" if values and isinstance(values[0], list) else ", "
    return f"[{between.join(map(_nest, values))}]"
