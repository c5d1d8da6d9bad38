"""States as a Markdown table, for a README, an issue or a notebook."""

import re
from collections.abc import Iterable
from typing import TextIO

from rnncli.engine.rows import Rows
from rnncli.writers.digits import Words, floats, integers, rows_of_text, words_of
from rnncli.writers.result import Result, Style

_BREAK = re.compile(r"\r\n?|\n")


class MarkdownWriter:
    """Writes the columns of CSV between bars."""

    def __init__(self, out: TextIO, result: Result, style: Style) -> None:
        self._out, self._result, self._digits = out, result, style.digits
        fields = [*result.new_keys, *(result.header or [])]
        numbers = [*([] if result.header else ["t"]), *result.units]
        rule = "| --- " * len(fields) + "| ---: " * len(numbers)
        out.write(f"{_write_cells([*fields, *numbers])}|\n{rule}|\n")

    def rows(self, rows: Rows) -> None:
        """Write a block of results."""
        values, keys = self._result.rows(rows), self._result.keys
        front = [""] * len(rows.t)
        if rows.key is not None and self._result.new_keys:
            front = [_write_cells(keys[n]) for n in rows.key.tolist()]
        if rows.cells is not None:
            cells = map(_write_cells, rows.cells)
            front = [*map("".join, zip(front, cells, strict=True))]

        def words(span: slice) -> list[Words]:
            bar = words_of(["| "])
            t = [bar, integers(rows.t[span]), words_of([" "])] if rows.cells is None else []
            numbers = floats(values[span], "", " | ", self._digits)
            return [*t, bar, numbers, words_of([" |\n"])]

        self._out.writelines(rows_of_text(len(rows.t), 3 * values.shape[1] + 5, words, front))

    def end(self, error: ValueError | None) -> None:
        """Write nothing after the rows."""


def _write_cells(texts: Iterable[str]) -> str:
    """Write cells behind bars; a line break is an element of HTML, as Markdown has none."""
    escaped = (re.sub(r"[\\|<]", r"\\\g<0>", text) for text in texts)
    return "".join(f"| {_BREAK.sub('<br>', text)} " for text in escaped)
