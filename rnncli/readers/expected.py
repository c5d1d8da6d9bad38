"""The states that another program computed, to compare with: CSV, ``.npy`` or JSON lines."""

import csv
import re
from collections.abc import Callable

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError, word
from rnncli.readers import NPY, open_input, seekable
from rnncli.readers.csv import read_lines
from rnncli.readers.input import Keys, Layout, display_name
from rnncli.readers.jsonl import read_cells
from rnncli.readers.npy import StoredArray
from rnncli.readers.text import Lines


def read_expected(path: str, name: str, note: Callable[[str], object]) -> Floats:
    """Read states h or predictions y: rows as ``rnn run`` writes them, or an array."""
    shown = display_name(path)
    states: Floats
    try:
        with open_input(path) as file:
            if path.lower().endswith(".npy") or file.peek(8).startswith(NPY):
                with seekable(file) as array, np.errstate(all="ignore"):
                    states = StoredArray(shown, array).read_all().astype(np.float64)
            else:
                states = _read_text(Lines(file, path), name, note)
    except InputError as error:
        # Parameters are of the input, not of this file.
        hint = "" if "`" in error.hint else error.hint
        raise InputError(error.where, error.what, hint) from error
    if states.ndim == 1:
        states = states[:, None]
    if states.ndim not in (2, 3) or not states.size:
        raise InputError(shown, f"expected states, (T, H) or (N, T, H), got shape {states.shape}")
    return states


def _read_text(lines: Lines, name: str, note: Callable[[str], object]) -> Floats:
    """Read the columns ``h_0``, ``h_1``, ...; without these all but ``t``."""
    line = lines.peek()
    is_json = lines.is_json(line)
    names = read_cells(line, f"{lines.name}:1") if is_json else next(csv.reader([line]))
    header = [cell.strip() for cell in names]
    units = [int(cell[len(name) + 1 :]) for cell in header if re.fullmatch(rf"{name}_\d+", cell)]
    columns = [f"{name}_{unit}" for unit in range(len(units))]
    if sorted(units) != [*range(len(units))]:
        what = f"expected the columns {name}_0 to {name}_{max(units)}, got {len(units)} of them"
        raise InputError(lines.name, what)
    if columns and name == "y" and "h_0" in header:
        what = "the states h_0, ... are not compared; `layer` NAME compares them"
        note(word(f"{lines.path}: {what}"))
    if not columns and "t" in header:
        columns = [cell for cell in header if cell != "t"]
    # numpy.savetxt separates by blanks.
    blanks = " " if " " in line.strip() and not re.search("[,;\t{]", line) else None
    layout = Layout(np.dtype(np.float64), columns=columns, delimiter=blanks)
    blocks = [rows.x for rows in read_lines(lines, layout, Keys()).blocks]
    return np.concatenate(blocks) if blocks else np.empty((0, 0))
