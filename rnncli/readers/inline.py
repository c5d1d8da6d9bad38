"""Numbers given on the command line."""

import json
import os
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError
from rnncli.readers.input import (
    Input,
    Layout,
    find_fault,
    first_unfit,
    parse_cells,
    shortened,
    unnamed,
)

_END = r"\r\n|\r|\n"
_HINT = "commas or line ends separate steps, spaces their features"


def read_inline(
    text: str, dtype: np.dtype[np.floating], name: str, indices: int | None = None
) -> Input:
    """Read a sequence: steps separated by commas or line ends, features by spaces, or JSON."""
    is_json = text.lstrip().startswith("[")
    try:
        steps = _read_json(text, name) if is_json else _split(text, name)
        if not steps:
            raise InputError(name, "empty; expected numbers such as 1,2,3")
        x = _parse(steps, Layout(dtype, indices=indices), f"{name}: step ")
    except InputError:
        if os.path.isfile(text):
            what = f"{shortened(text)} is a file"
            raise InputError(name, what, "give it without `seq`") from None
        raise
    note = f"{name}: read as one step of {x.shape[1]} features; {_HINT}"
    return Input(
        unnamed(x.shape[1]),
        iter([Rows(x)]),
        hint=_HINT,
        note=note if len(x) == 1 < x.shape[1] and not is_json else "",
        name=name,
    )


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
    state: Floats = _parse([cells], Layout(dtype), name)[0]
    return state


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


def _parse(steps: list[list[str]], layout: Layout, place: str) -> Floats:
    """Return the numbers of all steps, (T, I)."""
    cells, width = [*chain.from_iterable(steps)], len(steps[0])
    is_text = all(isinstance(cell, str) for cell in cells)
    values = parse_cells(cells, layout) if is_text and width else None
    is_even = all(len(step) == width for step in steps)
    if values is None or not is_even or first_unfit(values[:, None], layout):
        raise next(_find_faults(steps, layout, place))
    x: Floats = values.reshape(-1, width).astype(layout.dtype)
    return x


def _find_faults(steps: list[list[Any]], layout: Layout, place: str) -> Iterator[InputError]:
    for t, step in enumerate(steps, start=1):
        at = f"{place}{t}" if place.endswith(" ") else place
        for cell in step or [""]:
            if not isinstance(cell, str):  # an array, an object, true or null in JSON
                yield InputError(at, "expected numbers alone in the JSON array")
            elif what := find_fault(cell, layout)[0]:
                yield InputError(at, what)
        if len(step) != len(steps[0]):
            what = f"expected as many features as in step 1, {len(steps[0])}, got {len(step)}"
            yield InputError(at, what, _HINT)
