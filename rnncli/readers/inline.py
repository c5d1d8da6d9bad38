"""Numbers given on the command line."""

import json
import os
import re
from collections.abc import Sequence
from itertools import chain

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError
from rnncli.readers.hints import mark_between_numbers
from rnncli.readers.input import Input, Layout, error_in, parse_number, shortened, unnamed

_END = r"\r\n|\r|\n"
_HINT = "commas or line ends separate steps, spaces their features"
_JSON_KINDS = {list: "an array", dict: "an object", bool: "true or false"}


def read_inline(
    text: str, dtype: np.dtype[np.floating], name: str, indices: int | None = None
) -> Input:
    """Read a sequence: steps separated by commas or line ends, features by spaces, or JSON."""
    is_json = text.lstrip().startswith("[")
    steps = _read_json(text, name) if is_json else _split(text, name)
    if not steps:
        raise InputError(name, "empty; expected numbers such as 1,2,3")
    layout, hint = Layout(dtype, indices=indices), "" if is_json else _HINT
    rows, width = list[list[float]](), len(steps[0])
    try:
        for t, cells in enumerate(steps, start=1):
            rows.append(_numbers(cells, f"{name}: step {t}", layout, hint))
            if len(cells) != width:
                what = f"expected as many features as in step 1, {width}, got {len(cells)}"
                raise InputError(f"{name}: step {t}", what, hint)
    except InputError:
        if not os.path.isfile(text):
            raise
        raise InputError(name, f"{shortened(text)} is a file", "give it without `seq`") from None
    note = ""
    if len(rows) == 1 < width and not is_json:
        way_out = "commas or line ends separate steps: 1,2,3"
        note = f"{name}: read as one step of {width} features; {way_out}"
    x = np.array(rows).astype(dtype)
    return Input(unnamed(width), iter([Rows(x)]), hint=_HINT, note=note, name=name)


def read_state(
    text: str, dtype: np.dtype[np.floating], size: int, name: str, each: str = "hidden unit"
) -> Floats:
    """Read a state, shape (S,): numbers separated by commas or spaces, or JSON."""
    is_json = text.lstrip().startswith("[")
    steps = _read_json(text, name) if is_json else [text.replace(",", " ").split()]
    cells = list(chain.from_iterable(steps))
    if len(cells) != size:
        expected = f"expected {size} numbers, one for each {each}"
        raise InputError(name, f"{expected}, got {len(cells)}")
    return np.array(_numbers(cells, name, Layout(dtype))).astype(dtype)


def _read_json(text: str, name: str) -> list[list[str]]:
    """Return the cells of a JSON array as text, so that they are checked as any others."""
    try:
        items = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise InputError(name, f"not a JSON array of numbers: {error}") from error
    return [item if isinstance(item, list) else [item] for item in items]


def _split(text: str, name: str) -> list[list[str]]:
    """Return the cells of each step."""
    text = re.sub(r"\s*,\s*", ",", text.strip())
    if "," in text and re.search(_END, text):
        what = "commas and line ends: each ends a step; '1 2, 3 4' are two steps of two features"
        raise InputError(name, f"{what}, and rows of CSV are piped in")
    return [step.split() for step in re.split(f",|{_END}", text)] if text else []


def _numbers(cells: Sequence[object], place: str, layout: Layout, hint: str = "") -> list[float]:
    """Read the cells of a step; the hint is for one that holds several numbers."""
    if not cells:
        raise InputError(place, "empty; expected a number")
    numbers = []
    for cell in cells:
        if not isinstance(cell, str):  # an object, true or null in JSON
            raise InputError(place, f"expected a number, got {_JSON_KINDS.get(type(cell), 'null')}")
        number = parse_number(cell)
        fits = number is not None and abs(number) < 1e38 and layout.indices is None
        if not fits and (error := error_in(cell, layout)):
            several = hint if mark_between_numbers(cell) else ""
            raise InputError(place, error[0], error[1] or several)
        numbers.append(number)
    return [number for number in numbers if number is not None]
