"""CSV text: rows of cells, the chosen columns of which are the features."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.arrays import Floats
from rnncli.readers.columns import choose, is_number
from rnncli.readers.input import (
    Input,
    Keys,
    Layout,
    fault_of,
    filled,
    first_fault,
    is_missing,
    mark_between_numbers,
    parse_number,
    unnamed,
)
from rnncli.readers.text import Position, display_name, read_lines
from rnncli.stream import Rows

FIRST_ROW = ("auto", "header", "data")

_DELIMITERS = ("\t", ";", ",")

Row = list[str]


def read_csv(path: str, layout: Layout, keys: Keys) -> Input:
    r"""Read CSV text: a row is a step.

    Cells may be quoted; lines end in ``\n``, ``\r\n`` or ``\r``. Blank lines
    are passed over, but in the middle of a single column, where one would be
    a missing step, it is a fault.

    Parameters
    ----------
    path : str
        A file, ``.gz`` if compressed, or ``-`` for standard input.
    layout : Layout
    keys : Keys
        Those met so far, in files before this one too.

    Raises
    ------
    ValueError
        Nothing there, not text, or no such column. Faults in rows are
        raised by the blocks, after the rows before them.
    OSError
        The file cannot be opened.
    """
    name, position = display_name(path), Position(path)
    first_line, lines = _first_line(read_lines(path, position), name)
    delimiter = layout.delimiter or _delimiter(first_line)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        first = next((row for row in reader if not _is_blank(row)), None)
    except csv.Error as error:
        raise _syntax_error(name, reader.line_num, error) from error
    if first is None:
        raise _empty(name)
    header = [cell.strip() for cell in first] if _is_header(first, layout) else None
    grouping = choose(name, layout.group_by, len(first), header, "--group-by")
    chosen = choose(name, layout.columns, len(first), header) or [
        column for column in range(len(first)) if column not in grouping
    ]
    if not chosen:
        raise ValueError(f"{name}: no column is left to read beside those of --group-by")
    line = reader.line_num + 1 if header else reader.line_num - _line_breaks(first)
    table = _Table(
        name=name,
        reader=reader,
        width=len(first),
        chosen=chosen,
        header=header,
        layout=layout,
        line=line,
        held=[] if header else [first],
        grouping=grouping,
        keys=keys,
    )
    columns = [header[i] for i in chosen] if header else unnamed(len(chosen))
    key_columns = [header[i] if header else f"column_{i + 1}" for i in grouping]
    share = (lambda: None) if path.lower().endswith(".gz") else position.share
    kept = (header or [f"column_{i + 1}" for i in range(len(first))]) if layout.passthrough else ()
    return Input(columns, table.blocks(), key_columns, keys.names if grouping else (), kept, share)


@dataclass
class _Table:
    """Rows of data, turned into numbers a block at a time."""

    name: str
    reader: Any  # csv.reader's object, whose type has no public name
    width: int
    chosen: Sequence[int]
    header: Sequence[str] | None
    layout: Layout
    line: int  # where the next row starts
    held: list[Row]  # rows read already
    grouping: Sequence[int]
    keys: Keys
    blank_lines: list[int] = field(default_factory=list)  # that no row has followed yet
    begun: bool = False  # whether a row has been read as numbers

    def blocks(self) -> Iterator[Rows]:
        """Blocks of steps, then the fault that ended them, if one did."""
        while True:
            rows, fault = self._take()
            ended = len(rows) < self.layout.block_steps
            values = self._convert(rows)
            if values is None:
                values, rows, earlier_fault = self._convert_one_by_one(rows)
                fault = earlier_fault or fault
            if len(values):
                self.begun = True
                values, held = filled(values, self.layout.missing)
                cells = rows if self.layout.passthrough else None
                yield Rows(values.astype(self.layout.dtype), self._key(rows), held, cells)
            if fault:
                raise fault
            if ended:
                return
            self.line = self.reader.line_num + 1

    def _take(self) -> tuple[list[Row], ValueError | None]:
        """Rows of one block, up to the end, damage, or a fault in the quoting."""
        rows, self.held = self.held, []
        try:
            for row in islice(self.reader, self.layout.block_steps - len(rows)):
                rows.append(row)
        except csv.Error as error:
            return rows, _syntax_error(self.name, self._line_after(rows), error)
        except ValueError as damage:
            return rows, damage
        return rows, None

    def _convert(self, rows: list[Row]) -> Floats | None:
        """Values of a block, or None if anything in it is out of the ordinary."""
        if self.blank_lines or set(map(len, rows)) != {self.width}:
            return None
        values = np.empty((len(rows), len(self.chosen)))
        try:
            for feature, column in enumerate(self.chosen):
                cells = [row[column] for row in rows]
                if self.layout.missing != "error":
                    cells = [cell or "nan" for cell in cells]
                if "_" in "".join(cells):  # Python reads 1_000 as a number
                    return None
                values[:, feature] = np.fromiter(map(float, cells), np.float64, len(cells))
        except ValueError:
            return None
        checked, _ = filled(values, self.layout.missing)
        return None if first_fault(checked, self.layout.dtype) else values

    def _key(self, rows: list[Row]) -> NDArray[np.intp] | None:
        if not self.grouping:
            return None
        return self.keys.number(
            zip(*([row[i] for row in rows] for i in self.grouping), strict=True)
        )

    def _convert_one_by_one(self, rows: list[Row]) -> tuple[Floats, list[Row], ValueError | None]:
        """Values of the rows before the first fault, those rows, and the fault; no blank lines."""
        kept: list[Row] = []
        fault = None
        line = self.line
        for row in rows:
            if _is_blank(row):
                self.blank_lines.append(line)
            else:
                fault = self._fault(row, line)
                if fault:
                    break
                if self.width == 1:
                    kept += [[""]] * len(self.blank_lines)
                self.blank_lines.clear()
                kept.append(row)
            line += 1 + _line_breaks(row)
        values = [[_number(row[column]) for column in self.chosen] for row in kept]
        return np.array(values, np.float64).reshape(-1, len(self.chosen)), kept, fault

    def _fault(self, row: Row, line: int) -> ValueError | None:
        """Say what is wrong with a row, if anything is."""
        strict = self.layout.missing == "error"
        if self.width == 1 and self.blank_lines and strict:
            return ValueError(
                f"{self.name}:{self.blank_lines[-1]}: blank line; expected a number on every "
                "line, or the line deleted; --missing hold or zero passes it"
            )
        if len(row) != self.width:
            return ValueError(
                f"{self.name}:{line}: expected as many cells as in the first row, {self.width}, "
                f"got {len(row)}"
            )
        for column in self.chosen:
            what = fault_of(row[column], self.layout.dtype)
            if what and (strict or not is_missing(row[column])):
                label = repr(self.header[column]) if self.header else column + 1
                way_out = mark_between_numbers(row[column]) or self._way_out(line)
                if is_missing(row[column]):
                    way_out = "; --missing hold or zero passes it"
                return ValueError(f"{self.name}:{line}: column {label}: {what}{way_out}")
        return None

    def _way_out(self, line: int) -> str:
        """Point to --columns where a column looks like no numbers at all."""
        reads_all = len(self.chosen) + len(self.grouping) == self.width > 1
        return (
            "; --columns chooses those to read"
            if reads_all and line == self.line and not self.begun
            else ""
        )

    def _line_after(self, rows: list[Row]) -> int:
        return self.line + len(rows) + sum(map(_line_breaks, rows))


def _first_line(lines: Iterator[str], name: str) -> tuple[str, Iterator[str]]:
    """Find the first line that is not blank; give all lines with it."""
    passed = []
    for line in lines:
        passed.append(line)
        if line.strip():
            return line, chain(passed, lines)
    raise _empty(name)


def _empty(name: str) -> ValueError:
    return ValueError(f"{name}: empty; expected rows of numbers")


def _delimiter(line: str) -> str:
    """Tab, semicolon or comma: the first of them that stands outside quotes in a line."""
    outside = "".join(line.split('"')[::2])
    return next((delimiter for delimiter in _DELIMITERS if delimiter in outside), ",")


def _is_header(first: Row, layout: Layout) -> bool:
    """Tell whether the first row names columns: it must, or a feature in it is a word."""
    width = len(first)
    wanted = [*layout.columns, *layout.group_by]
    named = [column for column in wanted if not is_number(column, width)]
    if layout.first_row != "auto":
        return layout.first_row == "header"
    if named:
        return True
    grouping = [int(column) - 1 for column in layout.group_by]
    features = [int(column) - 1 for column in layout.columns] or set(range(width)) - set(grouping)
    return any(_is_word(first[i]) for i in features)


def _is_word(cell: str) -> bool:
    """Tell whether a cell is neither empty nor a number, nor several.

    ``nan`` is a number to Python.
    """
    return bool(cell.strip()) and parse_number(cell) is None and not mark_between_numbers(cell)


def _number(cell: str) -> float:
    return np.nan if is_missing(cell) else float(cell)


def _is_blank(row: Row) -> bool:
    return len(row) < 2 and not "".join(row).strip()


def _line_breaks(row: Row) -> int:
    """Count the line ends within the quoted cells of a row."""
    return sum(
        cell.count("\n") + cell.count("\r") - cell.count("\r\n")
        for cell in row
        if "\n" in cell or "\r" in cell
    )


def _syntax_error(name: str, line: int, error: csv.Error) -> ValueError:
    hint = "" if "limit" in str(error) else "; is a quote left open or out of place?"
    return ValueError(f"{name}:{line}: not CSV: {error}{hint}")
