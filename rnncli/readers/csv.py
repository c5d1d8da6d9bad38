"""Rows of text, CSV or JSON lines, whose chosen columns are the features."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain

from rnncli.engine.rows import Rows, in_blocks
from rnncli.model.arrays import Doubles, Integers
from rnncli.model.errors import InputError, listed, shown, verbatim
from rnncli.readers.columns import Chosen, choose_all, is_number, make_input
from rnncli.readers.decimals import read_decimals
from rnncli.readers.fields import find_fields, read_words, slice_text
from rnncli.readers.input import (
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
from rnncli.readers.jsonl import Row, find_pattern, json_rows, read_cells, read_numbers
from rnncli.readers.text import Lines, check_cells

FIRST_ROW = ("auto", "header", "data")
# Bytes that are read at once: their arrays stay in the cache.
_CHUNK = 1 << 18
# Delimiters that are in no number: rows between them are read many at once.
_PLAIN = (",", ";", "\t", "|", ":")
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
            self._pattern = find_pattern(text, self.width)
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
        if self._first:
            yield from self._read(self._first)
        follows, is_plain = self._layout.block_steps == 1, self._is_plain()
        for text in iter(lambda: self._lines.take(1 if follows else _CHUNK), b""):
            plain = self._read_plain(text) if is_plain else None
            if plain:
                yield plain
            elif self._delimiter:
                yield from self._read(_csv_rows(text, self._lines, self._delimiter))
            else:
                strict = self._layout.passthrough or not self._layout.columns
                header = self.header or []
                yield from self._read(json_rows(text, self._lines, header, strict=strict))

    def _is_plain(self) -> bool:
        """Return whether many rows can be read at once."""
        layout, mark, chosen = self._layout, self._delimiter, self.chosen
        # To `read_decimals` a cell of digits is never a missing one.
        if layout.block_steps == 1 or any(map(str.isdigit, "".join(layout.null_values))):
            return False
        if not mark:
            return bool(self._pattern) and not chosen.keys and not chosen.copied
        return mark in _PLAIN and layout.decimal != mark and layout.decimal.isascii()

    def _read_plain(self, text: bytes) -> Rows | None:
        """Read rows of plain numbers, many at once; None if there are others, or a fault."""
        text = text.lstrip(b"\n")
        while b"\n\n" in text:
            text = text.replace(b"\n\n", b"\n")
        keys, features, copied = self.chosen.keys, self.chosen.features, self.chosen.copied
        if not self._delimiter:
            values = read_numbers(text, self._pattern, self._layout)
            return None if values is None else self._make_rows(values[:, features], lambda: None)
        bounds = None if b'"' in text else find_fields(text, self._delimiter, self.width)
        if bounds is None:
            return None
        starts, ends = bounds

        def parse(cells: list[str]) -> Doubles | None:
            """Parse cells that are no plain numbers; a line of blanks is no row."""
            if self.width == 1 and not all(map(str.strip, cells)):
                return None
            return parse_cells(cells, self._layout)

        def column(i: int) -> list[str]:
            return [cell.lstrip(" ") for cell in slice_text(text, starts[:, i], ends[:, i])]

        def number_keys() -> Integers | None:
            numbers = None
            if len(keys) == 1:
                words = read_words(text, starts[:, keys[0]], ends[:, keys[0]])
                numbers = None if words is None else self._keys.number_words(words)
            return self._number(column) if numbers is None else numbers

        at = starts[:, features].ravel(), ends[:, features].ravel()
        values = read_decimals(text, *at, parse, self._layout.decimal)
        if values is None:
            return None
        cells = None
        if copied:
            lines = text.decode().split("\n")[:-1]
            cells = [[cell.lstrip(" ") for cell in row.split(self._delimiter)] for row in lines]
        return self._make_rows(values.reshape(-1, len(features)), number_keys, cells)

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
        number_keys = partial(self._number, lambda i: [row[i] for row in cells])
        return self._make_rows(values, number_keys, cells)

    def _make_rows(
        self,
        values: Doubles,
        number_keys: Callable[[], Integers | None],
        cells: list[list[str]] | None = None,
    ) -> Rows | None:
        """Make rows, and number their keys; None if the network cannot take one."""
        x, masked, fault = fit(values, self._layout)
        if fault:
            return None
        return Rows(x, number_keys(), masked, cells if self.chosen.copied else None)

    def _number(self, column: Callable[[int], list[str]]) -> Integers | None:
        """Return the number of each row's key, whose texts `column` returns."""
        keys = self.chosen.keys
        return self._keys.number(*map(column, keys)) if keys else None

    def _find_error(self, row: list[str], line: int) -> InputError | None:
        """Find the fault of a row, if it has one."""
        if len(row) != self.width:
            what = f"expected as many cells as in the first row, {self.width}, got {len(row)}"
            return InputError(f"{self._name}:{line}", what)
        for column in self.chosen.features:
            what, hint = find_fault(row[column], self._layout)
            if what and self.header and row == [*self.header]:
                again = "the header comes again", "two files joined? give both as FILE"
                return InputError(f"{self._name}:{line}", *again)
            if what:
                if what.startswith("not a number") and not hint and self.width > 1:
                    if not self._layout.columns:
                        hint = "`columns` chooses those to read"
                    elif self.header and line == 2 and not re.search(r"\d", row[column]):
                        hint = f"the columns are {verbatim(listed(map(repr, self.header)))}"
                label = repr(self.header[column]) if self.header else column + 1
                return InputError(f"{self._name}:{line}: column {label}", what, hint)
        return None


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
