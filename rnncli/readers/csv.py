"""CSV text: rows of cells, the chosen columns of which are the features."""

import csv
import os
import shlex
from collections.abc import Iterator, Sequence
from itertools import chain, islice

import numpy as np

from rnncli.engine.rows import Rows, in_blocks, steps_in_block
from rnncli.engine.threads import ahead
from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import InputError, verbatim
from rnncli.readers.columns import choose_all, named
from rnncli.readers.foreign import OF_TABLE, RULE, STDIN, display_name
from rnncli.readers.header import Row, csv_rows, is_blank, syntax_error, take_header
from rnncli.readers.input import (
    USUAL,
    Input,
    Layout,
    error_in,
    filled,
    first_unfit,
    is_missing,
    looks_missing,
    mark_between_numbers,
    parse_cells,
    parse_number,
    unnamed,
)
from rnncli.readers.keyed import Cells, Keys
from rnncli.readers.plain import DELIMITERS, Shape, bounds, numbers, plain, rows_of
from rnncli.readers.text import TAKEN, Lines, read_lines, share_read
from rnncli.storage import is_url

FIRST_ROW = ("auto", "header", "data")
# Blocks of rows that are read before a thread reads the next ones.
_WITHOUT_A_THREAD = 2


def read_csv(path: str, layout: Layout, keys: Keys, lines: Lines | None = None) -> Input:
    r"""Read CSV text: a row is a step.

    Cells may be quoted; lines end in ``\n``, ``\r\n`` or ``\r``. Blank lines
    are skipped.
    """
    table = _Table(path, layout, keys, lines or read_lines(path, layout.encoding))
    header, chosen = table.header, table.shape.chosen
    numbered = [f"column_{i + 1}" for i in range(table.shape.width)]
    kept = [(header or numbered)[i] for i in table.kept]
    # A cell that is kept takes as much memory as eight values.
    steps = steps_in_block(len(chosen) + 8 * len(kept), layout.block_steps)
    blocks = in_blocks(table.rows(), steps)
    # A short input needs no thread, none waits for a pipe, or holds rows back that are followed.
    whole = is_url(path) or (path != STDIN and os.path.isfile(path))
    if whole and layout.block_steps > 1:
        blocks = chain(islice(blocks, _WITHOUT_A_THREAD), ahead(blocks))
    return Input(
        columns=[header[i] for i in chosen] if header else unnamed(len(chosen)),
        blocks=blocks,
        key_columns=[(header or numbered)[i] for i in table.grouping],
        keys=keys.names if table.grouping else (),
        header=kept,
        share=share_read(path, table.lines, layout.encoding),
        chosen=named(chosen, header),
    )


