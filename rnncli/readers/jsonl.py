"""JSON lines as rows of cells: an object for each row, with names of columns, or an array."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rnncli.engine.rows import Literal, Quoted
from rnncli.model.arrays import Doubles
from rnncli.model.errors import InputError
from rnncli.readers.decimals import read_decimals
from rnncli.readers.fields import find_fields, stands_at
from rnncli.readers.input import Layout, parse_cells
from rnncli.readers.text import Lines, check_cells

Row = tuple[int, list[str]]  # the line where it begins, and its cells
Pattern = Sequence[tuple[bytes, bytes]]  # what stands before and after each number of a line

# Numbers stay the text that they are, to be read as those of CSV; objects are tuples of pairs.
_DECODER = json.JSONDecoder(
    parse_int=Literal, parse_float=Literal, parse_constant=str, object_pairs_hook=tuple
)
_LITERALS = {None: Literal(), True: Literal("true"), False: Literal("false")}
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?|null", re.ASCII)
# Characters of a number, and after it.
_OF_NUMBER, _AFTER = "+-.0123456789eEnul", " \t\n]}"
# Objects in lines of `rnn run` whose entries are columns.
_UNNAMED = ("", "key", "row")


def json_rows(text: bytes, lines: Lines, header: list[str], *, strict: bool) -> Iterator[Row]:
    """Read the rows of lines just taken; a name not in the header is an error if `strict`."""
    raw = text.decode().split("\n")[:-1]
    for number, line in enumerate(raw, lines.line - len(raw)):
        if not line.strip():
            continue
        cells = read_cells(line, f"{lines.name}:{number}")
        if [*cells] != header:
            new = [name for name in cells if cells[name] and name not in header]
            if new and (strict or len(new) == len(cells)):
                what = f"column {new[0]!r} is not in the first line"
                raise InputError(f"{lines.name}:{number}", what)
        yield number, [cells.get(name, _LITERALS[None]) for name in header]


def read_cells(line: str, where: str) -> dict[str, str]:
    """Return the cells of a line by name, those of an array by number."""
    check_cells(line.count(","), where)
    try:
        value = _DECODER.decode(line.strip())
        if isinstance(value, list):
            value = tuple((f"column_{n}", item) for n, item in enumerate(value, start=1))
        if not isinstance(value, tuple):
            raise InputError(where, "expected a JSON object or array a line")
        cells = dict(value)
        if len(cells) == len(value) and {*map(type, cells.values())} <= {Literal}:
            return cells
        cells.clear()
        for name, cell in _flatten("", value):
            if cells.get(name, cell) != cell:  # `rnn run` writes the same in key and row
                raise InputError(where, f"column {name!r} stands twice in the line")
            cells[name] = cell
    except json.JSONDecodeError as error:
        hint = "" if error.doc[error.pos :] else "jq -c '.[]' or '.steps[]' makes JSON lines"
        raise InputError(where, f"not JSON: {error.msg} (character {error.colno})", hint) from error
    except RecursionError as error:
        raise InputError(where, "not JSON: nested too deep") from error
    return cells


def _flatten(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Name values: ``h_0`` in a list ``h``, ``a.b`` in an object ``a``."""
    if isinstance(value, tuple):
        for key, item in value:
            yield from _flatten(key if name in _UNNAMED else f"{name}.{key}", item)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _flatten(f"{name}_{i}", item)
    else:
        yield name, Quoted(value) if type(value) is str else _LITERALS.get(value, value)


def find_pattern(line: str, width: int) -> Pattern:
    """Find what stands around the numbers of a line; nothing unless it has numbers alone."""
    pattern = []
    for cell in line.removesuffix("\n").split(","):
        end = len(cell.rstrip(_AFTER))
        start = len(cell[:end].rstrip(_OF_NUMBER))
        if not _NUMBER.fullmatch(cell, start, end):
            return []
        pattern.append((cell[:start].encode(), cell[end:].encode()))
    # A comma in a name, an empty list or a column that stands twice gives more cells.
    return pattern if len(pattern) == width else []


def read_numbers(text: bytes, pattern: Pattern, layout: Layout) -> Doubles | None:
    """Read lines that differ in their numbers alone, (n, width); None if one is another."""
    bounds = find_fields(text, ",", len(pattern))
    if bounds is None:
        return None
    starts, ends = bounds
    lengths = np.array([(len(before), len(after)) for before, after in pattern]).T
    if (ends - starts <= lengths.sum(axis=0)).any():
        return None
    for n, (before, after) in enumerate(pattern):
        last = ends[:, n] - len(after)
        if not (stands_at(text, starts[:, n], before) and stands_at(text, last, after)):
            return None
    starts, ends = (starts + lengths[0]).ravel(), (ends - lengths[1]).ravel()
    # In JSON a number has digits on both sides of its point, and no needless 0.
    chars = np.frombuffer(text, np.uint8)
    digit = starts + (chars.take(starts) == ord("-"))
    is_zero, has_more = chars.take(digit) == ord("0"), chars.take(digit + 1) - ord("0") < 10
    points = chars.take(digit) == ord("."), chars.take(ends - 1) == ord(".")
    if np.any([is_zero & has_more, *points]):
        return None

    def parse(cells: list[str]) -> Doubles | None:
        if not all(map(_NUMBER.fullmatch, cells)):
            return None
        return parse_cells([cell.replace("null", "") for cell in cells], layout)

    values = read_decimals(text, starts, ends, parse)
    return None if values is None else values.reshape(-1, len(pattern))
