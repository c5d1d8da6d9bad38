"""Numbers given on the command line."""

import json
import os
import re
from itertools import chain

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError, shown
from rnncli.readers.input import Input, Layout, find_fault, fit, parse_cells, unnamed

_HINT = "commas or line ends separate steps, spaces their features"


def read_inline(
    text: str, dtype: np.dtype[np.floating], name: str, indices: int | None = None
) -> Input:
    """Read a sequence: steps separated by commas or line ends, features by spaces, or JSON."""
    if re.search("[A-Za-z]", text) and os.path.isfile(text):
        raise InputError(name, f"{shown(repr(text))} is a file", "give it without `seq`")
    is_json = text.lstrip().startswith("[")
    if is_json:
        steps = _read_json(text, name)
    else:
        text = re.sub(r"\s*,\s*", ",", re.sub(r"\r\n?", "\n", text.strip()))
        if "," in text and "\n" in text:
            hint = "'1 2, 3 4' are two steps of two features, and rows of CSV are piped in"
            raise InputError(name, "commas and line ends: each ends a step", hint)
        steps = [step.split() for step in re.split("[,\n]", text)] if text else []
    if not steps:
        raise InputError(name, "empty; expected numbers such as 1,2,3")
    layout, x = Layout(dtype, indices=indices), list[Floats]()
    for t, step in enumerate(steps, start=1):
        x.append(_parse(step or [""], layout, f"{name}: step {t}", "steps are written 1,2,3"))
        if len(step) != len(steps[0]):
            what = f"expected as many features as in step 1, {len(steps[0])}, got {len(step)}"
            raise InputError(f"{name}: step {t}", what, _HINT)
    I = len(steps[0])
    note = f"{name}: read as one step of {I} features; {_HINT}"
    is_odd = len(x) == 1 < I and not is_json
    return Input(
        unnamed(I), iter([Rows(np.stack(x))]), hint=_HINT, note=note if is_odd else "", name=name
    )


def read_state(
    text: str, dtype: np.dtype[np.floating], size: int, name: str, each: str = "hidden unit"
) -> Floats:
    """Read a state, shape (S,): numbers separated by commas or spaces, or JSON."""
    is_json = text.lstrip().startswith("[")
    steps = _read_json(text, name) if is_json else [text.replace(",", " ").split()]
    cells = list(chain.from_iterable(steps))
    state = _parse(cells, Layout(dtype), name)
    if len(state) != size:
        expected = f"expected {size} numbers, one for each {each}"
        raise InputError(name, f"{expected}, got {len(state)}")
    return state


def _read_json(text: str, name: str) -> list[list[str]]:
    """Return the cells of a JSON array as text, which is checked like any other."""
    try:
        items = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
        steps = [item if isinstance(item, list) else [item] for item in items]
        return [
            [cell if type(cell) is str else json.dumps(cell) for cell in step] for step in steps
        ]
    except (ValueError, RecursionError) as error:
        raise InputError(name, f"not a JSON array of numbers: {error}") from error


def _parse(cells: list[str], layout: Layout, where: str, hint: str = "") -> Floats:
    """Return numbers, (I,)."""
    values = parse_cells(cells, layout)
    if values is not None:
        x, _, fault = fit(values[None], layout)
        if fault is None:
            return np.asarray(x[0])
    what = next(filter(None, (find_fault(cell, layout)[0] for cell in cells)))
    raise InputError(where, what, hint if values is None else "")
