"""Numbers given on the command line."""

import json
import re

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats
from rnncli.readers.input import Input, fault_of, unnamed

_END = r"\r\n|\r|\n"
_WAY_OUT = "; commas or line ends separate steps, spaces their features"


def read_inline(text: str, dtype: np.dtype[np.floating]) -> Input:
    """Read a sequence: steps separated by commas or line ends, features by spaces, or JSON.

    Parameters
    ----------
    text : str
        ``1,2,3`` (three steps), ``"1 0.5, 2 0.1"`` (two steps of two
        features), ``[1, 2]`` or ``[[1, 0.5], [2, 0.1]]``. A comma may
        stand at the end of a line.
    dtype : numpy.dtype
        Float type the numbers must fit.

    Raises
    ------
    ValueError
        The text is empty, holds something else than finite numbers, could be
        rows of CSV, or the steps differ in their number of features.
    """
    steps = _json_steps(text, "--seq") if _is_json(text) else _steps(text)
    if not steps:
        raise ValueError("--seq: empty; expected numbers such as 1,2,3")
    width = len(steps[0])
    for t, cells in enumerate(steps, start=1):
        _check(cells, dtype, f"--seq: step {t}")
        if len(cells) != width:
            way_out = "" if _is_json(text) else _WAY_OUT
            raise ValueError(
                f"--seq: step {t}: expected as many features as in step 1, {width}, "
                f"got {len(cells)}{way_out}"
            )
    note = ""
    if len(steps) == 1 < width and not _is_json(text):
        note = (
            f"--seq: read as one step of {width} features; "
            "commas or line ends separate steps: 1,2,3"
        )
    rows = Rows(np.array(steps, np.float64).astype(dtype))
    return Input(unnamed(width), iter([rows]), way_out=_WAY_OUT, note=note)


def read_state(text: str, dtype: np.dtype[np.floating], hidden_size: int) -> Floats:
    """Read a hidden state, shape (H,): numbers separated by commas or spaces, or JSON.

    Raises
    ------
    ValueError
        Something else is there than H finite numbers.
    """
    steps = _json_steps(text, "--h0") if _is_json(text) else [text.replace(",", " ").split()]
    cells = [cell for step in steps for cell in step]
    if len(cells) != hidden_size:
        raise ValueError(
            f"--h0: expected {hidden_size} numbers, one for each hidden unit, got {len(cells)}"
        )
    _check(cells, dtype, "--h0")
    return np.array(cells, np.float64).astype(dtype)


def _steps(text: str) -> list[list[str]]:
    """Cells of each step."""
    text = re.sub(r"\s*,\s*", ",", text.strip())
    if "," in text and re.search(_END, text):
        raise ValueError(
            "--seq: commas and line ends: each ends a step; '1 2, 3 4' are two steps of two "
            "features, and rows of CSV are piped in"
        )
    return [step.split() for step in re.split(f",|{_END}", text)] if text else []


def _is_json(text: str) -> bool:
    return text.lstrip().startswith("[")


def _json_steps(text: str, name: str) -> list[list[str]]:
    """Cells of a JSON array as text, so that they are checked as any others."""
    try:
        items = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: not a JSON array of numbers: {error}") from error
    return [item if isinstance(item, list) else [item] for item in items]


def _json_kind(item: object) -> str:
    kinds = {list: "an array", dict: "an object", bool: "true or false"}
    return kinds.get(type(item), "null")


def _check(cells: list[str], dtype: np.dtype[np.floating], place: str) -> None:
    if not cells:
        raise ValueError(f"{place}: empty; expected a number")
    for cell in cells:
        if not isinstance(cell, str):  # an object, true or null in JSON
            raise ValueError(f"{place}: expected a number, got {_json_kind(cell)}")
        what = fault_of(cell, dtype)
        if what:
            raise ValueError(f"{place}: {what}")
