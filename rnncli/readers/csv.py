"""CSV text: rows of cells, the chosen columns of which are the features."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.arrays import Floats
from rnncli.readers.columns import check_distinct, choose, named
from rnncli.readers.foreign import NotTextError, display_name
from rnncli.readers.heading import (
    Row,
    csv_rows,
    delimiter_of,
    first_line,
    is_blank,
    is_header,
    syntax_error,
    take_first_row,
)
from rnncli.readers.input import (
    Input,
    Keys,
    Layout,
    fault_of,
    filled,
    first_fault,
    is_missing,
    mark_between_numbers,
    unnamed,
)
from rnncli.readers.lines import Lines
from rnncli.readers.plain import DELIMITERS, Shape, numbers, plain, rows_of
from rnncli.readers.text import Position, read_lines
from rnncli.stream import Rows

FIRST_ROW = ("auto", "header", "data")


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
    lines = read_lines(path, position)
    line = first_line(lines, path)
    delimiter = layout.delimiter or delimiter_of(line)
    first = take_first_row(lines, name, delimiter)
    width = len(first.cells)
    header = [cell.strip() for cell in first.cells] if is_header(first.cells, layout) else None
    grouping = choose(name, layout.group_by, width, header, "--group-by")
    chosen = choose(name, layout.columns, width, header) or [
        column for column in range(width) if column not in grouping
    ]
    if not chosen:
        raise ValueError(f"{name}: no column is left to read beside those of --group-by")
    if layout.passthrough and header:
        check_distinct(name, header)
    if not header:
        lines.put_back("".join(first.lines))
    table = _Table(
        name=name,
        lines=lines,
        rows=csv_rows(lines, delimiter),
        shape=Shape(width, chosen, delimiter, gaps=layout.missing != "error" and width > 1),
        header=header,
        layout=layout,
        line=first.number + (len(first.lines) if header else 0),
        grouping=grouping,
        keys=keys,
    )
    columns = [header[i] for i in chosen] if header else unnamed(len(chosen))
    key_columns = [header[i] if header else f"column_{i + 1}" for i in grouping]
    share = (lambda: None) if path.lower().endswith(".gz") else position.share
    kept = (header or [f"column_{i + 1}" for i in range(width)]) if layout.passthrough else ()
    return Input(
        columns,
        table.blocks(),
        key_columns,
        keys.names if grouping else (),
        kept,
        share,
        chosen=named(chosen, header),
    )


class _Block(NamedTuple):
    """Rows taken together.

    Parameters
    ----------
    values : array, shape (n, I)
        NaN where a value is missing.
    rows : list of lists of str
        Their cells, where these are needed.
    whole : bool
        Whether there are as many as a block has; otherwise they are the last.
    fault : ValueError, optional
        What ended them.
    """

    values: Floats
    rows: list[Row]
    whole: bool
    fault: ValueError | None = None


@dataclass
class _Table:
    """Rows of data, turned into numbers a block at a time."""

    name: str
    lines: Lines
    rows: Any  # as csv.reader takes them from the lines
    shape: Shape
    header: Sequence[str] | None
    layout: Layout
    line: int  # where the next row starts
    grouping: Sequence[int]
    keys: Keys
    blank_lines: list[int] = field(default_factory=list)  # that no row has followed yet
    begun: bool = False  # whether a row has been read as numbers

    def blocks(self) -> Iterator[Rows]:
        """Blocks of steps, then the fault that ended them, if one did."""
        whole = True
        while whole:
            block = self._plain_rows() or self._any_rows()
            if len(block.values):
                self.begun = True
                values, held = filled(block.values, self.layout.missing)
                x = values if held is None else block.values
                cells = block.rows if self.layout.passthrough else None
                yield Rows(x.astype(self.layout.dtype), self._key(block.rows), held, cells)
            if block.fault:
                raise block.fault
            whole = block.whole

    def _plain_rows(self) -> _Block | None:
        """Take a block of plain rows; none where anything in it is out of the ordinary."""
        steps = self.layout.block_steps
        # A single row is sooner read by itself.
        if steps == 1 or self.blank_lines or self.shape.delimiter not in DELIMITERS:
            return None
        text = self.lines.take(steps)
        if not text:
            return None
        simple = plain(text, self.shape.delimiter)
        values = None if simple is None else numbers(simple, self.shape)
        if simple is None or values is None or self._has_fault(values):
            self.lines.put_back(text)
            return None
        self.line += len(values)
        kept = self.grouping or self.layout.passthrough
        rows = rows_of(simple, self.shape.delimiter) if kept else []
        return _Block(values, rows, whole=len(values) == steps)

    def _any_rows(self) -> _Block:
        """Take a block of rows of any kind."""
        start = self.rows.line_num
        rows, fault = self._take()
        whole = len(rows) == self.layout.block_steps
        values = self._convert(rows)
        if values is None:
            values, rows, earlier_fault = self._convert_one_by_one(rows)
            fault = earlier_fault or fault
        self.line += self.rows.line_num - start
        return _Block(values, rows, whole, fault)

    def _take(self) -> tuple[list[Row], ValueError | None]:
        """Rows of one block, up to the end, damage, or a fault in the quoting."""
        rows: list[Row] = []
        start = self.rows.line_num
        try:
            for row in islice(self.rows, self.layout.block_steps):
                rows.append(row)
        except csv.Error as error:
            return rows, syntax_error(self.name, self._line_after(rows), error)
        except NotTextError as error:
            return rows, error.at(self.line + self.rows.line_num - start)
        except ValueError as damage:
            return rows, damage
        return rows, None

    def _convert(self, rows: list[Row]) -> Floats | None:
        """Values of a block, or None if anything in it is out of the ordinary."""
        if self.blank_lines or set(map(len, rows)) != {self.shape.width}:
            return None
        values = np.empty((len(rows), len(self.shape.chosen)))
        try:
            for feature, column in enumerate(self.shape.chosen):
                cells = [row[column] for row in rows]
                if self.shape.gaps:
                    cells = [cell or "nan" for cell in cells]
                if "_" in "".join(cells):  # Python reads 1_000 as a number
                    return None
                values[:, feature] = np.fromiter(map(float, cells), np.float64, len(cells))
                absent = np.flatnonzero(np.isnan(values[:, feature])).tolist()
                if not all(is_missing(cells[i]) for i in absent):
                    return None
        except ValueError:
            return None
        return None if self._has_fault(values) else values

    def _has_fault(self, values: Floats) -> bool:
        """Tell whether a value is not finite, but for what may be missing."""
        checked, _ = filled(values, self.layout.missing)
        return first_fault(checked, self.layout.dtype) is not None

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
            if is_blank(row):
                self.blank_lines.append(line)
            else:
                fault = self._fault(row, line)
                if fault:
                    break
                if self.shape.width == 1:
                    kept += [[""]] * len(self.blank_lines)
                self.blank_lines.clear()
                kept.append(row)
            line += 1 + _line_breaks(row)
        values = [[_number(row[column]) for column in self.shape.chosen] for row in kept]
        return np.array(values, np.float64).reshape(-1, len(self.shape.chosen)), kept, fault

    def _fault(self, row: Row, line: int) -> ValueError | None:
        """Say what is wrong with a row, if anything is."""
        strict = self.layout.missing == "error"
        if self.shape.width == 1 and self.blank_lines and strict:
            return ValueError(
                f"{self.name}:{self.blank_lines[-1]}: blank line; expected a number on every "
                "line, or the line deleted; --missing hold or zero passes it"
            )
        if len(row) != self.shape.width:
            return ValueError(
                f"{self.name}:{line}: expected as many cells as in the first row, "
                f"{self.shape.width}, got {len(row)}"
            )
        for column in self.shape.chosen:
            what = fault_of(row[column], self.layout.dtype)
            if what and (strict or not is_missing(row[column])):
                label = repr(self.header[column]) if self.header else column + 1
                way_out = self._way_out(row[column], line)
                return ValueError(f"{self.name}:{line}: column {label}: {what}{way_out}")
        return None

    def _way_out(self, cell: str, line: int) -> str:
        """Say what to do about a cell that is no number."""
        if is_missing(cell):
            return "; --missing hold or zero passes it"
        if mark := mark_between_numbers(cell):
            return mark
        reads_all = len(self.shape.chosen) + len(self.grouping) == self.shape.width > 1
        if reads_all and line == self.line and not self.begun:
            return "; --columns chooses those to read"
        return "" if self.layout.missing == "error" else "; only an empty cell or nan is missing"

    def _line_after(self, rows: list[Row]) -> int:
        return self.line + len(rows) + sum(map(_line_breaks, rows))


def _number(cell: str) -> float:
    return np.nan if is_missing(cell) else float(cell)


def _line_breaks(row: Row) -> int:
    """Count the line ends within the quoted cells of a row."""
    return sum(
        cell.count("\n") + cell.count("\r") - cell.count("\r\n")
        for cell in row
        if "\n" in cell or "\r" in cell
    )
