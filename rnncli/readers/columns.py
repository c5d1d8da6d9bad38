"""Which columns an input has, and which of them are its features."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rnncli.model.errors import InputError
from rnncli.readers.foreign import check_first_lines, display_name
from rnncli.readers.input import Layout, mark_between_numbers, parse_number
from rnncli.readers.text import Lines

_DELIMITERS = ("\t", ";", ",")

Row = list[str]


def choose(
    name: str,
    wanted: Sequence[str],
    width: int,
    header: Sequence[str] | None,
    parameter: str = "columns",
) -> list[int]:
    """Return the positions, from 0, of the wanted columns.

    Parameters
    ----------
    name : str
        The input, for messages.
    wanted : sequence of str
        Names from the header, or numbers from 1. A number over `width` is
        looked for among the names.
    width : int
        Number of columns there are.
    header : sequence of str, optional
        Names of the columns, where the input has any.
    parameter : str
        Where the columns are wanted, for messages.

    Raises
    ------
    InputError
        A column is not there, stands twice in the header, or is wanted twice.
    """
    if not wanted:
        return []
    places: dict[str, list[int]] = {}
    for i, column in enumerate(header or ()):
        places.setdefault(column, []).append(i)
    chosen: dict[int, None] = {}
    for column in wanted:
        there = [int(column) - 1] if _is_number(column, width) else places.get(column, [])
        if len(there) > 1:
            hint = f"choose it by its number, 1 to {width}"
            raise InputError(name, f"column {column!r} stands twice in the header", hint)
        if not there and header is None:
            hint = f"expected a number from 1 to {width} in `{parameter}`"
            raise InputError(name, f"no column {column!r}: it has no header", hint)
        if not there:
            known = f"there are {listed(header or ())} (or 1 to {width})"
            raise InputError(name, f"no column {column!r}; {known}")
        if there[0] in chosen:
            raise InputError(name, f"column {column!r} is chosen twice", f" in `{parameter}`")
        chosen[there[0]] = None
    return list(chosen)


def named(chosen: Sequence[int], header: Sequence[str] | None) -> list[str | int]:
    """Return columns by name; by number from 1 where no name is theirs alone."""
    times = Counter(header)
    return [header[i] if header and header[i] and times[header[i]] == 1 else i + 1 for i in chosen]


def check_distinct(name: str, header: Sequence[str]) -> None:
    """Check that no two columns that are passed through have one name.

    Who reads them by name would get one of them.

    Raises
    ------
    InputError
        A name stands twice in the header.
    """
    for column, times in Counter(header).items():
        if times > 1:
            hint = "`passthrough` needs a name of its own for each"
            raise InputError(name, f"column {column!r} stands twice in the header", hint)


def _is_number(column: str, width: int) -> bool:
    """Return whether a wanted column is given by its number, not by its name."""
    return column.isdecimal() and column.isascii() and 1 <= int(column) <= width


def listed(names: Sequence[str | int], limit: int = 8) -> str:
    """Return names as a message shows them, the first of many."""
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def csv_rows(lines: Iterable[str], delimiter: str) -> Any:
    """Return rows as lists of cells: csv.reader's object, whose type has no public name."""
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)


def first_line(lines: Lines, path: str) -> str:
    """Look at the first line that is not blank.

    Raises
    ------
    InputError
        There is none, or it is not CSV.
    """
    blank, passed, shown = 0, list[str](), list[str]()
    for line in lines:
        if not (passed or line.strip()):
            blank += 1
            continue
        passed.append(line)
        shown += [line] if line.strip() else []
        # A bracket alone does not tell which kind of JSON begins.
        if shown[0].strip() != "[" or len(shown) > 1:
            break
    if not shown:
        raise _empty(display_name(path))
    check_first_lines(shown, path)
    lines.put_back("\n" * blank + "".join(passed))
    return shown[0]


def delimiter_of(line: str) -> str:
    """Return tab, semicolon or comma: the first of them outside quotes."""
    outside = "".join(line.split('"')[::2])
    return next((mark for mark in _DELIMITERS if mark in outside), ",")


def take_header(
    lines: Lines, name: str, delimiter: str, layout: Layout
) -> tuple[int, Row | None, int]:
    """Take the first row that is not blank, if it is a header.

    Returns
    -------
    width : int
        How many cells it has.
    header : list of str or None
        What is in them, if it is a header.
    line : int
        Number of the line where the rows of data begin, counted from 1.

    Raises
    ------
    InputError
        There is none, or it is not CSV.
    """
    taken: list[str] = []

    def kept() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    rows = csv_rows(kept(), delimiter)
    try:
        for row in rows:
            if is_blank(row):
                taken.clear()
            elif _is_header(row, layout):
                return len(row), [cell.strip() for cell in row], rows.line_num + 1
            else:
                lines.put_back("".join(taken))
                return len(row), None, rows.line_num - len(taken) + 1
    except csv.Error as error:
        raise syntax_error(name, rows.line_num, error) from error
    raise _empty(name)


def _is_header(first: Row, layout: Layout) -> bool:
    """Return whether the first row names columns: it must, or a feature in it is a word."""
    if layout.first_row != "auto":
        return layout.first_row == "header"
    if not all(_is_number(column, len(first)) for column in (*layout.columns, *layout.group_by)):
        return True
    grouping = {int(column) - 1 for column in layout.group_by}
    chosen = {int(column) - 1 for column in layout.columns}
    return any(
        _is_word(cell)
        for i, cell in enumerate(first)
        if (i in chosen if chosen else i not in grouping)
    )


def is_blank(row: Row) -> bool:
    """Return whether a row is of nothing, or of a cell of nothing but spaces."""
    return len(row) < 2 and not "".join(row).strip()


def syntax_error(name: str, line: int, error: csv.Error) -> InputError:
    """Return the error with the line where text is not CSV."""
    hint = "" if "limit" in str(error) else "is a quote left open or out of place?"
    return InputError(f"{name}:{line}", f"not CSV: {error}", hint)


def _is_word(cell: str) -> bool:
    """Return whether a cell is neither empty nor a number, nor several.

    ``nan`` is a number to Python.
    """
    return bool(cell.strip()) and parse_number(cell) is None and not mark_between_numbers(cell)


def _empty(name: str) -> InputError:
    return InputError(name, "empty; expected rows of numbers")