class _Table:
    """Rows of data, turned into numbers some at a time.

    Attributes
    ----------
    lines : Lines
        Those behind the header.
    header : list of str, optional
        Names of all columns.
    grouping : sequence of int
        Columns of the keys.
    kept : sequence of int
        Columns whose cells are kept.
    shape : Shape
        Of each row.
    """

    def __init__(self, path: str, layout: Layout, keys: Keys, lines: Lines) -> None:
        self._name, self._layout, self._keys = display_name(path), layout, keys
        self.lines = lines
        # The line is that where the next rows start.
        delimiter, width, self.header, self._line = take_header(lines, path, layout)
        self.grouping, chosen, self.kept = choose_all(self._name, layout, width, self.header)
        gaps = layout.missing != "error" and width > 1
        self._notation = layout.notation
        self.shape = Shape(width, chosen, delimiter, gaps, self._notation)
        self._rows = csv_rows(lines, delimiter)
        self._begun = False  # whether a row has been read as numbers

    def rows(self) -> Iterator[Rows]:
        """Read some rows at a time, then the error that ended them, if one did."""
        while True:
            plain_rows = self._plain_rows()
            if plain_rows is not None:
                yield plain_rows
                continue
            start = self._rows.line_num
            rows, error = self._take()
            values = self._convert(rows)
            if values is None:
                yield from self._one_by_one(rows)
            else:
                yield self._steps(values, rows, self._key(rows))
            if error:
                raise error
            if not rows:
                return
            self._line += self._rows.line_num - start

    def _steps(self, values: Floats, rows: list[Row], key: Integers | None) -> Rows:
        self._begun = True
        filled_in, masked = filled(values, self._layout.missing)
        x = filled_in if masked is None else values
        cells: Sequence[Sequence[str]] | None = rows if self._layout.passthrough else None
        if self.kept and cells is None:
            usual = str if self._notation == USUAL else self._as_usual
            cells = [tuple([usual(row[i]) for i in self.kept]) for row in rows]
        return Rows(x.astype(self._layout.dtype), key, masked, cells)

    def _as_usual(self, cell: str) -> str:
        """Return a cell of a figure as Python writes it, if it is a number, and not a time."""
        usual = self._notation.usual(cell)
        return cell if parse_number(usual) is None else usual

    def _key(self, rows: list[Row]) -> Integers | None:
        if not self.grouping:
            return None
        return self._keys.number(*([row[i] for row in rows] for i in self.grouping))

    def _plain_rows(self) -> Rows | None:
        """Take plain rows; none where anything in them is out of the ordinary."""
        steps, delimiter = self._layout.block_steps, self.shape.delimiter
        # A single row is sooner read by itself.
        if steps == 1 or delimiter not in DELIMITERS:
            return None
        text = self.lines.take(steps)
        if not text:
            return None
        simple = plain(text, delimiter)
        values = None if simple is None else numbers(simple, self.shape)
        if simple is None or values is None or self._has_error(values):
            self.lines.put_back(text)
            return None
        self._line += len(values)
        key = self._plain_key(simple) if self.grouping else None
        kept = rows_of(simple, delimiter) if self.kept else []
        return self._steps(values, kept, key)

    def _plain_key(self, text: bytes) -> Integers:
        starts, stops = bounds(text, self.shape)
        return self._keys.number_cells(
            [Cells(text, starts[:, i], stops[:, i]) for i in self.grouping]
        )

    def _take(self) -> tuple[list[Row], InputError | None]:
        """Take rows of any kind, up to the end, damage, or an error in the quoting."""
        rows: list[Row] = []
        begin = self.lines.place()
        try:
            for row in islice(self._rows, self._layout.block_steps):
                rows.append(row)
                if self.lines.place() - begin > TAKEN:
                    break
        except csv.Error as error:
            line = self._line + len(rows) + sum(map(_line_breaks, rows))
            return rows, syntax_error(self._name, line, error)
        except InputError as damage:
            return rows, damage
        return rows, None

    def _convert(self, rows: list[Row]) -> Floats | None:
        """Return the values of rows, or None if anything in them is out of the ordinary."""
        if set(map(len, rows)) != {self.shape.width}:
            return None
        cells = [row[column] for row in rows for column in self.shape.chosen]
        parsed = parse_cells(cells, gaps=self.shape.gaps, notation=self._notation)
        if parsed is None:
            return None
        values = parsed.reshape(len(rows), -1)
        return None if self._has_error(values) else values

    def _has_error(self, values: Floats) -> bool:
        """Return whether a value is not finite, but for what may be missing."""
        checked, _ = filled(values, self._layout.missing)
        return first_unfit(checked, self._layout.dtype, self._layout.indices) is not None

    def _one_by_one(self, rows: list[Row]) -> Iterator[Rows]:
        """Read rows, and skip blank ones, up to the first error."""
        kept: list[Row] = []
        error = None
        line = self._line
        for row in rows:
            if not is_blank(row):
                error = self._error(row, line)
                if error:
                    break
                kept.append(row)
            line += 1 + _line_breaks(row)
        if kept:
            cells = (row[column] for row in kept for column in self.shape.chosen)
            values = np.fromiter(map(_number, map(self._notation.usual, cells)), np.float64)
            yield self._steps(values.reshape(len(kept), -1), kept, self._key(kept))
        if error:
            raise error

    def _error(self, row: Row, line: int) -> InputError | None:
        """Return what is wrong with a row, if anything is."""
        strict, place = self._layout.missing == "error", f"{self._name}:{line}"
        if len(row) != self.shape.width:
            expected = f"expected as many cells as in the first row, {self.shape.width}"
            return InputError(place, f"{expected}, got {len(row)}", self._hint_at_width())
        for column in self.shape.chosen:
            cell, layout = row[column], self._layout
            error = error_in(cell, layout.dtype, layout.indices, self._notation)
            if error and (strict or not is_missing(self._notation.usual(cell))):
                label = repr(self.header[column]) if self.header else column + 1
                what, hint = error
                hints = filter(None, [hint, self._hint(cell, line)])
                return InputError(f"{place}: column {label}", what, "; ".join(hints))
        return None

    def _hint_at_width(self) -> str:
        """Return what to do about a row of more or fewer cells than the first."""
        if self.shape.delimiter != ",":
            return ""
        if self._notation.decimal == ",":
            return "a number with a decimal comma stands in quotes"
        alone = self.shape.width == 1
        return " (a title above the header, or a decimal comma: `decimal` ,?)" if alone else ""

    def _hint(self, cell: str, line: int) -> str:
        """Return what to do about a cell that is no number."""
        passes = "`missing` hold or zero passes it"
        if is_missing(self._notation.usual(cell)):
            return passes
        if looks_missing(cell):
            null = f"`null_values` {verbatim(shlex.quote(cell.strip()))}"
            strict = self._layout.missing == "error"
            return f"{null} with {passes}" if strict else f"{null} passes it"
        decimal = self._notation.decimal
        if decimal != "." and not cell.strip(f" +-.{decimal}0123456789"):
            return f" (`decimal` is {decimal!r}: a number has one of it at most, and no point)"
        if not cell.strip(f" {RULE}"):
            return OF_TABLE
        if mark := mark_between_numbers(self._notation.usual(cell)):
            return mark
        reads_all = len(self.shape.chosen) + len(self.grouping) == self.shape.width > 1
        if reads_all and line == self._line and not self._begun:
            return "`columns` chooses those to read"
        if self._layout.missing == "error" or self._layout.indices is not None:
            return ""
        return "only an empty cell, nan or a `null_values` is missing"


def _number(cell: str) -> float:
    return np.nan if is_missing(cell) else float(cell)


def _line_breaks(row: Row) -> int:
    """Count the line ends within the quoted cells of a row."""
    return sum(cell.count("\n") for cell in row)
