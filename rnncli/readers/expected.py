"""The states that another program computed, to compare with: CSV, ``.npy``, JSON or JSON lines."""

import csv
import io
import json
import os
import re
from typing import Any

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError
from rnncli.readers.csv import first_line, read_lines
from rnncli.readers.foreign import NPY, display_name, open_input, seekable
from rnncli.readers.input import Layout
from rnncli.readers.jsonl import cells_of, is_json, is_object
from rnncli.readers.keyed import Keys
from rnncli.readers.npy import StoredArray
from rnncli.readers.text import Lines


def read_expected(path: str, name: str = "h", *, last: bool = False) -> Floats:
    """Read states: rows in the order in which ``rnn run`` writes them, or an array."""
    ending, shown = os.path.splitext(path.lower())[1], display_name(path)
    states: Floats
    try:
        with open_input(path) as file:
            if ending == ".npy" or file.peek(8).startswith(NPY):
                with seekable(file) as array, np.errstate(all="ignore"):
                    states = StoredArray(shown, array).read_all().astype(np.float64)
            elif ending == ".json":
                states = _read_json(shown, file.read(), name, "final" if last else "steps")
            else:
                states = _read_text(path, file, name)
    except OSError as error:
        raise InputError(shown, f"cannot be read: {error.strerror or error}") from error
    if states.ndim == 1:
        states = states[:, None]
    if states.ndim not in (2, 3) or not states.size:
        raise InputError(shown, f"expected states, (T, H) or (N, T, H), got shape {states.shape}")
    return states


def _read_text(path: str, file: io.BufferedReader, name: str) -> Floats:
    lines, shown = Lines(file, path), display_name(path)
    line = first_line(lines, path)
    blanks, columns = None, tuple[str, ...]()
    if is_json(line, path):
        columns = _find_columns(shown, [*cells_of(line, path, 1)] if is_object(line) else [], name)
        if is_object(line) and not columns:
            raise InputError(f"{shown}:1", f"expected a row, or an object with {name}")
    # numpy.savetxt separates by blanks.
    elif not any(mark in line for mark in ",;\t") and " " in line.strip():
        blanks = " "
    else:
        header = [cell.strip() for cell in next(csv.reader([line]), [])]
        columns = _find_columns(shown, header, name)
        if not columns and "t" in header:
            columns = tuple(cell for cell in header if cell != "t")
    layout = Layout(np.dtype(np.float64), columns=columns, delimiter=blanks)
    try:
        blocks = [rows.x for rows in read_lines(path, lines, layout, Keys()).blocks]
    except InputError as error:
        # Parameters are of the input, not of this file.
        raise InputError(error.place, error.what) from error
    return np.concatenate(blocks) if blocks else np.empty((0, 0))


def _find_columns(path: str, header: list[str], name: str) -> tuple[str, ...]:
    """Return the names of the columns that hold states; none if no name tells them."""
    matches = (re.fullmatch(rf"{name}_(\d+)", cell) for cell in header)
    units = sorted(int(match[1]) for match in matches if match)
    wanted = tuple(f"{name}_{unit}" for unit in units)
    if units != list(range(len(units))):
        expected = f"expected the columns {name}_0 to {name}_{units[-1]}"
        raise InputError(path, f"{expected}, got {', '.join(wanted)}")
    return wanted


def _read_json(path: str, text: bytes, name: str, field: str) -> Floats:
    """Read rows, or objects that have rows of that name, from one document."""
    try:
        document: Any = json.loads(text)
        if isinstance(document, dict):
            document = document[field]
        rows = [item[name] if isinstance(item, dict) else item for item in document]
        return np.array(rows, np.float64)
    except KeyError as error:
        raise InputError(path, f"expected a document with {error.args[0]}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(path, f"expected JSON rows of as many numbers each: {error}") from error
