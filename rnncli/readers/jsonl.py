"""JSON lines as rows of cells: an object a row, whose names are the header, or an array."""

import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from rnncli.engine.rows import Literal, Quoted
from rnncli.model.errors import InputError
from rnncli.readers.foreign import display_name
from rnncli.readers.hints import not_json_lines
from rnncli.readers.text import Lines

Row = tuple[int, list[str]]  # the line where it begins, and its cells

# Numbers stay the text that they are, to be read as those of CSV; objects are tuples of pairs.
_DECODER = json.JSONDecoder(
    parse_int=Literal, parse_float=Literal, parse_constant=str, object_pairs_hook=tuple
)
_LITERALS = {None: Literal(), True: Literal("true"), False: Literal("false")}
# Objects of a line that `rnn run` writes whose names are names of columns.
_UNNAMED = ("", "key", "row")


def is_json(line: str, path: str) -> bool:
    """Return whether a text holds JSON lines, by its name or by its first line."""
    begin = line.lstrip()[:1]
    if re.search(r"\.(jsonl|ndjson)(\.\w+)?$", path.lower()) or begin == "{":
        return True
    try:
        return begin == "[" and _DECODER.decode(line) is not None
    except RecursionError:
        return True
    except json.JSONDecodeError as error:
        return error.pos >= len(line.rstrip())  # it goes on in the next line


def is_object(line: str) -> bool:
    """Return whether a line holds an object, not an array."""
    return line.lstrip().startswith("{")


def take_json_header(lines: Lines, path: str) -> tuple[list[str] | None, Row]:
    """Take the first line; return its names, if it is an object, and its row."""
    text = lines.take().decode().removesuffix("\n")
    cells = cells_of(text, path, lines.line - 1)
    if not cells:
        raise InputError(f"{display_name(path)}:{lines.line - 1}", "an empty object or array")
    return [*cells] if is_object(text) else None, (lines.line - 1, [*cells.values()])


def json_rows(
    text: bytes, lines: Lines, path: str, header: list[str] | None, *, strict: bool
) -> Iterator[Row]:
    """Read the rows of lines just taken; a name that is absent is an empty cell.

    If `strict`, a name that is not in the header is an error.
    """
    raw = text.decode().split("\n")[:-1]
    first = lines.line - len(raw)
    rows = _alike_rows(raw, header)
    if rows is not None:
        yield from enumerate(rows, first)
        return
    for number, line in enumerate(raw, first):
        if not line.strip():
            continue
        place, cells = f"{display_name(path)}:{number}", cells_of(line, path, number)
        if is_object(line) != (header is not None):
            expected = "an object" if header else "an array"
            raise InputError(place, f"expected {expected}, as in the first line")
        new = [name for name in cells if cells[name] and header and name not in header]
        if new and strict:
            raise InputError(place, f"column {new[0]!r} is not in the first line")
        yield number, [cells.get(name, Literal()) for name in header or cells]


def _alike_rows(raw: list[str], header: list[str] | None) -> list[list[str]] | None:
    """Read lines as one array: objects with the names of the header, without lists, or arrays."""
    begin, end = "{}" if header else "[]"
    if not all(line[:1] == begin and line[-1:] == end for line in raw):
        return None
    try:
        # Neither a text nor a number goes on behind the end of a line.
        items = _DECODER.decode("[" + ",\n".join(raw) + "]")
    except (ValueError, RecursionError):
        return None
    cells = [*chain.from_iterable(items)]
    if header:
        names = [name for name, _ in cells]
        cells = [cell for _, cell in cells]
        if names != [*header] * len(raw):
            return None
    width = len(cells) // len(raw)
    kinds = {*map(type, cells)}
    if not width or len(items) != len(raw) or any(len(item) != width for item in items):
        return None
    if not kinds <= {Literal, str, bool, type(None)}:
        return None
    if kinds != {Literal}:
        cells = [_as_text(cell) for cell in cells]
    return [cells[start : start + width] for start in range(0, len(cells), width)]


def cells_of(line: str, path: str, number: int) -> dict[str, str]:
    """Return the cells of a line by name; those of an array have none, and come in their order."""
    place = f"{display_name(path)}:{number}"
    try:
        value = _DECODER.decode(line)
        if isinstance(value, list) and any(isinstance(item, tuple | list) for item in value):
            raise not_json_lines(path, line, number)
        cells = dict[str, str]()
        for name, cell in _fields("", value if isinstance(value, tuple | list) else [value]):
            if cells.get(name, cell) != cell:  # `rnn run` writes the same in key and row
                raise InputError(place, f"column {name!r} stands twice in the line")
            cells[name] = cell
        return cells
    except json.JSONDecodeError as error:
        if error.pos >= len(line.rstrip()):
            raise not_json_lines(path, line, number) from error
        raise InputError(place, f"not JSON: {error.msg} (character {error.colno})") from error
    except RecursionError as error:
        raise InputError(place, "not JSON: nested too deep") from error


def _fields(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Name values: ``h_0`` in a list ``h``, ``a.b`` in an object ``a``."""
    if isinstance(value, tuple):
        for key, item in value:
            yield from _fields(key if name in _UNNAMED else f"{name}.{key}", item)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _fields(f"{name}_{i}", item)
    else:
        yield name, _as_text(value)


def _as_text(value: Any) -> str:
    """Return a value as a cell."""
    return Quoted(value) if type(value) is str else _LITERALS.get(value, value)
