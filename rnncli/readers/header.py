"""Rows of CSV text, and its first: what separates its cells, and whether it names the columns."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import chain

from rnncli.model.errors import InputError
from rnncli.readers.columns import choose_all, is_number, parted
from rnncli.readers.foreign import display_name
from rnncli.readers.hints import check_first_line, mark_between_numbers
from rnncli.readers.input import Layout, parse_number, shortened
from rnncli.readers.text import Lines

_DELIMITERS = ("\t", ";", ",")

Row = tuple[int, list[str]]  # the line where it begins, and its cells


def csv_rows(text: bytes, lines: Lines, name: str, delimiter: str) -> Iterator[Row]:
    """Read the rows that are not blank of lines just taken; the last row may go on in others."""
    raw = io.StringIO(text.decode()).readlines()
    first = lines.line - len(raw)
    behind = (line.decode() for line in iter(lines.take, b""))
    rows = csv.reader(chain(raw, behind), delimiter=delimiter, skipinitialspace=True, strict=True)
    while rows.line_num < len(raw):
        line = first + rows.line_num
        try:
            row = next(rows)
        except csv.Error as error:
            hint = "" if "limit" in str(error) else "is a quote left open or out of place?"
            raise InputError(f"{name}:{line}", f"not CSV: {error}", hint) from error
        if len(row) > 1 or rows.line_num > len(raw) or raw[rows.line_num - 1].strip():
            yield line, row


def first_line(lines: Lines, path: str, delimiter: str | None = None) -> str:
    """Look at the first line that is not blank."""
    for text in iter(lines.take, b""):
        line = text.decode()
        # Tabs alone are the delimiters of a row whose cells are all empty.
        if line.strip() or (delimiter or "\t") in line.strip(" \n"):
            lines.put_back(text)
            check_first_line(line.strip(), path)
            return line
    raise InputError(display_name(path), "empty; expected rows of numbers")


def take_header(
    lines: Lines, begin: str, name: str, layout: Layout
) -> tuple[str, list[str] | None, Row]:
    """Take the first row, which begins with a line; return delimiter, header and the row."""
    delimiter = layout.delimiter or _delimiter_of(begin, layout)
    line, row = next(csv_rows(lines.take(), lines, name, delimiter))
    if _is_header(row, layout):
        return delimiter, [cell.strip() for cell in row], (line, row)
    if delimiter == layout.decimal == "," and re.search(r"\d,\d", _outside_quotes(begin)):
        what = f"a comma may end a cell here, or stand in a number: {shortened(begin.strip())}"
        hint = "put such numbers in quotes, or give another `delimiter`"
        raise InputError(f"{name}:{line}", what, hint)
    return delimiter, None, (line, row)


def _delimiter_of(line: str, layout: Layout) -> str:
    """Return tab, semicolon or comma: the first of them outside quotes.

    A comma in a single number with a decimal comma is none.
    """
    outside = _outside_quotes(line)
    found = next((mark for mark in _DELIMITERS if mark in outside), ",")
    if found != layout.decimal:
        return found
    alone = found not in outside or parse_number(layout.with_point(line)) is not None
    return ";" if alone else found


def _outside_quotes(line: str) -> str:
    return "".join(line.split('"')[::2])


def _is_header(first: Sequence[str], layout: Layout) -> bool:
    """Return whether the first row names columns: it must, or a feature in it is a word."""
    if layout.first_row != "auto":
        return layout.first_row == "header"
    cells, width = [cell.strip() for cell in first], len(first)
    wanted = (*layout.columns, *parted(layout.group_by, cells))
    if any(not is_number(column, width) and column in cells for column in wanted):
        return True
    try:
        _, chosen, _ = choose_all("", layout, width, None)
    except InputError:  # at a column that is named, or is not there with a header either
        return True
    usual = [layout.usual(cells[i]) for i in chosen]
    return any(
        cell.strip() and parse_number(cell) is None and not mark_between_numbers(cell)
        for cell in usual
    )
