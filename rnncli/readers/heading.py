"""What the beginning of CSV text tells: the delimiter, and whether there is a header."""

import csv
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from rnncli.readers.columns import is_number
from rnncli.readers.foreign import NotTextError, check_first_lines, display_name
from rnncli.readers.input import Layout, mark_between_numbers, parse_number
from rnncli.readers.lines import Lines

_DELIMITERS = ("\t", ";", ",")

Row = list[str]


class FirstRow(NamedTuple):
    """The first row that is not blank.

    Parameters
    ----------
    cells : list of str
    lines : list of str
        Those it stands on.
    number : int
        Of the first of them, counted from 1.
    """

    cells: Row
    lines: list[str]
    number: int


def csv_rows(lines: Iterable[str], delimiter: str) -> Any:
    """Give rows as lists of cells: csv.reader's object, whose type has no public name."""
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)


def first_line(lines: Lines, path: str) -> str:
    """Look at the first line that is not blank.

    Raises
    ------
    ValueError
        There is none, or it is not CSV.
    """
    blank, passed, shown = 0, list[str](), list[str]()
    try:
        for line in lines:
            if not (passed or line.strip()):
                blank += 1
                continue
            passed.append(line)
            shown += [line] if line.strip() else []
            # A bracket alone does not tell which kind of JSON begins.
            if shown[0].strip() != "[" or len(shown) > 1:
                break
    except NotTextError as error:
        raise error.at(blank + len(passed) + 1) from error
    if not shown:
        raise _empty(display_name(path))
    check_first_lines(shown, path)
    lines.put_back("\n" * blank + "".join(passed))
    return shown[0]


def delimiter_of(line: str) -> str:
    """Tab, semicolon or comma: the first of them outside quotes."""
    outside = "".join(line.split('"')[::2])
    return next((mark for mark in _DELIMITERS if mark in outside), ",")


def take_first_row(lines: Lines, name: str, delimiter: str) -> FirstRow:
    """Take the first row that is not blank.

    Raises
    ------
    ValueError
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
            if not is_blank(row):
                return FirstRow(row, taken, rows.line_num - len(taken) + 1)
            taken.clear()
    except csv.Error as error:
        raise syntax_error(name, rows.line_num, error) from error
    except NotTextError as error:
        raise error.at(rows.line_num + 1) from error
    raise _empty(name)


def is_header(first: Row, layout: Layout) -> bool:
    """Tell whether the first row names columns: it must, or a feature in it is a word."""
    width = len(first)
    wanted = [*layout.columns, *layout.group_by]
    named = [column for column in wanted if not is_number(column, width)]
    if layout.first_row != "auto":
        return layout.first_row == "header"
    if named:
        return True
    grouping = {int(column) - 1 for column in layout.group_by}
    chosen = {int(column) - 1 for column in layout.columns}
    return any(
        _is_word(cell)
        for i, cell in enumerate(first)
        if (i in chosen if chosen else i not in grouping)
    )


def is_blank(row: Row) -> bool:
    """Tell a row of nothing, or of a cell of nothing but spaces."""
    return len(row) < 2 and not "".join(row).strip()


def syntax_error(name: str, line: int, error: csv.Error) -> ValueError:
    """Say where text is not CSV."""
    hint = "" if "limit" in str(error) else "; is a quote left open or out of place?"
    return ValueError(f"{name}:{line}: not CSV: {error}{hint}")


def _is_word(cell: str) -> bool:
    """Tell whether a cell is neither empty nor a number, nor several.

    ``nan`` is a number to Python.
    """
    return bool(cell.strip()) and parse_number(cell) is None and not mark_between_numbers(cell)


def _empty(name: str) -> ValueError:
    return ValueError(f"{name}: empty; expected rows of numbers")
