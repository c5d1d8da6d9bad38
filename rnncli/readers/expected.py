"""The states that another program computed, to compare with: CSV, ``.npy``, JSON or JSON lines."""

import csv
import json
import os
import re
from typing import Any

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError
from rnncli.readers.columns import choose
from rnncli.readers.csv import read_csv
from rnncli.readers.foreign import NPY, display_name, start_of
from rnncli.readers.header import first_line
from rnncli.readers.input import Layout
from rnncli.readers.keyed import Keys
from rnncli.readers.npy import StoredArray
from rnncli.readers.text import Lines
from rnncli.storage import opened


def read_expected(path: str, name: str = "h", *, last: bool = False) -> Floats:
    """Read states: rows in the order in which ``rnn run`` writes them, or an array."""
    ending = os.path.splitext(path.lower())[1]
    try:
        if ending == ".npy" or start_of(path).startswith(NPY):
            states = _read_npy(path)
        elif ending in (".json", ".jsonl", ".ndjson"):
            states = _read_json(path, name, "final" if last else "steps", ending != ".json")
        else:
            states = _read_csv(path, name)
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror or error}") from error
    if states.ndim == 1:
        states = states[:, None]
    if states.ndim not in (2, 3) or not states.size:
        expected = "expected states, (T, H) or (N, T, H)"
        raise InputError(display_name(path), f"{expected}, got shape {states.shape}")
    return states


def _read_npy(path: str) -> Floats:
    stored = StoredArray(path)
    if stored.dtype.kind not in "fiu":
        raise InputError(path, f"expected numbers, got an array of {stored.dtype}")
    with np.errstate(all="ignore"):
        return stored.array().astype(np.float64)


def _read_csv(path: str, name: str) -> Floats:
    lines = Lines(path)
    try:
        line = first_line(lines, path)
        # numpy.savetxt separates by blanks.
        blanks = None if any(mark in line for mark in ",;\t") or " " not in line.strip() else " "
        columns = () if blanks else _state_columns(display_name(path), line, name)
        layout = Layout(np.dtype(np.float64), columns=columns, delimiter=blanks)
        blocks = [rows.x for rows in read_csv(path, layout, Keys(), lines).blocks]
    except InputError as error:
        # Parameters are of the input, not of this file.
        hint = "" if "`" in error.hint else error.hint
        raise InputError(error.place, error.what, hint) from error
    return np.concatenate(blocks) if blocks else np.empty((0, 0))


def _state_columns(path: str, line: str, name: str) -> tuple[str, ...]:
    """Return the names of the columns that hold states; none for all."""
    header = [cell.strip() for cell in next(csv.reader([line]), [])]
    matches = (re.fullmatch(rf"{name}_(\d+)", cell) for cell in header)
    units = sorted(int(match[1]) for match in matches if match)
    if units:
        wanted = tuple(f"{name}_{unit}" for unit in units)
        if units != list(range(len(units))):
            expected = f"expected the columns {name}_0 to {name}_{units[-1]}"
            raise InputError(path, f"{expected}, got {', '.join(wanted)}")
        choose(path, wanted, len(header), header)
        return wanted
    if len(header) > 1 and not header[0]:
        what = "its first column has no name, as the index that pandas writes"
        raise InputError(path, what, "to_csv(index=False) leaves it out")
    return tuple(cell for cell in header if cell != "t") if "t" in header else ()


def _read_json(path: str, name: str, part: str, is_lines: bool) -> Floats:
    """Read rows, or objects that have rows of that name, one a line or all in one document."""
    document: Any
    with opened(path) as file:
        if is_lines:
            document = [_parsed(f"{path}:{n}", line) for n, line in enumerate(file, start=1)]
        else:
            document = _parsed(path, file.read())
    if isinstance(document, dict):
        if part not in document:
            hint = "was it written with `last`?" if part == "steps" else ""
            raise InputError(path, f"expected a document with {part}", hint)
        document = document[part]
    if not isinstance(document, list):
        raise InputError(path, f"expected an array of rows, or objects with {name}")
    rows = [item.get(name) if isinstance(item, dict) else item for item in document]
    if None in rows:
        number = rows.index(None) + 1
        raise InputError(path, f"item {number}: expected a row, or an object with {name}")
    try:
        return np.array(rows, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(path, f"expected rows of as many numbers each: {error}") from error


def _parsed(place: str, text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(place, f"not JSON: {error}") from error
