"""CSV text: rows of cells, the chosen columns of which are the features."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.engine.rows import Rows, in_blocks, steps_in_block
from rnncli.model.arrays import Floats
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
from rnncli.readers.lines import TAKEN, Lines
from rnncli.readers.plain import DELIMITERS, Shape, numbers, plain, rows_of
from rnncli.readers.text import Position, read_lines

FIRST_ROW = ("auto", "header", "data")


def read_csv(path: str, layout: Layout, keys: Keys, lines: Lines | None = None) -> Input:
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
    lines : Lines, optional
        Those of the file, where it is open: a pipe is read but once.

    Raises
    ------
    ValueError
        Nothing there, not text, or no such column. Faults in rows are
        raised by the blocks, after the rows before them.
    OSError
        The file cannot be opened.
    """
    name, position = display_name(path), Position(path)
    lines = lines or read_lines(path, position)
    begin = first_line(lines, path)
    delimiter = layout.delimiter or delimiter_of(begin)
    width, header, line = _take_header(lines, name, delimiter, layout)
    grouping = choose(name, layout.group_by, width, header, "--group-by")
    others = [i for i in range(width) if i not in grouping] if grouping else range(width)
    chosen = choose(name, layout.columns, width, header) or others
    if not chosen:
        raise ValueError(f"{name}: no column is left to read beside those of --group-by")
    if layout.passthrough and header:
        check_distinct(name, header)
    table = _Table(
        name=name,
        lines=lines,
        rows=csv_rows(lines, delimiter),
        shape=Shape(width, chosen, delimiter, gaps=layout.missing != "error" and width > 1),
        header=header,
        layout=layout,
        line=line,
        grouping=grouping,
        keys=keys,
    )
    columns = [header[i] for i in chosen] if header else unnamed(len(chosen))
    key_columns = [header[i] if header else f"column_{i + 1}" for i in grouping]
    share = (lambda: None) if path.lower().endswith(".gz") else position.share
    kept = (header or [f"column_{i + 1}" for i in range(width)]) if layout.passthrough else ()
    # A cell that is kept takes as much memory as eight values.
    steps = steps_in_block(len(chosen) + 8 * len(kept), layout.block_steps)
    blocks = in_blocks(table.parts(), steps)
    return Input(
        columns,
        blocks,
        key_columns,
        keys.names if grouping else (),
        kept,
        share,
        chosen=named(chosen, header),
    )


def _take_header(
    lines: Lines, name: str, delimiter: str, layout: Layout
) -> tuple[int, list[str] | None, int]:
    """Take the first row if it is a header: the cells in it, their names, the line behind it."""
    first = take_first_row(lines, name, delimiter)
    if is_header(first.cells, layout):
        header = [cell.strip() for cell in first.cells]
        return len(header), header, first.number + len(first.lines)
    lines.put_back("".join(first.lines))
    return len(first.cells), None, first.number


class _Block(NamedTuple):
    """Rows taken together.

    Parameters
    ----------
    values : array, shape (n, I)
        NaN where a value is missing.
    rows : list of lists of str
        Their cells, where these are needed.
    last : bool
        Whether no row is left.
    gaps : int
        How many missing steps stand before them.
    fault : ValueError, optional
        What ended them.
    """

    values: Floats
    rows: list[Row]
    last: bool = False
    gaps: int = 0
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
    blank_lines: int = 0  # that no row has followed yet
    blank_line: int = 0  # the last of them
    begun: bool = False  # whether a row has been read as numbers

    def parts(self) -> Iterator[Rows]:
        """Read some steps at a time, then the fault that ended them, if one did."""
        last = False
        while not last:
            block = self._plain_rows() or self._any_rows()
            steps = self.layout.block_steps
            for start in range(0, block.gaps, steps):
                missing = min(block.gaps - start, steps)
                yield self._steps(np.full((missing, 1), np.nan), [[""]] * missing)
            if len(block.values):
                yield self._steps(block.values, block.rows)
            if block.fault:
                raise block.fault
            last = block.last

    def _steps(self, values: Floats, rows: list[Row]) -> Rows:
        self.begun = True
        filled_in, held = filled(values, self.layout.missing)
        x = filled_in if held is None else values
        cells = rows if self.layout.passthrough else None
        return Rows(x.astype(self.layout.dtype), self._key(rows), held, cells)

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
        return _Block(values, rows)

    def _any_rows(self) -> _Block:
        """Take a block of rows of any kind."""
        start = self.rows.line_num
        rows, fault = self._take()
        values = self._convert(rows)
        block = _Block(values, rows) if values is not None else self._convert_one_by_one(rows)
        self.line += self.rows.line_num - start
        return block._replace(last=not rows, fault=block.fault or fault)

    def _take(self) -> tuple[list[Row], ValueError | None]:
        """Rows of one block, up to the end, damage, or a fault in the quoting."""
        rows: list[Row] = []
        start = self.rows.line_num
        begin = self.lines.place()
        try:
            for row in islice(self.rows, self.layout.block_steps):
                rows.append(row)
                if self.lines.place() - begin > TAKEN:
                    break
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
        cells = [row[column] for row in rows for column in self.shape.chosen]
        if self.shape.gaps:
            cells = [cell or "nan" for cell in cells]
        if "_" in "".join(cells):  # Python reads 1_000 as a number
            return None
        try:
            values = np.fromiter(map(float, cells), np.float64, len(cells))
        except ValueError:
            return None
        if not all(is_missing(cells[i]) for i in np.flatnonzero(np.isnan(values)).tolist()):
            return None
        values = values.reshape(len(rows), -1)
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

    def _convert_one_by_one(self, rows: list[Row]) -> _Block:
        """Take the rows before the first fault, and the fault; no blank lines."""
        kept: list[Row] = []
        fault, gaps = None, 0
        line = self.line
        for row in rows:
            if is_blank(row):
                self.blank_lines, self.blank_line = self.blank_lines + 1, line
            else:
                fault = self._fault(row, line)
                if fault:
                    break
                if self.shape.width == 1:
                    gaps = gaps if kept else self.blank_lines
                    kept += [[""]] * (self.blank_lines if kept else 0)
                self.blank_lines = 0
                kept.append(row)
            line += 1 + _line_breaks(row)
        cells = (row[column] for row in kept for column in self.shape.chosen)
        values = np.fromiter(map(_number, cells), np.float64).reshape(-1, len(self.shape.chosen))
        return _Block(values, kept, gaps=gaps, fault=fault)

    def _fault(self, row: Row, line: int) -> ValueError | None:
        """Say what is wrong with a row, if anything is."""
        strict = self.layout.missing == "error"
        if self.shape.width == 1 and self.blank_lines and strict:
            return ValueError(
                f"{self.name}:{self.blank_line}: blank line; expected a number on every "
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
