"""The states that another program computed, to compare with: any file that `rnn run` writes."""

import io
import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError, one_line, word
from rnncli.readers import find_reader, open_input, seekable
from rnncli.readers.csv import read_lines, read_text
from rnncli.readers.input import Input, Keys, Layout, display_name
from rnncli.readers.npy import StoredArray, read_npy
from rnncli.readers.text import Lines

# Columns that are no states: steps, and the index of a pandas.DataFrame in Parquet.
_NO_STATES = ("t", "__index_level_0__")


def read_expected(
    path: str, name: str, note: Callable[[str], object], count: int | None = None
) -> Floats:
    """Read states h or predictions y: `count` rows as ``rnn run`` writes them, or an array."""
    shown = display_name(path)
    choose = partial(_choose_columns, path=path, name=name, note=note)
    layout = Layout(np.dtype(np.float64), choose=choose)
    try:
        with open_input(path) as opened, seekable(opened) as file:
            read = find_reader(path, file.peek(8))
            states: Floats | Input
            if read is read_npy:
                with np.errstate(all="ignore"):
                    states = StoredArray(shown, file).read_all().astype(np.float64)
            elif read is read_text:
                states = _read_text(path, file, layout)
            else:
                states = read(path, file, layout, Keys())
            if isinstance(states, Input):
                states = _join_rows(states, shown, note, count)
    except InputError as error:
        # Parameters are of the input, not of this file.
        hint = "" if "`" in error.hint else error.hint
        raise InputError(error.where, error.what, hint) from error
    if states.ndim == 1:
        states = states[:, None]
    if states.ndim not in (2, 3) or not states.size:
        raise InputError(shown, f"expected states, (T, H) or (N, T, H), got shape {states.shape}")
    return states


def _choose_columns(
    header: Sequence[str], path: str, name: str, note: Callable[[str], object]
) -> list[int]:
    """Choose the columns ``h_0``, ``h_1``, ...; if there are none, all but ``t``."""
    matches = {
        i: re.fullmatch(rf"{name}_(\d+)", column) for i, column in enumerate(header, start=1)
    }
    units = {i: int(match[1]) for i, match in matches.items() if match}
    if sorted(units.values()) != [*range(len(units))]:
        most = max(units.values())
        what = f"expected the columns {name}_0 to {name}_{most}, got {len(units)} of them"
        raise InputError(display_name(path), what)
    if units and name == "y" and "h_0" in header:
        what = "the states h_0, ... are not compared; `layer` NAME compares them"
        note(word(f"{path}: {what}"))
    columns = [i for i, column in enumerate(header, start=1) if column not in _NO_STATES]
    return sorted(units, key=lambda i: units[i]) or columns


def _read_text(path: str, file: Any, layout: Layout) -> Input | Floats:
    """Read CSV, JSON lines or a JSON document."""
    start, lines = file.tell(), Lines(file, path)
    first = lines.take()
    if first.lstrip().startswith((b"{", b"[")):
        rest = b"".join(iter(partial(lines.take, 1 << 20), b""))
        document = _read_document(path, first + rest, layout)
        if document is not None:
            return document
    line = first.decode().rstrip("\n")
    blank, *names = [cell.strip('" ') for cell in re.split("[,;\t]", line)]
    if not blank and names and names == [*map(str, range(len(names)))]:  # written by pandas
        layout = layout._replace(first_row="header")
    if " " in line.strip() and not re.search("[,;\t{]", line):  # written by numpy.savetxt
        layout = layout._replace(delimiter=" ")
    file.seek(start)
    return read_text(path, file, layout, Keys())


def _read_document(path: str, text: bytes, layout: Layout) -> Input | Floats | None:
    """Read the steps of a JSON document, or an array; None if the text is something else."""
    try:
        document = json.loads(text)
        if isinstance(document, dict):
            document = document.get("steps", document.get("final"))
        kinds = {*map(type, document)} if isinstance(document, list) else {}
        rows = "\n".join(map(json.dumps, document)).encode() if kinds == {dict} else b""
    except (ValueError, RecursionError):
        return None
    if kinds == {list}:
        try:
            return np.asarray(document, np.float64)
        except (ValueError, TypeError, OverflowError) as error:
            what = f"expected an array of numbers, (T, H) or (N, T, H): {one_line(error)}"
            raise InputError(display_name(path), what) from error
    if not rows:
        return None
    lines = Lines(io.BufferedReader(io.BytesIO(rows)), path)
    lines.name += ", steps"
    return read_lines(lines, layout, Keys())


def _join_rows(
    source: Input, shown: str, note: Callable[[str], object], count: int | None
) -> Floats:
    """Join rows, without an index and without a header that was read as a step."""
    blocks = [rows.x for rows in source.blocks]
    states = np.concatenate(blocks) if blocks else np.empty((0, 0))
    if len(source.columns) > 1 and not source.columns[0] and len(states):
        index = np.arange(len(states)) + (states[0, 0] == 1)
        states = states[:, 1:] if (states[:, 0] == index).all() else states
    is_header = len(states) - 1 == count and (states[0] == np.arange(states.shape[1])).all()
    if is_header:
        note(f"{shown}: its first row, which counts from 0, is read as a header")
    return states[1:] if is_header else states
