"""Rows of text, CSV or JSON lines, whose chosen columns are the features."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat

import numpy as np

from rnncli.engine.rows import Rows, in_blocks
from rnncli.model.errors import InputError, shown, verbatim
from rnncli.readers.columns import Chosen, choose_all, is_number, make_input
from rnncli.readers.input import (
    Doubles,
    Input,
    Keys,
    Layout,
    check_layout,
    find_fault,
    fit,
    hint_at_numbers,
    parse_cells,
    parse_number,
)
from rnncli.readers.jsonl import Row, json_rows, read_cells
from rnncli.readers.text import Lines, check_cells

FIRST_ROW = ("auto", "header", "data")
# Bytes that are read at once: their arrays stay in the cache.
_CHUNK = 1 << 18
# Delimiters that are in no number: rows between them are read many at once.
_PLAIN = (b",", b";", b"\t", b"|", b":")
# Quotes, and characters that are blanks to `numpy.loadtxt` but not to `float`.
_ODD = (b'"', b"\x1c", b"\x1d", b"\x1e", b"\x1f")
_SWAPPED = bytes.maketrans(b",.", b".,")
_QUOTED = re.compile('"[^"]*"?')


def read_text(path: str, file: io.BufferedReader, layout: Layout, keys: Keys) -> Input:
    """Read a file of CSV or JSON lines."""
    return read_lines(Lines(file, path, layout.encoding), layout, keys)


def read_lines(lines: Lines, layout: Layout, keys: Keys) -> Input:
    """Read rows of CSV or JSON lines, a step each; blank lines are skipped."""
    table = _Table(lines, layout, keys)
    blocks = in_blocks(table.rows(), table.chosen.count_steps(layout))
    source = make_input(blocks, table.chosen, table.header, keys)
    return source._replace(share=lines.share, note=table.note)


class _Table:
    """Rows of text below a header, if it has one."""

    def __init__(self, lines: Lines, layout: Layout, keys: Keys) -> None:
        self._lines, self._layout, self._keys = lines, layout, keys
        self._name, self._delimiter, self.note = lines.name, "", ""
        self.header: list[str] | None = None
        text = lines.peek(layout.delimiter)
        if lines.is_json(text):
            check_layout(self._name, layout, "JSON", "delimiter", "decimal", "first_row")
            first = read_cells(lines.take().decode(), f"{self._name}:{lines.line - 1}")
            self.header, self._first = [*first], [(lines.line - 1, [*first.values()])]
            self.width = len(first)
        else:
            self._delimiter = layout.delimiter or _find_delimiter(text, layout)
            self._first = [next(_csv_rows(lines.take(), lines, self._delimiter))]
            ((line, row),) = self._first
            self.width = len(row)
            if _is_header(row, layout):
                self.header, self._first = [cell.strip() for cell in row], []
            elif self._delimiter == layout.decimal and re.search(r"\d,\d", _QUOTED.sub("", text)):
                what = f"a comma may end a cell here, or stand in a number: {shown(text.strip())}"
                hint = "put such numbers in quotes, or give another `delimiter`"
                raise InputError(f"{self._name}:{line}", what, hint)
        self.chosen = choose_all(self._name, layout, self.width, self.header)
        self.note = self.chosen.note
        if self._delimiter and not self.header and layout.first_row == "auto":
            self.note = _note_header(row, layout, self.chosen)

    def rows(self) -> Iterator[Rows]:
        """Yield some rows at a time; an error comes after the rows before it."""
        yield from self._read(self._first)
        follows = self._layout.block_steps == 1
        for text in iter(lambda: self._lines.take(1 if follows else _CHUNK), b""):
            plain = None if follows else self._read_plain(text)
            if plain:
                yield plain
            elif self._delimiter:
                yield from self._read(_csv_rows(text, self._lines, self._delimiter))
            else:
                strict = self._layout.passthrough or not self._layout.columns
                header = self.header or []
                yield from self._read(json_rows(text, self._lines, header, strict=strict))

    def _read_plain(self, text: bytes) -> Rows | None:
        """Read rows without quotes by `numpy.loadtxt`; None if it cannot, or finds a fault."""
        layout, mark = self._layout, self._delimiter.encode()
        if mark not in _PLAIN or layout.decimal == self._delimiter or layout.null_values:
            return None
        if any(each in text for each in _ODD):
            return None
        numbers = _fill_empty(text, mark)
        if layout.decimal == ",":
            numbers = numbers.translate(_SWAPPED)
        rows = _split_lines(numbers)
        if {*map(str.count, rows, repeat(self._delimiter))} != {self.width - 1}:
            return None
        columns = self.chosen.features
        try:
            values = np.loadtxt(
                rows, comments=None, delimiter=self._delimiter, usecols=columns, ndmin=2
            )
        except ValueError:
            return None
        lines = _split_lines(text) if self.chosen.keys or self.chosen.copied else []
        cells = None
        if self.chosen.copied:
            cells = [[each.lstrip(" ") for each in row.split(self._delimiter)] for row in lines]

        def column(i: int) -> list[str]:
            return [row.split(self._delimiter, i + 1)[i].lstrip(" ") for row in lines]

        return self._make_rows(values, column, cells)

    def _read(self, numbered: Iterable[Row]) -> Iterator[Rows]:
        """Yield the rows before the first error, then raise it."""
        lines, cells, error = list[int](), list[list[str]](), None
        try:
            for line, row in numbered:
                lines.append(line)
                cells.append(row)
        except InputError as raised:
            error = raised
        rows = self._parse(cells)
        if rows is None:
            errors = enumerate(map(self._find_error, cells, lines))
            end, error = next((end, each) for end, each in errors if each)
            rows = self._parse(cells[:end])
        if rows and len(rows.x):
            yield rows
        if error:
            raise error

    def _parse(self, cells: list[list[str]]) -> Rows | None:
        """Parse rows; None if any has an error."""
        if any(len(row) != self.width for row in cells):
            return None
        values = parse_cells([row[i] for row in cells for i in self.chosen.features], self._layout)
        if values is None:
            return None
        values = values.reshape(-1, len(self.chosen.features))
        return self._make_rows(values, lambda i: [row[i] for row in cells], cells)

    def _make_rows(
        self, values: Doubles, column: Callable[[int], list[str]], cells: list[list[str]] | None
    ) -> Rows | None:
        """Make rows, with keys from texts of `column`; None if the network cannot take one."""
        x, masked, fault = fit(values, self._layout)
        if fault:
            return None
        keys = self.chosen.keys
        key = self._keys.number(*map(column, keys)) if keys else None
        return Rows(x, key, masked, cells if self.chosen.copied else None)

    def _find_error(self, row: list[str], line: int) -> InputError | None:
        """Find the fault of a row, if it has one."""
        if len(row) != self.width:
            what = f"expected as many cells as in the first row, {self.width}, got {len(row)}"
            return InputError(f"{self._name}:{line}", what)
        for column in self.chosen.features:
            what, hint = find_fault(row[column], self._layout)
            if what:
                if what.startswith("not a number") and not self._layout.columns and self.width > 1:
                    hint = hint or "`columns` chooses those to read"
                label = repr(self.header[column]) if self.header else column + 1
                return InputError(f"{self._name}:{line}: column {label}", what, hint)
        return None


def _fill_empty(text: bytes, mark: bytes) -> bytes:
    """Write nan into the empty cells of rows that are not blank."""
    for _ in range(2):  # a cell between two others shares its delimiters with them
        text = text.replace(mark + mark, mark + b"nan" + mark)
    text = text.replace(mark + b"\n", mark + b"nan\n").replace(b"\n" + mark, b"\nnan" + mark)
    return b"nan" + text if text.startswith(mark) else text


def _split_lines(text: bytes) -> list[str]:
    """Split text into its lines, without empty ones."""
    return [*filter(None, text.decode().split("\n"))]


def _csv_rows(text: bytes, lines: Lines, delimiter: str) -> Iterator[Row]:
    """Read the rows of lines just taken, without blank ones; the last may end in a later line."""
    raw = io.StringIO(text.decode()).readlines()
    first = line = lines.line - len(raw)
    later = (line.decode() for line in iter(lines.take, b""))
    delimiters = 0  # of this row, which may have several lines

    def check(text: str) -> str:
        nonlocal delimiters
        delimiters += text.count(delimiter)
        check_cells(delimiters, f"{lines.name}:{line}")
        return text

    checked = map(check, chain(raw, later))
    rows = csv.reader(checked, delimiter=delimiter, skipinitialspace=True, strict=True)
    while rows.line_num < len(raw):
        line, delimiters = first + rows.line_num, 0
        try:
            row = next(rows)
        except csv.Error as error:
            hint = "is a quote left open or out of place?"
            raise InputError(f"{lines.name}:{line}", f"not CSV: {error}", hint) from error
        if len(row) > 1 or rows.line_num > len(raw) or raw[rows.line_num - 1].strip():
            yield line, row


def _find_delimiter(line: str, layout: Layout) -> str:
    """Find the first of tab, semicolon and comma outside quotes, but not a decimal comma."""
    outside_quotes = _QUOTED.sub("", line)
    delimiter = next((mark for mark in "\t;," if mark in outside_quotes), ",")
    alone = delimiter not in outside_quotes or parse_number(layout.usual(line)) is not None
    return ";" if delimiter == layout.decimal and alone else delimiter


def _note_header(first: Sequence[str], layout: Layout, chosen: Chosen) -> str:
    """Suggest that a first row that is read as data is a header; empty if it looks like none."""
    cells = {i: cell.strip() for i, cell in enumerate(first) if i not in chosen.keys}
    numbers = [cell for cell in cells.values() if cell and parse_number(cell) is not None]
    has_words = len(numbers) < len(cells)
    # Columns that count from 0, as in a frame of pandas, or numbers of sensors below a word.
    counts = [[*map(str, range(k, k + len(numbers)))] for k in range(1 + has_words)]
    wanted = [str(i + 1) for i in chosen.features if first[i].strip() != str(i + 1)]
    is_named = has_words and layout.columns and {*wanted} & {*numbers}
    if not is_named and (len(numbers) < 2 or numbers not in counts):
        return ""
    row = verbatim(shown(",".join(first)))
    return f"the first row, {row}, is read as a step; if it is a header, give `first_row` header"


def _is_header(first: Sequence[str], layout: Layout) -> bool:
    """Return whether the first row names columns: by an option, or if a feature is a word."""
    if layout.first_row != "auto":
        return layout.first_row == "header"
    cells, width = [cell.strip() for cell in first], len(first)
    wanted = [each for each in (*layout.columns, *layout.group_by) if isinstance(each, str)]
    if any(not is_number(column, width) and column in cells for column in wanted):
        return True
    try:
        features = choose_all("", layout, width, None).features
    except InputError:  # a column is given by name, or does not exist
        return True
    return any(
        parse_number(cell) is None and not hint_at_numbers(cell)
        for cell in (layout.usual(cells[i]) for i in features)
    )
