"""Numbers given on the command line."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats
from rnncli.model.errors import InputError
from rnncli.readers.foreign import mark_between_numbers
from rnncli.readers.input import Input, Layout, error_in, first_unfit, shortened, unnamed

_END = r"\r\n|\r|\n"
_HINT = "commas or line ends separate steps, spaces their features"
_JSON_KINDS = {list: "an array", dict: "an object", bool: "true or false"}


def read_inline(
    text: str, dtype: np.dtype[np.floating], name: str, indices: int | None = None
) -> Input:
    """Read a sequence: steps separated by commas or line ends, features by spaces, or JSON."""
    is_json = _is_json(text)
    steps = _json_steps(text, name) if is_json else _steps(text, name)
    if not steps:
        raise InputError(name, "empty; expected numbers such as 1,2,3")
    x = _numbers(steps, Layout(dtype, indices=indices))
    if x is None:
        if os.path.isfile(text):
            raise InputError(name, f"{shortened(text)} is a file", "give it without `seq`")
        hint = "" if is_json else _HINT
        raise next(_errors(steps, f"{name}: step {{}}", Layout(dtype, indices=indices), hint))
    note = ""
    if len(x) == 1 < x.shape[1] and not is_json:
        note = (
            f"{name}: read as one step of {x.shape[1]} features; "
            "commas or line ends separate steps: 1,2,3"
        )
    return Input(unnamed(x.shape[1]), iter([Rows(x)]), hint=_HINT, note=note)


def read_state(
    text: str, dtype: np.dtype[np.floating], size: int, name: str, each: str = "hidden unit"
) -> Floats:
    """Read a state, shape (S,): numbers separated by commas or spaces, or JSON."""
    steps = _json_steps(text, name) if _is_json(text) else [text.replace(",", " ").split()]
    cells = list(chain.from_iterable(steps))
    if len(cells) != size:
        expected = f"expected {size} numbers, one for each {each}"
        raise InputError(name, f"{expected}, got {len(cells)}")
    state = _numbers([cells], Layout(dtype))
    if state is None:
        raise next(_errors([cells], name, Layout(dtype)))
    return state.ravel()


def _is_json(text: str) -> bool:
    return text.lstrip().startswith("[")


def _json_steps(text: str, name: str) -> list[list[str]]:
    """Return the cells of a JSON array as text, so that they are checked as any others."""
    try:
        items = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise InputError(name, f"not a JSON array of numbers: {error}") from error
    return [item if isinstance(item, list) else [item] for item in items]


def _steps(text: str, name: str) -> list[list[str]]:
    """Return the cells of each step."""
    text = re.sub(r"\s*,\s*", ",", text.strip())
    if "," in text and re.search(_END, text):
        raise InputError(
            name,
            "commas and line ends: each ends a step; '1 2, 3 4' are two steps of two features, "
            "and rows of CSV are piped in",
        )
    return [step.split() for step in re.split(f",|{_END}", text)] if text else []


def _numbers(steps: Sequence[Sequence[str]], layout: Layout) -> Floats | None:
    """Return the cells as numbers, (T, I); None if anything is wrong with one."""
    try:
        if "_" in "".join(chain.from_iterable(steps)):  # Python reads 1_000 as a number
            return None
        values = np.array([list(map(float, cells)) for cells in steps])
    except (TypeError, ValueError):
        return None
    if not values.size or first_unfit(values, layout):
        return None
    return values.astype(layout.dtype)


def _errors(
    steps: Sequence[Sequence[object]], name: str, layout: Layout, hint: str = ""
) -> Iterator[InputError]:
    """Return what is wrong with the steps, the first first."""
    for t, cells in enumerate(steps, start=1):
        place = name.format(t)
        if not cells:
            yield InputError(place, "empty; expected a number")
        for cell in cells:
            if not isinstance(cell, str):  # an object, true or null in JSON
                kind = _JSON_KINDS.get(type(cell), "null")
                yield InputError(place, f"expected a number, got {kind}")
            elif error := error_in(cell, layout):
                several = hint if mark_between_numbers(cell) else ""
                yield InputError(place, error[0], error[1] or several)
        if len(cells) != len(steps[0]):
            expected = f"expected as many features as in step 1, {len(steps[0])}"
            yield InputError(place, f"{expected}, got {len(cells)}", hint)
