"""States as CSV: ``t,h_0,h_1,...``, or the input's own columns and the states."""

import re
from collections.abc import Sequence
from functools import cache
from typing import TextIO

from rnncli.engine.rows import Rows
from rnncli.writers.digits import Words, by_key, floats, integers, rows_of_text, words_of
from rnncli.writers.result import Result, Style


class CsvWriter:
    """Writes a line for each row, its key in front.

    The input's cells, where they are written too, take the place of `t`. Key columns among
    them are not written twice.
    """

    _delimiter = ","

    def __init__(self, out: TextIO, result: Result, style: Style) -> None:
        self._out, self._result, self._digits = out, result, style.digits
        self._special = re.compile(rf'["\r\n{self._delimiter}]')
        self._keyed = not set(result.key_columns) <= set(result.header)
        self._label = cache(lambda n: self._line(result.keys[n]) + self._delimiter)
        if style.header:
            keys = result.key_columns if self._keyed else ()
            out.write(self._line([*keys, *(result.header or ["t"]), *result.units]) + "\n")

    def rows(self, rows: Rows) -> None:
        """Write a block of results."""
        values = self._result.rows(rows)
        key = rows.key if self._keyed else None
        front = None if rows.cells is None else self._lines(rows.cells)

        def parts_of(some: slice) -> list[Words]:
            return [
                *([by_key(key[some], self._label)] if key is not None else ()),
                integers(rows.t[some]) if front is None else words_of(front[some]),
                floats(values[some], self._delimiter, self._delimiter, self._digits),
                words_of(["\n"]),
            ]

        self._out.writelines(rows_of_text(len(rows.t), 2 * values.shape[1] + 2, parts_of))

    def end(self, error: ValueError | None) -> None:
        """Write nothing behind the rows."""

    def _lines(self, rows: Sequence[Sequence[str]]) -> list[str]:
        """Join the cells of each row; where none is quoted, one look at all of them tells that."""
        lines = [*map(self._delimiter.join, rows)]
        text = "".join(lines)
        delimiters = sum(map(len, rows)) - len(rows)
        if text.count(self._delimiter) == delimiters and not any(mark in text for mark in '"\r\n'):
            return lines
        return [*map(self._line, rows)]

    def _line(self, cells: Sequence[str]) -> str:
        """Join cells, quoted where they must be."""
        return self._delimiter.join(
            '"' + cell.replace('"', '""') + '"' if self._special.search(cell) else cell
            for cell in cells
        )


class TsvWriter(CsvWriter):
    """Writes the same lines with tabs between their cells."""

    _delimiter = "\t"
