"""The first row of CSV text: what separates its cells, and whether it names the columns."""

import csv
import re
from collections.abc import Iterable, Iterator
from typing import Any

from rnncli.model.errors import InputError
from rnncli.readers.columns import choose, is_number, others, parted
from rnncli.readers.foreign import check_first_lines, display_name
from rnncli.readers.input import (
    Layout,
    Notation,
    mark_between_numbers,
    parse_number,
    shortened,
)
from rnncli.readers.text import Lines

_DELIMITERS = ("\t", ";", ",")

Row = list[str]


class csv_rows:  # noqa: N801
    """Rows as lists of cells, as csv.reader makes them: a blank line has none."""

    def __init__(self, lines: Iterable[str], delimiter: str) -> None:
        how: dict[str, Any] = {"delimiter": delimiter, "skipinitialspace": True, "strict": True}
        self._rows = csv.reader(self._passed(lines), **how)

    @property
    def line_num(self) -> int:
        """How many lines have been read."""
        return self._rows.line_num

    def __iter__(self) -> Iterator[Row]:
        return (row if len(row) > 1 or self._line.strip() else [] for row in self._rows)

    def _passed(self, lines: Iterable[str]) -> Iterator[str]:
        for self._line in lines:
            yield self._line


def first_line(lines: Lines, path: str, delimiter: str | None = None) -> str:
    """Look at the first line that is not blank."""
    blank, passed, shown = 0, list[str](), list[str]()
    for line in lines:
        # Tabs alone are the delimiters of a row whose cells are all empty.
        is_row = bool(line.strip()) or (delimiter or "\t") in line.strip(" \n")
        if not (passed or is_row):
            blank += 1
            continue
        passed.append(line)
        shown += [line] if is_row else []
        # A bracket alone does not tell which kind of JSON begins.
        if shown[0].strip() != "[" or len(shown) > 1:
            break
    if not shown:
        raise _empty(display_name(path))
    check_first_lines(shown, path)
    lines.put_back("\n" * blank + "".join(passed))
    return shown[0]


def _delimiter_of(line: str, notation: Notation) -> str:
    """Return tab, semicolon or comma: the first of them outside quotes.

    A comma between two digits of a single number is none where it stands
    before its decimals.
    """
    outside = _outside_quotes(line)
    found = next((mark for mark in _DELIMITERS if mark in outside), ",")
    if found != notation.decimal:
        return found
    alone = found not in outside or parse_number(notation.with_point(line)) is not None
    return ";" if alone else found


def _outside_quotes(line: str) -> str:
    return "".join(line.split('"')[::2])


def _check_commas(place: str, line: str) -> None:
    """Check that commas of a row end cells, where they may also stand in numbers."""
    if re.search(r"\d,\d", _outside_quotes(line)):
        what = f"a comma may end a cell here, or stand in a number: {shortened(line.strip())}"
        raise InputError(place, what, "put such numbers in quotes, or give another `delimiter`")


def take_header(lines: Lines, path: str, layout: Layout) -> tuple[str, int, Row | None, int]:
    """Take the first row that is not blank, if it is a header."""
    begin, name = first_line(lines, path, layout.delimiter), display_name(path)
    delimiter = layout.delimiter or _delimiter_of(begin, layout.notation)
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
                return delimiter, len(row), [cell.strip() for cell in row], rows.line_num + 1
            else:
                lines.put_back("".join(taken))
                line = rows.line_num - len(taken) + 1
                if delimiter == layout.decimal == ",":
                    _check_commas(f"{name}:{line}", begin)
                return delimiter, len(row), None, line
    except csv.Error as error:
        raise syntax_error(name, rows.line_num - len(taken) + 1, error) from error
    raise _empty(name)


def _is_header(first: Row, layout: Layout) -> bool:
    """Return whether the first row names columns: it must, or a feature in it is a word."""
    if layout.first_row != "auto":
        return layout.first_row == "header"
    cells, width = [cell.strip() for cell in first], len(first)
    group_by = parted(layout.group_by, cells)
    wanted = (*layout.columns, *group_by)
    if any(not is_number(column, width) and column in cells for column in wanted):
        return True
    try:
        grouping = choose("", group_by, width, None)
        chosen = choose("", layout.columns, width, None, otherwise=others(grouping, width))
    except InputError:  # at a column that is named, or is not there with a header either
        return True
    usual = layout.notation.usual
    return any(_is_word(usual(cells[i])) for i in chosen)


def is_blank(row: Row) -> bool:
    """Return whether a row has no cells."""
    return not row


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
