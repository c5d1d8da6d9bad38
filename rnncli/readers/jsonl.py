"""JSON lines as rows of cells: an object for each row, with names of columns, or an array."""

import json
from collections.abc import Iterator
from typing import Any

from rnncli.engine.rows import Literal, Quoted
from rnncli.model.errors import InputError
from rnncli.readers.text import Lines, check_cells

Row = tuple[int, list[str]]  # the line where it begins, and its cells

# Numbers stay the text that they are, to be read as those of CSV; objects are tuples of pairs.
_DECODER = json.JSONDecoder(
    parse_int=Literal, parse_float=Literal, parse_constant=str, object_pairs_hook=tuple
)
_LITERALS = {None: Literal(), True: Literal("true"), False: Literal("false")}
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
