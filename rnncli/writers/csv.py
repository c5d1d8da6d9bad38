"""States as CSV: ``t,h_0,h_1,...``, or the input's own columns and the states."""

import re
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import TextIO

from rnncli.engine.rows import Rows
from rnncli.model.arrays import Integers
from rnncli.writers.digits import Words, floats, integers, rows_of_text, words_of
from rnncli.writers.result import Result, Style

# Characters of a key, with its delimiter, that are written by array operations.
_SHORT = 64


class CsvWriter:
    """Writes a line for each row: its key, then `t` or the input's fields, then the values."""

    def __init__(self, out: TextIO, result: Result, style: Style) -> None:
        self._out, self._result, self._digits = out, result, style.digits
        self._delimiter = style.delimiter
        self._special = re.compile(rf'["\r\n{self._delimiter}]')
        if style.header:
            names = [*result.new_keys, *(result.header or ["t"]), *result.units]
            out.write(self._line(names) + "\n")

    @cached_property
    def _label(self) -> Callable[[int], str]:
        """Return the text of a key, by its number."""
        return cache(lambda n: self._line(self._result.keys[n]) + self._delimiter)

    def rows(self, rows: Rows) -> None:
        """Write a block of results."""
        values = self._result.rows(rows)
        front, labels = None, None
        if rows.key is not None and self._result.new_keys:
            labels = self._label_words(rows.key) if rows.cells is None else None
            front = [*map(self._label, rows.key.tolist())] if labels is None else None
        if rows.cells is not None:
            lines = [*map(self._delimiter.join, rows.cells)]
            delimiters = sum(map(len, rows.cells)) - len(lines)
            # One count over all lines shows whether a field needs quotes.
            if sum(map("".join(lines).count, f'{self._delimiter}"\r\n')) > delimiters:
                lines = [*map(self._line, rows.cells)]
            front = [*map("".join, zip(front, lines, strict=True))] if front else lines

        def words(span: slice) -> list[Words]:
            t = [integers(rows.t[span])] if rows.cells is None else []
            numbers = floats(values[span], self._delimiter, self._delimiter, self._digits)
            label = [] if labels is None else [labels[span]]
            return [*label, *t, numbers, words_of(["\n"])]

        self._out.writelines(rows_of_text(len(rows.t), 2 * values.shape[1] + 2, words, front))

    def end(self, error: ValueError | None) -> None:
        """Write nothing after the rows."""

    def _label_words(self, key: Integers) -> Words | None:
        """Return the words of each row's key, unless a key is long or not ASCII, or few repeat."""
        count = len(self._result.keys)
        texts = [*map(self._label, range(count))] if count <= len(key) else []
        if not texts or max(map(len, texts)) > _SHORT:
            return None
        if not all(text.isascii() and "\0" not in text for text in texts):
            return None
        words: Words = words_of(texts).take(key, axis=0)
        return words

    def _line(self, fields: Sequence[str]) -> str:
        """Join fields, quoted where they must be."""
        return self._delimiter.join(
            '"' + field.replace('"', '""') + '"' if self._special.search(field) else field
            for field in fields
        )
